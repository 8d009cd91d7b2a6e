"""The gate at work: challenger, champion and baseline on the same recent days, and the verdict.

The days are the last ones that neither version was fitted or selected on; the baseline is fitted
on all before them. What is judged are the weights on disk, the ones that would serve.

Shape letters: N rows of the panel, n judged rows.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from forecaster.data.history import History
from forecaster.data.panel import Panel
from forecaster.errors import DataError, UsageError
from forecaster.evaluation.conformal import COVERAGES
from forecaster.evaluation.distributions import Point, Predictive
from forecaster.evaluation.live_scores import promise, scaled_errors
from forecaster.evaluation.promotion_test import PromotionResult, Rule, Trial, verdict
from forecaster.forecasting.baseline import BASELINE, forecast_baseline
from forecaster.forecasting.fitted_model import FittedModel
from forecaster.forecasting.forecast_tables import TargetForecast
from forecaster.forecasting.loading import load_model
from forecaster.operations.reproduction import (
    digest,
    flaw_in_fresh_process,
    histories_of,
)
from forecaster.registry.champion import champion_of
from forecaster.registry.manifest import Manifest
from forecaster.registry.versions import read_manifest
from forecaster.settings import Home, resolve_home

log = logging.getLogger(__name__)

GATE_DAYS = 126


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Side:
    """A version with its panel and what it states of the rows since its fit block."""

    model: FittedModel
    panel: Panel
    stated: dict[str, Predictive]

    @classmethod
    def of(cls, home: Path, manifest: Manifest, histories: Sequence[History]) -> "_Side":
        model = load_model(home, manifest)
        panel = model.panel(histories)
        stated = model.distributions(panel, model.rows_since_training(panel))
        return cls(model=model, panel=panel, stated=stated)

    @property
    def version(self) -> str:
        return self.model.version

    @property
    def validation_until(self) -> np.datetime64:
        return self.model.known_until


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Field:
    """Who is compared; rows of both panels are the same ones."""

    challenger: _Side
    champion: _Side | None

    @property
    def since(self) -> np.datetime64:
        """The last day that either version was selected on."""
        sides = [self.challenger, *([self.champion] if self.champion else [])]
        return max(side.validation_until for side in sides)

    def candidates(self, target: str) -> np.ndarray:
        """(N,) True on rows to be judged: with an outcome on a gate day, able to be forecast."""
        own = self.challenger
        panel, tickers = own.panel, own.model.tickers
        rows = np.isfinite(panel.y[:, panel.targets.index(target)])
        rows &= (panel.outcome_days > self.since) & own.model.forecastable(panel)
        rows &= np.isin(panel.tickers, tickers)[panel.series]
        if self.champion is not None:
            rows &= self.champion.model.forecastable(self.champion.panel)
        days = np.unique(panel.outcome_days[rows])[-GATE_DAYS:]
        gate: np.ndarray = rows & np.isin(panel.outcome_days, days)
        return gate


def judge(
    home: Home | None,
    name: str,
    challenger: str,
    as_of: date | None = None,
    rule: Rule | None = None,
) -> PromotionResult:
    """Hold a challenger against the champion of its name and against the baseline.

    The loss is the CRPS where both versions state a distribution of the target, else the squared
    error. A champion that is damaged is represented by whoever stands in for it.

    Args:
        home: the workspace; None as the command line resolves it.
        name: of the model.
        challenger: the version.
        as_of: last session to be seen; None for all.
        rule: what is asked; None for the defaults.

    Returns:
        The verdict. Its evidence names both sides, and under `promised` holds, by target, the mean
        and the error of `scaled_errors` on these days, for drift to be measured against.

    Raises:
        ArtifactError: the challenger is damaged.
        DataError: none of its tickers has prices.
        OutOfMemoryError: there is no room for the gate's fresh process.
        StorageError: the disk failed, or failed that process.
        UnknownNameError: there is no such version.
        UsageError: it is the champion already.
    """
    where = resolve_home(home)
    manifest, before = read_manifest(where, challenger), champion_of(where, name).manifest
    if before is not None and before.version == challenger:
        raise UsageError(f"{challenger} is the champion of {name}; there is nothing to judge.")
    tickers = sorted({*manifest.data.tickers, *(before.data.tickers if before else ())})
    histories = histories_of(where, tickers, as_of)
    if not histories:
        raise DataError(
            f"{challenger} was trained on {', '.join(manifest.data.tickers[:5])}; none of its "
            "tickers has prices here. Fetch them."
        )
    field = _Field(
        challenger=_Side.of(where, manifest, histories),
        champion=_Side.of(where, before, histories) if before else None,
    )
    trials, promised = [], {}
    for target in manifest.targets:
        trial, told = _trial(field, target)
        trials.append(trial)
        promised[target] = told
    flaws = [*_unable(field), *_lost(field)]
    unlike = flaw_in_fresh_process(
        where, challenger, tickers, as_of, digest(field.challenger.stated)
    )
    found = verdict(trials, flaws=[*flaws, *([unlike] if unlike else [])], rule=rule)
    log.info("gate    %s: %s", "promoted" if found.promoted else "not promoted", found.reason)
    sides = {"challenger": challenger, "champion": before.version if before else BASELINE}
    return replace(found, evidence={**sides, **found.evidence, "expected": promised})


def _trial(field: _Field, target: str) -> tuple[Trial, dict[str, Any] | None]:
    """Collect everyone's losses on the judged rows of a target, and what is promised of it."""
    own, other = field.challenger, field.champion
    k, panel = own.panel.targets.index(target), own.panel
    candidates = np.flatnonzero(field.candidates(target))
    base = forecast_baseline(panel, target, panel.outcome_days <= field.since, candidates)
    benchmark = other.stated[target] if other and target in other.stated else None
    dense = not isinstance(own.stated[target], Point) and not isinstance(benchmark, Point)
    y = panel.y[candidates, k]
    losses = (
        {}
        if benchmark is None or other is None
        else {other.version: _loss(benchmark.take(candidates), y, dense)}
    )
    losses[BASELINE] = _baseline_loss(base, y, dense)
    known = np.all([np.isfinite(values) for values in losses.values()], axis=0)
    judged = known if known.any() else np.ones(len(candidates), dtype=np.bool_)
    rows, y = candidates[judged], y[judged]
    forecast, days = own.stated[target].take(rows), panel.outcome_days[rows]
    served = own.model.served_intervals(panel, target, own.stated[target], rows)
    low, high = served.bounds[COVERAGES[0]].T
    kept = promise(scaled_errors(y, forecast.mean(), low, high), days)
    trial = Trial(
        target=target,
        loss="CRPS" if dense else "MSE",
        days=days,
        challenger=_loss(forecast, y, dense),
        benchmarks={name: values[judged] for name, values in losses.items()},
        inside={coverage: served.inside(y, coverage) for coverage in COVERAGES},
    )
    return trial, None if kept is None else asdict(kept)


