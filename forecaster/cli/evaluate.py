"""`forecaster evaluate`."""

import logging
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
    shown,
)

if TYPE_CHECKING:
    from forecaster.pipeline.evaluate import Evaluation, Walk

WIDTH = 100
log = logging.getLogger(__name__)

FORMATS = {
    "mse": ".6g",
    "mae": ".6g",
    "skill": ".2%",
    "direction_accuracy": ".2%",
    "crps": ".5g",
    "log_score": ".4f",
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
    refit_every: Annotated[
        str, typer.Option(metavar="N|never", help="Fit anew every N trading days, such as 252.")
    ] = "never",
    train_window: Annotated[
        str, typer.Option(metavar="expanding|rolling:DAYS", help="Days that a fold fits on.")
    ] = "expanding",
    weights: Annotated[
        Literal["cold", "warm"],
        typer.Option(help="Begin a fold afresh, or from the weights of the one before."),
    ] = "cold",
    seeds: Annotated[int, typer.Option(help="Repeat with so many seeds and tell the spread.")] = 1,
    jobs: Annotated[int, typer.Option(help="Processes side by side, a thread each.")] = 1,
    backend: Annotated[
        Literal["loky", "ray"],
        typer.Option(help="Processes here, or a Ray cluster (RAY_ADDRESS; pip install .[ray])."),
    ] = "loky",
    baselines: Annotated[
        Literal["quick", "all"],
        typer.Option(help="quick: without boosted trees, GARCH and EGARCH."),
    ] = "all",
    twins: Annotated[
        bool, typer.Option("--twins/--no-twins", help="Train a network without memory beside it.")
    ] = True,
    costs_bps: Annotated[
        float, typer.Option(help="Costs per side of the strategy, in hundredths of a percent.")
    ] = 5.0,
    forecasts: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write every forecast to this file.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html", help="Where the page goes [reports/<version>-<targets>.html]."
        ),
    ] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no page.")] = False,
    as_of: AsOfOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score next-day forecasts on days the version never saw, beside the baselines.

    skill is 1 - MSE / MSE of "tomorrow = today"; below zero the version loses to it. Every run
    is counted as a look at these days, and the verdict says which look it is.

    Reads: models/<version>/, data/prices.db. Creates: a page in reports/; a line in
    models/looks.json; FILE.csv if asked for; while it runs, models/.unfinished/, from which a
    stopped run goes on.

    Example: forecaster evaluate --refit-every 252 --seeds 3 --forecasts forecasts.csv
    """
    from dataclasses import replace

    from forecaster.data.export import write_table
    from forecaster.pipeline.evaluate import evaluate
    from forecaster.pipeline.evaluate_page import check_files, evaluation_tables, save_report
    from forecaster.settings import resolve_home

    check_files(report, forecasts, none=no_report)
    names = [name.strip() for name in target.split(",")] if target else []
    result = evaluate(
        version,
        targets=names,
        home=resolve_home(home),
        as_of=day(as_of),
        walk=replace(
            _walk(refit_every, train_window, weights, seeds, jobs, twins), backend=backend
        ),
        baselines=baselines,
        costs_bps=costs_bps,
    )
    if forecasts is not None:
        write_table(result.forecasts, forecasts)
    tables = evaluation_tables(result, home)
    page = None if no_report else save_report(tables, result, home, report)
    if json:
        content = {**result.content(), **tables.content(), "report": page and str(page)}
        print_json("evaluate", content)
    else:
        _print(result, forecasts)
        print_next(f"predict --version {result.version}", home, as_of)
    if page is not None:
        log.info("report  %s", shown(page))
    if result.missing:
        from forecaster.errors import PartialFailure

        raise PartialFailure(f"Not in the store any more: {', '.join(result.missing)}.")


def _walk(
    refit_every: str,
    train_window: str,
    weights: Literal["cold", "warm"],
    seeds: int,
    jobs: int,
    twins: bool,
) -> "Walk":
    """Read the options of the walk."""
    from forecaster.errors import UsageError
    from forecaster.pipeline.evaluate import Walk

    kind, _, days = train_window.partition(":")
    if train_window != "expanding" and kind != "rolling":
        raise UsageError(f"--train-window {train_window}: give expanding, or rolling:DAYS.")
    return Walk(
        refit_every=None if refit_every == "never" else _days("--refit-every", refit_every),
        train_days=None if train_window == "expanding" else _days("--train-window rolling:", days),
        weights=weights,
        seeds=seeds,
        jobs=jobs,
        twins=twins,
    )


def _days(option: str, text: str) -> int:
    from forecaster.errors import UsageError

    if not text.isascii() or not text.isdigit():
        raise UsageError(f"{option} {text!r}: give a number of trading days, such as 252.")
    return int(text)


def _print(result: "Evaluation", file: Path | None) -> None:
    print(f"version {result.version}")
    for name, (first, last) in result.blocks.items():
        print(f"{name:<7} {first}..{last}")
    if len(result.folds) > 1:
        print(f"folds   {len(result.folds)}, fitted anew every {result.walk.refit_every} days")
    for target in result.targets:
        _print_target(result, target)
    for note in result.notes:
        print(f"note    {note}")
    if result.alarms:
        loud = "\n".join(f"WARNING {alarm}" for alarm in result.alarms)
        print(f"\n{'!' * WIDTH}\n{loud}\n{'!' * WIDTH}")
    if file is not None:
        print(f"\nsaved   {file}  {len(result.forecasts):,} rows")


def _print_target(result: "Evaluation", target: str) -> None:
    """Print the verdicts first, then the table that they rest on."""
    card = result.scorecard(target)
    counts = result.scores[result.scores["target"] == target].iloc[0]
    print(f"\n{target}: {counts['days']:,} report days, {counts['forecasts']:,} forecasts")
    for sentence in result.verdicts[target]:
        print(textwrap.fill(f"verdict {sentence}", WIDTH, subsequent_indent=" " * 8))
    for line in result.in_words(target):
        print(textwrap.fill(line, WIDTH, subsequent_indent=" " * 8))
    print_table(card, FORMATS)
    for name, variant in result.choices[target].items():
        print(f"        {name} fitted {variant}, as the select block preferred")
    by_ticker = result.scorecard(target, by_ticker=True)
    if len(by_ticker) > 1:
        print(f"\n{card['forecaster'].iloc[0]} by ticker")
        print_table(by_ticker, FORMATS)
