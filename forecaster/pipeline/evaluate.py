"""Evaluate a version: next-day forecasts of the report block, beside everyone who could do it.

Shape letters: N rows of the panel, n scored rows.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

import forecaster
from forecaster import clock
from forecaster.backtesting.benchmarks import MEMORYLESS, Baselines, BenchmarkForecasts, benchmarks
from forecaster.backtesting.comparison import judge
from forecaster.backtesting.evaluation import Evaluation, Judged
from forecaster.backtesting.scoring import Card
from forecaster.backtesting.walk_forward import Forecasts, Walk, WorkFolder, walk_forward
from forecaster.data.history import History, fingerprint
from forecaster.data.panel import Panel
from forecaster.errors import DataError, UsageError
from forecaster.evaluation.conformal import Intervals
from forecaster.evaluation.distributions import Predictive
from forecaster.evaluation.evaluation import EvaluationCount
from forecaster.evaluation.mixture import mixture
from forecaster.evaluation.splits import Fold, Split, walk_folds
from forecaster.forecasting.fitted_model import FittedModel
from forecaster.forecasting.forecast_tables import adaptive_intervals
from forecaster.forecasting.loading import (
    load_model,
    version_histories,
    warn_of_changed_bars,
)
from forecaster.forecasting.model_manifest import recipe_of
from forecaster.registry.champion import find_version
from forecaster.registry.manifest import Manifest
from forecaster.registry.test_set_evaluations import count_evaluation
from forecaster.settings import Home, resolve_home

__all__ = ["Evaluation", "Walk", "evaluate"]

log = logging.getLogger(__name__)

COSTS_BPS = 5.0
# Rivals that need more days than the network: theirs alone are not demanded of a scored row.
DEMANDING = ("historical", "ewma-t", "garch-t", "egarch-t")


def evaluate(
    version: str | None = None,
    *,
    bars: pd.DataFrame | None = None,
    targets: str | Sequence[str] = (),
    home: Home | None = None,
    as_of: date | None = None,
    walk: Walk | None = None,
    baselines: Baselines = "all",
    costs_bps: float = COSTS_BPS,
) -> Evaluation:
    """Score a version's next-day forecasts beside the baselines, all on the same days.

    Every baseline is fitted on the fit block, of each fold where the version is fitted anew;
    the select block chooses between a pooled and a per-ticker fit. The report block, from the
    day after the select block to the newest bar, is looked at once, to score; the look is
    counted in `models/looks.json`.

    Args:
        version: name of a version; None for the newest that was fitted and selected on days
            until `as_of`.
        bars: a caller's own long table (see `train`), or None for the store of the home.
        targets: which of the version's targets; none means all.
        home: the workspace; None as the command line resolves it.
        as_of: last session to be seen; None for all.
        walk: how to walk through the report block; None for the version's own weights all the
            way, beside its twins.
        baselines: "quick" leaves out boosted trees, GARCH and EGARCH.
        costs_bps: of the strategy that trades the forecasts' signs, per side.

    Raises:
        ArtifactError: the version is damaged.
        DataError: no day of the report block can be scored, or none of the fit or the select
            block is there to fit and choose the baselines.
        DivergedError: a fold's training met a value that is not finite.
        UnknownNameError: no such version, or none that old.
        UsageError: the version does not forecast a target asked for; `as_of` is no date or
            lies in the future.
    """
    clock.check_as_of(as_of)
    walk = walk or Walk()
    where = resolve_home(home)
    manifest = find_version(where, version, as_of=as_of)
    if manifest.network.model == MEMORYLESS:
        walk = replace(walk, twins=False)  # it is its own twin
    chosen = _chosen_targets(manifest, targets)
    histories, missing = version_histories(manifest, bars, where, as_of)
    if not missing and (as_of is None or as_of >= manifest.data.blocks.last):
        warn_of_changed_bars(manifest, histories)
    work = WorkFolder(where, _about(manifest, histories, walk))
    run = _Run.of(where, manifest, histories, walk, chosen)
    made = run.forecasts(work)
    others = run.benchmarks(baselines)
    cards = {target: run.card(target, made, others) for target in chosen}
    looks = run.look(where, cards)
    judged = judge(cards, made.seeds, looks, costs_bps)
    work.remove()
    return Evaluation(
        **{part.name: getattr(judged, part.name) for part in fields(Judged)},
        version=manifest.version,
        targets=chosen,
        walk=walk,
        looks=looks,
        missing=missing,
        blocks=_block_days(run.panel, run.split),
        folds=_fold_table(run.folds, run.panel),
        choices=others.choices,
        notes=others.notes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A version with the rows, blocks and folds that it is evaluated on."""

    manifest: Manifest
    trained: FittedModel
    panel: Panel
    split: Split
    folds: tuple[Fold, ...]
    walk: Walk
    targets: tuple[str, ...]

    @classmethod
    def of(
        cls,
        home: Path,
        manifest: Manifest,
        histories: list[History],
        walk: Walk,
        targets: tuple[str, ...],
    ) -> "_Run":
        """Load the version, build its panel, cut the folds."""
        trained = load_model(home, manifest)
        panel, blocks = trained.panel(histories), manifest.data.blocks
        split = Split(
            train_until=np.datetime64(blocks.train_until, "D"),
            validation_until=np.datetime64(blocks.validation_until, "D"),
        )
        _require_report(panel, split, targets)
        folds = walk_folds(
            panel.outcome_days, split, refit_every=walk.refit_every, train_days=walk.train_days
        )
        return cls(
            manifest=manifest,
            trained=trained,
            panel=panel,
            split=split,
            folds=folds,
            walk=walk,
            targets=targets,
        )

    @property
    def own(self) -> str:
        """What the version's network is called in every table."""
        return self.trained.network_name

    def forecasts(self, work: WorkFolder) -> Forecasts:
        """Let the version forecast, fitted anew where the walk says so."""
        recipe = recipe_of(self.manifest)
        return walk_forward(self.panel, self.trained, recipe, self.folds, self.walk, work)

    def benchmarks(self, baselines: Baselines) -> BenchmarkForecasts:
        """Let everyone else forecast."""
        return benchmarks(
            self.panel,
            self.targets,
            self.folds,
            self.trained.forecastable(self.panel),
            self.trained.reader.names,
            baselines=baselines,
            refit_every=self.walk.refit_every,
            jobs=self.walk.jobs,
        )

    def card(self, target: str, made: Forecasts, others: BenchmarkForecasts) -> Card:
        """Put all forecasters of a target on the same rows."""
        k = self.panel.targets.index(target)
        members = [forecasts[k] for forecasts in made.seeds.values()]
        subjects = {self.own: members[0]}
        if len(members) > 1:
            subjects[f"{self.own}-x{len(members)}"] = mixture(members)
        twins = {"linear-twin": made.linear[k]}
        if made.mlp is not None:
            twins["mlp-twin"] = made.mlp[k]
        everyone = {**subjects, **others.forecasts[target], **twins}
        rows = _scored(self.panel, k, everyone, self.folds)
        if len(rows) == 0:
            raise _no_day(self.panel, self.split, target)
        return Card(
            target=target,
            panel=self.panel,
            rows=rows,
            forecasters={name: forecast.take(rows) for name, forecast in everyone.items()},
            subjects=tuple(subjects),
            intervals={
                name: self._intervals(target, forecast, rows) for name, forecast in subjects.items()
            },
        )

    def _intervals(self, target: str, forecast: Predictive, rows: np.ndarray) -> Intervals:
        whole = adaptive_intervals(self.panel, target, forecast, self.split.train_until)
        return Intervals({coverage: ends[rows] for coverage, ends in whole.bounds.items()})

    def look(self, home: Path, cards: Mapping[str, Card]) -> EvaluationCount:
        """Count this look at the report days."""
        days = np.concatenate([card.days for card in cards.values()])
        ways = _ways(self.walk)
        question = " ".join([self.trained.version, *(f"{k}={v}" for k, v in ways.items())])
        return count_evaluation(home, question, days.min().item(), days.max().item())


