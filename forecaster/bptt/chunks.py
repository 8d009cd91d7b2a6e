"""Days for the gradient functions: a block, cut in segments, and what a block says.

Index work only: nothing here runs a network.

Shape letters: T days, B rows (lanes or windows), F features, K targets, G segments.
"""

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from forecaster.models.base import RecurrentState


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockGradients:
    """What a block of days says about the weights.

    Args:
        loss_sum: losses of the scored elements, summed and divided by the count; no graph.
        gradients: d loss_sum / d parameter, in the order of `network.parameters()`.
        states: the state at every grid line after the first, detached; the last is the
            state after the last day.
    """

    loss_sum: Tensor
    gradients: tuple[Tensor, ...]
    states: tuple[RecurrentState, ...]

    @property
    def state(self) -> RecurrentState:
        """The state after the last day."""
        return self.states[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """How a block of days is cut where the plan's own stride does not say it.

    Args:
        lengths: days of each segment, oldest first; they add up to the block.
        resets: (G, B) bool, True where a series begins with segment G: its row takes the
            network's initial state.
        context: so many first segments lend their days to later errors and have none.
    """

    lengths: tuple[int, ...]
    resets: Tensor | None = None
    context: int = 0


@dataclass(frozen=True, slots=True)
class Block:
    """Days with their outcomes, and what the sum of their losses is divided by.

    `y` and `mask` may hold the last days alone: those before have no outcome. `noise`, of
    the hidden units of the same days, takes the place of the dropout before the head.
    """

    x: Tensor
    y: Tensor
    mask: Tensor
    count: float
    noise: Tensor | None = None

    def days(self, first: int, stop: int) -> "Block":
        """Take some of the days."""
        before = len(self.x) - len(self.y)
        known = slice(max(0, first - before), max(0, stop - before))
        noise = None if self.noise is None else self.noise[known]
        return Block(self.x[first:stop], self.y[known], self.mask[known], self.count, noise)


def checked_block(x: Tensor, y: Tensor, mask: Tensor, count: float) -> Block:
    """Refuse what broadcasting or a division by zero would turn into wrong gradients."""
    if len(x) == 0:
        raise ValueError("the block has no days; give at least 1.")
    if y.shape != mask.shape or x.shape[:2] != y.shape[:2] or mask.dtype != torch.bool:
        raise ValueError(
            f"x {tuple(x.shape)}, y {tuple(y.shape)} and {mask.dtype} mask {tuple(mask.shape)} "
            "do not belong together; give (T, B, F), (T, B, K) and a bool (T, B, K)."
        )
    if count > 0:
        return Block(x, y, mask, count)
    if mask.any():
        raise ValueError(f"count is {count}, yet days are scored; give a count above 0.")
    return Block(x, y, mask, 1.0)


@dataclass(frozen=True, slots=True)
class Segment:
    """Days between two grid lines, or a chunk of them.

    `resets` (B,) are the rows in which a series begins, None where none does; `ends_grid`
    says that the state after it belongs on the grid; `scored` that it has errors.
    """

    block: Block
    resets: Tensor | None
    ends_grid: bool
    scored: bool

    def cut(self, most: int) -> "list[Segment]":
        """Cut in balanced chunks; the first takes the resets, the last ends on the grid."""
        lengths = balanced(len(self.block.x), most)
        stops = list(accumulate(lengths))
        return [
            Segment(
                self.block.days(stop - length, stop),
                self.resets if stop == length else None,
                self.ends_grid and stop == stops[-1],
                self.scored,
            )
            for length, stop in zip(lengths, stops, strict=True)
        ]


def segments_of(
    block: Block, grid: Grid, first: int, last: int | None = None, scored_from: int = 0
) -> list[Segment]:
    """Take segments `first` to `last` of a block; those before `scored_from` have no errors."""
    stops = list(accumulate(grid.lengths))
    resets = (None,) * len(stops) if grid.resets is None else tuple(grid.resets)
    return [
        Segment(
            block.days(stops[number] - grid.lengths[number], stops[number]),
            resets[number],
            ends_grid=True,
            scored=number >= scored_from,
        )
        for number in range(first, (first if last is None else last) + 1)
    ]


def even(days: int, most: int) -> tuple[int, ...]:
    """Cut days in pieces of `most`, counted from the first; the last may be shorter."""
    return tuple(min(most, days - first) for first in range(0, days, most))


def balanced(days: int, most: int) -> tuple[int, ...]:
    """Cut days in as few pieces of at most `most` as will do, lengths one apart at most."""
    pieces = -(-days // most)
    return tuple((days + piece) // pieces for piece in range(pieces))
