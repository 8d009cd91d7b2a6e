"""Forecast distributions from numbers: quantiles of a network, samples of past returns.

Shape letters: N forecasts, Q levels, D days of the pool.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from forecaster.errors import DataError
from forecaster.evaluation.distributions import Predictive

# At which forecasts are calibrated.
LEVELS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975)
BATCH_VALUES = 4_000_000  # values gathered at once, 32 MB


@dataclass(frozen=True, slots=True, eq=False)
class Quantiles(Predictive):
    """Distributions interpolated between quantiles `values` (N, Q) at `levels` (Q,).

    Between two levels the cdf is linear; beyond the outermost ones the tails are exponential,
    with the density of the adjacent segment. Values out of order are sorted.

    Raises:
        DataError: fewer than two levels, or levels that do not rise strictly within 0..1.

    Source: sorting: Chernozhukov, Fernandez-Val and Galichon (2010), "Quantile and Probability
        Curves Without Crossing".
    """

    levels: np.ndarray
    values: np.ndarray

    def __post_init__(self) -> None:
        """Check the levels and sort the values."""
        levels = np.asarray(self.levels, dtype=float)
        inside = len(levels) >= 2 and levels[0] > 0.0 and levels[-1] < 1.0
        if not (inside and (np.diff(levels) > 0.0).all()):
            raise DataError(
                f"Quantiles: levels {levels.tolist()}; at least two are needed, rising strictly "
                "between 0 and 1."
            )
        object.__setattr__(self, "levels", levels)
        object.__setattr__(self, "values", np.sort(self.values, axis=1))

    def __len__(self) -> int:
        return len(self.values)

    def _parts(self) -> tuple[np.ndarray, ...]:
        """Return levels, values, and the exponential scales below and above, each (N,)."""
        p, q = self.levels, self.values
        below = p[0] * (q[:, 1] - q[:, 0]) / (p[1] - p[0])
        above = (1.0 - p[-1]) * (q[:, -1] - q[:, -2]) / (p[-1] - p[-2])
        return p, q, below, above

    def mean(self) -> np.ndarray:
        """Return the mean over segments and tails, (N,)."""
        p, q, below, above = self._parts()
        middle = ((q[:, 1:] + q[:, :-1]) / 2.0) @ np.diff(p)
        return np.asarray(middle + p[0] * (q[:, 0] - below) + (1.0 - p[-1]) * (q[:, -1] + above))

    def quantile(self, levels: Sequence[float] | np.ndarray) -> np.ndarray:
        """Return the inverse of the cdf at each level, (N, Q)."""
        p, q, below, above = self._parts()
        found = []
        for level in np.asarray(levels, dtype=float):
            if level < p[0]:
                found.append(q[:, 0] + below * np.log(level / p[0]))
            elif level > p[-1]:
                found.append(q[:, -1] - above * np.log((1.0 - level) / (1.0 - p[-1])))
            else:
                right = max(int(np.searchsorted(p, level)), 1)
                share = (level - p[right - 1]) / (p[right] - p[right - 1])
                found.append(q[:, right - 1] * (1.0 - share) + q[:, right] * share)
        return np.column_stack(found)

    def cdf(self, y: np.ndarray | float) -> np.ndarray:
        """Return the interpolated probability, (N,); the highest where quantiles coincide."""
        p, q, below, above = self._parts()
        y = np.broadcast_to(np.asarray(y, dtype=float), (len(q),))
        left, start, stop = self._segment(y)
        share = np.clip(_ratio(y - start, stop - start), 0.0, 1.0)
        inner = p[left] + share * (p[left + 1] - p[left])
        low = p[0] * np.exp(-_ratio(np.maximum(q[:, 0] - y, 0.0), below))
        high = 1.0 - (1.0 - p[-1]) * np.exp(-_ratio(np.maximum(y - q[:, -1], 0.0), above))
        found = np.where(y < q[:, 0], low, np.where(y >= q[:, -1], high, inner))
        return np.where(np.isnan(y) | np.isnan(q).any(axis=1), np.nan, found)

    def _segment(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the segment of each outcome, the nearest if outside, and its ends, each (N,)."""
        q, rows = self.values, np.arange(len(self.values))
        left = np.clip((q <= y[:, None]).sum(axis=1) - 1, 0, len(self.levels) - 2)
        return left, q[rows, left], q[rows, left + 1]

    def log_density(self, y: np.ndarray) -> np.ndarray:
        """Return the log of the cdf's slope, (N,); NaN where adjacent quantiles coincide."""
        p, q, below, above = self._parts()
        left, start, stop = self._segment(y)
        width = stop - start
        low, high = y < q[:, 0], y >= q[:, -1]
        slope = _ratio(np.diff(p)[left], width)
        out = np.where(low, _ratio(q[:, 0] - y, below), _ratio(y - q[:, -1], above))
        known = (width > 0.0) & np.isfinite(y)
        logs = np.log(np.where(known, slope, 1.0)) - np.where(low | high, out, 0.0)
        return np.where(known, logs, np.nan)

    def crps(self, y: np.ndarray) -> np.ndarray:
        """Return the exact integral of (F - 1{y <= x})^2, (N,).

        The mean pinball loss of scoringrules equals it only in the limit of many even levels.
        """
        p, q, below, above = self._parts()
        at = self.cdf(y)
        middle = np.clip(y[:, None], q[:, :-1], q[:, 1:])
        share = _ratio(middle - q[:, :-1], q[:, 1:] - q[:, :-1])
        here = p[:-1] + share * np.diff(p)
        under = (middle - q[:, :-1]) * _square_mean(p[:-1], here)
        over = (q[:, 1:] - middle) * _square_mean(1.0 - here, 1.0 - p[1:])
        score = (under + over).sum(axis=1)
        score = score + _tail_crps(p[0], below, q[:, 0] - y, at)
        return np.asarray(score + _tail_crps(1.0 - p[-1], above, y - q[:, -1], 1.0 - at))

    def take(self, rows: np.ndarray) -> "Quantiles":
        """Return some rows."""
        return Quantiles(self.levels, self.values[rows])


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide where `below` is positive; elsewhere return 0 for 0 / 0, else a signed infinity."""
    limit = np.where(above == 0.0, 0.0, np.copysign(np.inf, above))
    limit = np.where(np.isnan(above + below), np.nan, limit)
    return np.asarray(np.divide(above, below, out=limit, where=below > 0.0))


def _square_mean(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return the mean of the square of a line from `first` to `last`."""
    return np.asarray((first * first + first * last + last * last) / 3.0)


