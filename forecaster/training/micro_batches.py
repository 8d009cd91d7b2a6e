"""How one update's windows or lanes are shared out: so many at a time, on so many threads.

Every tile's gradient is pure, and tiles are added up in their own order: neither the number of
threads nor their timing changes a bit of the result. Knows no pass, no optimizer and no file.

Shape letters: N flat rows, F inputs, K targets, L lookback days, W windows, T days and B rows of
a block, H hidden units.
"""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from forecaster.bptt.chunks import BlockGradients, Grid
from forecaster.bptt.gradients import bptt_gradients, window_gradients
from forecaster.bptt.plan import BPTTPlan
from forecaster.bptt.recomputation import added, is_recomputed
from forecaster.models.base import RecurrentState, join_rows
from forecaster.models.network import Network
from forecaster.training.lstm_windows import BufferPool, lstm_window_gradients, single_lstm

CPU = torch.device("cpu")
# Days x windows x hidden units of an LSTM's tile in one kernel: what its graph keeps (8 numbers
# each) is then 16 MiB, below the size from which the allocator hands memory back after each use.
KEPT_AT_ONCE = 2**19
# Hidden numbers of half an update's windows on a day from which an LSTM goes by days; and the
# hidden units up to which it does: beyond, the matrix products take all the time either way.
WORTH_GOING_BY_DAYS = 8_192
LARGEST_BY_DAYS = 96
# Numbers in the buffers of a tile that goes by days: 80 MB for each worker.
BUFFERED_AT_ONCE = 20_000_000
# With room for fewer windows the calls of a day's operations cost more than they do.
FEWEST_BY_DAYS = 64
# Hidden numbers that a GRU or an Elman network needs per operation to be worth its call.
WORTH_A_CALL = 32_768
# Multiplications per operation on half an update's windows that are worth a second thread, and
# on half of the rows of a block scored each day.
WORTH_A_THREAD = 2**17
WORTH_SHARING = 2**16
WORTH_SHARING_IN_ONE_KERNEL = 2**15


