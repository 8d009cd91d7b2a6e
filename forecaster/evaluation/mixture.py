"""Mixtures of ensemble members, and forecast distributions as plain arrays.

Shape letters: N rows, n rows of one part, K targets, M members of a mixture.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy import special

from forecaster.errors import ArtifactError, DataError
from forecaster.evaluation.distributions import Point, Predictive, StudentT
from forecaster.evaluation.quantiles import Quantiles

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)
BATCH_ROWS = 20_000


def mixture(members: Sequence[Predictive]) -> Predictive:
    """Combine ensemble members of one kind, mixtures of equal size too, with equal weights.

    Returns:
        The mixture of Student-t distributions, the mean of points, the mean by level of quantiles
        (a mixture of quantiles would widen the distribution).

    Raises:
        DataError: no member, members of different kinds or lengths, or a kind without a mean.

    Source: averaging quantiles: Lichtendahl, Grushka-Cockayne and Winkler (2013), "Is It Better
        to Average Probabilities or Quantiles?"
    """
    kinds = {type(member) for member in members}
    if len(kinds) != 1 or len({len(member) for member in members}) != 1:
        raise DataError(
            f"Mixture of {len(members)} members: {sorted(kind.__name__ for kind in kinds)} of "
            f"{sorted({len(member) for member in members})} rows; needed is one kind, one length."
        )
    if len(members) == 1:
        return members[0]
    if all(isinstance(member, StudentT) for member in members):
        return Mixture(tuple(members))
    mixtures = [member for member in members if isinstance(member, Mixture)]
    if len({len(member.members) for member in mixtures}) == 1:
        return Mixture(tuple(part for member in mixtures for part in member.members))
    if all(isinstance(member, Point) for member in members):
        return Point(np.mean([member.mean() for member in members], axis=0))
    quantiles = [member for member in members if isinstance(member, Quantiles)]
    levels = {tuple(member.levels) for member in quantiles}
    if len(levels) != 1:
        raise DataError(
            f"Mixture: {kinds.pop().__name__} at {len(levels)} sets of levels has no average; "
            "give Student-t, points, or quantiles at the same levels."
        )
    return Quantiles(quantiles[0].levels, np.mean([q.values for q in quantiles], axis=0))


@dataclass(frozen=True, slots=True, eq=False)
class Mixture(Predictive):
    """Equally weighted mixture of M distributions of the same N outcomes, with densities."""

    members: tuple[Predictive, ...]

    def __len__(self) -> int:
        return len(self.members[0])

    def mean(self) -> np.ndarray:
        """Return the mean of the members' means, (N,)."""
        return np.asarray(np.mean([member.mean() for member in self.members], axis=0))

    def cdf(self, y: np.ndarray | float) -> np.ndarray:
        """Return the mean of the members' probabilities, (N,)."""
        return np.asarray(np.mean([member.cdf(y) for member in self.members], axis=0))

    def log_density(self, y: np.ndarray) -> np.ndarray:
        """Return the log of the mean density, (N,)."""
        logs = np.stack([member.log_density(y) for member in self.members])
        return np.asarray(special.logsumexp(logs, axis=0) - np.log(len(self.members)))

    def quantile(self, levels: Sequence[float] | np.ndarray) -> np.ndarray:
        """Return the roots of cdf = level between the members' quantiles, (N, Q)."""
        each = np.stack([member.quantile(levels) for member in self.members])
        low, high = each.min(axis=0), each.max(axis=0)
        found = np.full(low.shape, np.nan)
        for column, level in enumerate(np.asarray(levels, dtype=float)):
            rows = np.flatnonzero(high[:, column] > low[:, column])
            found[:, column] = low[:, column]
            found[rows, column] = self._root(rows, low[rows, column], high[rows, column], level)
        return found

    def _root(
        self, rows: np.ndarray, low: np.ndarray, high: np.ndarray, level: float
    ) -> np.ndarray:
        """Find the root of cdf = `level` for each row by Chandrupatla's method."""
        if len(rows) == 0:
            return low
        from scipy.optimize import elementwise

        margin = 1e-9 * (high - low) + 1e-12 * np.abs(high)

        def excess(x: np.ndarray, row: np.ndarray) -> np.ndarray:
            return self.take(row).cdf(x) - level

        solved = elementwise.find_root(
            excess,
            (low - margin, high + margin),
            args=(rows,),
            tolerances={"xatol": 0.0, "xrtol": 1e-10, "fatol": 1e-11, "frtol": 0.0},
        )
        return np.asarray(solved.x)

    def crps(self, y: np.ndarray) -> np.ndarray:
        """Integrate (F - 1{y <= x})^2 by Gauss-Legendre, (N,).

        Three intervals, split at the mixture's mean and at the outcome, with 48 nodes each; the
        outer two extend to infinity by x = edge +- s u / (1 - u).
        """
        parts = [
            self.take(rows)._crps(y[rows])
            for rows in np.split(np.arange(len(self)), np.arange(BATCH_ROWS, len(self), BATCH_ROWS))
        ]
        return np.concatenate(parts)

    def _crps(self, y: np.ndarray) -> np.ndarray:
        middle, spread = self.mean(), np.ptp(self.interval(0.8), axis=1)
        low, high = np.minimum(y, middle), np.maximum(y, middle)
        total = np.zeros(len(y))
        for node, weight in zip((_NODES + 1.0) / 2.0, _WEIGHTS / 2.0, strict=True):
            step, growth = spread * node / (1.0 - node), spread / (1.0 - node) ** 2
            total += weight * growth * self.cdf(low - step) ** 2
            total += weight * growth * (1.0 - self.cdf(high + step)) ** 2
            between = self.cdf(low + (high - low) * node)
            between = np.where(middle < y, between, 1.0 - between)
            total += weight * (high - low) * between**2
        return total

    def take(self, rows: np.ndarray) -> "Mixture":
        """Return some rows of every member."""
        return Mixture(tuple(member.take(rows) for member in self.members))


