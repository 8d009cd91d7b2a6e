"""Every forecaster that a version must beat, on the same report days, fitted on the same days.

Shape letters: N rows of the panel, K targets.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from forecaster.data.derived import derived_inputs
from forecaster.data.panel import Panel
from forecaster.errors import DataError
from forecaster.evaluation.baselines import boosted_trees, ridge
from forecaster.evaluation.distributions import Point, Predictive, StudentT
from forecaster.evaluation.exponential import ewma_student, historical_simulation
from forecaster.evaluation.folds import Fold
from forecaster.evaluation.volatility import VolatilityForecasts, garch, refit_days
from forecaster.pipeline.evaluating.baselines import baseline_forecasts
from forecaster.pipeline.evaluating.fan_out import fan_out
from forecaster.pipeline.evaluating.stated import put_together
from forecaster.pipeline.learning.base import MOST_ROWS

log = logging.getLogger(__name__)

Baselines = Literal["quick", "all"]
YEAR = 252  # trading days between two fits of GARCH, unless the network is fitted more often


@dataclass(frozen=True, slots=True, kw_only=True)
class Rivals:
    """Forecasts of all N rows by target and name, NaN outside the report block.

    The first of each target is "tomorrow = today". `choices` say, by target and name, which
    variant the last fold's select block preferred; `notes` what could not be fitted, and why.
    """

    forecasts: dict[str, dict[str, Predictive]]
    choices: dict[str, dict[str, str]]
    notes: tuple[str, ...]


def rivals(
    panel: Panel,
    targets: Sequence[str],
    folds: Sequence[Fold],
    able: np.ndarray,
    inputs: Sequence[str],
    *,
    baselines: Baselines = "all",
    refit_every: int | None = None,
    jobs: int = 1,
) -> Rivals:
    """Fit and forecast every rival of every target, fold by fold.

    Args:
        panel: all rows.
        targets: what is forecast.
        folds: whose fit blocks are fitted on and whose report days are forecast.
        able: (N,) rows that the network can forecast.
        inputs: names of those that the network reads.
        baselines: "quick" leaves out the slow ones: boosted trees, GARCH and EGARCH.
        refit_every: trading days between two fits of GARCH and EGARCH, a year at most.
        jobs: processes for GARCH and EGARCH.

    Raises:
        DataError: the prices have no day of the fit or of the select block.
    """
    found: dict[str, dict[str, Predictive]] = {}
    choices: dict[str, dict[str, str]] = {}
    notes: list[str] = []
    x = derived_inputs(panel, inputs)
    for target in targets:
        began = time.monotonic()
        points, choices[target] = _points(panel, target, folds, able, x, baselines)
        found[target] = {name: Point(values) for name, values in points.items()}
        if target == "return":
            every = min(refit_every or YEAR, YEAR)
            dense, failed = _distributions(panel, folds, able, baselines, every, jobs)
            found[target] |= dense
            notes += failed
        names, seconds = ", ".join(found[target]), time.monotonic() - began
        log.info("rivals  %s: %s, %.1f s", target, names, seconds)
    return Rivals(forecasts=found, choices=choices, notes=tuple(notes))


def _points(
    panel: Panel,
    target: str,
    folds: Sequence[Fold],
    able: np.ndarray,
    x: np.ndarray,
    baselines: Baselines,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Forecast numbers fold by fold, (N,) each, as deviation from the panel's level."""
    whole: dict[str, np.ndarray] = {}
    choices: dict[str, str] = {}
    for fold in folds:
        days = panel.outcome_days
        usable = able if fold.fit_from is None else able & (days >= fold.fit_from)
        forecasts, choices = baseline_forecasts(panel, target, fold.split, usable)
        rows = fold.report(days)
        forecasts |= _on_inputs(panel, target, fold, usable, x, baselines)
        for name, values in forecasts.items():
            whole.setdefault(name, np.full(len(days), np.nan))[rows] = values[rows]
    return whole, choices


