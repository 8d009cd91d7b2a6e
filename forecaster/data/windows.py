"""Find the windows of a ragged panel, as row numbers.

Index arithmetic only: nothing is copied. Knows no torch, no ticker and no date.

Shape letters: N flat rows, S series, M windows, L lookback days.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.data.lanes import Segment


def window_ends(
    offsets: NDArray[np.int64], lookback: int, eligible: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Find the rows whose last `lookback` days, their own included, lie in one series.

    Args:
        offsets: (S + 1,) flat row where each series begins, and N at the end.
        lookback: days per window, at least 1.
        eligible: (N,) bool, True where a window may end: its outcome is known, its date is
            in the block of time at hand.

    Returns:
        (M,) rows t, ascending; the window of t is rows t - lookback + 1 to t. May be empty:
        the caller, who knows the tickers, says so.

    Raises:
        ValueError: `lookback` is below 1, or `offsets` and `eligible` disagree about N.
    """
    if lookback < 1:
        raise ValueError(f"lookback is {lookback}; a window needs at least 1 day.")
    if offsets[0] != 0 or offsets[-1] != len(eligible):
        raise ValueError(
            f"offsets run from {offsets[0]} to {offsets[-1]}, but {len(eligible)} rows are "
            "marked; give offsets from 0 to that number."
        )
    days_before = np.arange(len(eligible)) - np.repeat(offsets[:-1], np.diff(offsets))
    return np.flatnonzero(eligible & (days_before >= lookback - 1)).astype(np.int64)


def window_rows(ends: NDArray[np.int64], lookback: int) -> NDArray[np.int64]:
    """Give the rows of each window, oldest first, to gather a batch with.

    Args:
        ends: (M,) last row of each window, from `window_ends`.
        lookback: days per window, the same as there.

    Returns:
        (L, M) flat row numbers; the last row of the array is `ends`.
    """
    return ends + np.arange(1 - lookback, 1, dtype=np.int64)[:, None]


@dataclass(frozen=True, slots=True, eq=False)
class WindowBatches:
    """One pass over windows, in drawn order; `for segment in batches` makes them one by one.

    Args:
        ends: (M,) last row of each window, in the order of this pass.
        lookback: days per window.
        batch: windows per segment; the last segment may hold fewer.
    """

    ends: NDArray[np.int64]
    lookback: int
    batch: int

    @classmethod
    def drawn(
        cls, ends: NDArray[np.int64], lookback: int, batch: int, generator: np.random.Generator
    ) -> "WindowBatches":
        """Shuffle the windows; the days inside each stay in order."""
        return cls(generator.permutation(ends), lookback, batch)

    def __len__(self) -> int:
        """Count the segments."""
        return -(-len(self.ends) // self.batch)

    def __iter__(self) -> Iterator[Segment]:
        """Make the row numbers of one batch after another; every window starts a series."""
        for begin in range(0, len(self.ends), self.batch):
            rows = window_rows(self.ends[begin : begin + self.batch], self.lookback)
            yield Segment(rows, np.ones(rows.shape[1], dtype=np.bool_))