Arrays = dict[str, np.ndarray]
Part = tuple[np.ndarray, tuple[Predictive, ...]]
# The distributions that networks forecast, by the names of their arrays.
KINDS: dict[frozenset[str], type[Predictive]] = {
    frozenset(field.name for field in fields(kind)): kind for kind in (Point, StudentT, Quantiles)
}


def arrays_of(predictive: Predictive) -> Arrays:
    """Convert a distribution to arrays by name; those of a mixture have a column per member.

    Raises:
        TypeError: a kind that no network forecasts.
    """
    if isinstance(predictive, Mixture):
        parts = [arrays_of(member) for member in predictive.members]
        return {name: np.column_stack([part[name] for part in parts]) for name in parts[0]}
    for names, kind in KINDS.items():
        if isinstance(predictive, kind):
            return {name: getattr(predictive, name) for name in sorted(names)}
    raise TypeError(f"{type(predictive).__name__} has no arrays")


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Predictive:
    """Convert arrays by name back to a distribution.

    Raises:
        ArtifactError: no distribution has arrays of these names.
    """
    kind = KINDS.get(frozenset(arrays))
    if kind is None:
        raise ArtifactError(
            f"Arrays {sorted(arrays)} are not a forecast; delete the file and run again."
        )
    if kind is not StudentT:
        return kind(**arrays)
    members = zip(*(np.atleast_2d(column.T) for column in arrays.values()), strict=True)
    return mixture([StudentT(**dict(zip(arrays, member, strict=True))) for member in members])


def assemble(parts: Iterable[Part], rows: np.ndarray) -> tuple[Predictive, ...]:
    """Assemble forecasts of parts of some `rows` (N,), rising, into K forecasts of all of them.

    NaN where no part has a forecast.
    """
    assembled: defaultdict[int, Arrays] = defaultdict(dict)
    for numbers, forecasts in parts:
        places = np.searchsorted(rows, numbers)
        for k, forecast in enumerate(forecasts):
            for name, array in arrays_of(forecast).items():
                if name == "levels":
                    assembled[k][name] = array
                    continue
                if name not in assembled[k]:
                    assembled[k][name] = np.full((len(rows), *array.shape[1:]), np.nan)
                assembled[k][name][places] = array
    return tuple(from_arrays(arrays) for arrays in assembled.values())
