"""The training loop: updates, validation, early stopping.

Arrays and row numbers in, trained weights out; knows no ticker, no file and no target.
The panel moves to the device once.

Shape letters: N flat rows, F inputs, K targets, T days, B rows of a segment.
"""

import copy
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from forecaster.errors import DivergedError
from forecaster.models.base import RecurrentState
from forecaster.models.network import Network
from forecaster.training.blocks import BlockGradients, Grid, even
from forecaster.training.exact import added
from forecaster.training.gradients import bptt_gradients
from forecaster.training.plan import BPTTPlan
from forecaster.training.tiles import tiled_gradients, workers_of


class Segment(Protocol):
    """Rows (T, B) to learn from, -1 where padding; `starts` (B,) where the state is zeroed."""

    @property
    def rows(self) -> np.ndarray: ...  # noqa: D102
    @property
    def starts(self) -> np.ndarray: ...  # noqa: D102


class Segments(Protocol):
    """One pass over the data, in time order."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Segment]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingArrays:
    """Everything that is learnt from, on one device.

    Args:
        inputs: (N, F) scaled, finite, float32.
        y: (N, K) scaled outcomes of the following day, NaN where not known.
        scored: (N, K) bool, True where an outcome may be learnt from: fit days only.
    """

    inputs: Tensor
    y: Tensor
    scored: Tensor

    @classmethod
    def on(
        cls, device: torch.device, inputs: np.ndarray, y: np.ndarray, scored: np.ndarray
    ) -> "TrainingArrays":
        """Move numpy arrays to a device, once."""
        inputs_, y_, scored_ = (torch.from_numpy(a).to(device) for a in (inputs, y, scored))
        return cls(inputs=inputs_, y=y_, scored=scored_)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the weights move and when to stop.

    Args:
        max_updates: optimizer steps at most; the learning-rate cycle spans all of them.
        learning_rate: peak of the one-cycle schedule.
        weight_decay: of AdamW.
        clip_grad: largest norm of a gradient.
        evaluate_every: updates between two looks at the select block.
        patience: looks without improvement before stopping.
        workers: threads on a CPU that share the windows of an update; any number gives the
            same weights.
    """

    max_updates: int
    learning_rate: float
    weight_decay: float
    clip_grad: float
    evaluate_every: int
    patience: int
    workers: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """One look at the select block; losses are means per scored outcome, in scaled units."""

    update: int
    passes: int
    fit_loss: float
    select_loss: float
    best: bool
    seconds: float


