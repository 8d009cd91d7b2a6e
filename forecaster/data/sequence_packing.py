"""Batches of row numbers for training: packed histories, and windows.

Shape letters: N flat rows, S series, G batches, T days, B batch rows, M windows, L lookback days.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapreplace

import numpy as np
from numpy.typing import NDArray

PADDING = -1


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The days of one forward and backward pass.

    `rows` (T, B) are flat row numbers, oldest first, PADDING after a series' last day; `starts`
    (B,) is True where a series begins: reset the state of that batch row first.
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class PackedSequences:
    """One epoch over whole histories: an iterable of batches in time order.

    Each batch row reads flat rows from `begin` to before `end` (G, B), equal where it is
    exhausted; `starts` (G, B) is True where a series begins.
    """

    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    starts: NDArray[np.bool_]

    def __len__(self) -> int:
        """Count the batches."""
        return len(self.begin)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches, each as long as its longest batch row."""
        for begin, end, starts in zip(self.begin, self.end, self.starts, strict=True):
            rows = begin + np.arange((end - begin).max(), dtype=np.int64)[:, None]
            yield Batch(np.where(rows < end, rows, PADDING), starts)

    @property
    def width(self) -> int:
        """Return the number of batch rows, B."""
        return int(self.begin.shape[1])

    @property
    def utilisation(self) -> float:
        """Return the share of the (T, B) places that is not padding, in (0, 1]."""
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
    """Distribute series over batch rows and cut all of them on one grid of chunk starts.

    The first batch has `phase` days, the others `chunk`. A series always begins with a batch,
    because a fused kernel cannot reset its state in mid-sequence; the places from its end to
    the next grid line are padding. For full BPTT pass chunk = phase = the longest series.

    `first` and `stop` (S,) are the flat rows of each series' first day and after its last; a
    series without days is left out. There are never more batch rows than series.

    Raises:
        ValueError: `batch_rows`, `chunk` or `phase` is outside its range.

    Source: Graham (1969), "Bounds on Multiprocessing Timing Anomalies": longest first, onto
    the emptiest batch row. Deviation: equal lengths in drawn order, and the order within each
    batch row is drawn too, so that a batch mixes days of different years. Only when the chunk is
    at least as long as the longest series do similar lengths stay together, against padding.
    """
    if batch_rows < 1 or not 1 <= phase <= chunk:
        raise ValueError(
            f"batch_rows {batch_rows}, phase {phase} and chunk {chunk} make no grid; "
            "pass batch_rows >= 1 and 1 <= phase <= chunk."
        )
    drawn = generator.permutation(np.flatnonzero(stop > first))
    lengths = stop - first
    queues = _assign(drawn, lengths, batch_rows, chunk)
    if chunk < lengths.max(initial=0):
        queues = [generator.permutation(series).tolist() for series in queues]
    elif queues:
        # The rounds in which every batch row has a series are drawn; the others follow.
        common, longest = min(map(len, queues)), max(map(len, queues))
        rounds = [*generator.permutation(common).tolist(), *range(common, longest)]
        queues = [[row[place] for place in rounds if place < len(row)] for row in queues]
    columns = [_column(queue, first, stop, chunk, phase) for queue in queues]
    height = max((len(column) for column in columns), default=0)
    grid = np.zeros((3, height, len(queues)), dtype=np.int64)
    for number, column in enumerate(columns):
        grid[:, : len(column), number] = np.transpose(column)
    return PackedSequences(begin=grid[0], end=grid[1], starts=grid[2].astype(np.bool_))


def _assign(
    drawn: NDArray[np.int64], lengths: NDArray[np.int64], batch_rows: int, chunk: int
) -> list[list[int]]:
    """Assign series to batch rows, longest first, each to the row with the fewest chunks."""
    longest_first = drawn[np.argsort(-lengths[drawn], kind="stable")]
    assigned: list[list[int]] = [[] for _ in range(min(batch_rows, len(drawn)))]
    loads = [(0, number) for number in range(len(assigned))]  # a heap
    for series in longest_first.tolist():
        load, number = loads[0]
        assigned[number].append(series)
        chunks = -(-int(lengths[series]) // chunk)
        heapreplace(loads, (load + chunks, number))
    return assigned


def _column(
    queue: list[int], first: NDArray[np.int64], stop: NDArray[np.int64], chunk: int, phase: int
) -> list[tuple[int, int, bool]]:
    """List (begin, end, starts) of one batch row, batch by batch."""
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
    """Find the rows (M,) whose last `lookback` days, their own included, lie in one series.

    `offsets` (S + 1,) are the flat rows where series begin, and N; a window may end where
    `eligible` (N,) is True.

    Raises:
        ValueError: `lookback` is below 1, or `offsets` and `eligible` disagree about N.
    """
    if lookback < 1:
        raise ValueError(f"lookback is {lookback}; a window needs at least 1 day.")
    if offsets[0] != 0 or offsets[-1] != len(eligible):
        raise ValueError(
            f"offsets run from {offsets[0]} to {offsets[-1]}, but {len(eligible)} rows are "
            "marked; pass offsets from 0 to that number."
        )
    days_before = np.arange(len(eligible)) - np.repeat(offsets[:-1], np.diff(offsets))
    return np.flatnonzero(eligible & (days_before >= lookback - 1)).astype(np.int64)


def window_rows(ends: NDArray[np.int64], lookback: int) -> NDArray[np.int64]:
    """Return the flat rows (L, M) of windows, oldest first; the last row of the array is `ends`."""
    return ends + np.arange(1 - lookback, 1, dtype=np.int64)[:, None]


@dataclass(frozen=True, slots=True, eq=False)
class WindowBatches:
    """One epoch over windows in drawn order: an iterable of batches.

    `ends` (M,) is the last row of each window of `lookback` days, in the order of this epoch;
    `batch` counts windows per batch, the last of which may be smaller.
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
        """Count the batches."""
        return -(-len(self.ends) // self.batch)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the row numbers of one batch after another; every window starts a series."""
        for begin in range(0, len(self.ends), self.batch):
            rows = window_rows(self.ends[begin : begin + self.batch], self.lookback)
            yield Batch(rows, np.ones(rows.shape[1], dtype=np.bool_))
