"""Forecast distributions: points and Student-t, with their quantiles, densities and scores.

One value is N forecasts of one target. A row that cannot be forecast has NaN parameters and
results.

Shape letters: N forecasts, Q levels, M members of an ensemble.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from forecaster.errors import DataError

NORMAL_FROM = 1e6  # degrees of freedom beyond which a Student-t is computed as the normal


class Predictive(ABC):
    """The forecast distributions of N outcomes; immutable, all rows at once."""

    @abstractmethod
    def __len__(self) -> int:
        """Return N."""

    @abstractmethod
    def mean(self) -> np.ndarray:
        """Return the expected outcomes, (N,)."""

    @abstractmethod
    def quantile(self, levels: Sequence[float] | np.ndarray) -> np.ndarray:
        """Return the quantiles at probabilities `levels` (Q,), (N, Q)."""

    @abstractmethod
    def cdf(self, y: np.ndarray | float) -> np.ndarray:
        """Return the probability of at most `y`, (N,) or one number: the PIT of outcomes, (N,)."""

    @abstractmethod
    def log_density(self, y: np.ndarray) -> np.ndarray:
        """Return the log density at `y` (N,) in nats per unit of y, (N,); NaN without one."""

    @abstractmethod
    def crps(self, y: np.ndarray) -> np.ndarray:
        """Return the continuous ranked probability score of outcomes `y` (N,), (N,) >= 0.

        In the outcome's unit, lower is better; the absolute error of a point forecast.

        Source: Gneiting and Raftery (2007), "Strictly Proper Scoring Rules, Prediction, and
            Estimation", eq. 20, with the sign turned.
        """

    @abstractmethod
    def take(self, rows: np.ndarray) -> "Predictive":
        """Return the forecasts of some rows, given as numbers or as a mask (N,)."""

    def interval(self, coverage: float) -> np.ndarray:
        """Return the central interval of nominal coverage `coverage`, (N, 2)."""
        tail = (1.0 - coverage) / 2.0
        return self.quantile([tail, 1.0 - tail])

    def probability_above(self, x: np.ndarray | float) -> np.ndarray:
        """Return the probability of more than `x`, one number or (N,), (N,)."""
        return 1.0 - self.cdf(x)


@dataclass(frozen=True, slots=True, eq=False)
class Point(Predictive):
    """Point forecasts `value` (N,): no density, CRPS equal to the absolute error."""

    value: np.ndarray

    def __len__(self) -> int:
        return len(self.value)

    def mean(self) -> np.ndarray:
        """Return the value itself, (N,)."""
        return self.value

    def quantile(self, levels: Sequence[float] | np.ndarray) -> np.ndarray:
        """Return the value at every level, (N, Q)."""
        return np.repeat(self.value[:, None], len(levels), axis=1)

    def cdf(self, y: np.ndarray | float) -> np.ndarray:
        """Return 0 below the value and 1 from it on, (N,)."""
        reached = (np.asarray(y) >= self.value).astype(float)
        return np.where(np.isfinite(self.value) & ~np.isnan(y), reached, np.nan)

    def log_density(self, y: np.ndarray) -> np.ndarray:
        """Return NaN, (N,): there is no density."""
        return np.full(len(self.value), np.nan)

    def crps(self, y: np.ndarray) -> np.ndarray:
        """Return the absolute error, (N,)."""
        return np.asarray(np.abs(y - self.value))

    def take(self, rows: np.ndarray) -> "Point":
        """Return some rows."""
        return Point(self.value[rows])


@dataclass(frozen=True, slots=True, eq=False)
class StudentT(Predictive):
    """Student-t distributions: `loc`, `scale` and degrees of freedom `df`, each (N,).

    The standard deviation is scale sqrt(df / (df - 2)) for df > 2; `df` infinite is the normal.

    Raises:
        DataError: the lengths differ, a scale is not above 0, or a df not above 1, where the
            mean and the CRPS end.
    """

    loc: np.ndarray
    scale: np.ndarray
    df: np.ndarray

    def __post_init__(self) -> None:
        """Check lengths and parameter ranges."""
        if not len(self.loc) == len(self.scale) == len(self.df):
            raise DataError(
                f"Student-t: {len(self.loc)} locations, {len(self.scale)} scales and "
                f"{len(self.df)} degrees of freedom; give one of each per forecast."
            )
        for name, values, least in (("scale", self.scale, 0.0), ("df", self.df, 1.0)):
            if (values <= least).any():
                raise DataError(
                    f"Student-t: the lowest {name} is {np.nanmin(values):g}, it must be above "
                    f"{least:g}; a row that cannot be forecast takes NaN."
                )

    def __len__(self) -> int:
        return len(self.loc)

    def mean(self) -> np.ndarray:
        """Return the locations, (N,)."""
        return self.loc

    def quantile(self, levels: Sequence[float] | np.ndarray) -> np.ndarray:
        """Return loc + scale t_df^-1(level), (N, Q)."""
        z = special.stdtrit(self.df[:, None], np.asarray(levels)[None, :])
        return np.asarray(self.loc[:, None] + self.scale[:, None] * z)

    def cdf(self, y: np.ndarray | float) -> np.ndarray:
        """Return t_df((y - loc) / scale), (N,)."""
        return np.asarray(special.stdtr(self.df, (y - self.loc) / self.scale))

    def log_density(self, y: np.ndarray) -> np.ndarray:
        """Return the log density, (N,); a density would underflow far out."""
        z = (y - self.loc) / self.scale
        normal = self.df > NORMAL_FROM
        df = np.where(normal, NORMAL_FROM, self.df)
        constant = special.gammaln((df + 1.0) / 2.0) - special.gammaln(df / 2.0)
        of_t = constant - 0.5 * np.log(df * np.pi) - (df + 1.0) / 2.0 * np.log1p(z * z / df)
        of_normal = -0.5 * z * z - 0.5 * np.log(2.0 * np.pi)
        return np.asarray(np.where(normal, of_normal, of_t) - np.log(self.scale))

    def crps(self, y: np.ndarray) -> np.ndarray:
        """Return the closed form, (N,).

            CRPS = scale (z (2 F(z) - 1) + 2 f(z) (df + z^2) / (df - 1) - c)
            c = 2 sqrt(df) / (df - 1) B(1/2, df - 1/2) / B(1/2, df/2)^2;  1 / sqrt(pi) if normal

        Source: Jordan, Krüger and Lerch (2019), "Evaluating Probabilistic Forecasts with
            scoringRules", appendix A.
        """
        z, normal = (y - self.loc) / self.scale, self.df > NORMAL_FROM
        df = np.where(normal, 2.0, self.df)  # any, where the normal's constant is taken
        constant = 2.0 * np.sqrt(df) / (df - 1.0) * special.beta(0.5, df - 0.5)
        constant = np.where(normal, np.pi**-0.5, constant / special.beta(0.5, df / 2.0) ** 2)
        growth = np.where(normal, 1.0, (df + z * z) / (df - 1.0))
        density = self.scale * np.exp(self.log_density(y))
        return np.asarray(
            self.scale * (z * (2.0 * self.cdf(y) - 1.0) + 2.0 * density * growth - constant)
        )

    def take(self, rows: np.ndarray) -> "StudentT":
        """Return some rows."""
        return StudentT(self.loc[rows], self.scale[rows], self.df[rows])


def student_scale(deviation: np.ndarray, df: np.ndarray) -> np.ndarray:
    """Return the scale parameter (N,) of a Student-t with this standard deviation, df above 2."""
    return deviation * np.sqrt(1.0 - 2.0 / df)


def normal(loc: np.ndarray, deviation: np.ndarray) -> StudentT:
    """Return the normal distribution with these means and standard deviations, each (N,)."""
    return StudentT(loc, deviation, np.full(len(loc), np.inf))
