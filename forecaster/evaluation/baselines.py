"""The forecasters that a network must beat, fitted on the fit rows alone.

Arrays in, forecasts out; knows no ticker and no network. Every function returns a
forecast for every row, so that all are scored on the same days.

Shape letters: N rows, C regressors.
"""

from collections.abc import Callable

import numpy as np
from sklearn.linear_model import LinearRegression

MIN_ROWS_PER_SERIES = 252  # a year: below that a series' own coefficients are noise

Fitter = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def train_mean(y: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """Forecast the mean of the fit rows on every row, (N,)."""
    return np.full(len(y), float(np.nanmean(y[fit])))


def least_squares(x: np.ndarray, y: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """Forecast by ordinary least squares with intercept, pooled over all series.

    Args:
        x: (N, C) finite regressors, known when the forecast is made.
        y: (N,) outcomes, NaN where unknown; only the fit rows are read.
        fit: (N,) rows to learn from; rows without outcome are left out.

    Returns:
        (N,) forecasts.
    """
    rows = fit & np.isfinite(y)
    forecast: np.ndarray = LinearRegression().fit(x[rows], y[rows]).predict(x)
    return forecast


def per_series(
    fitter: Fitter, x: np.ndarray, y: np.ndarray, fit: np.ndarray, series: np.ndarray
) -> np.ndarray:
    """Fit each series by itself; one with under a year of fit rows keeps the pooled fit.

    Args:
        fitter: the pooled baseline, called as `fitter(x, y, fit)`.
        series: (N,) number of the series of each row.

    Returns:
        (N,) forecasts.
    """
    forecast = fitter(x, y, fit)
    rows = fit & np.isfinite(y)
    grouped = np.argsort(series, kind="stable")
    borders = np.flatnonzero(np.diff(series[grouped])) + 1
    for here in np.split(grouped, borders):
        if rows[here].sum() >= MIN_ROWS_PER_SERIES:
            forecast[here] = fitter(x[here], y[here], fit[here])
    return forecast


def better_on_select(
    candidates: dict[str, np.ndarray], y: np.ndarray, select: np.ndarray
) -> tuple[str, np.ndarray]:
    """Choose the candidate with the lowest squared error on the select rows.

    Returns:
        Its name and its (N,) forecasts. The report rows are not looked at.
    """
    rows = select & np.isfinite(y)
    errors = {
        name: float(np.mean((forecast[rows] - y[rows]) ** 2))
        for name, forecast in candidates.items()
    }
    best = min(errors, key=errors.__getitem__)
    return best, candidates[best]
