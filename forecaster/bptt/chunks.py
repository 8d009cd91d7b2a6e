"""How a plan cuts a batch: its chunks, the pieces run in one call, and the spans of errors.

Shape letters: T days, B batch rows, N the last days alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from torch import Tensor

from forecaster.bptt.batch import Batch
from forecaster.bptt.nest import Nest, leaves, mapped
from forecaster.bptt.plan import Plan


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Consecutive days, run in one call; `resets` (B,) are rows where a series starts.

    `y` and `mask` are of its last days alone, or of none. `ends_chunk`: the state after it is
    that after a chunk.
    """

    x: Nest
    y: Tensor
    mask: Tensor
    first_day: int
    resets: Tensor | None
    ends_chunk: bool
    scored: bool = True

    @property
    def days(self) -> int:
        """The number of days."""
        return len(leaves(self.x)[0])

    def split(self, most: int) -> "Iterator[Piece]":
        """Split into pieces of at most `most` days, equal to within a day."""
        days, number = self.days, -(-self.days // most)
        stops = accumulate((days + part) // number for part in range(number))
        for first, stop in pairwise([0, *stops]):
            before = days - len(self.y)
            known = slice(max(0, first - before), max(0, stop - before))
            yield replace(
                self,
                x=_days(self.x, first, stop),
                y=self.y[known],
                mask=self.mask[known],
                first_day=self.first_day + first,
                resets=self.resets if first == 0 else None,
                ends_chunk=self.ends_chunk and stop == days,
            )


@dataclass(frozen=True, slots=True)
class Span:
    """Chunks `first` to `last`, whose errors from chunk `scored_from` on travel to its start."""

    first: int
    last: int
    scored_from: int


@dataclass(frozen=True, slots=True)
class Cut:
    """A batch, the days of its chunks, oldest first, and the spans of its errors."""

    batch: Batch
    lengths: tuple[int, ...]
    spans: tuple[Span, ...]

    def pieces(self, first: int, last: int, scored_from: int = 0) -> list[Piece]:
        """Cut chunks `first` to `last` out of the batch, new ones where series start."""
        stops = list(accumulate(self.lengths, initial=0))
        found = []
        for number in range(first, last + 1):
            bounds = [stops[number], *self._starts_inside(stops[number], stops[number + 1])]
            for begin, stop in pairwise([*bounds, stops[number + 1]]):
                end = stop == stops[number + 1]
                found.append(self._piece(begin, stop, end, number >= scored_from))
        return found

    def _starts_inside(self, first: int, stop: int) -> list[int]:
        """List the days after the first one on which a series starts."""
        if self.batch.resets is None or stop - first < 2:
            return []
        starts = self.batch.resets[first + 1 : stop].any(dim=1).nonzero()
        return [first + 1 + int(day) for day in starts]

    def _piece(self, first: int, stop: int, ends_chunk: bool, scored: bool) -> Piece:
        batch, mask = self.batch, self.batch.mask
        before = sum(self.lengths) - len(batch.y)
        known = slice(max(0, first - before), max(0, stop - before))
        assert mask is not None
        resets = None if batch.resets is None else batch.resets[first]
        return Piece(
            x=_days(batch.x, first, stop),
            y=batch.y[known],
            mask=mask[known],
            first_day=first,
            resets=resets if resets is not None and resets.any() else None,
            ends_chunk=ends_chunk,
            scored=scored,
        )


def cut(batch: Batch, plan: Plan) -> Cut:
    """Cut a batch as a plan says.

    Raises:
        ValueError: its own chunks do not make its days, or are longer than the plan's.
    """
    days, most = batch.shape[0], plan.chunk_days(batch.shape[0])
    if len(batch.y) < days:
        return _last_days(batch, plan)
    lengths = batch.chunks or plan.chunk_lengths(days)
    if sum(lengths) != days or max(lengths) > most or min(lengths) < 1:
        raise ValueError(
            f"chunks of {lengths} days do not make {days} days in chunks of at most {most}; "
            "cut the batch on the plan's k1."
        )
    last, context = len(lengths) - 1, batch.context
    if not 0 <= context <= last:
        raise ValueError(f"context is {context} of {last + 1} chunks; give 0 to {last}.")
    if plan.k2 is None:
        return Cut(batch, lengths, (Span(0, last, context),))
    spans = (
        Span(max(0, number - plan.context_chunks), number, max(context, number))
        for number in range(context, last + 1)
    )
    return Cut(batch, lengths, tuple(spans))


def _last_days(batch: Batch, plan: Plan) -> Cut:
    """Cut where the last days alone have outcomes: in two, at the plan's horizon from the end."""
    days, known = batch.shape[0], len(batch.y)
    horizon = plan.horizon(days)
    if known > plan.chunk_days(days) or batch.chunks is not None or batch.context:
        raise ValueError(
            f"y has the last {known} of {days} days, more than a chunk of "
            f"{plan.chunk_days(days)}, or chunks of its own; give y for all {days} days and "
            "a mask that is False where none is scored."
        )
    if horizon == days:
        return Cut(batch, (days,), (Span(0, 0, 0),))
    return Cut(batch, (days - horizon, horizon), (Span(1, 1, 1),))


def _days(nest: Nest, first: int, stop: int) -> Nest:
    def chosen(tensor: Tensor) -> Tensor:
        return tensor[first:stop]

    return mapped(nest, chosen)
