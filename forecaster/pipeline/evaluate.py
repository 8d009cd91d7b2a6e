"""Evaluate a version: next-day forecasts of the test days, compared with benchmarks.

Shape letters: N rows of the panel, n scored rows.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

import forecaster
from forecaster import clock
from forecaster.backtesting.benchmarks import (
    BenchmarkForecasts,
    BenchmarkKind,
    BenchmarkOptions,
    fit_benchmarks,
)
from forecaster.backtesting.fold import MEMORYLESS
from forecaster.backtesting.scoring import ForecastSet, evaluate_target
from forecaster.backtesting.walk_forward import WorkFolder, walk_forward
from forecaster.data.export import check_folder, output_file
from forecaster.data.history import History, fingerprint
from forecaster.data.panel import Panel
from forecaster.errors import CannotWriteError, DataError, UsageError
from forecaster.evaluation.conformal import Intervals
from forecaster.evaluation.distributions import Predictive
from forecaster.evaluation.evaluation import Evaluation
from forecaster.evaluation.mixture import mixture
from forecaster.evaluation.splits import Fold, Split, Walk, walk_folds
from forecaster.forecasting.fitted_model import FittedModel
from forecaster.forecasting.forecast_tables import adaptive_intervals
from forecaster.forecasting.loading import load_model, version_histories, warn_of_changed_bars
from forecaster.forecasting.model_manifest import recipe_of
from forecaster.registry.champion import find_version
from forecaster.registry.manifest import Manifest
from forecaster.registry.test_set_evaluations import count_evaluation
from forecaster.registry.versions import read_manifest
from forecaster.report.evaluation import learning_curves, version_settings
from forecaster.settings import Home, TrainSettings, resolve_home

__all__ = ["Evaluation", "Walk", "evaluate"]

log = logging.getLogger(__name__)

REPORTS = "reports"
# Benchmarks that need more days than the network: a row is scored without theirs.
DEMANDING = ("historical", "ewma-t", "garch-t", "egarch-t")


def evaluate(
    version: str | None = None,
    *,
    bars: pd.DataFrame | None = None,
    targets: str | Sequence[str] = (),
    home: Home | None = None,
    as_of: date | None = None,
    walk: Walk | None = None,
    benchmarks: BenchmarkKind = "all",
    costs_bps: float = 5.0,
) -> Evaluation:
    """Score a version's next-day forecasts beside those of benchmarks, all on the same days.

    Every benchmark is fitted on the training days, of each fold where the version is trained
    again; the validation days choose between a pooled and a per-ticker fit. The test days, from
    the day after the validation days to the newest bar, are read once, to score; every evaluation
    is counted in `models/registry.db`.

    Args:
        version: name of a version; None for the newest that was trained and validated on days
            until `as_of`.
        bars: a caller's own long table (see `train`), or None for the store of the home.
        targets: which of the version's targets; none means all.
        home: the workspace; None as the command line resolves it.
        as_of: last session to be seen; None for all.
        walk: how to walk through the test days; None for the version's own weights throughout,
            beside benchmarks with the same inputs.
        benchmarks: "all", or "quick" for those without boosted trees, GARCH and EGARCH.
        costs_bps: of the backtest of the forecasts' signs, per side.

    Raises:
        ArtifactError: the version is corrupt.
        DataError: no test day can be scored, or there is no training or validation day to fit and
            choose the benchmarks.
        DivergedError: a fold's training met a value that is not finite.
        UnknownNameError: no such version, or none that old.
        UsageError: the version does not forecast a target asked for; `as_of` is not a date or
            lies in the future.
    """
    clock.check_as_of(as_of)
    walk = walk or Walk()
    where = resolve_home(home)
    manifest = find_version(where, version, as_of=as_of)
    if manifest.network.model == MEMORYLESS["model"]:
        walk = replace(walk, same_inputs=False)
    chosen = _chosen_targets(manifest, targets)
    histories, missing = version_histories(manifest, bars, where, as_of)
    if not missing and (as_of is None or as_of >= manifest.data.blocks.last):
        warn_of_changed_bars(manifest, histories)
    run = _Run.of(load_model(where, manifest), histories, walk, chosen)
    work = WorkFolder(where, _about(manifest, histories, walk))
    options = BenchmarkOptions(kind=benchmarks, refit_every=walk.refit_every, jobs=walk.jobs)
    found = run.evaluation(where, recipe_of(manifest), work, options, costs_bps)
    work.remove()
    return replace(found, missing=missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A version with the rows and folds that it is evaluated on."""

    model: FittedModel
    panel: Panel
    folds: tuple[Fold, ...]
    walk: Walk
    targets: tuple[str, ...]

    @classmethod
    def of(
        cls, model: FittedModel, histories: list[History], walk: Walk, targets: tuple[str, ...]
    ) -> "_Run":
        """Build the version's panel and cut the folds; refuse where no test day can be scored."""
        panel = model.panel(histories)
        test = model.split.masks(panel.outcome_days)[2]
        for target in targets:
            if not np.isfinite(panel.y[test, panel.targets.index(target)]).any():
                raise _no_day(panel, model.split, target)
        folds = walk_folds(panel.outcome_days, model.split, walk)
        return cls(model=model, panel=panel, folds=folds, walk=walk, targets=targets)

    def evaluation(
        self,
        home: Path,
        recipe: TrainSettings,
        work: WorkFolder,
        options: BenchmarkOptions,
        costs_bps: float,
    ) -> Evaluation:
        """Forecast by the version and the benchmarks, count the evaluation, score."""
        model, panel, folds = self.model, self.panel, self.folds
        seeds, same_inputs = walk_forward(panel, model, recipe, folds, self.walk, work)
        able, names = model.forecastable(panel), model.reader.names
        others = fit_benchmarks(panel, self.targets, folds, able, names, options)
        sets = {t: self._forecast_set(t, seeds, others, same_inputs) for t in self.targets}
        days = np.concatenate([one.days for one in sets.values()])
        ways = [f"{name}={value}" for name, value in _result_settings(self.walk).items()]
        question = " ".join([model.version, *ways])
        count = count_evaluation(home, question, days.min().item(), days.max().item())
        by_target = {
            target: evaluate_target(
                one,
                {s: f[panel.targets.index(target)].take(one.rows) for s, f in seeds.items()},
                choices=others.choices[target],
                questions=count.questions or 1,
                costs_bps=costs_bps,
            )
            for target, one in sets.items()
        }
        return Evaluation(
            version=model.version,
            walk=self.walk,
            count=count,
            blocks=_block_days(panel, model.split),
            folds=_fold_table(folds, panel),
            by_target=by_target,
            costs_bps=costs_bps,
            notes=others.notes,
        )

    def _forecast_set(
        self,
        target: str,
        seeds: Mapping[int, tuple[Predictive, ...]],
        others: BenchmarkForecasts,
        same_inputs: Mapping[str, tuple[Predictive, ...]],
    ) -> ForecastSet:
        """Select the rows that all of a target's forecasters are scored on.

        They are test rows with an outcome that all but the demanding benchmarks forecast.
        """
        k = self.panel.targets.index(target)
        own, members = self.model.network_name, [f[k] for f in seeds.values()]
        subjects = {own: members[0]}
        if len(members) > 1:
            subjects[f"{own}-x{len(members)}"] = mixture(members)
        alike = {name: forecasts[k] for name, forecasts in same_inputs.items()}
        everyone = {**subjects, **others.forecasts[target], **alike}
        tests = [fold.masks(self.panel.outcome_days)[2] for fold in self.folds]
        scored = np.isfinite(self.panel.y[:, k]) & np.any(tests, axis=0)
        for name, forecast in everyone.items():
            if name not in DEMANDING:
                scored &= np.isfinite(forecast.mean())
        rows = np.flatnonzero(scored)
        if len(rows) == 0:
            raise _no_day(self.panel, self.model.split, target)
        intervals = {}
        for name, forecast in subjects.items():
            found = adaptive_intervals(self.panel, target, forecast, self.model.split.train_until)
            intervals[name] = Intervals({c: ends[rows] for c, ends in found.bounds.items()})
        return ForecastSet(
            target=target,
            panel=self.panel,
            rows=rows,
            forecasters={name: forecast.take(rows) for name, forecast in everyone.items()},
            subjects=tuple(subjects),
            intervals=intervals,
        )


