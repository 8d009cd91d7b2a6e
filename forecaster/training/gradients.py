"""Gradients of one block of days at frozen weights: full or truncated BPTT.

Pure: nothing is kept, no weight moves, `p.grad` is never touched. Knows no optimizer, no
pass and no ticker. Every scored day counts once, with weight 1 / count, however the block
is cut.

Shape letters: T days, B rows (lanes or windows), F features, K targets, L lookback days.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from forecaster.models.base import RecurrentState
from forecaster.models.network import Network
from forecaster.training.plan import BPTTPlan

# Longer reaches are recomputed in chunks: the same gradient, a fraction of the memory.
STORE_UP_TO_DAYS = 256
RECOMPUTED_CHUNK_DAYS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockGradients:
    """What a block of days says about the weights.

    Args:
        loss_sum: losses of the scored elements, summed and divided by the count; no graph.
        gradients: d loss_sum / d parameter, in the order of `network.parameters()`.
        state: the state after the last day, detached.
    """

    loss_sum: Tensor
    gradients: tuple[Tensor, ...]
    state: RecurrentState


@dataclass(frozen=True, slots=True)
class _Block:
    """Days with their outcomes, and what the sum of their losses is divided by."""

    x: Tensor
    y: Tensor
    mask: Tensor
    count: float

    def cut(self, days: int) -> list["_Block"]:
        """Split into pieces of `days` days, counted from the first; the last may be shorter."""
        parts = (torch.split(tensor, days) for tensor in (self.x, self.y, self.mask))
        return [_Block(x, y, mask, self.count) for x, y, mask in zip(*parts, strict=True)]


def bptt_gradients(
    network: Network,
    x: Tensor,
    y: Tensor,
    mask: Tensor,
    state: RecurrentState,
    plan: BPTTPlan,
    count: float,
) -> BlockGradients:
    """Differentiate the losses of a block of days, errors reaching back as the plan says.

    With E_t the loss of day t and s_i the state after day i, the gradient sums
    dE_t/ds_i * ds_i/dW (immediate) over the pairs i <= t that the plan keeps: all of the
    block for `full`; for `truncated`, those in one chunk of `plan.steps` days, chunks counted
    from the block's first day. The state's values are always carried; nothing reaches into
    the days before the block.

    Args:
        network: in training mode, every parameter trainable.
        x: (T, B, F) features, finite everywhere, oldest day first, T at least 1.
        y: (T, B, K) outcomes; may hold NaN where `mask` is False.
        mask: (T, B, K) bool, True where an outcome is scored.
        state: the state before the first day, B rows.
        plan: how far errors travel back.
        count: what the sum of the losses is divided by; above 0 if anything is scored.

    Returns:
        The gradients, the loss and the state after the block.

    Raises:
        ValueError: no days, shapes that do not belong together, or no count for scored days.

    Source: Williams and Peng (1990), "An Efficient Gradient-Based Algorithm for On-Line
    Training of Recurrent Network Trajectories". Deviation: theirs looks back h days every h'
    days; here h = h', so an error reaches 1 to h days back, by its place in the chunk.
    """
    block = _checked_block(x, y, mask, count)
    pieces = block.cut(plan.reach(len(x)))
    total = _exact_gradients(network, pieces[0], state)
    for piece in pieces[1:]:
        total = _joined(total, _exact_gradients(network, piece, total.state))
    return total


def window_gradients(
    network: Network,
    x: Tensor,
    y_last: Tensor,
    mask_last: Tensor,
    plan: BPTTPlan,
    count: float,
) -> BlockGradients:
    """Differentiate the last day's losses of windows, each started from a zero state.

    Truncated to K days, the error reaches exactly the last K days of each window; the days
    before them only lend their state. Windows scored on every day go through
    `bptt_gradients` with `network.initial_state(B)`.

    Args:
        network: in training mode, every parameter trainable.
        x: (L, B, F) features of B windows, oldest day first.
        y_last: (B, K) outcomes of the last day; may hold NaN where `mask_last` is False.
        mask_last: (B, K) bool, True where an outcome is scored.
        plan: how far errors travel back.
        count: what the sum of the losses is divided by; above 0 if anything is scored.

    Returns:
        The gradients, the loss and the state after the windows.

    Raises:
        ValueError: no days, shapes that do not belong together, or no count for scored windows.
    """
    reach = plan.reach(len(x))
    y = y_last.new_zeros(reach, *y_last.shape)
    mask = mask_last.new_zeros(reach, *mask_last.shape)
    y[-1:], mask[-1:] = y_last, mask_last
    block = _checked_block(x[len(x) - reach :], y, mask, count)
    state = _warmed_state(network, x[: len(x) - reach])
    return _exact_gradients(network, block, state)


def _checked_block(x: Tensor, y: Tensor, mask: Tensor, count: float) -> _Block:
    """Refuse what broadcasting or a division by zero would turn into wrong gradients."""
    if len(x) == 0:
        raise ValueError("the block has no days; give at least 1.")
    if y.shape != mask.shape or x.shape[:2] != y.shape[:2] or mask.dtype != torch.bool:
        raise ValueError(
            f"x {tuple(x.shape)}, y {tuple(y.shape)} and {mask.dtype} mask {tuple(mask.shape)} "
            "do not belong together; give (T, B, F), (T, B, K) and a bool (T, B, K)."
        )
    if count > 0:
        return _Block(x, y, mask, count)
    if mask.any():
        raise ValueError(f"count is {count}, yet days are scored; give a count above 0.")
    return _Block(x, y, mask, 1.0)


def _warmed_state(network: Network, x: Tensor) -> RecurrentState:
    """Run from zeros through days that no error reaches."""
    state = network.initial_state(x.shape[1])
    if len(x) > 0:
        with torch.no_grad():
            _, state = network.core(x, state)
    return state


def _exact_gradients(network: Network, block: _Block, state: RecurrentState) -> BlockGradients:
    """Differentiate a block through all its days, the cheapest exact way."""
    if len(block.x) > STORE_UP_TO_DAYS and _can_replay(network, block.x.device):
        return _full_by_recomputation(network, block, state, RECOMPUTED_CHUNK_DAYS)
    return _full_in_one_graph(network, block, state)


def _full_in_one_graph(network: Network, block: _Block, state: RecurrentState) -> BlockGradients:
    """Differentiate a block by keeping every day's activations."""
    loss, end = _loss(network, block, state.detach())
    gradients = torch.autograd.grad(loss, tuple(network.parameters()))
    return BlockGradients(loss_sum=loss.detach(), gradients=gradients, state=end.detach())


