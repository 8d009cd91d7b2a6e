"""Segments that remember which rows the update under way has read, to name them if it fails."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from forecaster.bptt.chunks import BlockGradients, Grid, even
from forecaster.bptt.plan import BPTTPlan
from forecaster.bptt.recomputation import added
from forecaster.models.base import RecurrentState
from forecaster.models.network import Network
from forecaster.training.micro_batches import Workers, shared_gradients, tiled_gradients


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
class Reading:
    """How segments are read.

    Args:
        last_day_only: segments are windows of which only the last day is scored.
        burn_in: segments are windows of which every day is scored but so many first ones;
            None for lanes.
        workers: threads on a CPU that share the windows or lanes of an update (see
            `workers_of`); any number gives the same weights.
    """

    last_day_only: bool
    burn_in: int | None = None
    workers: int = 1


@dataclass(slots=True)
class Place:
    """Where in a pass the training is; kept up to date as its gradients are taken.

    Args:
        done: segments whose gradients have been given.
        state: of lanes, before the oldest segment that later errors may reach.
    """

    done: int = 0
    state: RecurrentState | None = None


def pass_gradients(
    network: Network,
    arrays: TrainingArrays,
    segments: Segments,
    plan: BPTTPlan,
    reading: Reading,
    place: Place,
    workers: Workers,
) -> Iterator[BlockGradients]:
    """Yield the gradients of each update; every scored outcome weighs the same in a pass.

    Args:
        network: in training mode; its weights may move between two gradients.
        arrays: what is learnt from.
        segments: of this pass.
        plan: how far errors travel back inside a segment.
        reading: windows or lanes, and who reads them.
        place: a new one, or that of an earlier call with equal segments to go on from there.
        workers: who shares the windows or lanes of an update; any number gives the same bits.

    Raises:
        ValueError: the pass has no segments.
    """
    if len(segments) == 0:
        raise ValueError("the pass has no segments; give at least 1, or training never ends.")
    updates, burn_in = 1 if plan.step_per == "epoch" else len(segments), reading.burn_in
    scored = float(arrays.scored.sum()) if burn_in is None else _scored(arrays, segments, burn_in)
    count = max(scored / updates, 1.0)
    if reading.last_day_only:
        blocks = _window_batches(network, arrays, segments, plan, count, workers, place)
    elif burn_in is not None:
        blocks = _each_day_windows(network, arrays, segments, plan, count, burn_in, workers, place)
    else:
        blocks = _history_gradients(network, arrays, segments, plan, count, workers, place)
    if plan.step_per == "chunk":
        yield from blocks
    elif place.done < len(segments):
        yield reduce(lambda total, block: added([total, block]), blocks)


def _window_batches(
    network: Network,
    arrays: TrainingArrays,
    segments: Segments,
    plan: BPTTPlan,
    count: float,
    workers: Workers,
    place: Place,
) -> Iterator[BlockGradients]:
    """Yield the gradients of each batch of windows."""
    for segment in islice(segments, place.done, None):
        rows = torch.from_numpy(segment.rows).to(arrays.inputs.device)
        block = tiled_gradients(
            network, arrays.inputs, arrays.y, arrays.scored, rows, plan, count, workers
        )
        place.done += 1
        yield block


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
    workers: Workers,
    place: Place,
) -> Iterator[BlockGradients]:
    """Yield the gradients of batches of windows scored on each day after the burn-in."""
    for segment in islice(segments, place.done, None):
        rows = torch.from_numpy(segment.rows).to(arrays.inputs.device)
        grid = _grid_of([(rows, torch.from_numpy(segment.starts).to(rows.device))], plan)
        mask = arrays.scored[rows]
        mask[:burn_in] = False
        state = network.initial_state(rows.shape[1])
        block = shared_gradients(
            network, arrays.inputs, arrays.y, mask, rows, state, plan, count, grid, workers
        )
        place.done += 1
        yield block


def _history_gradients(
    network: Network,
    arrays: TrainingArrays,
    segments: Segments,
    plan: BPTTPlan,
    count: float,
    workers: Workers,
    place: Place,
) -> Iterator[BlockGradients]:
    """Yield the gradients of each segment's errors, which reach into the segments before.

    Kept are the segments that later errors may reach, each with the state before it. That
    state is one update old: the block before has just been run from its own start with the
    weights of that update.
    """
    context = 0 if plan.k2 is None else plan.k2 // (plan.k1 or plan.k2) - 1
    kept: deque[tuple[Tensor, Tensor]] = deque()
    reread = min(place.done, context)
    for number, segment in enumerate(islice(segments, place.done - reread, None)):
        rows = torch.from_numpy(segment.rows).to(arrays.inputs.device)
        kept.append((rows, torch.from_numpy(segment.starts).to(rows.device)))
        if number < reread:
            continue
        state = place.state or network.initial_state(rows.shape[1])
        grid = _grid_of(kept, plan)
        rows = torch.cat([part for part, _ in kept])
        real, rows = rows >= 0, rows.clamp(min=0)
        mask = arrays.scored[rows] & real[..., None]
        block = shared_gradients(
            network, arrays.inputs, arrays.y, mask, rows, state, plan, count, grid, workers
        )
        if len(kept) > context:
            left, _ = kept.popleft()
            state = block.states[len(even(len(left), plan.chunk_days(len(left)))) - 1]
        place.done, place.state = place.done + 1, state
        yield block


def _grid_of(kept: Sequence[tuple[Tensor, Tensor]], plan: BPTTPlan) -> Grid:
    """Cut kept segments on the plan's grid; only the last one's errors are new."""
    cuts = [even(len(rows), plan.chunk_days(len(rows))) for rows, _ in kept]
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


class Watched:
    """The segments of a pass, watched while they are read."""

    def __init__(self, segments: Segments) -> None:
        self._segments = segments
        self._read: list[np.ndarray] = []

    @property
    def rows(self) -> Sequence[int]:
        """Rows read since the last update, without padding."""
        found: list[int] = np.concatenate([rows[rows >= 0] for rows in self._read]).tolist()
        return found

    def forget(self) -> None:
        """Begin another update."""
        self._read = []

    def __len__(self) -> int:
        return len(self._segments)

    def __iter__(self) -> Iterator[Segment]:
        self.forget()  # an earlier iteration may have counted only
        for segment in self._segments:
            self._read.append(segment.rows)
            yield segment