def _about(manifest: Manifest, histories: list[History], walk: Walk) -> dict[str, object]:
    """Return everything that the result of a fold depends on."""
    about = {"version": manifest.version, "code": forecaster.__version__}
    return {**about, "data": fingerprint(histories), **_result_settings(walk)}


def _result_settings(walk: Walk) -> dict[str, object]:
    return {k: v for k, v in asdict(walk).items() if k not in ("jobs", "backend")}


def _no_day(panel: Panel, split: Split, target: str) -> DataError:
    return DataError(
        f"No day after {split.validation_until} can be scored for {target}: the prices end "
        f"{panel.days.max()}. Fetch newer prices, give a later --as-of, or train with an "
        "earlier --validation-until."
    )


def _chosen_targets(manifest: Manifest, targets: str | Sequence[str]) -> tuple[str, ...]:
    targets = [targets] if isinstance(targets, str) else targets
    unknown = [name for name in targets if name not in manifest.targets]
    if unknown:
        raise UsageError(
            f"Version {manifest.version} forecasts {', '.join(manifest.targets)}, not "
            f"{', '.join(unknown)}; train one with --target {','.join(unknown)}."
        )
    return tuple(targets) or tuple(manifest.targets)


def _fold_table(folds: Sequence[Fold], panel: Panel) -> pd.DataFrame:
    """Return one row per fit: its split, and the first and last day that it forecast."""
    rows = []
    for fold in folds:
        days = panel.outcome_days[fold.masks(panel.outcome_days)[2]]
        rows.append(
            {
                "fold": fold.number + 1,
                "train_from": (fold.train_from or panel.days.min()).item(),
                "train_until": fold.split.train_until.item(),
                "validation_until": fold.split.validation_until.item(),
                "first": days.min().item(),
                "last": days.max().item(),
            }
        )
    return pd.DataFrame(rows)