def train(
    network: Network,
    arrays: TrainingArrays,
    passes: Callable[[int], Segments],
    plan: BPTTPlan,
    options: Options,
    *,
    last_day_only: bool,
    burn_in: int | None = None,
    validate: Callable[[Network], float],
    on_update: Callable[[int, Evaluated | None], None],
) -> list[Evaluated]:
    """Train in place and leave the network with the weights of its best look at select.

    Args:
        network: fresh or warm; on the arrays' device.
        arrays: what is learnt from.
        passes: gives the segments of the pass with this number, first pass 1.
        plan: how far errors travel back inside a segment.
        options: budget, optimizer and stopping.
        last_day_only: segments are windows of which only the last day is scored.
        burn_in: segments are windows of which every day is scored but so many first ones;
            None for lanes.
        validate: the select loss at the current weights.
        on_update: called after every update, with the look at select if there was one.

    Returns:
        Every look at the select block, in order.

    Raises:
        DivergedError: a loss or gradient is not finite; the network holds its best weights.
        ValueError: a pass has no segments.
    """
    optimizer = torch.optim.AdamW(
        network.parameters(),
        lr=options.learning_rate,
        weight_decay=options.weight_decay,
        fused=True,  # a third of the time, which small networks feel
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=options.learning_rate, total_steps=options.max_updates
    )
    network.train()
    looks: list[Evaluated] = []
    best_weights, losses = copy.deepcopy(network.state_dict()), []
    update, started, last_norm = 0, time.monotonic(), float("nan")
    for pass_number in itertools.count(1):
        segments = _Watched(passes(pass_number))
        for gradients in _pass_gradients(
            network, arrays, segments, plan, last_day_only, burn_in, options.workers
        ):
            norm = _step(network, optimizer, gradients, options.clip_grad)
            update += 1
            if not np.isfinite(norm):
                network.load_state_dict(best_weights)
                what = f"a gradient of norm {norm}"
                raise _diverged(update, pass_number, what, last_norm, segments.rows)
            if update < options.max_updates:  # one step more than its cycle has is an error
                schedule.step()
            last_norm = norm
            losses.append(gradients.loss_sum)
            look = None
            if update % options.evaluate_every == 0 or update == options.max_updates:
                select_loss = validate(network)
                if not np.isfinite(select_loss):
                    network.load_state_dict(best_weights)
                    raise _diverged(update, pass_number, f"a select loss of {select_loss}", norm)
                best = select_loss < min((past.select_loss for past in looks), default=np.inf)
                look = Evaluated(
                    update=update,
                    passes=pass_number,
                    fit_loss=float(torch.stack(losses).mean()),
                    select_loss=select_loss,
                    best=best,
                    seconds=time.monotonic() - started,
                )
                looks.append(look)
                losses = []
                if best:
                    best_weights = copy.deepcopy(network.state_dict())
            on_update(update, look)
            if update == options.max_updates or _exhausted(looks, options.patience):
                network.load_state_dict(best_weights)
                return looks
    raise AssertionError("unreachable: the pass counter is endless")


def _pass_gradients(
    network: Network,
    arrays: TrainingArrays,
    segments: Segments,
    plan: BPTTPlan,
    last_day_only: bool,
    burn_in: int | None = None,
    workers: int = 1,
) -> Iterator[BlockGradients]:
    """Yield the gradients of each update; every scored outcome weighs the same in a pass."""
    if len(segments) == 0:
        raise ValueError("the pass has no segments; give at least 1, or training never ends.")
    updates = 1 if plan.update == "pass" else len(segments)
    scored = float(arrays.scored.sum()) if burn_in is None else _scored(arrays, segments, burn_in)
    count = max(scored / updates, 1.0)
    if last_day_only:
        blocks = _window_batches(network, arrays, segments, plan, count, workers)
    elif burn_in is not None:
        blocks = _each_day_windows(network, arrays, segments, plan, count, burn_in)
    else:
        blocks = _lane_gradients(network, arrays, segments, plan, count)
    if plan.update == "pass":
        yield reduce(lambda total, block: added([total, block]), blocks)
    else:
        yield from blocks


def _window_batches(
    network: Network,
    arrays: TrainingArrays,
    segments: Segments,
    plan: BPTTPlan,
    count: float,
    workers: int,
) -> Iterator[BlockGradients]:
    """Yield the gradients of each batch of windows."""
    with workers_of(workers if arrays.inputs.device.type == "cpu" else 1) as shared:
        for segment in segments:
            rows = torch.from_numpy(segment.rows).to(arrays.inputs.device)
            yield tiled_gradients(
                network, arrays.inputs, arrays.y, arrays.scored, rows, plan, count, shared
            )


def _scored(arrays: TrainingArrays, segments: Segments, burn_in: int) -> float:
    """Count the outcomes that windows score, a day once for every window that holds it."""
    days = (torch.from_numpy(segment.rows[burn_in:]) for segment in segments)
    return float(sum(int(arrays.scored[rows.to(arrays.scored.device)].sum()) for rows in days))


def _each_day_windows(
    network: Network,
    arrays: TrainingArrays,
    segments: Segments,
    plan: BPTTPlan,
    count: float,
    burn_in: int,
) -> Iterator[BlockGradients]:
    """Yield the gradients of batches of windows scored on each day after the burn-in."""
    for segment in segments:
        rows = torch.from_numpy(segment.rows).to(arrays.inputs.device)
        grid = _grid_of([(rows, torch.from_numpy(segment.starts).to(rows.device))], plan)
        mask = arrays.scored[rows]
        mask[:burn_in] = False
        state = network.initial_state(rows.shape[1])
        yield bptt_gradients(
            network, arrays.inputs[rows], arrays.y[rows], mask, state, plan, count, grid
        )


