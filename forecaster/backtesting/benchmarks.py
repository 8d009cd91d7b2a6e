"""Benchmark forecasters, fitted on the same days as the version and forecasting the same rows.

Shape letters: N rows of the panel.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from forecaster.backtesting.walk_forward import fan_out
from forecaster.data.panel import Panel, compute_features
from forecaster.errors import DataError
from forecaster.evaluation import regression
from forecaster.evaluation.distributions import Point, Predictive, StudentT
from forecaster.evaluation.mixture import assemble
from forecaster.evaluation.splits import Fold
from forecaster.evaluation.volatility import ewma_student, garch, historical_simulation, refit_days
from forecaster.forecasting.base_model import MOST_ROWS

log = logging.getLogger(__name__)

AR_LAGS = 5
BenchmarkKind = Literal["quick", "all"]
GarchKind = Literal["garch", "egarch"]
YEAR = 252  # trading days between two fits of GARCH, unless the network is fitted more often


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkOptions:
    """Which benchmarks to fit: "quick" leaves out boosted trees, GARCH and EGARCH.

    The latter two are fitted again every `refit_every` trading days, a year at most.
    """

    kind: BenchmarkKind = "all"
    refit_every: int | None = None
    jobs: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkForecasts:
    """Forecasts of all N rows by target and name, NaN outside the test days.

    The first of each target is the naive forecast. `choices` are, by target and name, the variants
    that the last fold's validation days chose; `notes` what could not be fitted, and why.
    """

    forecasts: dict[str, dict[str, Predictive]]
    choices: dict[str, dict[str, str]]
    notes: tuple[str, ...]


def fit_benchmarks(
    panel: Panel,
    targets: Sequence[str],
    folds: Sequence[Fold],
    able: np.ndarray,
    inputs: Sequence[str],
    options: BenchmarkOptions,
) -> BenchmarkForecasts:
    """Fit every benchmark of every target and forecast, fold by fold.

    `able` (N,) are the rows that the network can forecast, from `inputs`: all are fitted on the
    same days.

    Raises:
        DataError: the prices have no training or no validation day.
    """
    found: dict[str, dict[str, Predictive]] = {}
    choices: dict[str, dict[str, str]] = {}
    notes: list[str] = []
    x = compute_features(panel, inputs)
    for target in targets:
        started = time.monotonic()
        found[target], choices[target] = _points(panel, target, folds, able, x, options)
        if target == "return":
            dense, failed = _distributions(panel, folds, able, options)
            found[target] |= dense
            notes += failed
        seconds = time.monotonic() - started
        log.info("benchmarks  %s: %s, %.1f s", target, ", ".join(found[target]), seconds)
    return BenchmarkForecasts(forecasts=found, choices=choices, notes=tuple(notes))


def _points(
    panel: Panel,
    target: str,
    folds: Sequence[Fold],
    able: np.ndarray,
    x: np.ndarray,
    options: BenchmarkOptions,
) -> tuple[dict[str, Predictive], dict[str, str]]:
    """Forecast numbers fold by fold, as deviation from the panel's level."""
    found: dict[str, np.ndarray] = {}
    choices: dict[str, str] = {}
    y = panel.y[:, panel.targets.index(target)]
    scored = able & np.isfinite(y)
    fitters = {"ridge": regression.ridge}
    if options.kind == "all":
        fitters["trees"] = regression.boosted_trees
    for fold in folds:
        train, validation, test = fold.masks(panel.outcome_days)
        for part, mask in (("training", train), ("validation", validation)):
            if not (mask & scored).any():
                raise DataError(
                    f"No {part} day of {target} (trained until {fold.split.train_until}, validated "
                    f"until {fold.split.validation_until}) in these prices, which begin "
                    f"{panel.days.min()}; the benchmarks are fitted there. Fetch a longer period."
                )
        forecasts, choices = _regressions(panel, target, train & able, validation & able)
        # Every n-th training row where there are too many, as the base model has them.
        fitted = np.flatnonzero(train & scored)
        train, validation = np.zeros(len(y), dtype=np.bool_), validation & scored
        train[fitted[:: -(-len(fitted) // MOST_ROWS) or 1]] = True
        rows = np.flatnonzero(train | validation | test)
        for name, fitter in fitters.items():
            forecasts[name] = np.full(len(y), np.nan)
            forecasts[name][rows] = fitter(x[rows], y[rows], train[rows], validation[rows])
        for name, values in forecasts.items():
            found.setdefault(name, np.full(len(y), np.nan))[test] = values[test]
    return {name: Point(values) for name, values in found.items()}, choices


def _regressions(
    panel: Panel, target: str, train: np.ndarray, validation: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Forecast by the naive forecast, which is first, the mean and regressions on the past.

    Return too which variant of each regression, pooled or per ticker, the validation rows chose.
    """
    k = panel.targets.index(target)
    y = panel.y[:, k]
    mean = regression.train_mean(y + panel.level[:, k], train) - panel.level[:, k]
    if target == "return":
        found = {"zero-return": np.zeros(len(y)), "mean": mean}
        regressors = {f"ar{AR_LAGS}": panel.lags(target, AR_LAGS)}
    else:
        terms = panel.har_terms(target)
        found = {"persistence": terms[:, 0], "mean": mean}
        shared = np.nan_to_num(panel.shared_inputs, nan=0.0)
        regressors = {"har": terms, "har-x": np.column_stack([terms, shared])}
    choices = {}
    for name, x in regressors.items():
        fitter = regression.least_squares
        by_ticker = regression.per_series(fitter, x, y, train, panel.series)
        variants = {"pooled": fitter(x, y, train), "per ticker": by_ticker}
        choices[name], found[name] = regression.better_on_validation(variants, y, validation)
    return found, choices


def _distributions(
    panel: Panel, folds: Sequence[Fold], able: np.ndarray, options: BenchmarkOptions
) -> tuple[dict[str, Predictive], list[str]]:
    """Forecast the distribution of returns by volatility alone; return notes on failures too."""
    k = panel.targets.index("return")
    returns, y, days = panel.today[:, k], panel.y[:, k], panel.outcome_days
    notes: list[str] = []
    found: dict[str, Predictive] = {"historical": historical_simulation(returns, panel.series)}
    try:
        parts = []
        for fold in folds:
            train, _, test = fold.masks(days)
            forecast, rows = ewma_student(returns, panel.series, y, train & able), test.nonzero()[0]
            parts.append((rows, (forecast.take(rows),)))
        found["ewma-t"] = assemble(parts, len(days))[0]
    except DataError as error:
        notes.append(f"ewma-t is left out: {error}")
    if options.kind == "all":
        every = min(options.refit_every or YEAR, YEAR)
        refits = refit_days(panel.days, folds[0].split.validation_until, every)
        for kind in ("garch", "egarch"):
            found[f"{kind}-t"], note = _garch(panel, returns, refits, kind, options.jobs)
            notes += note
    return found, notes


def _garch(
    panel: Panel, returns: np.ndarray, refits: np.ndarray, kind: GarchKind, jobs: int
) -> tuple[StudentT, list[str]]:
    """Fit every ticker, in as many processes as there are jobs; note how often that failed."""
    groups = np.array_split(np.arange(len(panel.tickers)), min(4 * jobs, len(panel.tickers)))
    offsets = panel.series_offsets
    slices = [slice(offsets[group[0]], offsets[group[-1] + 1]) for group in groups]
    tasks = [(returns[rows], panel.series[rows], panel.days[rows], refits) for rows in slices]
    parts = fan_out(partial(garch, kind=kind), tasks, jobs)
    forecasts = [part.predictive for part in parts]
    columns = ([getattr(part, name) for part in forecasts] for name in ("loc", "scale", "df"))
    found = StudentT(*map(np.concatenate, columns))
    fits, failed = sum(part.fits for part in parts), sum(part.failed for part in parts)
    replaced = sum(part.replaced for part in parts)
    reason = f"{failed} of {fits} fits failed" if fits else "too few days to fit"
    note = (
        f"{kind}-t: {reason}; {replaced:,} forecasts are replaced by those "
        "of an exponentially weighted normal distribution"
    )
    return found, [note] if failed or replaced else []