def _block_days(panel: Panel, split: Split) -> dict[str, tuple[date, date]]:
    """Return the first and last session forecast of training, validation and test."""
    known = np.isfinite(panel.y).any(axis=1)
    masks = split.masks(panel.outcome_days)
    return {
        name: (days.min().item(), days.max().item())
        for name, mask in zip(("train", "validation", "test"), masks, strict=True)
        if len(days := panel.outcome_days[mask & known])
    }


def version_details(
    result: Evaluation, home: Home | None = None
) -> tuple[dict[str, list[tuple[int, float]]], dict[str, str]]:
    """Read the learning curves and the settings of an evaluated version, for its page.

    Raises:
        ArtifactError: the version is corrupt.
    """
    manifest = read_manifest(resolve_home(home), result.version)
    return learning_curves(manifest), version_settings(manifest)


def check_files(file: Path | None, forecasts: Path | None, *, no_report: bool) -> None:
    """Refuse, before any work, files that cannot be written.

    Raises:
        CannotWriteError: the folder of the page or of the table of forecasts does not exist.
        UsageError: a page is named with --no-report.
    """
    if file is not None and no_report:
        raise UsageError(f"--report {file} and --no-report: give one of them.")
    check_folder("--report", file)
    check_folder("--forecasts", forecasts)


def save_report(page: str, result: Evaluation, home: Home | None, file: Path | None) -> Path | None:
    """Write an evaluation's page.

    Args:
        page: HTML of `report.evaluation_page`.
        result: the evaluation, which names the page.
        home: the workspace that it was evaluated in; None as the command line resolves it.
        file: where to; None for `reports/<version>-<targets>.html` in the home.

    Returns:
        The file; None, with a warning, where the home's own folder cannot be written.

    Raises:
        CannotWriteError: the folder of a file that was named is missing or read-only.
        StorageError: the disk is full or failed.
    """
    target = file or _report_file(result, resolve_home(home))
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


def _report_file(result: Evaluation, home: Path) -> Path:
    """Return the path of a page; another walk is another evaluation with its own page."""
    walk = result.walk
    parts = [result.version, *result.targets]
    parts += [f"refit-{walk.refit_every}"] if walk.refit_every is not None else []
    parts += [f"rolling-{walk.train_days}"] if walk.train_days is not None else []
    parts += ["warm"] if walk.weights == "warm" else []
    parts += [f"seeds-{walk.seeds}"] if walk.seeds > 1 else []
    return home / REPORTS / f"{'-'.join(parts)}.html"
