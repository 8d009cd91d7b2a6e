"""Evaluate a version on its test days, and write the page of an evaluation."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from forecaster import clock
from forecaster.backtesting.benchmarks import BenchmarkKind
from forecaster.backtesting.version_evaluation import (
    EvaluationOptions,
    check_targets,
    evaluate_model,
)
from forecaster.clock import Day
from forecaster.data.export import write_tables
from forecaster.data.loading import Bars
from forecaster.errors import CannotWriteError, name_some
from forecaster.evaluation.evaluation import Evaluation
from forecaster.evaluation.splits import Walk
from forecaster.forecasting import model_version
from forecaster.operations.clock_check import refuse_clock_behind
from forecaster.registry.champion import find_version
from forecaster.registry.run_history import count_evaluation
from forecaster.registry.versions import read_manifest
from forecaster.report import sentences
from forecaster.report.evaluation import (
    Details,
    drawn_tables,
    evaluation_page,
    version_settings,
)
from forecaster.report.page import write_page
from forecaster.settings import Home, resolve_home

__all__ = [
    "Evaluation",
    "PageOptions",
    "Walk",
    "drawn_tables",
    "evaluate",
    "sentences",
    "write_tables",
]

log = logging.getLogger(__name__)

REPORTS = "reports"


def evaluate(
    version: str | None = None,
    *,
    bars: Bars | None = None,
    targets: str | Sequence[str] = (),
    home: Home | None = None,
    as_of: Day | None = None,
    walk: Walk | None = None,
    benchmarks: BenchmarkKind = "all",
    costs_bps: float | None = None,
) -> Evaluation:
    """Score a version's next-day forecasts beside those of benchmarks, all on the same days.

    Every benchmark is fitted on the training days, of each fold where the version is trained
    again; the validation days choose between a pooled and a per-ticker fit. The test days are
    those from the last validation day to the newest bar. Every evaluation is counted.

    Args:
        version: None for the newest that was trained and validated on days until `as_of`.
        bars: a caller's own bars (see `train`), or None for the store of the home.
        targets: which of the version's targets; none means all.
        home: the workspace; None as the command line resolves it.
        as_of: last session to be seen; None for all.
        walk: None for the version's own weights throughout.
        benchmarks: "quick" leaves out boosted trees, GARCH and EGARCH.
        costs_bps: of the backtest of the forecasts' signs, per side; None means 5, and no backtest
            where a ticker is an index, which cannot be traded.

    Raises:
        ArtifactError: the version is corrupt.
        DataError: no test day can be scored, or there is no training or validation day to fit and
            choose the benchmarks.
        DivergedError: a fold's training met a value that is not finite.
        TryLaterError: the clock is behind the stored prices.
        UnknownNameError: no such version, or none that old.
        UsageError: the version does not forecast a target asked for; `as_of` is not a date or
            lies in the future.

    Examples:
        >>> from forecaster import Walk, evaluate
        >>> walk = Walk(same_inputs=False)
        >>> result = evaluate(home="demo", benchmarks="quick", walk=walk)
        >>> result.by_target["range"].scorecard()["forecaster"].tolist()
        ['lstm', 'persistence', 'mean', 'har', 'har-x', 'ridge', 'linear']
    """
    where, last = resolve_home(home), clock.as_day(as_of)
    refuse_clock_behind(where)
    clock.check_as_of(last)
    manifest = find_version(where, version, as_of=last)
    options = EvaluationOptions(
        targets=(targets,) if isinstance(targets, str) else tuple(targets),
        walk=walk or Walk(),
        benchmarks=benchmarks,
        costs_bps=costs_bps,
    )
    check_targets(manifest.version, tuple(manifest.targets), options.targets)
    histories, missing = model_version.version_histories(manifest, bars, where, last)
    if not missing and (last is None or last >= manifest.data.blocks.last):
        model_version.warn_of_changed_bars(manifest, histories)
    model, recipe = model_version.load_model(where, manifest), model_version.recipe_of(manifest)
    count = partial(count_evaluation, where)
    found = evaluate_model(model, recipe, histories, options, where, count)
    return replace(found, missing=(*missing, *found.missing))


def version_details(result: Evaluation, home: Home | None = None) -> Details:
    """Read the learning curves and the settings of an evaluated version."""
    manifest = read_manifest(resolve_home(home), result.version)
    learning = {}
    for name, key in (("validation", "validations"), ("training", "training_losses")):
        losses = manifest.training.get(key)  # of the first member
        if isinstance(losses, list):
            learning[name] = losses
    return Details(learning=learning, settings=version_settings(manifest))


@dataclass(frozen=True, slots=True, kw_only=True)
class PageOptions:
    """How a page is written: where, with the plotting library inside or beside it, with what.

    `file` None means `reports/<version>-<targets>.html` in the home. `show` are tickers that the
    page embeds, `command` is the command line that it names.
    """

    file: Path | None = None
    standalone: bool = False
    show: Sequence[str] = ()
    command: str = ""


def save_report(
    result: Evaluation, home: Home | None, options: PageOptions
) -> tuple[Path, int] | None:
    """Write an evaluation's page; return the file, and the bytes of all that it needs.

    Return None, with a warning, where the home's own folder cannot be written.

    Raises:
        CannotWriteError: the folder of a file that was named is missing or read-only.
        StorageError: the disk is full or failed.
    """
    where, file = resolve_home(home), options.file
    details = version_details(result, where)
    details = replace(details, command=options.command, show=options.show)
    page = evaluation_page(result, details)
    if page.series and (unknown := sorted({*options.show} - {*page.series.tickers})):
        log.warning("--show: not evaluated: %s", name_some(unknown))
    target = file or where / REPORTS / f"{_page_name(result)}.html"
    try:
        if file is None:
            target.parent.mkdir(exist_ok=True)
        return target, write_page(page, target, standalone=options.standalone)
    except (CannotWriteError, FileExistsError, PermissionError) as error:
        if file is not None:
            raise
        log.warning("no page: %s Give --report FILE.html in a folder of yours.", error)
        return None


def _page_name(result: Evaluation) -> str:
    """Return the name of a page; another walk is another evaluation with its own page."""
    walk = result.walk
    parts = [result.version, *result.targets]
    parts += [f"refit-{walk.refit_every}"] if walk.refit_every is not None else []
    parts += [f"rolling-{walk.train_days}"] if walk.train_days is not None else []
    parts += ["warm"] if walk.weights == "warm" else []
    parts += [f"seeds-{walk.seeds}"] if walk.seeds > 1 else []
    return "-".join(parts)