def _lane_gradients(
    network: Network, arrays: TrainingArrays, segments: Segments, plan: BPTTPlan, count: float
) -> Iterator[BlockGradients]:
    """Yield the gradients of each segment's errors, which reach into the segments before.

    Kept are the segments that later errors may reach, each with the state before it. That
    state is one update old: the block before has just been run from its own start with the
    weights of that update.
    """
    context = 0 if plan.steps is None else plan.steps // (plan.stride or plan.steps) - 1
    kept: deque[tuple[Tensor, Tensor]] = deque()
    state: RecurrentState | None = None
    for segment in segments:
        rows = torch.from_numpy(segment.rows).to(arrays.inputs.device)
        kept.append((rows, torch.from_numpy(segment.starts).to(rows.device)))
        state = state or network.initial_state(rows.shape[1])
        grid = _grid_of(kept, plan)
        rows = torch.cat([part for part, _ in kept])
        real, rows = rows >= 0, rows.clamp(min=0)
        mask = arrays.scored[rows] & real[..., None]
        block = bptt_gradients(
            network, arrays.inputs[rows], arrays.y[rows], mask, state, plan, count, grid
        )
        if len(kept) > context:
            left, _ = kept.popleft()
            state = block.states[len(even(len(left), plan.grid(len(left)))) - 1]
        yield block


def _grid_of(kept: Sequence[tuple[Tensor, Tensor]], plan: BPTTPlan) -> Grid:
    """Cut kept segments on the plan's grid; only the last one's errors are new."""
    cuts = [even(len(rows), plan.grid(len(rows))) for rows, _ in kept]
    resets = [
        starts if number == 0 else torch.zeros_like(starts)
        for (_, starts), lengths in zip(kept, cuts, strict=True)
        for number in range(len(lengths))
    ]
    return Grid(
        lengths=tuple(length for lengths in cuts for length in lengths),
        resets=torch.stack(resets),
        context=sum(map(len, cuts[:-1])),
    )


def _step(
    network: Network, optimizer: torch.optim.Optimizer, block: BlockGradients, clip: float
) -> float:
    """Move the weights once, unless the gradient is not finite; return its norm."""
    for parameter, gradient in zip(network.parameters(), block.gradients, strict=True):
        parameter.grad = gradient
    total = torch.nn.utils.get_total_norm(block.gradients)
    norm = float(total)
    if np.isfinite(norm):
        if norm > clip:
            torch.nn.utils.clip_grads_with_norm_(network.parameters(), clip, total)
        optimizer.step()
    return norm


class _Watched:
    """Segments that remember the rows of the one given last."""

    def __init__(self, segments: Segments) -> None:
        self._segments = segments
        self._last: Segment | None = None

    @property
    def rows(self) -> Sequence[int]:
        """Rows of the segment given last, without padding."""
        if self._last is None:
            return ()
        found: list[int] = self._last.rows[self._last.rows >= 0].tolist()
        return found

    def __len__(self) -> int:
        return len(self._segments)

    def __iter__(self) -> Iterator[Segment]:
        for segment in self._segments:
            self._last = segment
            yield segment


def _diverged(
    update: int, pass_number: int, what: str, last_norm: float, rows: Sequence[int] = ()
) -> DivergedError:
    before = "" if np.isnan(last_norm) else f" (the last finite gradient had norm {last_norm:.3g})"
    return DivergedError(
        f"Update {update} in pass {pass_number} met {what}{before}; lower --lr or --clip-grad.",
        rows,
    )


def _exhausted(looks: list[Evaluated], patience: int) -> bool:
    """Say whether the last `patience` looks brought nothing better."""
    recent = looks[-patience:]
    return len(looks) > patience and not any(look.best for look in recent)
