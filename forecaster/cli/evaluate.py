"""`forecaster evaluate`."""

import logging
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
    day,
    print_json,
    print_next,
    print_table,
    shown,
)

if TYPE_CHECKING:
    from forecaster.pipeline.evaluate import Evaluation, TargetEvaluation, Walk

WIDTH, LABEL = 100, 12
log = logging.getLogger(__name__)

FORMATS = {
    **{"mse": ".6g", "mae": ".6g", "crps": ".5g", "log_score": ".4f"},
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
        float, typer.Option(help="Costs per side in the backtest, in hundredths of a percent.")
    ] = 5.0,
    forecasts: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write every forecast to this file.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="The page [reports/<version>-<targets>.html]."),
    ] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no page.")] = False,
    as_of: AsOfOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score next-day forecasts of the test days, compared with benchmarks.

    skill is 1 - MSE / MSE of the naive forecast; below zero the version loses to it. Every
    test-set evaluation is counted, and adjusts the p-values.

    Reads: models/<version>/, data/prices.db. Creates: a page in reports/; a row in
    models/registry.db; FILE.csv if asked for; while it runs, models/.unfinished/, from which a
    stopped run continues.

    Example: forecaster evaluate --refit-every 252 --seeds 3 --forecasts forecasts.csv
    """
    from dataclasses import replace

    from forecaster.pipeline.evaluate import (
        check_files,
        evaluate,
        save_report,
        version_details,
        write_table,
    )

    check_files(report, forecasts, no_report=no_report)
    walk = _walk(refit_every, train_window, weights, seeds, jobs)
    result = evaluate(
        version,
        targets=[name.strip() for name in target.split(",")] if target else [],
        home=home,
        as_of=day(as_of),
        walk=replace(walk, backend=backend, same_inputs=same_inputs),
        benchmarks=benchmarks,
        costs_bps=costs_bps,
    )
    if forecasts is not None:
        write_table(result.forecasts, forecasts)
    page = None if no_report else save_report(result, home, report)
    if json:
        learning, settings = version_details(result, home)
        details = {"learning": learning, "settings": settings, "report": page and str(page)}
        print_json("evaluate", {**json_content(result), **details})
    else:
        _print(result, forecasts)
        print_next(f"predict --version {result.version}", home, as_of)
    if page is not None:
        log.info("report  %s", shown(page))
    if result.missing:
        from forecaster.errors import PartialFailure

        raise PartialFailure(f"Not in the store any more: {', '.join(result.missing)}.")


def _walk(
    refit_every: str, train_window: str, weights: Literal["cold", "warm"], seeds: int, jobs: int
) -> "Walk":
    """Parse the options of the walk."""
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
    )


def _days(option: str, text: str) -> int:
    from forecaster.errors import UsageError

    if not text.isascii() or not text.isdigit():
        raise UsageError(f"{option} {text!r}: give a number of trading days, such as 252.")
    return int(text)


def json_content(result: "Evaluation") -> dict[str, Any]:
    """Return an evaluation by name, for JSON; the forecasts themselves go to a file."""
    from forecaster.report import sentences
    from forecaster.report.evaluation import drawn_tables

    def comparison(one: Any) -> dict[str, Any]:
        return {**asdict(one), "conclusion": one.conclusion, "sentence": sentences.compared(one)}

    parts = result.by_target
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
        "comparisons_by_ticker": [
            {"ticker": ticker, **comparison(one)}
            for part in parts.values()
            for ticker, one in part.comparisons.by_ticker.items()
        ],
        "spa": {target: asdict(part.comparisons.spa) for target, part in parts.items()},
        "mcs": {target: asdict(part.comparisons.mcs) for target, part in parts.items()},
        "direction": {target: _as_dicts(part.direction) for target, part in parts.items()},
        "backtests": {target: _as_dicts(p.backtests) for target, p in parts.items() if p.backtests},
        "costs_bps": result.costs_bps,
        "alarms": [sentences.alarm_text(alarm) for alarm in result.alarms],
        "notes": result.notes,
        "missing": result.missing,
        "unscored": {target: part.unscored for target, part in parts.items() if part.unscored},
        "curves": drawn_tables(result),
    }


def _as_dicts(by_name: dict[str, Any]) -> dict[str, Any]:
    return {name: asdict(one) for name, one in by_name.items()}


def _print(result: "Evaluation", file: Path | None) -> None:
    from forecaster.report.sentences import alarm_text, title

    print(f"{'version':<{LABEL}}{result.version}\n{title(result)}")
    for name, (first, last) in result.blocks.items():
        print(f"{name:<{LABEL}}{first} to {last}")
    if len(result.folds) > 1:
        every = f"trained again every {result.walk.refit_every} days"
        print(f"{'folds':<{LABEL}}{len(result.folds)}, {every}")
    for target in result.targets:
        _print_target(result, target)
    for note in result.notes:
        _print_line("note", note)
    if result.alarms:
        alarms = "\n".join(f"WARNING {alarm_text(alarm)}" for alarm in result.alarms)
        print(f"\n{'!' * WIDTH}\n{alarms}\n{'!' * WIDTH}")
    if file is not None:
        print(f"\n{'saved':<{LABEL}}{file}  {len(result.forecasts):,} rows")


def _print_line(label: str, text: str) -> None:
    indent = " " * LABEL
    print(textwrap.fill(f"{label:<{LABEL}}{text}", WIDTH, subsequent_indent=indent))


def _print_target(result: "Evaluation", target: str) -> None:
    """Print the conclusions first, then the tests and scores that they rest on."""
    from forecaster.report import sentences

    part = result.by_target[target]
    counts = part.scores.iloc[0]
    print(f"\n{target}: {counts['days']:,} test days, {counts['forecasts']:,} forecasts")
    for sentence in sentences.conclusions(result, target):
        _print_line("conclusion", sentence)
    for line in _coverage(part):
        _print_line("coverage", line)
    _print_line("direction", _direction(part))
    _print_line("MCS", sentences.mcs_text(part.comparisons.mcs))
    _print_line("SPA", sentences.spa_text(part.comparisons.spa))
    for line in _backtests(part, result.costs_bps):
        _print_line("backtest", line)
    for line in _by_seed(part):
        _print_line("seeds", line)
    print_table(part.scorecard(), FORMATS)
    for name, variant in part.choices.items():
        _print_line(name, f"fitted {variant}, chosen on the validation days")
    by_ticker = part.scorecard(by_ticker=True)
    if len(by_ticker) > 1:
        print(f"\n{part.forecaster} by ticker")
        print_table(by_ticker, FORMATS)


def _coverage(part: "TargetEvaluation") -> list[str]:
    from forecaster.report.sentences import percent

    table = part.coverage[part.coverage["forecaster"] == part.forecaster]
    lines = []
    for (kind, _), rows in table.groupby(["intervals", "nominal"], sort=False):
        pooled = rows[rows["by"] == "all"].iloc[0]
        each = rows[rows["by"] == "ticker"]["coverage"]
        ends = f" ({100 * each.min():.1f}–{percent(each.max())} by ticker)" if len(each) > 1 else ""
        score = f"interval score {pooled['interval_score']:#.3g}"
        score += ", uncalibrated" if kind == "uncalibrated" else ""
        nominal = percent(pooled["nominal"], ".0f")
        lines.append(f"{nominal}: {percent(pooled['coverage'])}{ends}, {score}")
    return lines


def _direction(part: "TargetEvaluation") -> str:
    from forecaster.report.sentences import p_text, percent

    found = part.direction[part.forecaster]
    if found.accuracy is None or found.expected_by_chance is None or found.p_value is None:
        return f"undefined: {found.reason}"
    return (
        f"directional accuracy {percent(found.accuracy)}, {percent(found.expected_by_chance)} "
        f"expected by chance, Pesaran–Timmermann {p_text(found.p_value)}"
    )


def _backtests(part: "TargetEvaluation", costs_bps: float) -> list[str]:
    from forecaster.report.sentences import percent

    lines = []
    names = {part.forecaster: "", "mean": "for comparison by the mean, mostly buy and hold: "}
    for name, prefix in names.items():
        found = part.backtests.get(name)
        if found is None:
            continue
        if found.sharpe_ratio is None or found.volatility is None:
            lines.append(f"{prefix}undefined: {found.reason}")
            continue
        lines.append(
            f"{prefix}annualised return {percent(found.annualised_return or 0.0)}, volatility "
            f"{percent(found.volatility)}, Sharpe ratio {found.sharpe_ratio:.2f}, maximum drawdown "
            f"{percent(found.maximum_drawdown or 0.0)}, turnover "
            f"{percent(found.turnover or 0.0, '.0f')} a day, costs {costs_bps:g} bps per side"
        )
    return lines


def _by_seed(part: "TargetEvaluation") -> list[str]:
    table = part.scores_by_seed[part.scores_by_seed["seeds"] > 1]
    table = table[table["metric"].isin(["mse", "crps", "log_score"])]
    return [
        f"{row.seeds}: {row.metric} mean {row.mean:.6g}, standard deviation {row.sd:.2g}, range "
        f"{row.min:.6g} to {row.max:.6g}"
        for row in table.itertuples()
    ]
