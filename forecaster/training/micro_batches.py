"""Micro-batches: an optimizer step's windows or batch rows, some at a time, on some threads.

Every micro-batch's gradient is pure, and they are added up in their own order: neither the
number of threads nor their timing changes a bit of the result.

Shape letters: N flat rows, F inputs, K targets, L lookback days, W windows, T days and B batch
rows of a block, H hidden units.
"""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from forecaster.bptt.batch import Batch, Gradients, sum_gradients
from forecaster.bptt.engine import gradients, is_recomputed
from forecaster.bptt.plan import Plan
from forecaster.models.base import RecurrentState, join_rows
from forecaster.models.network import Network
from forecaster.training.network_run import NetworkRun

CPU = torch.device("cpu")
# Days x windows x hidden units of an LSTM's micro-batch: its graph keeps 8 numbers of each, 16 MiB.
KEPT_AT_ONCE = 2**19
# Hidden numbers that a GRU or an Elman network needs per operation to be worth its call.
WORTH_A_CALL = 32_768
# Multiplications per operation on half a step's windows that are worth a second thread, and
# on half of the batch rows of a block scored each day.
WORTH_A_THREAD = 2**17
WORTH_SHARING = 2**16
WORTH_SHARING_IN_ONE_KERNEL = 2**15


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingArrays:
    """All training data, on one device: scaled inputs (N, F) and outcomes (N, K) of the day after.

    Unknown outcomes are NaN; `scored` (N, K) is True where one may be learned from, `counted` is
    the same in main memory.
    """

    inputs: Tensor
    y: Tensor
    scored: Tensor
    counted: np.ndarray

    @classmethod
    def on(
        cls, device: torch.device, inputs: np.ndarray, y: np.ndarray, scored: np.ndarray
    ) -> "TrainingArrays":
        """Move numpy arrays to a device, once."""
        inputs_, y_, scored_ = (torch.from_numpy(a).to(device) for a in (inputs, y, scored))
        return cls(inputs=inputs_, y=y_, scored=scored_, counted=scored)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunking:
    """How a block of days is cut; see `Batch`: its `chunks`, `resets` and `context`."""

    lengths: tuple[int, ...]
    resets: Tensor | None = None
    context: int = 0


@dataclass(frozen=True, slots=True)
class Workers:
    """Threads that share the windows of a step (None: one alone)."""

    number: int = 1
    threads: Executor | None = None