def _scored(
    panel: Panel, k: int, everyone: Mapping[str, Predictive], folds: Sequence[Fold]
) -> np.ndarray:
    """Number the report rows with an outcome that all but the demanding rivals forecast."""
    rows = np.isfinite(panel.y[:, k])
    rows &= np.any([fold.report(panel.outcome_days) for fold in folds], axis=0)
    for name, forecast in everyone.items():
        if name not in DEMANDING:
            rows &= np.isfinite(forecast.mean())
    return np.flatnonzero(rows)


def _about(manifest: Manifest, histories: list[History], walk: Walk) -> dict[str, object]:
    """Tell everything that the result of a fold depends on."""
    return {
        "version": manifest.version,
        "code": forecaster.__version__,
        "data": fingerprint(histories),
        **_ways(walk),
    }


def _ways(walk: Walk) -> dict[str, object]:
    """Tell of a walk what changes its results."""
    return {k: v for k, v in asdict(walk).items() if k not in ("jobs", "backend")}


def _require_report(panel: Panel, split: Split, targets: Sequence[str]) -> None:
    """Refuse, before anything is fitted, where no report day can be scored."""
    report = split.masks(panel.outcome_days)[2]
    for target in targets:
        if not np.isfinite(panel.y[report, panel.targets.index(target)]).any():
            raise _no_day(panel, split, target)


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
    """One row per fit: its blocks, and the first and last day that it forecast."""
    rows = []
    for fold in folds:
        days = panel.outcome_days[fold.report(panel.outcome_days)]
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
    """First and last session forecast in each block."""
    known = np.isfinite(panel.y).any(axis=1)
    masks = split.masks(panel.outcome_days)
    return {
        name: (days.min().item(), days.max().item())
        for name, mask in zip(("fit", "select", "report"), masks, strict=True)
        if len(days := panel.outcome_days[mask & known])
    }