def _full_by_recomputation(
    network: Network, block: _Block, state: RecurrentState, days: int
) -> BlockGradients:
    """Differentiate a block exactly, holding the activations of `days` days at a time.

    Forward without a graph, keeping the state and the dropout's randomness at each chunk's
    start; then, last chunk first, forward again with a graph and backward, the adjoint of
    the start state handed to the chunk before.

    Source: Chen et al. (2016), "Training Deep Nets with Sublinear Memory Cost", with uniform
    chunks of days as the segments.
    """
    starts, end = _chunk_starts(network, block.cut(days), state.detach())
    loss_sum = block.x.new_zeros(())
    gradients = tuple(torch.zeros_like(parameter) for parameter in network.parameters())
    adjoint = tuple(torch.zeros_like(tensor) for tensor in end.tensors)
    for start in reversed(starts):
        with _replayed(start.randomness, block.x.device):
            loss, part, adjoint = _chunk_gradients(network, start, adjoint)
        loss_sum, gradients = loss_sum + loss, _sums(gradients, part)
    return BlockGradients(loss_sum=loss_sum, gradients=gradients, state=end)


@dataclass(frozen=True, slots=True)
class _ChunkStart:
    """What it takes to run a chunk a second time and get the same."""

    chunk: _Block
    state: RecurrentState
    randomness: tuple[Tensor, ...]


def _chunk_starts(
    network: Network, chunks: list[_Block], state: RecurrentState
) -> tuple[list[_ChunkStart], RecurrentState]:
    """Run through the chunks without a graph; give each one's start, and the end state."""
    starts = []
    for chunk in chunks:
        starts.append(_ChunkStart(chunk, state, _random_state(chunk.x.device)))
        with torch.no_grad():
            _, state = network(chunk.x, state)
    return starts, state


def _chunk_gradients(
    network: Network, start: _ChunkStart, adjoint: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Differentiate one chunk's losses and what later chunks owe to its end state.

    Args:
        network: as in `bptt_gradients`.
        start: the chunk and its start.
        adjoint: d later losses / d end state; zeros for the last chunk.

    Returns:
        The chunk's loss, the parameters' gradients, and the adjoint of the start state.
    """
    parameters = tuple(network.parameters())
    leaves = tuple(tensor.detach().requires_grad_() for tensor in start.state.tensors)
    loss, end = _loss(network, start.chunk, RecurrentState(leaves))
    outputs, seeds = (loss, *end.tensors), (torch.ones_like(loss), *adjoint)
    found = torch.autograd.grad(outputs, (*parameters, *leaves), seeds)
    return loss.detach(), found[: len(parameters)], found[len(parameters) :]


def _loss(network: Network, block: _Block, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
    """Sum the scored losses of a block, with a graph, and give the state after it."""
    prediction, end = network(block.x, state)
    # NaN must be gone before the loss: a masked NaN loss still has a NaN gradient.
    outcome = torch.where(block.mask, block.y, 0.0)
    losses = network.head.loss(prediction, outcome)
    return torch.where(block.mask, losses, 0.0).sum() / block.count, end


def _joined(first: BlockGradients, then: BlockGradients) -> BlockGradients:
    """Add two blocks that follow each other."""
    return BlockGradients(
        loss_sum=first.loss_sum + then.loss_sum,
        gradients=_sums(first.gradients, then.gradients),
        state=then.state,
    )


def _sums(left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(a + b for a, b in zip(left, right, strict=True))


def _can_replay(network: Network, device: torch.device) -> bool:
    """Tell whether running a chunk again draws the same dropout.

    cuDNN draws the dropout between layers from a state of its own, cached and advanced
    outside torch's generators: https://github.com/pytorch/pytorch/issues/74177
    """
    if device.type != "cuda":
        return True
    fused = (module for module in network.modules() if isinstance(module, nn.RNNBase))
    return not any(module.training and module.dropout > 0 for module in fused)


def _random_state(device: torch.device) -> tuple[Tensor, ...]:
    """Give the state of the generators that dropout may draw from."""
    if device.type == "cuda":
        return torch.get_rng_state(), torch.cuda.get_rng_state(device)
    if device.type == "mps":
        return torch.get_rng_state(), torch.mps.get_rng_state()
    return (torch.get_rng_state(),)


def _set_random_state(randomness: tuple[Tensor, ...], device: torch.device) -> None:
    torch.set_rng_state(randomness[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(randomness[1], device)
    if device.type == "mps":
        torch.mps.set_rng_state(randomness[1])


@contextmanager
def _replayed(randomness: tuple[Tensor, ...], device: torch.device) -> Iterator[None]:
    """Draw from an earlier state of the generators, then go on where they were."""
    now = _random_state(device)
    _set_random_state(randomness, device)
    try:
        yield
    finally:
        _set_random_state(now, device)
