"""`forecaster evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.cli.output import (
    AsOfOption,
    HomeOption,
    JsonOption,
    QuietOption,
    command,
    day,
    print_json,
    print_next,
    print_table,
)

if TYPE_CHECKING:
    from forecaster.pipeline.evaluate import Evaluation

FORMATS = {
    "mse": ".6g",
    "mae": ".6g",
    "skill": ".2%",
    "direction_accuracy": ".2%",
    "forecasts": ",",
}


@command
def evaluate_command(
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="None: the newest.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Which of the version's targets, comma-separated [all].")
    ] = None,
    forecasts: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write every forecast to this file.")
    ] = None,
    as_of: AsOfOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score next-day forecasts on days the version never saw, beside the baselines.

    skill is 1 - MSE / MSE of "tomorrow = today"; below zero the version loses to it.

    Reads: models/<version>/, data/prices.db. Creates: FILE.csv if asked for.

    Example: forecaster evaluate --forecasts forecasts.csv
    """
    from forecaster.pipeline.evaluate import evaluate
    from forecaster.pipeline.prices import write_table
    from forecaster.settings import resolve_home

    names = [name.strip() for name in target.split(",")] if target else []
    result = evaluate(version, targets=names, home=resolve_home(home), as_of=day(as_of))
    if forecasts is not None:
        write_table(result.forecasts, forecasts)
    if json:
        _print_json(result)
    else:
        _print(result, forecasts)
        print_next(f"predict --version {result.version}", home, as_of)
    if result.missing:
        from forecaster.errors import PartialFailure

        raise PartialFailure(f"Not in the store any more: {', '.join(result.missing)}.")


def _print_json(result: "Evaluation") -> None:
    from dataclasses import asdict

    print_json(
        "evaluate",
        {
            "version": result.version,
            "target": ",".join(result.targets),
            "blocks": result.blocks,
            "choices": result.choices,
            "scores": result.scores,
            "per_ticker": result.per_ticker,
            "comparisons": [
                {**asdict(found), "verdict": found.verdict} for found in result.comparisons
            ],
            "alarms": result.alarms,
            "missing": result.missing,
            "unscored": result.unscored,
        },
    )


def _print(result: "Evaluation", file: Path | None) -> None:
    print(f"version {result.version}")
    for name, (first, last) in result.blocks.items():
        print(f"{name:<7} {first}..{last}")
    for target in result.targets:
        card = result.scorecard(target)
        counts = result.scores[result.scores["target"] == target].iloc[0]
        print(f"\n{target}: {counts['days']:,} report days, {counts['forecasts']:,} forecasts")
        print_table(card, FORMATS)
        for name, variant in result.choices[target].items():
            print(f"        {name} fitted {variant}, as the select block preferred")
        _print_verdicts(result, target)
        by_ticker = result.scorecard(target, by_ticker=True)
        if len(by_ticker) > 1:
            print(f"\n{card['forecaster'].iloc[0]} by ticker")
            print_table(by_ticker, FORMATS)
    for alarm in result.alarms:
        print(f"\nWARNING {alarm}")
    if file is not None:
        print(f"\nsaved   {file}  {len(result.forecasts):,} rows")


def _print_verdicts(result: "Evaluation", target: str) -> None:
    """Say plainly how the version stands against persistence and the best baseline."""
    mine = {c.rival: c for c in result.comparisons if c.target == target}
    mse = result.scorecard(target).set_index("forecaster")["mse"].iloc[1:]
    for rival in dict.fromkeys([str(mse.index[0]), str(mse.idxmin())]):
        print(f"verdict {mine[rival].sentence}")
