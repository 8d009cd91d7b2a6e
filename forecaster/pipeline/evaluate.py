"""Evaluate a version on its test days, and write the page of an evaluation."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import forecaster
from forecaster import clock
from forecaster.backtesting import scoring
from forecaster.backtesting.benchmarks import BenchmarkKind, BenchmarkOptions, fit_benchmarks
from forecaster.backtesting.fold import MEMORYLESS
from forecaster.backtesting.walk_forward import WorkFolder, walk_forward
from forecaster.clock import Day
from forecaster.data.export import check_folder, output_file, write_table
from forecaster.data.history import fingerprint
from forecaster.data.loading import Bars
from forecaster.errors import CannotWriteError, UsageError
from forecaster.evaluation.evaluation import Evaluation
from forecaster.evaluation.splits import Walk, walk_folds
from forecaster.forecasting import model_version
from forecaster.operations.clock_check import refuse_clock_behind
from forecaster.registry.champion import find_version
from forecaster.registry.manifest import Manifest
from forecaster.registry.run_history import count_evaluation
from forecaster.registry.versions import read_manifest
from forecaster.report import sentences
from forecaster.report.evaluation import (
    drawn_tables,
    evaluation_page,
    version_settings,
)
from forecaster.settings import Home, resolve_home

__all__ = ["Evaluation", "Walk", "drawn_tables", "evaluate", "sentences", "write_table"]

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
    costs_bps: float = 5.0,
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
        costs_bps: of the backtest of the forecasts' signs, per side.

    Raises:
        ArtifactError: the version is corrupt.
        DataError: no test day can be scored, or there is no training or validation day to fit and
            choose the benchmarks.
        DivergedError: a fold's training met a value that is not finite.
        TryLaterError: the clock is behind the stored prices.
        UnknownNameError: no such version, or none that old.
        UsageError: the version does not forecast a target asked for; `as_of` is not a date or
            lies in the future.
    """
    walk, where = walk or Walk(), resolve_home(home)
    refuse_clock_behind(where)
    last = clock.as_day(as_of)
    clock.check_as_of(last)
    manifest = find_version(where, version, as_of=last)
    if manifest.network.model == MEMORYLESS["model"]:
        walk = replace(walk, same_inputs=False)
    chosen = _chosen_targets(manifest, targets)
    histories, missing = model_version.version_histories(manifest, bars, where, last)
    if not missing and (last is None or last >= manifest.data.blocks.last):
        model_version.warn_of_changed_bars(manifest, histories)
    model = model_version.load_model(where, manifest)
    panel = model.panel(histories)
    for target in chosen:
        test = model.split.masks(panel.outcome_days)[2]
        outcomes = panel.y[:, panel.targets.index(target)]
        scoring.require_scored(test & np.isfinite(outcomes), panel, target, model.split)
    folds = walk_folds(panel.outcome_days, model.split, walk)
    about = {"version": manifest.version, "code": forecaster.__version__}
    about |= {"data": fingerprint(histories)}
    work = WorkFolder(where, about | walk.result_settings())
    walked = walk_forward(panel, model, model_version.recipe_of(manifest), folds, walk, work)
    options = BenchmarkOptions(kind=benchmarks, refit_every=walk.refit_every, jobs=walk.jobs)
    able, inputs = model.forecastable(panel), model.reader.names
    others = fit_benchmarks(panel, chosen, folds, able, inputs, options)
    sets = {t: scoring.select_forecasts(panel, t, model, folds, walked, others) for t in chosen}
    days = np.concatenate([one.days for one in sets.values()])
    ways = [f"{name}={value}" for name, value in walk.result_settings().items()]
    question = " ".join([manifest.version, *ways])
    count = count_evaluation(where, question, days.min().item(), days.max().item())
    found = Evaluation(
        version=manifest.version,
        walk=walk,
        count=count,
        blocks=scoring.block_days(panel, model.split),
        folds=scoring.fold_table(folds, panel),
        by_target={
            t: scoring.evaluate_target(one, questions=count.questions or 1, costs_bps=costs_bps)
            for t, one in sets.items()
        },
        costs_bps=costs_bps,
        notes=others.notes,
        missing=missing,
    )
    work.remove()
    return found


def _chosen_targets(manifest: Manifest, targets: str | Sequence[str]) -> tuple[str, ...]:
    targets = [targets] if isinstance(targets, str) else targets
    unknown = [name for name in targets if name not in manifest.targets]
    if unknown:
        raise UsageError(
            f"Version {manifest.version} forecasts {', '.join(manifest.targets)}, not "
            f"{', '.join(unknown)}; train one with --target {','.join(unknown)}."
        )
    return tuple(targets) or tuple(manifest.targets)


def version_details(
    result: Evaluation, home: Home | None = None
) -> tuple[dict[str, list[tuple[int, float]]], dict[str, str]]:
    """Read the learning curves and the settings of an evaluated version."""
    manifest = read_manifest(resolve_home(home), result.version)
    losses = manifest.training.get("validations")  # of the first member
    learning = {f"seed {manifest.members[0].seed}": losses} if isinstance(losses, list) else {}
    return learning, version_settings(manifest)


def check_files(file: Path | None, forecasts: Path | None, *, no_report: bool) -> None:
    """Refuse, before any work, a page with --no-report and files whose folder does not exist."""
    if file is not None and no_report:
        raise UsageError(f"--report {file} and --no-report: give one of them.")
    check_folder("--report", file)
    check_folder("--forecasts", forecasts)


def save_report(result: Evaluation, home: Home | None, file: Path | None) -> Path | None:
    """Write an evaluation's page to `file`, or to `reports/<version>-<targets>.html` in the home.

    Return the file; None, with a warning, where the home's own folder cannot be written.

    Raises:
        CannotWriteError: the folder of a file that was named is missing or read-only.
        StorageError: the disk is full or failed.
    """
    where, walk = resolve_home(home), result.walk
    page = evaluation_page(result, *version_details(result, where))
    # Another walk is another evaluation with its own page.
    parts = [result.version, *result.targets]
    parts += [f"refit-{walk.refit_every}"] if walk.refit_every is not None else []
    parts += [f"rolling-{walk.train_days}"] if walk.train_days is not None else []
    parts += ["warm"] if walk.weights == "warm" else []
    parts += [f"seeds-{walk.seeds}"] if walk.seeds > 1 else []
    target = file or where / REPORTS / f"{'-'.join(parts)}.html"
    try:
        if file is None:
            target.parent.mkdir(exist_ok=True)
        with output_file(target) as stream:
            stream.write(page.encode())
    except (CannotWriteError, FileExistsError, PermissionError) as error:
        if file is not None:
            raise
        log.warning("no page: %s Give --report FILE.html in a folder of yours.", error)
        return None
    return target
