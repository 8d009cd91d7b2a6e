"""Student-t regression: location and log scale linear in inputs.

Arrays in, a value of numbers out; knows no ticker and no network.

Shape letters: N rows, P inputs of the location, R inputs of the scale, C components.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special
from scipy.optimize import minimize

from forecaster.errors import DataError
from forecaster.evaluation.distributions import StudentT

# On the weights of standardized inputs, added to the mean loss of a row. Strong, because relations
# to volatility change over the years; docs/experiments.md compares weaker ones.
RIDGE = 0.1
LEAST_DF, MOST_DF = 2.05, 200.0  # a variance must exist; beyond 200 it is the normal
COLLINEAR = 1e-9  # share of the largest variance below which a direction is dropped


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudentRegression:
    """y ~ Student-t(loc = a + x_loc b, log scale = c + x_scale d, df), in raw units.

    `loc_intercept` a, `loc_weights` b (P,), `scale_intercept` c, `scale_weights` d (R,), `df`,
    mean `loss` of the training rows in nats, and whether the search `converged`.
    """

    loc_intercept: float
    loc_weights: np.ndarray
    scale_intercept: float
    scale_weights: np.ndarray
    df: float
    loss: float
    converged: bool

    def predict(self, x_loc: np.ndarray, x_scale: np.ndarray) -> StudentT:
        """Forecast rows from their inputs (N, P) and (N, R); a NaN input gives a NaN row."""
        loc = self.loc_intercept + x_loc @ self.loc_weights
        log_scale = self.scale_intercept + x_scale @ self.scale_weights
        df = np.where(np.isnan(loc + log_scale), np.nan, self.df)
        return StudentT(loc, np.exp(log_scale), df)


def fit_student_regression(
    x_loc: np.ndarray,
    x_scale: np.ndarray,
    y: np.ndarray,
    fit: np.ndarray,
    *,
    ridge: float = RIDGE,
) -> StudentRegression:
    """Fit by penalized maximum likelihood with exact gradients and L-BFGS.

    Both input matrices are first rotated to uncorrelated directions: the search then takes tens
    of steps instead of hundreds, and constant or collinear directions are dropped.

    Args:
        x_loc: (N, P) inputs of the location, scaled and clipped by the caller; P may be 0.
        x_scale: (N, R) inputs of the log scale; R may be 0.
        y: (N,) outcomes, NaN where unknown; only training rows are read.
        fit: (N,) training rows; rows without an outcome or with a NaN input are left out.
        ridge: penalty on the squared weights of standardized inputs, added to the mean loss.

    Raises:
        DataError: fewer training rows than twice the parameters, or constant outcomes.

    Source: Lange, Little and Taylor (1989), "Robust Statistical Modeling Using the t
        Distribution". Deviation: the log scale is linear in inputs of its own.
    """
    known = np.isfinite(y) & np.isfinite(x_loc).all(axis=1) & np.isfinite(x_scale).all(axis=1)
    rows = np.flatnonzero(fit & known)
    center, spread = _center_and_spread(y[rows], x_loc.shape[1] + x_scale.shape[1] + 3)
    loc, scale = _Rotation.of(x_loc[rows], ridge), _Rotation.of(x_scale[rows], ridge)
    problem = _Problem((y[rows] - center) / spread, loc, scale)
    start = np.zeros(loc.size + scale.size + 3)
    start[-2:] = np.log(0.7), np.log(5.0 - LEAST_DF)
    bounds = [(None, None)] * (len(start) - 1) + [(-10.0, np.log(MOST_DF - LEAST_DF))]
    done = minimize(problem, start, jac=True, method="L-BFGS-B", bounds=bounds)
    a, b, c, d = problem.parts(done.x)
    loc_weights, scale_weights = spread * (loc.back @ b), scale.back @ d
    return StudentRegression(
        loc_intercept=float(center + spread * a - loc.mean @ loc_weights),
        loc_weights=loc_weights,
        scale_intercept=float(np.log(spread) + c - scale.mean @ scale_weights),
        scale_weights=scale_weights,
        df=float(LEAST_DF + np.exp(done.x[-1])),
        loss=float(problem.loss(done.x) + np.log(spread)),
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
    """Inputs (N, C) in uncorrelated directions of variance 1, and the matrix back (P, C)."""

    mean: np.ndarray
    back: np.ndarray
    inputs: np.ndarray
    penalty: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, ridge: float) -> "_Rotation":
        """Rotate by the eigenvectors of the correlation matrix."""
        mean, deviation = x.mean(axis=0), x.std(axis=0)
        moving = deviation > 1e-12 * np.maximum(np.abs(mean), 1e-300)
        unit = np.where(moving, 1.0 / np.where(moving, deviation, 1.0), 0.0)
        standard = (x - mean) * unit
        variances, directions = np.linalg.eigh(standard.T @ standard / max(len(x), 1))
        kept = variances > COLLINEAR * max(variances.max(initial=0.0), 1e-300)
        way = directions[:, kept] / np.sqrt(variances[kept])
        return cls(mean, unit[:, None] * way, standard @ way, ridge / variances[kept])

    @property
    def size(self) -> int:
        return int(self.inputs.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """The mean negative log-likelihood with its ridge, and its gradient."""

    y: np.ndarray
    loc: _Rotation
    scale: _Rotation

    def parts(self, numbers: np.ndarray) -> tuple[float, np.ndarray, float, np.ndarray]:
        """Return a, b, c, d out of [b, d, a, c, log(df - 2.05)]."""
        b, d = numbers[: self.loc.size], numbers[self.loc.size : -3]
        return float(numbers[-3]), b, float(numbers[-2]), d

    def loss(self, numbers: np.ndarray) -> float:
        """Return the mean loss without the ridge, in nats of the standardized outcome."""
        log_scale, z = self._standardized(numbers)
        df = LEAST_DF + np.exp(numbers[-1])
        constant = special.gammaln((df + 1) / 2) - special.gammaln(df / 2) - np.log(df * np.pi) / 2
        return float(np.mean(log_scale + (df + 1) / 2 * np.log1p(z * z / df)) - constant)

    def _standardized(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b, c, d = self.parts(numbers)
        log_scale = np.clip(c + self.scale.inputs @ d, -20.0, 20.0)
        return log_scale, (self.y - a - self.loc.inputs @ b) * np.exp(-log_scale)

    def __call__(self, numbers: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the penalized mean loss and its gradient."""
        _, b, _, d = self.parts(numbers)
        log_scale, z = self._standardized(numbers)
        df = LEAST_DF + np.exp(numbers[-1])
        pull = (df + 1.0) * z / (df + z * z)
        by_loc, by_scale = -pull * np.exp(-log_scale) / len(z), (1.0 - pull * z) / len(z)
        digammas = special.digamma((df + 1) / 2) - special.digamma(df / 2) - 1.0 / df
        by_df = np.mean(np.log1p(z * z / df) - pull * z / df) / 2.0 - digammas / 2.0
        gradient = np.concatenate(
            [
                self.loc.inputs.T @ by_loc + self.loc.penalty * b,
                self.scale.inputs.T @ by_scale + self.scale.penalty * d,
                [by_loc.sum(), by_scale.sum(), by_df * (df - LEAST_DF)],
            ]
        )
        ridge = (self.loc.penalty @ (b * b) + self.scale.penalty @ (d * d)) / 2.0
        return self.loss(numbers) + ridge, gradient
