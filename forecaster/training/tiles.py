"""How one update's windows are shared out: so many at a time, on so many threads.

Every tile's gradient is pure, and tiles are added up in their own order: neither the number of
threads nor their timing changes a bit of the result. Knows no pass, no optimizer and no file.

Shape letters: N flat rows, F inputs, K targets, L lookback days, W windows, H hidden units.
"""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from forecaster.models.network import Network
from forecaster.training.blocks import BlockGradients
from forecaster.training.exact import added
from forecaster.training.gradients import window_gradients
from forecaster.training.plan import BPTTPlan

# Hidden numbers that a GRU or an Elman network needs per operation to be worth its call.
WORTH_A_CALL = 32_768


def windows_at_once(network: Network, windows: int) -> int:
    """Choose how many windows are differentiated at a time on a CPU.

    The LSTM runs in one kernel. What it keeps of a tile should stay in the cache, and below
    the size from which the allocator hands memory back after each use: of 1,024 windows of 60
    days, 64 units, two thirds of the time goes into fresh pages. Networks too large for the
    cache gain from the second alone.

    The GRU and the Elman network call small operations for each day, whose fixed cost only
    large tiles pay back: 256 windows of 16 units at a time take 1.5 times as long as 1,024.

    The tables are in `docs/experiments.md`, "Training speed". The number of workers has no
    say: it must not change a bit of the weights.
    """
    hidden = network.core.hidden_size
    if any(isinstance(module, nn.LSTM) for module in network.modules()):
        return min(windows, 256 if hidden <= 32 else 128 if hidden <= 64 else 64)
    return min(windows, max(512, WORTH_A_CALL // hidden))


@contextmanager
def workers_of(number: int) -> Iterator[Executor | None]:
    """Give threads of one intra-op thread each, or None where one worker needs no company.

    Threads of torch's own wait for each other in every operation, which on a busy machine
    costs far more than they bring; these meet once per update.
    """
    if number == 1:
        yield None
        return
    with ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield pool


def tiled_gradients(
    network: Network,
    x: Tensor,
    y: Tensor,
    scored: Tensor,
    rows: Tensor,
    plan: BPTTPlan,
    count: float,
    workers: Executor | None,
) -> BlockGradients:
    """Add up the gradients of one update's windows, a cache's worth of them at a time.

    Args:
        network: in training mode.
        x: (N, F) inputs of all rows.
        y: (N, K) outcomes of all rows.
        scored: (N, K) bool, True where an outcome counts.
        rows: (L, W) the windows' rows, oldest first.
        plan: how far errors travel back.
        count: what the sum of the losses is divided by.
        workers: threads to share the tiles, or None.
    """
    at_once = windows_at_once(network, rows.shape[1]) if x.device.type == "cpu" else rows.shape[1]
    tiles = torch.split(rows, at_once, dim=1)
    noises = _noises(network, x, rows.shape[1], at_once)

    def differentiate(tile: Tensor, noise: Tensor | None) -> BlockGradients:
        days, last = x[tile], tile[-1]
        return window_gradients(network, days, y[last], scored[last], plan, count, noise)

    if workers is None or len(tiles) == 1 or _draws_between_layers(network):
        return added(list(map(differentiate, tiles, noises)))
    return added(list(workers.map(differentiate, tiles, noises)))


def _noises(
    network: Network, like: Tensor, windows: int, at_once: int
) -> tuple[Tensor, ...] | list[None]:
    """Draw the dropout before the head for all windows, whatever tile each is in.

    Threads that drew it themselves would take turns at torch's one generator as they come.
    """
    if not network.training or network.dropout.p == 0.0:
        return [None] * -(-windows // at_once)
    noise: Tensor = network.dropout(like.new_ones(windows, network.core.hidden_size))
    return torch.split(noise, at_once)


def _draws_between_layers(network: Network) -> bool:
    """Tell whether a fused module draws dropout of its own, which must keep its order."""
    fused = (module for module in network.modules() if isinstance(module, nn.RNNBase))
    return any(module.training and module.dropout > 0 for module in fused)