def windows_at_once(network: Network, lookback: int, windows: int) -> int:
    """Choose how many windows are differentiated at a time on a CPU.

    A single LSTM layer with many windows goes by days (see `lstm_windows.py`), in two tiles or
    as many as the buffers need.

    Other LSTMs, and few windows, run in one kernel, whose buffers should stay
    small: of 1,024 windows of 60 days, 64 units, in one tile two thirds of the time goes into
    fresh pages. From 128 windows on, and for large networks, there are at least two tiles.

    The GRU and the Elman network call small operations for each day, whose fixed cost only
    large tiles pay back: 256 windows of 16 units at a time take 1.5 times as long as 1,024.

    The tables are in `docs/experiments.md`, "Training speed". The number of workers has no
    say: it must not change a bit of the weights.
    """
    hidden, half = network.core.hidden_size, -(-windows // 2)
    if _goes_by_days(network, lookback, windows):
        return min(half, _room(network, lookback))
    if network.core.in_one_kernel:
        if windows < 128 and hidden <= 64:
            return windows
        fitting = KEPT_AT_ONCE // (lookback * hidden)
        return min(half, max(32, min(256, 1 << fitting.bit_length() >> 1)))
    if half * hidden**2 < WORTH_A_THREAD:
        return windows
    return min(half, max(512, WORTH_A_CALL // hidden))


@dataclass(frozen=True, slots=True)
class Workers:
    """Threads that share the windows of an update, and the buffers that they take turns at.

    `number` of threads; None where one is alone.
    """

    number: int = 1
    threads: Executor | None = None
    buffers: BufferPool = field(default_factory=BufferPool)


@contextmanager
def workers_of(number: int, device: torch.device = CPU) -> Iterator[Workers]:
    """Keep threads of one intra-op thread each while inside; one alone where there is a GPU.

    Threads of torch's own wait for each other in every operation, which on a busy machine
    costs far more than they bring; these meet once per update.
    """
    if number == 1 or device.type != "cpu":
        yield Workers()
        return
    with ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield Workers(number, pool)


def tiled_gradients(
    network: Network,
    x: Tensor,
    y: Tensor,
    scored: Tensor,
    rows: Tensor,
    plan: BPTTPlan,
    count: float,
    workers: Workers,
) -> BlockGradients:
    """Add up the gradients of one update's windows, a tile at a time.

    Args:
        network: in training mode.
        x: (N, F) inputs of all rows.
        y: (N, K) outcomes of all rows.
        scored: (N, K) bool, True where an outcome counts.
        rows: (L, W) the windows' rows, oldest first.
        plan: how far errors travel back.
        count: what the sum of the losses is divided by.
        workers: who shares the tiles; any number gives the same bits.
    """
    at_once = windows_at_once(network, *rows.shape) if x.device.type == "cpu" else rows.shape[1]
    tiles = torch.split(rows, at_once, dim=1)
    noise = _noise(network, x, rows.shape[1])
    noises = [None] * len(tiles) if noise is None else torch.split(noise, at_once)

    by_days = x.device.type == "cpu" and _goes_by_days(network, *rows.shape)

    def differentiate(tile: Tensor, noise: Tensor | None) -> BlockGradients:
        last, horizon = tile[-1], plan.horizon(len(tile))
        outcomes, known = y[last], scored[last]
        if by_days:
            return lstm_window_gradients(
                network, x, tile, outcomes, known, horizon, count, noise, workers.buffers
            )
        # Three times as fast as x[tile], which at a small network is a twentieth of the update.
        days = x.index_select(0, tile.reshape(-1)).view(*tile.shape, -1)
        return window_gradients(network, days, outcomes, known, plan, count, noise)

    if len(tiles) == 1 and network.core.in_one_kernel and not by_days:
        with _intra_op_threads(workers.number):
            return differentiate(tiles[0], noises[0])
    if workers.threads is None or len(tiles) == 1 or _draws_between_layers(network):
        return added(list(map(differentiate, tiles, noises)))
    return added(list(workers.threads.map(differentiate, tiles, noises)))


def shared_gradients(
    network: Network,
    x: Tensor,
    y: Tensor,
    scored: Tensor,
    rows: Tensor,
    state: RecurrentState,
    plan: BPTTPlan,
    count: float,
    grid: Grid,
    workers: Workers,
) -> BlockGradients:
    """Add up the gradients of a block whose every day may be scored, half of its rows each.

    Args:
        network: in training mode.
        x: (N, F) inputs of all flat rows.
        y: (N, K) outcomes of all flat rows.
        scored: (T, B, K) bool, True where an outcome of the block counts.
        rows: (T, B) the block's flat rows, any where there is padding.
        state: before the first day, B rows.
        plan: how far errors travel back.
        count: what the sum of the losses is divided by.
        grid: the block's segments.
        workers: who shares the rows; any number gives the same bits.
    """

    def differentiate(columns: slice, noise: Tensor | None) -> BlockGradients:
        chosen, resets = rows[:, columns], grid.resets
        flat, sizes = chosen.reshape(-1), chosen.shape
        return bptt_gradients(
            network,
            x.index_select(0, flat).view(*sizes, -1),
            y.index_select(0, flat).view(*sizes, -1),
            scored[:, columns],
            state.rows(columns),
            plan,
            count,
            replace(grid, resets=None if resets is None else resets[:, columns]),
            noise,
        )

    days, batch_rows = rows.shape
    half = -(-batch_rows // 2)
    if not _is_shared(network, plan, days, half, x.device):
        return differentiate(slice(0, batch_rows), None)
    halves = (slice(0, half), slice(half, batch_rows))
    noise = _noise(network, x, days, batch_rows)
    noises = [None if noise is None else noise[:, columns] for columns in halves]
    share = map if workers.threads is None else workers.threads.map
    parts = list(share(differentiate, halves, noises))
    states = zip(*(part.states for part in parts), strict=True)
    return replace(added(parts), states=tuple(join_rows(pair) for pair in states))


def _is_shared(
    network: Network, plan: BPTTPlan, days: int, half: int, device: torch.device
) -> bool:
    """Tell whether half of a block's rows is worth a second worker, and may be given to one.

    Recomputation replays torch's one generator, which two threads cannot do at a time.
    """
    worth = WORTH_SHARING_IN_ONE_KERNEL if network.core.in_one_kernel else WORTH_SHARING
    recomputes = is_recomputed(days if plan.k2 is None else plan.k2, plan.memory)
    return (
        device.type == "cpu"
        and half * network.core.hidden_size**2 >= worth
        and not recomputes
        and not _draws_between_layers(network)
    )


@contextmanager
def _intra_op_threads(number: int) -> Iterator[None]:
    """Lend the workers to torch, whose split of an LSTM's one large kernel changes no bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(number, before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _noise(network: Network, like: Tensor, *sizes: int) -> Tensor | None:
    """Draw the dropout before the head for all rows, (*sizes, H), whatever worker takes each.

    Threads that drew it themselves would take turns at torch's one generator as they come.
    """
    if not network.training or network.dropout.p == 0.0:
        return None
    noise: Tensor = network.dropout(like.new_ones(*sizes, network.core.hidden_size))
    return noise


def _goes_by_days(network: Network, lookback: int, windows: int) -> bool:
    """Tell whether an update of so many windows is worth running an LSTM day by day."""
    hidden = network.core.hidden_size
    enough = -(-windows // 2) * hidden >= WORTH_GOING_BY_DAYS and hidden <= LARGEST_BY_DAYS
    fits = _room(network, lookback) >= FEWEST_BY_DAYS
    return enough and fits and single_lstm(network) is not None


def _room(network: Network, lookback: int) -> int:
    """Count the windows whose days fit into the buffers of a tile."""
    return BUFFERED_AT_ONCE // ((lookback + 1) * 10 * network.core.hidden_size)


def _draws_between_layers(network: Network) -> bool:
    """Tell whether the core draws dropout of its own, which must keep its order."""
    drawing = [
        (module.p if isinstance(module, nn.Dropout) else module.dropout)
        for module in network.core.modules()
        if isinstance(module, nn.RNNBase | nn.Dropout) and module.training
    ]
    return any(share > 0 for share in drawing)
