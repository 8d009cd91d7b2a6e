"""Every forecaster that a version must beat, on the same report days, fitted on the same days.

Shape letters: N rows of the panel, K targets.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from forecaster.backtesting.fan_out import fan_out
from forecaster.data.panel import Panel, compute_features
from forecaster.errors import DataError
from forecaster.evaluation.benchmark_models import (
    better_on_validation,
    boosted_trees,
    least_squares,
    per_series,
    ridge,
    train_mean,
)
from forecaster.evaluation.distributions import Point, Predictive, StudentT
from forecaster.evaluation.mixture import assemble
from forecaster.evaluation.splits import Fold, Split
from forecaster.evaluation.volatility import (
    VolatilityForecasts,
    ewma_student,
    garch,
    historical_simulation,
    refit_days,
)
from forecaster.forecasting.base_model import MOST_ROWS, Base
from forecaster.forecasting.data_set import build_dataset
from forecaster.forecasting.fitted_model import FittedModel
from forecaster.forecasting.fitting import FitResult, base_alone, fit
from forecaster.settings import TrainSettings
from forecaster.training.device import choose_device

AR_LAGS = 5


def baseline_forecasts(
    panel: Panel, target: str, split: Split, able: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Fit the baselines of a target; forecasts (N,) are deviations from the panel's level.

    Args:
        able: (N,) rows that the network can forecast: all are fitted on the same days.

    Returns:
        Forecasts by name, persistence first, and the variant that the select block chose.

    Raises:
        DataError: the prices have no day of the fit or of the select block.
    """
    k = panel.targets.index(target)
    y, series = panel.y[:, k], panel.series
    fit, select, _ = (block & able for block in split.masks(panel.outcome_days))
    for block, rows in (("fit", fit), ("select", select)):
        if not np.isfinite(y[rows]).any():
            raise DataError(
                f"The {block} block (fit until {split.train_until}, select until "
                f"{split.validation_until}) has no day of {target} in these prices, which begin "
                f"{panel.days.min()}; the baselines are fitted there. Fetch a longer period."
            )

    def linear(name: str, x: np.ndarray) -> tuple[str, np.ndarray]:
        pooled = least_squares(x, y, fit)
        each = per_series(least_squares, x, y, fit, series)
        variant, best = better_on_validation({"pooled": pooled, "per ticker": each}, y, select)
        choices[name] = variant
        return name, best

    choices: dict[str, str] = {}
    mean = train_mean(y + panel.level[:, k], fit) - panel.level[:, k]
    if target == "return":
        autoregression = linear(f"ar{AR_LAGS}", panel.lags(target, AR_LAGS))
        return {"zero-return": np.zeros(len(y)), "mean": mean, **dict([autoregression])}, choices
    terms = panel.har_terms(target)
    shared = np.nan_to_num(panel.shared_inputs, nan=0.0)
    har = [linear("har", terms), linear("har-x", np.column_stack([terms, shared]))]
    return {"persistence": terms[:, 0], "mean": mean, **dict(har)}, choices


MEMORYLESS, LINEAR = "mlp", "linear"


def linear_twin(
    panel: Panel, split: Split, settings: TrainSettings, base: Base | None = None
) -> FittedModel:
    """Fit the linear model alone: every input, HAR's lags among them; Student-t for returns.

    Args:
        panel: of the settings' targets.
        split: fitted on its fit block; the select block is not read.
        settings: of the network; its heads say what is forecast.
        base: the linear base of a network fitted on these days, which is the same model.

    Raises:
        DataError: a block of time has nothing to score.
    """
    linear = settings.model_copy(update={"base": LINEAR})
    return base_alone(build_dataset(panel, split, linear, base), settings)


def memoryless_twin(
    panel: Panel, split: Split, settings: TrainSettings, base: Base | None = None
) -> FitResult:
    """Fit the network without memory on the network's inputs, from the network's base.

    Args:
        panel: of the settings' targets.
        split: fitted, stopped and calibrated on its blocks.
        settings: of the network; size, heads, updates and seed are the twin's too.
        base: that of the network, to be spared the work.

    Raises:
        DataError: a block of time has nothing to score.
        DivergedError: the fitting met a value that is not finite.
    """
    changes = {"model": MEMORYLESS, "initial_state": "zeros", "bidirectional": False}
    if settings.bptt_k2 == "auto":
        changes["bptt_k2"] = None
    twin = settings.model_copy(update=changes)
    return fit(build_dataset(panel, split, twin, base), twin, choose_device(twin.device))


log = logging.getLogger(__name__)

Baselines = Literal["quick", "all"]
YEAR = 252  # trading days between two fits of GARCH, unless the network is fitted more often


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkForecasts:
    """Forecasts of all N rows by target and name, NaN outside the report block.

    The first of each target is "tomorrow = today". `choices` say, by target and name, which
    variant the last fold's select block preferred; `notes` what could not be fitted, and why.
    """

    forecasts: dict[str, dict[str, Predictive]]
    choices: dict[str, dict[str, str]]
    notes: tuple[str, ...]


def benchmarks(
    panel: Panel,
    targets: Sequence[str],
    folds: Sequence[Fold],
    able: np.ndarray,
    inputs: Sequence[str],
    *,
    baselines: Baselines = "all",
    refit_every: int | None = None,
    jobs: int = 1,
) -> BenchmarkForecasts:
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
    x = compute_features(panel, inputs)
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
    return BenchmarkForecasts(forecasts=found, choices=choices, notes=tuple(notes))


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
        usable = able if fold.train_from is None else able & (days >= fold.train_from)
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
        refits = refit_days(panel.days, folds[0].split.validation_until, every)
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
    return assemble(parts, len(days))[0]


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
