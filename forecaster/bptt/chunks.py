"""Values of the gradient engine: a block of days, its chunks, and its gradients.

Shape letters: T days, B batch rows, F features, K targets, C chunks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from forecaster.models.base import RecurrentState


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockGradients:
    """Gradients of one block of days at fixed weights, in the order of `network.parameters()`.

    `loss_sum` has the losses of the scored elements, summed and divided by the count; `states`
    are those after every chunk. Nothing has a graph.
    """

    loss_sum: Tensor
    gradients: tuple[Tensor, ...]
    states: tuple[RecurrentState, ...]

    @property
    def state(self) -> RecurrentState:
        """The state after the last day."""
        return self.states[-1]


def sum_gradients(parts: Sequence[BlockGradients]) -> BlockGradients:
    """Sum the gradients of at least one block at the same weights; keep the last one's states."""
    if len(parts) == 1:
        return parts[0]
    each = zip(*(part.gradients for part in parts), strict=True)
    return BlockGradients(
        loss_sum=torch.stack([part.loss_sum for part in parts]).sum(),
        gradients=tuple(torch.stack(gradients).sum(dim=0) for gradients in each),
        states=parts[-1].states,
    )


@dataclass(frozen=True, slots=True)
class Block:
    """Days with their outcomes, oldest first.

    `x` (T, B, F) are the features, finite everywhere; `y` (T, B, K) the outcomes, scored where
    `mask` (T, B, K) is True; `count` divides the sum of the losses. `noise` (T, B, H) are factors
    of the hidden units in place of the dropout before the head. `y`, `mask` and `noise` may be of
    the last days alone: those before have no outcome.
    """

    x: Tensor
    y: Tensor
    mask: Tensor
    count: float
    noise: Tensor | None = None

    @classmethod
    def averaged(cls, x: Tensor, y: Tensor, mask: Tensor) -> "Block":
        """Make a block whose loss is the mean over its scored outcomes."""
        return cls(x, y, mask, max(float(mask.sum()), 1.0))

    def rows(self, columns: slice) -> "Block":
        """Select batch rows."""
        noise = None if self.noise is None else self.noise[:, columns]
        x, y, mask = (tensor[:, columns] for tensor in (self.x, self.y, self.mask))
        return Block(x, y, mask, self.count, noise)

    def days(self, first: int, stop: int) -> "Block":
        """Select days."""
        before = len(self.x) - len(self.y)
        known = slice(max(0, first - before), max(0, stop - before))
        noise = None if self.noise is None else self.noise[known]
        return Block(self.x[first:stop], self.y[known], self.mask[known], self.count, noise)


def checked(block: Block) -> Block:
    """Refuse what broadcasting or a division by zero would turn into wrong gradients."""
    x, y, mask = block.x, block.y, block.mask
    if len(x) == 0:
        raise ValueError("the block has no days; give at least 1.")
    if y.shape != mask.shape or x.shape[:2] != y.shape[:2] or mask.dtype != torch.bool:
        raise ValueError(
            f"x {tuple(x.shape)}, y {tuple(y.shape)} and {mask.dtype} mask {tuple(mask.shape)} "
            "do not fit together; give (T, B, F), (T, B, K) and a bool (T, B, K)."
        )
    if block.count > 0:
        return block
    if mask.any():
        raise ValueError(f"count is {block.count}, yet days are scored; give a count above 0.")
    return replace(block, count=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunking:
    """The chunks of a block, where they are not the plan's own.

    `lengths` are the days of each chunk, oldest first. `resets` (C, B) are True where a series
    starts with the chunk: its row takes the network's initial state. The errors of the first
    `context` chunks are not scored; later errors travel through their days.
    """

    lengths: tuple[int, ...]
    resets: Tensor | None = None
    context: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive days of a block, run in one call; `resets` (B,): rows where a series starts."""

    block: Block
    resets: Tensor | None
    keeps_state: bool
    scored: bool

    def split(self, most: int) -> "list[Chunk]":
        """Split into chunks of at most `most` days, equal to within a day."""
        days = len(self.block.x)
        chunks = -(-days // most)
        lengths = [(days + chunk) // chunks for chunk in range(chunks)]
        stops = list(accumulate(lengths))
        return [
            Chunk(
                self.block.days(stop - length, stop),
                self.resets if stop == length else None,
                self.keeps_state and stop == stops[-1],
                self.scored,
            )
            for length, stop in zip(lengths, stops, strict=True)
        ]


def chunks_of(
    block: Block, chunking: Chunking, first: int, last: int, scored_from: int = 0
) -> list[Chunk]:
    """Cut chunks `first` to `last` out of a block; errors count from chunk `scored_from` on."""
    stops, resets = list(accumulate(chunking.lengths)), chunking.resets
    return [
        Chunk(
            block.days(stops[number] - chunking.lengths[number], stops[number]),
            None if resets is None else resets[number],
            keeps_state=True,
            scored=number >= scored_from,
        )
        for number in range(first, last + 1)
    ]
