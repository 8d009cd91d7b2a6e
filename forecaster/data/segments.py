"""Find the windows of a ragged panel, as row numbers.

Index arithmetic only: nothing is copied. Knows no torch, no ticker and no date.

Shape letters: N flat rows, S series, M windows, L lookback days.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heapreplace

import numpy as np
from numpy.typing import NDArray

PADDING = -1


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """The days of one forward and backward pass.

    Args:
        rows: (T, B) int64 flat row numbers, oldest first, PADDING after a series' last day.
        starts: (B,) bool, True where a series begins: zero that row's state first.
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class PackedSequences:
    """Segments in time order; `for segment in lanes` makes them one by one.

    Args:
        begin: (G, B) flat row that each lane shows first.
        end: (G, B) flat row after the last; equal to `begin` where a lane has run out.
        starts: (G, B) bool, True where a series begins.
    """

    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    starts: NDArray[np.bool_]

    def __len__(self) -> int:
        """Count the segments."""
        return len(self.begin)

    def __iter__(self) -> Iterator[Segment]:
        """Make the segments, each as long as its longest lane."""
        for begin, end, starts in zip(self.begin, self.end, self.starts, strict=True):
            rows = begin + np.arange((end - begin).max(), dtype=np.int64)[:, None]
            yield Segment(np.where(rows < end, rows, PADDING), starts)

    @property
    def width(self) -> int:
        """Count the lanes, B."""
        return int(self.begin.shape[1])

    @property
    def utilisation(self) -> float:
        """Give the share of all (day, lane) places that hold a day, in (0, 1]."""
        days = self.end - self.begin
        return float(days.sum() / (days.max(axis=1).sum() * self.width)) if len(days) else 1.0


def pack_sequences(
    first: NDArray[np.int64],
    stop: NDArray[np.int64],
    batch_rows: int,
    chunk: int,
    generator: np.random.Generator,
    phase: int,
) -> PackedSequences:
    """Spread series over lanes and cut all lanes on one grid of chunk starts.

    The first segment has `phase` days, the others `chunk`. A series always begins with a
    segment, because a fused kernel cannot reset its state in mid-sequence; the places from
    its end to the next grid line are padding. For full BPTT give chunk = phase = the longest
    series: a segment then holds whole series of like length.

    Args:
        first: (S,) flat row of each series' first day.
        stop: (S,) flat row after its last day; a series without days is left out.
        lanes: most lanes to fill, at least 1; never more than there are series.
        chunk: days per segment, at least 1.
        generator: draws the order of series, anew with each call.
        phase: days of the first segment, 1 to `chunk`.

    Returns:
        PackedSequences that hold each row of each series once; none (length 0) if there is no day.

    Raises:
        ValueError: `lanes`, `chunk` or `phase` is outside its range.

    Source: Graham (1969), "Bounds on Multiprocessing Timing Anomalies": longest first, onto
    the emptiest lane. Deviation: equal lengths in drawn order, and the order within each lane
    is drawn too. The lanes are staggered by that: side by side stand days of different years,
    while histories of like length side by side, which mostly end on the same day, would bring
    the same days over and over. Whole series in one segment (chunk at least the longest) keep
    like lengths together instead, or they would be padded to the longest.
    """
    if batch_rows < 1 or not 1 <= phase <= chunk:
        raise ValueError(
            f"lanes {batch_rows}, phase {phase} and chunk {chunk} make no grid; "
            "give lanes >= 1 and 1 <= phase <= chunk."
        )
    drawn = generator.permutation(np.flatnonzero(stop > first))
    lengths = stop - first
    dealt = _dealt(drawn, lengths, batch_rows, chunk)
    if chunk < lengths.max(initial=0):
        queues = [generator.permutation(batch_row).tolist() for batch_row in dealt]
    else:
        rounds = _drawn_rounds(dealt, generator)
        queues = [
            [batch_row[place] for place in rounds if place < len(batch_row)] for batch_row in dealt
        ]
    return _placed(queues, first, stop, chunk, phase)


def _dealt(
    drawn: NDArray[np.int64], lengths: NDArray[np.int64], batch_rows: int, chunk: int
) -> list[list[int]]:
    """Deal series to lanes, longest first, each to the lane with the fewest segments."""
    longest_first = drawn[np.argsort(-lengths[drawn], kind="stable")]
    dealt: list[list[int]] = [[] for _ in range(min(batch_rows, len(drawn)))]
    loads = [(0, batch_row) for batch_row in range(len(dealt))]
    heapify(loads)
    for series in longest_first.tolist():
        load, batch_row = loads[0]
        dealt[batch_row].append(series)
        segments = -(-int(lengths[series]) // chunk)
        heapreplace(loads, (load + segments, batch_row))
    return dealt


def _drawn_rounds(dealt: list[list[int]], generator: np.random.Generator) -> list[int]:
    """Draw the order of the rounds that every lane takes part in; the others follow."""
    if not dealt:
        return []
    common = min(len(batch_row) for batch_row in dealt)
    longest = max(len(batch_row) for batch_row in dealt)
    return [*generator.permutation(common).tolist(), *range(common, longest)]


def _placed(
    queues: list[list[int]],
    first: NDArray[np.int64],
    stop: NDArray[np.int64],
    chunk: int,
    phase: int,
) -> PackedSequences:
    """Write down what each lane shows in each segment."""
    columns = [_column(queue, first, stop, chunk, phase) for queue in queues]
    height = max((len(column) for column in columns), default=0)
    grid = np.zeros((3, height, len(queues)), dtype=np.int64)
    for batch_row, column in enumerate(columns):
        grid[:, : len(column), batch_row] = np.transpose(column)
    return PackedSequences(begin=grid[0], end=grid[1], starts=grid[2].astype(np.bool_))


def _column(
    queue: list[int], first: NDArray[np.int64], stop: NDArray[np.int64], chunk: int, phase: int
) -> list[tuple[int, int, bool]]:
    """List one lane's (begin, end, starts), segment by segment."""
    column: list[tuple[int, int, bool]] = []
    for series in queue:
        begin, last = int(first[series]), int(stop[series])
        while begin < last:
            end = min(last, begin + (chunk if column else phase))
            column.append((begin, end, begin == first[series]))
            begin = end
    return column


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