def _on_inputs(
    panel: Panel,
    target: str,
    fold: Fold,
    able: np.ndarray,
    x: np.ndarray,
    baselines: Baselines,
) -> dict[str, np.ndarray]:
    """Fit ridge and trees on the network's own inputs; (N,) each, NaN but on report days."""
    days, y = panel.outcome_days, panel.y[:, panel.targets.index(target)]
    fit, select = (block & able & np.isfinite(y) for block in (fold.fit(days), fold.select(days)))
    fit = _thinned(fit)
    rows = np.flatnonzero(fit | select | fold.report(days))
    fitters: dict[str, Callable[..., np.ndarray]] = {"ridge": ridge}
    if baselines == "all":
        fitters["trees"] = boosted_trees
    found = {}
    for name, fitter in fitters.items():
        found[name] = np.full(len(days), np.nan)
        found[name][rows] = fitter(x[rows], y[rows], fit[rows], select[rows])
    return found


def _thinned(fit: np.ndarray) -> np.ndarray:
    """Keep every so many-th fit row, as the base does, where there are too many."""
    rows = np.flatnonzero(fit)
    thin = np.zeros(len(fit), dtype=np.bool_)
    thin[rows[:: -(-len(rows) // MOST_ROWS) or 1]] = True
    return thin


def _distributions(
    panel: Panel,
    folds: Sequence[Fold],
    able: np.ndarray,
    baselines: Baselines,
    every: int,
    jobs: int,
) -> tuple[dict[str, Predictive], list[str]]:
    """Forecast the distribution of returns by volatility alone."""
    returns = panel.today[:, panel.targets.index("return")]
    series, notes = panel.series, []
    found: dict[str, Predictive] = {"historical": historical_simulation(returns, series)}
    try:
        found["ewma-t"] = _ewma(panel, folds, able, returns)
    except DataError as error:
        notes.append(f"ewma-t is left out: {error}")
    if baselines == "all":
        refits = refit_days(panel.days, folds[0].split.select_until, every)
        for kind in ("garch", "egarch"):
            found[f"{kind}-t"], note = _garch(panel, returns, refits, kind, jobs)
            notes += note
    return found, notes


def _ewma(panel: Panel, folds: Sequence[Fold], able: np.ndarray, returns: np.ndarray) -> Predictive:
    y, days = panel.y[:, panel.targets.index("return")], panel.outcome_days
    parts = []
    for fold in folds:
        rows = np.flatnonzero(fold.report(days))
        whole = ewma_student(returns, panel.series, y, fold.fit(days) & able)
        parts.append((rows, (whole.take(rows),)))
    return put_together(parts, len(days))[0]


def _garch(
    panel: Panel, returns: np.ndarray, refits: np.ndarray, kind: str, jobs: int
) -> tuple[StudentT, list[str]]:
    """Fit every ticker, in as many processes as there are jobs; say how often that failed."""
    groups = np.array_split(np.arange(len(panel.tickers)), min(4 * jobs, len(panel.tickers)))
    series, offsets = panel.series, panel.series_offsets
    slices = [slice(offsets[group[0]], offsets[group[-1] + 1]) for group in groups]
    tasks = [(returns[rows], series[rows], panel.days[rows], refits, kind) for rows in slices]
    parts = fan_out(fit_garch, tasks, jobs)
    whole = StudentT(
        *(
            np.concatenate([getattr(part.predictive, name) for part in parts])
            for name in ("loc", "scale", "df")
        )
    )
    fits, failed, replaced = (
        sum(getattr(part, name) for part in parts) for name in ("fits", "failed", "replaced")
    )
    note = (
        f"{kind}-t: {failed} of {fits} fits could not be trusted, {replaced:,} forecasts are the "
        "exponentially weighted normal's"
    )
    return whole, [note] if failed or replaced else []


def fit_garch(
    returns: np.ndarray,
    series: np.ndarray,
    days: np.ndarray,
    refits: np.ndarray,
    kind: Literal["garch", "egarch"],
) -> VolatilityForecasts:
    """Call `garch` in a process of its own."""
    return garch(returns, series, days, refits, kind=kind)
