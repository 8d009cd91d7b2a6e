"""Forecasts that cannot be meant: not a number, or far outside of what their ticker ever did.

Shape letters: N rows of the panel, S series.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from forecaster.data.panel import Panel
from forecaster.errors import ArtifactError

# A forecast may lie outside the range of its ticker's own days by that range, and by this on the
# log scale of all targets where the range is narrower (a halted series has none).
LEAST_MARGIN: Final = 0.1
# A version with more such forecasts than this share is corrupt; fewer are their tickers' fault.
MOST_ABSURD: Final = 0.5


def absurd_forecasts(
    panel: Panel, centers: Mapping[str, np.ndarray], able: NDArray[np.bool_]
) -> dict[str, str]:
    """Explain, by ticker, which forecasts are absurd.

    Args:
        centers: (S,) by target, each series' forecast from its newest row, without the level.
        able: (S,) the series whose newest row can be forecast.

    A forecast is absurd below low - m or above high + m, where low and high are the extremes of
    the target over all of its ticker's days and m is high - low, at least `LEAST_MARGIN`.
    """
    found = dict[str, str]()
    for target, center in centers.items():
        k, newest = panel.targets.index(target), panel.newest
        level, starts = panel.level[newest, k], panel.series_offsets[:-1]
        low, high = (f.reduceat(panel.today[:, k], starts) for f in (np.fmin, np.fmax))
        ready = able & np.isfinite(level)
        found |= absurd_values(panel.tickers, target, center + level, (low, high), ready)
    return found


def absurd_values(
    tickers: Sequence[str],
    target: str,
    values: np.ndarray,
    extremes: tuple[np.ndarray, np.ndarray],
    able: NDArray[np.bool_],
) -> dict[str, str]:
    """Explain which forecasts (S,) of one target are absurd, by its extremes (S,) of all days."""
    (low, high), found = extremes, {}
    margin = np.maximum(high - low, LEAST_MARGIN)
    inside = (values >= low - margin) & (values <= high + margin)
    for number in np.flatnonzero(able & np.isfinite(margin) & ~inside):
        ticker = tickers[int(number)]
        found[ticker] = (
            f"{ticker}: a {target} forecast of {values[number]:.4g}, where all of its days lie "
            f"between {low[number]:.4g} and {high[number]:.4g}"
        )
    return found


def refuse_damaged(version: str, absurd: Collection[str], of: int) -> None:
    """Raise ArtifactError if more than `MOST_ABSURD` of a version's forecasts are absurd."""
    if len(absurd) > MOST_ABSURD * of:
        raise ArtifactError(
            f"Version {version} is corrupt: {len(absurd)} of {of} forecasts are absurd ("
            f"{next(iter(absurd))}). Train again, or name another version; see: forecaster models "
            "list"
        )
