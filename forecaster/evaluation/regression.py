"""Regressions on training rows: least squares, ridge, boosted trees, and Student-t with a scale.

scikit-learn is imported by the functions that need it: a training does without.

Shape letters: N rows, C regressors, P inputs of a location, R inputs of a scale.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
from scipy import linalg, special

from forecaster.errors import DataError
from forecaster.evaluation.distributions import StudentT
from forecaster.evaluation.threads import one_thread

MIN_ROWS_PER_SERIES = 252  # a year: below that a series' own coefficients are noise
RIDGE_ALPHAS = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # as a share of the training rows
TREES, TREE_STEP = 200, 0.05
# On the weights of standardized inputs, added to the mean loss of a row. Strong, because relations
# to volatility change over the years; docs/experiments.md compares weaker ones.
RIDGE = 0.1
LEAST_DF, MOST_DF = 2.05, 200.0  # a variance must exist; beyond 200 it is the normal
ROWS_AT_ONCE = 65_536  # of sums over rows: copies of all of them would not fit
COLLINEAR = 1e-9  # share of the largest variance below which a direction is dropped

Fitter = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def train_mean(y: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Forecast the mean of the training rows on every row, (N,)."""
    return np.full(len(y), float(np.nanmean(y[train])))


def least_squares(x: np.ndarray, y: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Forecast by least squares with intercept, pooled over all series, (N,).

    `x` (N, C) are finite regressors; rows without outcome `y` (N,) are left out of `train` (N,).
    """
    from sklearn.linear_model import LinearRegression

    rows = train & np.isfinite(y)
    return np.asarray(LinearRegression().fit(x[rows], y[rows]).predict(x))


def per_series(
    fitter: Fitter, x: np.ndarray, y: np.ndarray, train: np.ndarray, series: np.ndarray
) -> np.ndarray:
    """Forecast each series (N,) by itself, (N,); pooled with under a year of training rows."""
    forecast, rows = fitter(x, y, train), train & np.isfinite(y)
    grouped = np.argsort(series, kind="stable")
    for here in np.split(grouped, np.flatnonzero(np.diff(series[grouped])) + 1):
        if rows[here].sum() >= MIN_ROWS_PER_SERIES:
            forecast[here] = fitter(x[here], y[here], train[here])
    return forecast


def better_on_validation(
    candidates: dict[str, np.ndarray], y: np.ndarray, validation: np.ndarray
) -> tuple[str, np.ndarray]:
    """Return the name and forecasts (N,) with the lowest squared error on the validation rows."""
    rows = validation & np.isfinite(y)
    best = min(candidates, key=lambda name: np.mean((candidates[name][rows] - y[rows]) ** 2))
    return best, candidates[best]


def ridge(x: np.ndarray, y: np.ndarray, train: np.ndarray, validation: np.ndarray) -> np.ndarray:
    """Forecast by ridge regression, (N,); the validation rows choose among `RIDGE_ALPHAS`.

    Args:
        x: (N, C) regressors, NaN where missing: those count as their mean over the training rows.
        y: (N,) outcomes, NaN where unknown.
        train: (N,) rows.
        validation: (N,) rows.

    Source: Hoerl and Kennard (1970), "Ridge Regression". Inputs are standardized.
    """
    rows = np.flatnonzero(train & np.isfinite(y))
    validated = np.flatnonzero(validation & np.isfinite(y))
    standard = _Standard.of(x, rows)
    products, with_y = np.zeros((x.shape[1], x.shape[1])), np.zeros(x.shape[1])
    mean = float(y[rows].mean())
    for part in _in_chunks(rows):
        values = standard.apply(x[part])
        products += values.T @ values
        with_y += values.T @ (y[part] - mean)
    penalties = np.eye(len(products)) * max(len(rows), 1)
    weights = np.column_stack(
        [linalg.solve(products + a * penalties, with_y, assume_a="pos") for a in RIDGE_ALPHAS]
    )
    tried = standard.times(x[validated], weights) + mean
    errors = ((tried - y[validated, None]) ** 2).mean(axis=0)
    return standard.times(x, weights[:, [int(np.argmin(errors))]])[:, 0] + mean


def ridge_weights(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Fit weights (C,) and an intercept on finite rows x (N, C) and y (N,), by normal equations.

    `penalty` is added to the sum of squares, times the squared weights.
    """
    count, level, parts = len(y), float(y.mean()), _in_chunks(np.arange(len(y)))
    mean = sum(x[part].sum(axis=0, dtype=float) for part in parts) / count
    products, with_y = np.eye(x.shape[1]) * penalty, np.zeros(x.shape[1])
    for part in parts:
        away = x[part] - mean
        products += away.T @ away
        with_y += away.T @ (y[part] - level)
    weights: np.ndarray = linalg.solve(products, with_y, assume_a="pos")
    return weights, float(level - mean @ weights)


def boosted_trees(
    x: np.ndarray, y: np.ndarray, train: np.ndarray, validation: np.ndarray
) -> np.ndarray:
    """Forecast by gradient-boosted trees, (N,); validation rows choose how many, none to 200.

    A missing regressor takes the branch that fitted best.

    Source: Friedman (2001), "Greedy Function Approximation: A Gradient Boosting Machine", by
        scikit-learn's histograms.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    rows, validated = train & np.isfinite(y), validation & np.isfinite(y)
    x = x[:, np.isfinite(x[rows]).any(axis=0)]  # scikit-learn cannot bin what is never there
    model = HistGradientBoostingRegressor(
        max_iter=TREES, learning_rate=TREE_STEP, early_stopping=False, random_state=0
    )
    best = train_mean(y, rows)
    with one_thread():
        model.fit(x[rows], y[rows])
        if not validated.any():
            return best
        staged = chain([best[validated]], model.staged_predict(x[validated]))
        count = int(np.argmin([np.mean((forecast - y[validated]) ** 2) for forecast in staged]))
        return next(islice(model.staged_predict(x), count - 1, None)) if count else best


@dataclass(frozen=True, slots=True, eq=False)
class _Standard:
    """Means (C,) and inverse deviations of columns; 0 for a column that never moves."""

    mean: np.ndarray
    unit: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, rows: np.ndarray) -> "_Standard":
        """Measure x (N, C), NaN where missing, on some rows (n,)."""
        parts = _in_chunks(rows)
        count = np.maximum(sum(np.isfinite(x[part]).sum(axis=0) for part in parts), 1)
        mean = sum(_finite(x[part]).sum(axis=0) for part in parts) / count
        squares = sum((_finite(x[part] - mean) ** 2).sum(axis=0) for part in parts)
        deviation = np.sqrt(squares / count)
        moving = deviation > 1e-12 * np.maximum(np.abs(mean), 1e-300)
        return cls(mean, np.where(moving, 1.0 / np.where(moving, deviation, 1.0), 0.0))

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Scale (n, C) to mean 0 and deviation 1; what is missing or never moves is 0."""
        return np.asarray(_finite(x - self.mean) * self.unit)

    def times(self, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Multiply (n, C), scaled, by weights (C, W), (n, W)."""
        # Not a matrix product, which rounds by how many rows it has, so that days to come would
        # change the last bit of forecasts made before them.
        parts = [np.einsum("nc,cw->nw", self.apply(part), weights) for part in _in_chunks(x)]
        return np.concatenate(parts)


def _finite(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.nan_to_num(x.astype(float), nan=0.0, posinf=0.0, neginf=0.0))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudentRegression:
    """y ~ Student-t(loc = a + x_loc b, log scale = c + x_scale d, df), in raw units.

    `loc_intercept` a, `loc_weights` b (P,), `scale_intercept` c, `scale_weights` d (R,).
    """

    loc_intercept: float
    loc_weights: np.ndarray
    scale_intercept: float
    scale_weights: np.ndarray
    df: float
    converged: bool

    def predict(self, x_loc: np.ndarray, x_scale: np.ndarray) -> StudentT:
        """Forecast rows from their inputs (N, P) and (N, R); a NaN input gives a NaN row."""
        loc = self.loc_intercept + x_loc @ self.loc_weights
        log_scale = self.scale_intercept + x_scale @ self.scale_weights
        df = np.where(np.isnan(loc + log_scale), np.nan, self.df)
        return StudentT(loc, np.exp(log_scale), df)


def fit_student_regression(
    x_loc: np.ndarray, x_scale: np.ndarray, y: np.ndarray, fit: np.ndarray, *, ridge: float = RIDGE
) -> StudentRegression:
    """Fit by penalized maximum likelihood with exact gradients and L-BFGS.

    Both input matrices are first rotated to uncorrelated directions, which saves most steps;
    constant or collinear ones are dropped.

    Args:
        x_loc: (N, P) inputs of the location, scaled and clipped; P may be 0.
        x_scale: (N, R) inputs of the log scale; R may be 0.
        y: (N,) outcomes; rows with a NaN in it or in an input are left out.
        fit: (N,) training rows.
        ridge: penalty on the squared weights of standardized inputs, added to the mean loss.

    Raises:
        DataError: fewer training rows than twice the parameters, or constant outcomes.

    Source: Lange, Little and Taylor (1989), "Robust Statistical Modeling Using the t
        Distribution". Deviation: the log scale is linear in inputs of its own.
    """
    from scipy.optimize import minimize

    known = fit & np.isfinite(y)
    for x in (x_loc, x_scale):
        known &= np.concatenate([np.isfinite(part).all(axis=1) for part in _in_chunks(x)])
    rows = np.flatnonzero(known)
    center, spread = _center_and_spread(y[rows], x_loc.shape[1] + x_scale.shape[1] + 3)
    loc, scale = _Rotation.of(x_loc, rows, ridge), _Rotation.of(x_scale, rows, ridge)
    problem = _Problem(_in_chunks((y[rows] - center) / spread), loc, scale)
    start = np.zeros(len(loc.penalty) + len(scale.penalty) + 3)
    start[-2:] = np.log(0.7), np.log(5.0 - LEAST_DF)
    bounds = [(None, None)] * (len(start) - 1) + [(-10.0, np.log(MOST_DF - LEAST_DF))]
    done = minimize(problem, start, jac=True, method="L-BFGS-B", bounds=bounds)
    b, d, (a, c, log_df) = problem.parts(done.x)
    loc_weights, scale_weights = spread * (loc.back @ b), scale.back @ d
    return StudentRegression(
        loc_intercept=float(center + spread * a - loc.mean @ loc_weights),
        loc_weights=loc_weights,
        scale_intercept=float(np.log(spread) + c - scale.mean @ scale_weights),
        scale_weights=scale_weights,
        df=float(LEAST_DF + np.exp(log_df)),
        converged=bool(done.success),
    )


def _center_and_spread(y: np.ndarray, numbers: int) -> tuple[float, float]:
    if len(y) < 2 * numbers:
        raise DataError(
            f"Student-t regression: {len(y)} training rows for {numbers} parameters; at least "
            f"{2 * numbers} are needed. Fetch a longer period or give fewer inputs."
        )
    center, spread = float(np.median(y)), float(np.std(y))
    if spread == 0.0:
        raise DataError(
            f"Student-t regression: all {len(y)} outcomes of the training rows are {center:g}; "
            "a constant has no scale. Leave the series out."
        )
    return center, spread


@dataclass(frozen=True, slots=True, eq=False)
class _Rotation:
    """Inputs (n, C) in uncorrelated directions of variance 1, and the matrix back (P, C).

    `inputs` are in parts of `ROWS_AT_ONCE` rows.
    """

    mean: np.ndarray
    back: np.ndarray
    inputs: list[np.ndarray]
    penalty: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, rows: np.ndarray, ridge: float) -> "_Rotation":
        """Rotate some rows (n,) by the eigenvectors of their correlation matrix."""
        count, parts = max(len(rows), 1), _in_chunks(rows)
        mean = sum(x[part].sum(axis=0, dtype=float) for part in parts) / count
        squares = sum(((x[part] - mean) ** 2).sum(axis=0) for part in parts)
        deviation = np.sqrt(squares / count)
        moving = deviation > 1e-12 * np.maximum(np.abs(mean), 1e-300)
        unit = np.where(moving, 1.0 / np.where(moving, deviation, 1.0), 0.0)
        products = sum(_squared((x[part] - mean) * unit) for part in parts)
        variances, directions = np.linalg.eigh(products / count)
        kept = variances > COLLINEAR * max(variances.max(initial=0.0), 1e-300)
        way = directions[:, kept] / np.sqrt(variances[kept])
        inputs = [((x[part] - mean) * unit) @ way for part in parts]
        return cls(mean, unit[:, None] * way, inputs, ridge / variances[kept])


def _squared(x: np.ndarray) -> np.ndarray:
    return np.asarray(x.T @ x)


def _in_chunks(values: np.ndarray) -> list[np.ndarray]:
    """Split (n, ...) into parts of `ROWS_AT_ONCE`, at least one."""
    return np.split(values, range(ROWS_AT_ONCE, len(values), ROWS_AT_ONCE))


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """The mean negative log-likelihood with its ridge, and its gradient; rows in parts."""

    y: list[np.ndarray]
    loc: _Rotation
    scale: _Rotation

    def parts(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[float]]:
        """Return b, d and [a, c, log(df - 2.05)], in the order of the numbers."""
        b, d, others = np.split(numbers, [len(self.loc.penalty), len(numbers) - 3])
        return b, d, others.tolist()

    def __call__(self, numbers: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the penalized mean loss and its gradient."""
        b, d, (a, c, log_df) = self.parts(numbers)
        df, count = LEAST_DF + np.exp(log_df), sum(map(len, self.y))
        constant = special.gammaln((df + 1) / 2) - special.gammaln(df / 2) - np.log(df * np.pi) / 2
        digammas = special.digamma((df + 1) / 2) - special.digamma(df / 2) - 1.0 / df
        loss, of_df, gradient = 0.0, 0.0, np.zeros(len(numbers) - 1)
        for y, x_loc, x_scale in zip(self.y, self.loc.inputs, self.scale.inputs, strict=True):
            log_scale = np.clip(c + x_scale @ d, -20.0, 20.0)
            z = (y - a - x_loc @ b) * np.exp(-log_scale)
            loss += float(np.sum(log_scale + (df + 1) / 2 * np.log1p(z * z / df)))
            pull = (df + 1.0) * z / (df + z * z)
            by_loc, by_scale = -pull * np.exp(-log_scale) / count, (1.0 - pull * z) / count
            of_df += float(np.sum(np.log1p(z * z / df) - pull * z / df))
            sums = [by_loc.sum()], [by_scale.sum()]
            gradient += np.concatenate([x_loc.T @ by_loc, x_scale.T @ by_scale, *sums])
        by_df = of_df / count / 2.0 - digammas / 2.0
        gradient[: len(b)] += self.loc.penalty * b
        gradient[len(b) : -2] += self.scale.penalty * d
        ridge = (self.loc.penalty @ (b * b) + self.scale.penalty @ (d * d)) / 2.0
        value = loss / count - constant + ridge
        return float(value), np.append(gradient, by_df * (df - LEAST_DF))
