"""The gradients of one epoch, an optimizer step at a time.

Shape letters: N flat rows, T days, B batch rows or windows, K targets.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import accumulate, islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from forecaster.bptt.batch import Gradients, sum_gradients
from forecaster.bptt.plan import Plan
from forecaster.models.base import RecurrentState
from forecaster.training.inference import uploaded
from forecaster.training.micro_batches import (
    Chunking,
    Learner,
    block_gradients,
    window_batch_gradients,
)


class RowBatch(Protocol):
    """Flat rows (T, B) to learn from, -1 where padding; `starts` (B,) where series start."""

    @property
    def rows(self) -> np.ndarray: ...  # noqa: D102
    @property
    def starts(self) -> np.ndarray: ...  # noqa: D102


class Epoch(Protocol):
    """The batches of one epoch, in time order."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[RowBatch]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Windows scored on their last day, or on every day after the `burn_in`; or whole histories."""

    last_day_only: bool = False
    burn_in: int | None = None


@dataclass(slots=True)
class Position:
    """The batches of an epoch whose gradients have been taken.

    The `state` of histories is that before the oldest batch that later errors may travel back to.
    `read` are the rows (T, B) of batches read until someone clears it, to report failures.
    """

    done: int = 0
    state: RecurrentState | None = None
    read: list[np.ndarray] = field(default_factory=list)


def epoch_gradients(
    learner: Learner, epoch: Epoch, sampling: Sampling, position: Position
) -> Iterator[Gradients]:
    """Yield the gradients of each step; every scored outcome weighs the same in an epoch.

    The position is a new one, or that of an earlier call with an equal epoch to continue it.

    Raises:
        ValueError: the epoch has no batches.
    """
    if len(epoch) == 0:
        raise ValueError("the epoch has no batches; give at least 1, or training never ends.")
    once, burn_in, arrays = learner.plan.step_per == "epoch", sampling.burn_in, learner.arrays
    counted = arrays.counted
    scored = int(counted.sum()) if burn_in is None else _scored(counted, epoch, burn_in)
    count = max(scored / (1 if once else len(epoch)), 1.0)
    if sampling.last_day_only or burn_in is not None:
        first = None if sampling.last_day_only else burn_in
        blocks = _windows(learner, epoch, count, first, position)
    else:
        blocks = _histories(learner, epoch, count, position)
    if not once:
        yield from blocks
    elif position.done < len(epoch):
        yield reduce(lambda total, block: sum_gradients([total, block]), blocks)


def _scored(counted: np.ndarray, epoch: Epoch, burn_in: int) -> int:
    """Count the outcomes that windows score, a day once for every window that holds it."""
    return sum(int(counted[batch.rows[burn_in:]].sum()) for batch in epoch)


def _windows(
    learner: Learner, epoch: Epoch, count: float, burn_in: int | None, position: Position
) -> Iterator[Gradients]:
    """Yield the gradients of batches of windows, scored after the burn-in or (None) at the end."""
    for batch in islice(epoch, position.done, None):
        rows, starts = _read(learner, batch, position)
        if burn_in is None:
            block = window_batch_gradients(learner, rows, count)
        else:
            mask = learner.arrays.scored[rows]
            mask[:burn_in] = False
            state = learner.network.initial_state(rows.shape[1])
            chunking = _chunking_of([(rows, starts)], learner.plan)
            block = block_gradients(learner, rows, mask, state, count, chunking)
        position.done += 1
        yield block


def _histories(
    learner: Learner, epoch: Epoch, count: float, position: Position
) -> Iterator[Gradients]:
    """Yield the gradients of each batch's errors, which travel into the batches before.

    Kept are the batches that later errors may travel back to, with the state before them. That
    state is one optimizer step old: the block before has just been run from its own start with
    the weights of that step.
    """
    plan, context = learner.plan, learner.plan.context_chunks
    kept: deque[tuple[Tensor, Tensor]] = deque()
    reread = min(position.done, context)
    for number, batch in enumerate(islice(epoch, position.done - reread, None)):
        kept.append(_read(learner, batch, position))
        if number < reread:
            continue
        rows = torch.cat([part for part, _ in kept])
        state = position.state or learner.network.initial_state(rows.shape[1])
        real, rows = rows >= 0, rows.clamp(min=0)
        mask = learner.arrays.scored[rows] & real[..., None]
        block = block_gradients(learner, rows, mask, state, count, _chunking_of(kept, plan))
        if len(kept) > context:
            left, _ = kept.popleft()
            state = block.states[len(plan.chunk_lengths(len(left))) - 1]
        position.done, position.state = position.done + 1, state
        yield block


def _read(learner: Learner, batch: RowBatch, position: Position) -> tuple[Tensor, Tensor]:
    """Return a batch's rows on the device and its starts, and record the rows as read."""
    device = learner.arrays.inputs.device
    position.read.append(batch.rows)
    return uploaded(batch.rows, device), torch.from_numpy(batch.starts)


def _chunking_of(kept: Sequence[tuple[Tensor, Tensor]], plan: Plan) -> Chunking:
    """Cut kept batches into the plan's chunks; only the last batch's errors are new."""
    cuts = [plan.chunk_lengths(len(rows)) for rows, _ in kept]
    first_days = accumulate((len(rows) for rows, _ in kept), initial=0)
    resets = torch.zeros(sum(len(rows) for rows, _ in kept), len(kept[0][1]), dtype=torch.bool)
    for day, (_, starts) in zip(first_days, kept, strict=False):
        resets[day] = starts
    return Chunking(
        lengths=tuple(length for lengths in cuts for length in lengths),
        resets=resets,
        context=sum(map(len, cuts[:-1])),
    )