@contextmanager
def workers_of(number: int, device: torch.device = CPU) -> Iterator[Workers]:
    """Keep threads of one intra-op thread each while inside; one alone where there is a GPU.

    Torch's own wait for each other in every operation; these meet once per optimizer step.
    """
    if number == 1 or device.type != "cpu":
        yield Workers()
        return
    with ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield Workers(number, pool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """A network in training mode, with its data, its BPTT plan and its workers."""

    network: Network
    arrays: TrainingArrays
    plan: Plan
    workers: Workers


def windows_at_once(network: Network, lookback: int, windows: int) -> int:
    """Choose how many windows are differentiated at a time on a CPU.

    An LSTM runs in one kernel, whose buffers should stay small. The GRU and the Elman network call
    small operations for each day, whose fixed cost only large micro-batches pay back. The number
    of workers has no influence: it must not change a bit of the weights.

    Source: the tables in `docs/experiments.md`, "Training speed".
    """
    hidden, half = network.core.hidden_size, -(-windows // 2)
    if network.core.in_one_kernel:
        if windows < 128 and hidden <= 64:
            return windows
        fitting = KEPT_AT_ONCE // (lookback * hidden)
        return min(half, max(32, min(256, 1 << fitting.bit_length() >> 1)))
    if half * hidden**2 < WORTH_A_THREAD:
        return windows
    return min(half, max(512, WORTH_A_CALL // hidden))


def window_batch_gradients(learner: Learner, rows: Tensor, count: float) -> Gradients:
    """Sum the gradients of one step's windows, a micro-batch at a time.

    `rows` (L, W) are the windows' flat rows, oldest first, `count` the divisor of the sum of the
    losses.
    """
    network, arrays, workers = learner.network, learner.arrays, learner.workers
    x, on_cpu = arrays.inputs, arrays.inputs.device.type == "cpu"
    at_once = windows_at_once(network, *rows.shape) if on_cpu else rows.shape[1]
    parts = torch.split(rows, at_once, dim=1)
    noise = _noise(network, x, 1, rows.shape[1])
    noises = [None] * len(parts) if noise is None else torch.split(noise, at_once, dim=1)

    def differentiate(part: Tensor, noise: Tensor | None) -> Gradients:
        last = part[-1:]
        outcomes, known = arrays.y[last], arrays.scored[last]
        days = (_gathered(x, part), None if noise is None else noise.expand(len(part), -1, -1))
        batch = Batch(days, outcomes, known, count=count)
        return _differentiate(learner, batch, None)

    if len(parts) == 1 and network.core.in_one_kernel:
        with _intra_op_threads(workers.number):
            return differentiate(parts[0], noises[0])
    alone = workers.threads is None or len(parts) == 1 or _draws_between_layers(network)
    mapped = map if workers.threads is None or alone else workers.threads.map
    return sum_gradients(list(mapped(differentiate, parts, noises)))


def block_gradients(
    learner: Learner,
    rows: Tensor,
    scored: Tensor,
    state: RecurrentState,
    count: float,
    chunking: Chunking,
) -> Gradients:
    """Sum the gradients of a block whose every day may be scored, half of its rows each.

    `rows` (T, B) are the block's flat rows, any where there is padding, `scored` (T, B, K) the
    outcomes that count, `state` is that before the first day. See `window_batch_gradients`.
    """
    network, arrays = learner.network, learner.arrays
    days, batch_rows = rows.shape
    if not network.core.cuttable:
        raise ValueError(
            f"{type(network.core).__name__} reads a window from both ends, yet each day's forecast "
            "is scored; score complete windows on their last day."
        )

    def differentiate(columns: slice, noise: Tensor | None) -> Gradients:
        chosen, resets = rows[:, columns], chunking.resets
        batch = Batch(
            x=(_gathered(arrays.inputs, chosen), noise),
            y=_gathered(arrays.y, chosen),
            mask=scored[:, columns],
            resets=None if resets is None else resets[:, columns],
            count=count,
            chunks=chunking.lengths,
            context=chunking.context,
        )
        return _differentiate(learner, batch, state.rows(columns))

    half = -(-batch_rows // 2)
    if not _is_shared(learner, days, half):
        return differentiate(slice(0, batch_rows), None)
    halves = (slice(0, half), slice(half, batch_rows))
    noise = _noise(network, arrays.inputs, days, batch_rows)
    noises = [None if noise is None else noise[:, columns] for columns in halves]
    threads = learner.workers.threads
    parts = list((map if threads is None else threads.map)(differentiate, halves, noises))
    states = zip(*(part.states for part in parts), strict=True)
    return replace(sum_gradients(parts), states=tuple(join_rows(pair) for pair in states))


def _differentiate(learner: Learner, batch: Batch, state: RecurrentState | None) -> Gradients:
    network = learner.network
    run = NetworkRun(network)
    return gradients(run, batch, learner.plan, loss=network.head.loss, state=state)


def _gathered(tensor: Tensor, rows: Tensor) -> Tensor:
    """Select rows three times as fast as `tensor[rows]`, a twentieth of a small network's step."""
    return tensor.index_select(0, rows.reshape(-1)).view(*rows.shape, -1)


def _is_shared(learner: Learner, days: int, half: int) -> bool:
    """Whether half of a block's rows is worth a second worker, and may be given to one.

    Recomputation replays torch's one generator, which two threads cannot do at a time.
    """
    network, plan = learner.network, learner.plan
    worth = WORTH_SHARING_IN_ONE_KERNEL if network.core.in_one_kernel else WORTH_SHARING
    return (
        learner.arrays.inputs.device.type == "cpu"
        and half * network.core.hidden_size**2 >= worth
        and not is_recomputed(days if plan.k2 is None else plan.k2, plan.memory)
        and not _draws_between_layers(network)
    )


@contextmanager
def _intra_op_threads(number: int) -> Iterator[None]:
    """Use the workers as torch's threads, whose split of an LSTM's kernel changes no bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(number, before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _noise(network: Network, like: Tensor, days: int, rows: int) -> Tensor | None:
    """Draw the dropout before the head for all rows, (days, rows, H), in one thread."""
    if not network.training or network.dropout.p == 0.0:
        return None
    noise: Tensor = network.dropout(like.new_ones(days, rows, network.core.hidden_size))
    return noise


def _draws_between_layers(network: Network) -> bool:
    """Whether the core draws dropout of its own, which must keep its order."""
    return any(
        (module.p if isinstance(module, nn.Dropout) else module.dropout) > 0
        for module in network.core.modules()
        if isinstance(module, nn.RNNBase | nn.Dropout) and module.training
    )