def _loss(forecast: Predictive, y: np.ndarray, dense: bool) -> np.ndarray:
    loss: np.ndarray = forecast.crps(y) if dense else (forecast.mean() - y) ** 2
    return loss


def _baseline_loss(base: TargetForecast, y: np.ndarray, dense: bool) -> np.ndarray:
    loss: np.ndarray = base.distribution.crps(y) if dense else (base.center - y) ** 2
    return loss


def _unable(field: _Field) -> list[str]:
    """Say of which tickers tomorrow's forecast is not finite, though nothing is missing for it."""
    side, found = field.challenger, []
    newest = side.panel.newest
    ready = side.model.forecastable(side.panel)[newest]
    for target, stated in side.stated.items():
        level = side.panel.level[newest, side.panel.targets.index(target)]
        wild = ready & np.isfinite(level) & ~np.isfinite(stated.take(newest).mean())
        if wild.any():
            found.append(
                f"{target}: {int(wild.sum())} forecasts of the next session are not finite"
            )
    return found


def _lost(field: _Field) -> list[str]:
    """Say which targets nobody would forecast any more."""
    if field.champion is None:
        return []
    targets = field.challenger.stated
    lost = [target for target in field.champion.stated if target not in targets]
    return [f"it does not forecast {', '.join(lost)}, which the champion does"] if lost else []
