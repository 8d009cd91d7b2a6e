"""The forecasters that a network must beat, fitted on the fit rows alone.

Arrays in, forecasts out; knows no ticker and no network. Every function returns a
forecast for every row, so that all are scored on the same days.

Shape letters: N rows, C regressors.
"""

from collections.abc import Callable

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, Ridge

MIN_ROWS_PER_SERIES = 252  # a year: below that a series' own coefficients are noise
RIDGE_ALPHAS = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # as a share of the fit rows
TREES, TREE_STEP = 200, 0.05

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


def better_on_validation(
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


def linear_twin(x: np.ndarray, y: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """Forecast by least squares on all of the network's inputs, pooled over all series.

    A ridge of a millionth on standardized inputs keeps collinear ones (lags and their mean)
    from cancelling each other with huge weights; it moves a forecast of others by nothing
    that can be seen.

    Args:
        x: (N, C) regressors, NaN where missing: those count as their mean over the fit rows.
        y: (N,) outcomes, NaN where unknown; only the fit rows are read.
        fit: (N,) rows to learn from.

    Returns:
        (N,) forecasts.
    """
    rows = fit & np.isfinite(y)
    return _ridge(_standardized(x, rows), y, rows, RIDGE_ALPHAS[0])


def ridge(x: np.ndarray, y: np.ndarray, fit: np.ndarray, select: np.ndarray) -> np.ndarray:
    """Forecast by ridge regression; the select rows choose among `RIDGE_ALPHAS`.

    Args: as of `linear_twin`; `select` (N,) rows whose squared error chooses.

    Returns:
        (N,) forecasts.

    Source: Hoerl and Kennard (1970), "Ridge Regression". Inputs are standardized.
    """
    rows = fit & np.isfinite(y)
    standard = _standardized(x, rows)
    candidates = {f"{alpha:g}": _ridge(standard, y, rows, alpha) for alpha in RIDGE_ALPHAS}
    return better_on_validation(candidates, y, select)[1]


def boosted_trees(x: np.ndarray, y: np.ndarray, fit: np.ndarray, select: np.ndarray) -> np.ndarray:
    """Forecast by gradient-boosted trees; the select rows choose how many, none to 200.

    Args: as of `ridge`; a missing regressor goes the way that fitted best.

    Returns:
        (N,) forecasts, always the same for the same rows; of no tree the fit rows' mean.

    Source: Friedman (2001), "Greedy Function Approximation: A Gradient Boosting Machine", by
        scikit-learn's histograms.
    """
    rows, judged = fit & np.isfinite(y), select & np.isfinite(y)
    x = x[:, np.isfinite(x[rows]).any(axis=0)]  # scikit-learn cannot bin what is never there
    model = HistGradientBoostingRegressor(
        max_iter=TREES, learning_rate=TREE_STEP, early_stopping=False, random_state=0
    )
    model.fit(x[rows], y[rows])
    best = train_mean(y, rows)
    error = np.mean((best[judged] - y[judged]) ** 2) if judged.any() else 0.0
    count = 0
    for trees, forecast in enumerate(model.staged_predict(x[judged]), 1) if judged.any() else ():
        now = np.mean((forecast - y[judged]) ** 2)
        if now < error:
            error, count = now, trees
    for trees, forecast in enumerate(model.staged_predict(x), 1):
        if trees == count:
            best = forecast
            break
    return best


def _standardized(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Scale by the fit rows to mean 0 and deviation 1; what is missing or never moves is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        known = np.isfinite(x[rows])
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, x[rows], 0.0).sum(axis=0) / count
        deviation = np.sqrt((np.where(known, x[rows] - mean, 0.0) ** 2).sum(axis=0) / count)
    moving = deviation > 1e-12 * np.maximum(np.abs(mean), 1e-300)
    unit = np.where(moving, 1.0 / np.where(moving, deviation, 1.0), 0.0)
    standard: np.ndarray = np.nan_to_num((x - mean) * unit, nan=0.0, posinf=0.0, neginf=0.0)
    return standard


def _ridge(x: np.ndarray, y: np.ndarray, rows: np.ndarray, share: float) -> np.ndarray:
    model = Ridge(alpha=share * max(int(rows.sum()), 1), solver="cholesky")
    model.fit(x[rows], y[rows])
    # Not predict: a matrix product rounds by how many rows it has, so that days to come would
    # change the last bit of forecasts made before them.
    forecast: np.ndarray = np.einsum("nc,c->n", x, model.coef_) + model.intercept_
    return forecast