def _tail_crps(mass: float, scale: np.ndarray, beyond: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Integrate an exponential tail; `beyond` is how far the outcome lies in it, `at` its F."""
    inside = mass * mass * scale / 2.0
    left = at * at * scale / 2.0
    crossed = beyond - 2.0 * scale * (mass - at) + scale / 2.0 * (mass * mass - at * at)
    return np.where(beyond > 0.0, left + crossed, inside)


@dataclass(frozen=True, slots=True, eq=False)
class Samples(Predictive):
    """Empirical distributions: row n is `pool[starts[n]:stops[n]]`, no forecast where empty."""

    pool: np.ndarray
    starts: np.ndarray
    stops: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def _each(self, of: Callable[[np.ndarray, np.ndarray], np.ndarray], *shape: int) -> np.ndarray:
        """Return `of(rows, values (n, length))` of rows of equal length, (N, ...); else NaN."""
        found = np.full((len(self.starts), *shape), np.nan)
        lengths = self.stops - self.starts
        for length in np.unique(lengths[lengths > 0]):
            rows = np.flatnonzero(lengths == length)
            size = max(BATCH_VALUES // int(length), 1)
            for first in range(0, len(rows), size):
                some = rows[first : first + size]
                found[some] = of(some, self.pool[self.starts[some, None] + np.arange(length)])
        return found

    def mean(self) -> np.ndarray:
        """Return the mean of each window, (N,)."""
        return self._each(lambda _, values: values.mean(axis=1))

    def quantile(self, levels: Sequence[float] | np.ndarray) -> np.ndarray:
        """Return each window's linearly interpolated quantiles, (N, Q)."""
        return self._each(lambda _, values: np.quantile(values, levels, axis=1).T, len(levels))

    def cdf(self, y: np.ndarray | float) -> np.ndarray:
        """Return the share of each window that is at most `y`, (N,)."""
        y = np.broadcast_to(np.asarray(y, dtype=float), (len(self.starts),))
        share = self._each(lambda rows, values: (values <= y[rows, None]).mean(axis=1))
        return np.where(np.isnan(y), np.nan, share)

    def log_density(self, y: np.ndarray) -> np.ndarray:
        """Return NaN, (N,): there is no density."""
        return np.full(len(self.starts), np.nan)

    def crps(self, y: np.ndarray) -> np.ndarray:
        """Return the CRPS of each empirical distribution, (N,).

        Source: Jordan, Krüger and Lerch (2019), "Evaluating Probabilistic Forecasts with
            scoringRules", eq. 3.
        """

        def scored(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
            size, beyond = values.shape[1], np.sort(values, axis=1) - y[rows, None]
            rank = np.arange(size) + 0.5
            losses = np.maximum((size - rank) * beyond, -rank * beyond)
            return np.asarray(2.0 * losses.sum(axis=1) / size**2)

        return self._each(scored)

    def take(self, rows: np.ndarray) -> "Samples":
        """Return some rows; they share the pool."""
        return Samples(self.pool, self.starts[rows], self.stops[rows])
