"""Forecast distributions as plain arrays: to be put together from folds, sent, and kept on disk.

Shape letters: N rows of the panel, n rows of one part, K targets, M members of a mixture.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from forecaster.errors import ArtifactError
from forecaster.evaluation.distributions import Point, Predictive, StudentT
from forecaster.evaluation.empirical import Quantiles
from forecaster.evaluation.mixture import Mixture, mixture

Arrays = dict[str, np.ndarray]
STUDENT = ("loc", "scale", "df")
Part = tuple[np.ndarray, tuple[Predictive, ...]]


def arrays_of(predictive: Predictive) -> Arrays:
    """Write a distribution as arrays by name; `from_arrays` reads them.

    A mixture of M Student-t has those of a Student-t with a column for each member, (n, M).

    Raises:
        TypeError: of a kind that no network states.
    """
    if isinstance(predictive, StudentT):
        return {name: getattr(predictive, name) for name in STUDENT}
    if isinstance(predictive, Mixture):
        parts = [arrays_of(member) for member in predictive.members]
        return {name: np.column_stack([part[name] for part in parts]) for name in STUDENT}
    if isinstance(predictive, Quantiles):
        return {"levels": predictive.levels, "values": predictive.values}
    if isinstance(predictive, Point):
        return {"value": predictive.value}
    raise TypeError(f"{type(predictive).__name__} is not stated by networks")


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Predictive:
    """Read a distribution back.

    Raises:
        ArtifactError: the names are those of no distribution.
    """
    if set(arrays) == set(STUDENT):
        columns = [np.atleast_2d(arrays[name].T) for name in STUDENT]
        return mixture([StudentT(*member) for member in zip(*columns, strict=True)])
    if set(arrays) == {"levels", "values"}:
        return Quantiles(**arrays)
    if set(arrays) == {"value"}:
        return Point(**arrays)
    raise ArtifactError(f"Arrays {sorted(arrays)} are no forecast; delete the file, and run again.")


def put_together(parts: Iterable[Part], rows: int) -> tuple[Predictive, ...]:
    """Lay parts of a panel's rows into forecasts of all N rows, NaN where none has any.

    Args:
        parts: row numbers (n,) and the K forecasts of those rows, of the same kinds each.
        rows: N.
    """
    whole: list[Arrays] = []
    for numbers, forecasts in parts:
        for k, forecast in enumerate(forecasts):
            arrays = arrays_of(forecast)
            if k == len(whole):
                whole.append({name: _empty(name, array, rows) for name, array in arrays.items()})
            for name, array in arrays.items():
                if name != "levels":
                    whole[k][name][numbers] = array
    return tuple(from_arrays(arrays) for arrays in whole)


def _empty(name: str, array: np.ndarray, rows: int) -> np.ndarray:
    return array if name == "levels" else np.full((rows, *array.shape[1:]), np.nan)
