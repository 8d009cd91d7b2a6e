"""The exact gradient through a span of days: in one graph, or recomputed in chunks.

Both give the same gradient; recomputing spends one forward pass more and holds a chunk's
activations instead of the whole span's. Knows no plan but its memory, and no optimizer.

Shape letters: T days, B rows, F features, K targets.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from forecaster.bptt.chunks import Block, BlockGradients, Segment
from forecaster.bptt.plan import Memory
from forecaster.models.base import RecurrentState
from forecaster.models.network import Network

# Longer reaches are recomputed in chunks: the same gradient, a fraction of the memory.
STORE_UP_TO_DAYS = 256
RECOMPUTED_CHUNK_DAYS = 50


def exact_gradients(
    network: Network, span: list[Segment], state: RecurrentState, memory: Memory
) -> BlockGradients:
    """Differentiate a span through all its days, the way that the plan's memory asks for."""
    days = sum(len(segment.block.x) for segment in span)
    if is_recomputed(days, memory):
        if network.core.cuttable and _can_replay(network, span[0].block.x.device):
            return _full_by_recomputation(network, span, state, RECOMPUTED_CHUNK_DAYS)
    return _full_in_one_graph(network, span, state)


def is_recomputed(days: int, memory: Memory) -> bool:
    """Tell whether a span of so many days is recomputed in chunks."""
    return memory == "recompute" or (memory == "auto" and days > STORE_UP_TO_DAYS)


def _full_in_one_graph(
    network: Network, span: list[Segment], state: RecurrentState
) -> BlockGradients:
    """Differentiate a span by keeping every day's activations."""
    state, states, losses = state.detach(), [], []
    for segment in span:
        loss, state = _loss(network, segment, started(network, segment, state))
        losses.append(loss)
        states.append(state.detach())
    loss = torch.stack(losses).sum() if len(losses) > 1 else losses[0]
    gradients = _gradients(loss, tuple(network.parameters()))
    return BlockGradients(loss_sum=loss.detach(), gradients=gradients, states=tuple(states))


def _full_by_recomputation(
    network: Network, span: list[Segment], state: RecurrentState, days: int
) -> BlockGradients:
    """Differentiate a span exactly, holding the activations of `days` days at a time.

    Forward without a graph, keeping the state and the dropout's randomness at each chunk's
    start; then, last chunk first, forward again with a graph and backward, the adjoint of
    the start state handed to the chunk before.

    Source: Chen et al. (2016), "Training Deep Nets with Sublinear Memory Cost", with
    balanced chunks of days as the segments.
    """
    chunks = [chunk for segment in span for chunk in segment.cut(days)]
    starts, ends = _chunk_starts(network, chunks, state.detach())
    loss_sum, gradients = nothing(network, span[0].block)
    adjoint = tuple(torch.zeros_like(tensor) for tensor in ends[-1].tensors)
    for start in reversed(starts):
        with _replayed(start.randomness, start.chunk.block.x.device):
            loss, part, adjoint = _chunk_gradients(network, start, adjoint)
        loss_sum, gradients = loss_sum + loss, sums(gradients, part)
    grid = tuple(end for end, chunk in zip(ends, chunks, strict=True) if chunk.ends_grid)
    return BlockGradients(loss_sum=loss_sum, gradients=gradients, states=grid)


@dataclass(frozen=True, slots=True)
class _ChunkStart:
    """What it takes to run a chunk a second time and get the same."""

    chunk: Segment
    state: RecurrentState
    randomness: tuple[Tensor, ...]


def _chunk_starts(
    network: Network, chunks: list[Segment], state: RecurrentState
) -> tuple[list[_ChunkStart], list[RecurrentState]]:
    """Run through the chunks without a graph; give each one's start and end state."""
    starts, ends = [], []
    for chunk in chunks:
        starts.append(_ChunkStart(chunk, state, _random_state(chunk.block.x.device)))
        with torch.no_grad():
            _, state = network(chunk.block.x, started(network, chunk, state))
        ends.append(state)
    return starts, ends


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
    loss, end = _loss(network, start.chunk, started(network, start.chunk, RecurrentState(leaves)))
    outputs, seeds = (loss, *end.tensors), (torch.ones_like(loss), *adjoint)
    found = _gradients(outputs, (*parameters, *leaves), seeds)
    return loss.detach(), found[: len(parameters)], found[len(parameters) :]


def started(network: Network, segment: Segment, state: RecurrentState) -> RecurrentState:
    """Give the rows in which a series begins the network's initial state."""
    return state if segment.resets is None else network.started(state, segment.resets)


def _gradients(
    outputs: Tensor | tuple[Tensor, ...],
    inputs: tuple[Tensor, ...],
    seeds: tuple[Tensor, ...] | None = None,
) -> tuple[Tensor, ...]:
    """Differentiate; what the outputs do not depend on (a learned start) has zeros."""
    return torch.autograd.grad(outputs, inputs, seeds, allow_unused=True, materialize_grads=True)


def _loss(
    network: Network, segment: Segment, state: RecurrentState
) -> tuple[Tensor, RecurrentState]:
    """Sum the scored losses of a segment, with a graph, and give the state after it."""
    block = segment.block
    prediction, end = network(block.x, state, last=len(block.y), noise=block.noise)
    mask = block.mask if segment.scored else torch.zeros_like(block.mask)
    return scored_loss(network, prediction, block.y, mask, block.count), end


def scored_loss(
    network: Network, prediction: Tensor, y: Tensor, mask: Tensor, count: float
) -> Tensor:
    """Sum the losses of the elements where the mask is True, divided by the count."""
    # NaN must be gone before the loss: a masked NaN loss still has a NaN gradient.
    losses = network.head.loss(prediction, torch.where(mask, y, 0.0))
    return torch.where(mask, losses, 0.0).sum() / count


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


def nothing(network: Network, block: Block) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Give the loss and the gradients of no days."""
    zeros = tuple(torch.zeros_like(parameter) for parameter in network.parameters())
    return block.x.new_zeros(()), zeros


def sums(left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Add two sets of gradients, parameter by parameter."""
    return tuple(a + b for a, b in zip(left, right, strict=True))


def added(parts: Sequence[BlockGradients]) -> BlockGradients:
    """Add up what blocks say at the same weights; the states are the last one's.

    Raises:
        ValueError: there is none.
    """
    if not parts:
        raise ValueError("no block to add up; give at least 1.")
    if len(parts) == 1:
        return parts[0]
    return BlockGradients(
        loss_sum=torch.stack([part.loss_sum for part in parts]).sum(),
        gradients=tuple(
            torch.stack(pieces).sum(dim=0)
            for pieces in zip(*(part.gradients for part in parts), strict=True)
        ),
        states=parts[-1].states,
    )
