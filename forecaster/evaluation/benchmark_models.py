"""Benchmark forecasters, fitted on the training rows alone.

Arrays in, forecasts out; knows no ticker and no network. Every function returns a forecast for
every row, so that all are scored on the same days.

Shape letters: N rows, C regressors.
"""

from collections.abc import Callable

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, Ridge

MIN_ROWS_PER_SERIES = 252  # a year: below that a series' own coefficients are noise
RIDGE_ALPHAS = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # as a share of the training rows
TREES, TREE_STEP = 200, 0.05

Fitter = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def train_mean(y: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Forecast the mean of the training rows on every row, (N,)."""
    return np.full(len(y), float(np.nanmean(y[train])))


def least_squares(x: np.ndarray, y: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Forecast by ordinary least squares with intercept, pooled over all series.

    Args:
        x: (N, C) finite regressors, known when the forecast is made.
        y: (N,) outcomes, NaN where unknown; only the training rows are read.
        train: (N,) rows to fit on; rows without outcome are left out.

    Returns:
        (N,) forecasts.
    """
    rows = train & np.isfinite(y)
    forecast: np.ndarray = LinearRegression().fit(x[rows], y[rows]).predict(x)
    return forecast


def per_series(
    fitter: Fitter, x: np.ndarray, y: np.ndarray, train: np.ndarray, series: np.ndarray
) -> np.ndarray:
    """Fit each series by itself; one with under a year of training rows keeps the pooled fit.

    Args:
        fitter: the pooled forecaster, called as `fitter(x, y, train)`.
        series: (N,) number of the series of each row.

    Returns:
        (N,) forecasts.
    """
    forecast = fitter(x, y, train)
    rows = train & np.isfinite(y)
    grouped = np.argsort(series, kind="stable")
    borders = np.flatnonzero(np.diff(series[grouped])) + 1
    for here in np.split(grouped, borders):
        if rows[here].sum() >= MIN_ROWS_PER_SERIES:
            forecast[here] = fitter(x[here], y[here], train[here])
    return forecast


def better_on_validation(
    candidates: dict[str, np.ndarray], y: np.ndarray, validation: np.ndarray
) -> tuple[str, np.ndarray]:
    """Choose the candidate with the lowest squared error on the validation rows.

    Returns:
        Its name and its (N,) forecasts. Test rows are not read.
    """
    rows = validation & np.isfinite(y)
    errors = {
        name: float(np.mean((forecast[rows] - y[rows]) ** 2))
        for name, forecast in candidates.items()
    }
    best = min(errors, key=errors.__getitem__)
    return best, candidates[best]


def ridge(x: np.ndarray, y: np.ndarray, train: np.ndarray, validation: np.ndarray) -> np.ndarray:
    """Forecast by ridge regression; the validation rows choose among `RIDGE_ALPHAS`.

    Args:
        x: (N, C) regressors, NaN where missing: those count as their mean over the training rows.
        y: (N,) outcomes, NaN where unknown; only training and validation rows are read.
        train: (N,) rows to fit on.
        validation: (N,) rows whose squared error chooses.

    Returns:
        (N,) forecasts.

    Source: Hoerl and Kennard (1970), "Ridge Regression". Inputs are standardized.
    """
    rows = train & np.isfinite(y)
    standard = _standardized(x, rows)
    candidates = {f"{alpha:g}": _ridge(standard, y, rows, alpha) for alpha in RIDGE_ALPHAS}
    return better_on_validation(candidates, y, validation)[1]


def boosted_trees(
    x: np.ndarray, y: np.ndarray, train: np.ndarray, validation: np.ndarray
) -> np.ndarray:
    """Forecast by gradient-boosted trees; the validation rows choose how many, none to 200.

    Args: as of `ridge`; a missing regressor takes the branch that fitted best.

    Returns:
        (N,) forecasts, deterministic; without trees the training rows' mean.

    Source: Friedman (2001), "Greedy Function Approximation: A Gradient Boosting Machine", by
        scikit-learn's histograms.
    """
    rows, validated = train & np.isfinite(y), validation & np.isfinite(y)
    x = x[:, np.isfinite(x[rows]).any(axis=0)]  # scikit-learn cannot bin what is never there
    model = HistGradientBoostingRegressor(
        max_iter=TREES, learning_rate=TREE_STEP, early_stopping=False, random_state=0
    )
    model.fit(x[rows], y[rows])
    best = train_mean(y, rows)
    error = np.mean((best[validated] - y[validated]) ** 2) if validated.any() else 0.0
    count = 0
    staged = model.staged_predict(x[validated]) if validated.any() else ()
    for trees, forecast in enumerate(staged, 1):
        now = np.mean((forecast - y[validated]) ** 2)
        if now < error:
            error, count = now, trees
    for trees, forecast in enumerate(model.staged_predict(x), 1):
        if trees == count:
            best = forecast
            break
    return best


def _standardized(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Scale by the training rows to mean 0 and deviation 1; what is missing or never moves is 0."""
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
