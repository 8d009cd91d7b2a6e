"""`forecaster evaluate`."""

import logging
import shlex
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from forecaster.cli.output import (
    AsOfOption,
    HomeOption,
    JsonOption,
    QuietOption,
    command,
    last_day,
    print_json,
    print_next,
    print_table,
    shown,
)
from forecaster.errors import PartialFailure, UsageError

if TYPE_CHECKING:
    from forecaster.pipeline.evaluate import Evaluation

WIDTH, LABEL = 100, 12
log = logging.getLogger(__name__)

FORMATS = {
    **{"mse": ".6g", "mae": ".6g", "qlike": ".6g", "crps": ".5g", "log_score": ".4f"},
    **{"skill": ".2%", "directional_accuracy": ".2%"},
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
        str, typer.Option(metavar="N|never", help="Train again every N trading days, such as 252.")
    ] = "never",
    train_window: Annotated[
        str, typer.Option(metavar="expanding|rolling:DAYS", help="Training days of a fold.")
    ] = "expanding",
    weights: Annotated[
        Literal["cold", "warm"],
        typer.Option(help="Start a fold from fresh weights, or from those of the one before."),
    ] = "cold",
    seeds: Annotated[int, typer.Option(help="Number of seeds to train with.")] = 1,
    jobs: Annotated[int, typer.Option(help="Processes in parallel, a thread each.")] = 1,
    backend: Annotated[
        Literal["loky", "ray"],
        typer.Option(help="Processes here, or a Ray cluster (RAY_ADDRESS; pip install .[ray])."),
    ] = "loky",
    benchmarks: Annotated[
        Literal["quick", "all"],
        typer.Option(help="quick: without boosted trees, GARCH and EGARCH."),
    ] = "all",
    same_inputs: Annotated[
        bool,
        typer.Option(
            "--same-inputs/--no-same-inputs",
            help="Train an MLP with the same inputs, which shows the gain from recurrence.",
        ),
    ] = True,
    costs_bps: Annotated[
        float | None,
        typer.Option(
            help="Costs per side of the backtest, in hundredths of a percent [5; no backtest of "
            "indices]."
        ),
    ] = None,
    forecasts: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Write every forecast, as .csv or .parquet."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="The page [reports/<version>-<targets>.html]."),
    ] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no page.")] = False,
    standalone: Annotated[
        bool, typer.Option("--standalone", help="The plotting library inside the page.")
    ] = False,
    show: Annotated[
        str | None,
        typer.Option(metavar="TICKERS", help="Embed them in the page, comma-separated."),
    ] = None,
    as_of: AsOfOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score next-day forecasts of the test days, compared with benchmarks.

    skill is 1 - MSE / MSE of the naive forecast; below zero the version loses to it. Every
    test-set evaluation is counted, and adjusts the p-values.

    Reads: models/<version>/, data/prices.db. Creates: a page in reports/; a row in
    models/registry.db; FILE if asked for; while it runs, models/.unfinished/, from which a
    stopped run continues.

    Example: forecaster evaluate --refit-every 252 --seeds 3 --forecasts forecasts.csv
    """
    from forecaster.pipeline.arguments import Walk, check_files

    last = last_day(as_of)
    check_files(report, forecasts, no_report=no_report)
    kind, _, days = train_window.partition(":")
    if train_window != "expanding" and kind != "rolling":
        raise UsageError(f"--train-window {train_window}: give expanding, or rolling:DAYS.")
    walk = Walk(
        refit_every=None if refit_every == "never" else _days("--refit-every", refit_every),
        train_days=_days("--train-window rolling:", days) if kind == "rolling" else None,
        weights=weights,
        seeds=seeds,
        jobs=jobs,
        backend=backend,
        same_inputs=same_inputs,
    )
    import forecaster.pipeline.evaluate as pipeline

    result = pipeline.evaluate(
        version,
        targets=[name.strip() for name in target.split(",")] if target else [],
        home=home,
        as_of=last,
        walk=walk,
        benchmarks=benchmarks,
        costs_bps=costs_bps,
    )
    written = 0
    if forecasts is not None:
        written = pipeline.write_tables(result.forecast_tables(), forecasts)
    options = pipeline.PageOptions(
        file=report,
        standalone=standalone,
        show=[name.strip() for name in show.split(",")] if show else [],
        command=shlex.join(["forecaster", *sys.argv[1:]]),
    )
    page = None if no_report else pipeline.save_report(result, home, options)
    if json:
        found = pipeline.version_details(result, home)
        details = {"learning": found.learning, "settings": found.settings}
        written_to = {"report": page and str(page[0])}
        print_json("evaluate", {**json_content(result), **details, **written_to})
    else:
        _print(result, forecasts, written)
        print_next(f"predict --version {result.version}", home, as_of)
    if page is not None:
        file, size = page
        log.info("report  %s  %.1f MB with its library and data", shown(file), size / 1e6)
    if result.missing:
        raise PartialFailure(f"Left out: {', '.join(result.missing)}.")


def _days(option: str, text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise UsageError(f"{option} {text!r}: give a number of trading days, such as 252.")
    return int(text)


def json_content(result: "Evaluation") -> dict[str, Any]:
    """Return an evaluation for JSON, without its forecasts."""
    from forecaster.pipeline.evaluate import drawn_tables, sentences

    def comparison(one: Any) -> dict[str, Any]:
        return {**asdict(one), "conclusion": one.conclusion, "sentence": sentences.compared(one)}

    def by_name(field: str) -> dict[str, Any]:
        found = {target: getattr(part, field).items() for target, part in parts.items()}
        return {
            t: {name: asdict(one) for name, one in items} for t, items in found.items() if items
        }

    parts = result.by_target
    by_ticker = [pair for p in parts.values() for pair in p.comparisons.by_ticker.items()]
    tables = ("scores", "scores_by_ticker", "scores_by_seed", "coverage")
    return {
        "version": result.version,
        "title": sentences.title(result),
        "target": ",".join(result.targets),
        "walk": asdict(result.walk),
        "test_set_evaluations": asdict(result.count),
        "blocks": result.blocks,
        "folds": result.folds,
        "conclusions": {target: sentences.conclusions(result, target) for target in parts},
        "choices": {target: part.choices for target, part in parts.items()},
        **{name: result.table(name) for name in tables},
        "pit": {target: part.pit for target, part in parts.items()},
        "comparisons": [comparison(c) for part in parts.values() for c in part.comparisons.all],
        "comparisons_by_ticker": [{"ticker": t, **comparison(c)} for t, c in by_ticker],
        "spa": {target: asdict(part.comparisons.spa) for target, part in parts.items()},
        "mcs": {target: asdict(part.comparisons.mcs) for target, part in parts.items()},
        "direction": by_name("direction"),
        "backtests": by_name("backtests"),
        "costs_bps": result.costs_bps,
        "alarms": [sentences.alarm_text(alarm) for alarm in result.alarms],
        "notes": result.notes,
        "missing": result.missing,
        "unscored": {target: part.unscored for target, part in parts.items() if part.unscored},
        "curves": drawn_tables(result),
    }


def _print(result: "Evaluation", file: Path | None, rows: int) -> None:
    from forecaster.pipeline.evaluate import sentences

    print(f"{'version':<{LABEL}}{result.version}\n{sentences.title(result)}")
    for name, (first, last) in result.blocks.items():
        print(f"{name:<{LABEL}}{first} to {last}")
    if (folds := len(result.folds)) > 1:
        print(f"{'folds':<{LABEL}}{folds}, trained again every {result.walk.refit_every} days")
    for target in result.targets:
        _print_target(result, target)
    for note in result.notes:
        _print_line("note", note)
    if result.alarms:
        alarms = "\n".join(f"WARNING {sentences.alarm_text(alarm)}" for alarm in result.alarms)
        print(f"\n{'!' * WIDTH}\n{alarms}\n{'!' * WIDTH}")
    if file is not None:
        print(f"\n{'saved':<{LABEL}}{file}  {rows:,} rows")


def _print_line(label: str, text: str) -> None:
    indent = " " * LABEL
    print(textwrap.fill(f"{label:<{LABEL}}{text}", WIDTH, subsequent_indent=indent))


def _print_target(result: "Evaluation", target: str) -> None:
    """Print the conclusions first, then the tests and scores that they rest on."""
    from forecaster.pipeline.evaluate import sentences

    part = result.by_target[target]
    counts = part.scores.iloc[0]
    print(f"\n{target}: {counts['days']:,} test days, {counts['forecasts']:,} forecasts")
    lines = [("conclusion", line) for line in sentences.conclusions(result, target)]
    lines += [("coverage", line) for line in sentences.coverage_texts(part)]
    lines.append(("direction", sentences.direction_text(part)))
    lines.append(("MCS", sentences.mcs_text(part.comparisons.mcs)))
    lines.append(("SPA", sentences.spa_text(part.comparisons.spa)))
    lines += [("backtest", line) for line in sentences.backtest_texts(part, result.costs_bps)]
    lines += [("seeds", line) for line in sentences.seed_texts(part)]
    for label, text in lines:
        _print_line(label, text)
    print_table(part.scorecard(), FORMATS)
    for name, variant in part.choices.items():
        _print_line(name, f"fitted {variant}, chosen on the validation days")
    by_ticker = part.scorecard(by_ticker=True)
    if len(by_ticker) > 1:
        print(f"\n{part.forecaster} by ticker")
        print_table(by_ticker, FORMATS)
