"""Forecast distributions as plain arrays: to be put together from folds, sent, and kept on disk.

Shape letters: N rows of the panel, n rows of one part, K targets.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from forecaster.errors import ArtifactError
from forecaster.evaluation.distributions import Point, Predictive, StudentT
from forecaster.evaluation.empirical import Quantiles

Arrays = dict[str, np.ndarray]
Part = tuple[np.ndarray, tuple[Predictive, ...]]


def arrays_of(predictive: Predictive) -> Arrays:
    """Write a distribution as arrays by name; `from_arrays` reads them.

    Raises:
        TypeError: of a kind that no network states.
    """
    if isinstance(predictive, StudentT):
        return {"loc": predictive.loc, "scale": predictive.scale, "df": predictive.df}
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
    for kind, names in ((StudentT, {"loc", "scale", "df"}), (Quantiles, {"levels", "values"})):
        if set(arrays) == names:
            return kind(**arrays)
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
