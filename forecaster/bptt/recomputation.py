"""The exact gradient through a span of chunks: in one graph, or recomputed in chunks.

Both return the same gradient; recomputation spends one more forward run and keeps one chunk's
activations instead of the span's. Knows no plan but its memory, and no optimizer.

Shape letters: T days, B batch rows, F features, K targets.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from forecaster.bptt.chunks import Block, BlockGradients, Chunk
from forecaster.bptt.plan import Memory
from forecaster.models.base import RecurrentState
from forecaster.models.network import Network

# Longer gradient horizons are recomputed: the same gradient, a fraction of the memory.
STORE_UP_TO_DAYS = 256
RECOMPUTED_CHUNK_DAYS = 50

Gradients = tuple[Tensor, ...]


def exact_gradients(
    network: Network, span: list[Chunk], state: RecurrentState, memory: Memory
) -> BlockGradients:
    """Differentiate a span through all its days, as the plan's memory asks."""
    days = sum(len(chunk.block.x) for chunk in span)
    if is_recomputed(days, memory):
        if network.core.cuttable and _can_replay(network, span[0].block.x.device):
            return _recomputed_gradients(network, span, state, RECOMPUTED_CHUNK_DAYS)
    return _one_graph_gradients(network, span, state)


def is_recomputed(days: int, memory: Memory) -> bool:
    """Whether a span of `days` is recomputed in chunks."""
    return memory == "recompute" or (memory == "auto" and days > STORE_UP_TO_DAYS)


def _one_graph_gradients(
    network: Network, span: list[Chunk], state: RecurrentState
) -> BlockGradients:
    """Differentiate a span by keeping every day's activations."""
    state, states, losses = state.detach(), [], []
    for chunk in span:
        loss, state = _loss(network, chunk, start_of(network, chunk, state))
        losses.append(loss)
        states.append(state.detach())
    loss = torch.stack(losses).sum() if len(losses) > 1 else losses[0]
    gradients = _differentiate(loss, tuple(network.parameters()))
    return BlockGradients(loss_sum=loss.detach(), gradients=gradients, states=tuple(states))


def _recomputed_gradients(
    network: Network, span: list[Chunk], state: RecurrentState, days: int
) -> BlockGradients:
    """Differentiate a span exactly, keeping the activations of `days` days at a time.

    Forward without a graph, keeping the state and the dropout's randomness at each chunk's
    start; then, last chunk first, forward again with a graph and backward, the adjoint of
    the start state handed to the chunk before.

    Source: Chen et al. (2016), "Training Deep Nets with Sublinear Memory Cost", with
    balanced chunks of days as the segments.
    """
    chunks = [part for chunk in span for part in chunk.split(days)]
    starts, ends = _chunk_starts(network, chunks, state.detach())
    loss_sum, gradients = zero_gradients(network, span[0].block)
    adjoint = tuple(torch.zeros_like(tensor) for tensor in ends[-1].tensors)
    for start in reversed(starts):
        with _replayed(start.randomness, start.chunk.block.x.device):
            loss, part, adjoint = _chunk_gradients(network, start, adjoint)
        loss_sum, gradients = loss_sum + loss, add_gradients(gradients, part)
    states = tuple(end for end, chunk in zip(ends, chunks, strict=True) if chunk.keeps_state)
    return BlockGradients(loss_sum=loss_sum, gradients=gradients, states=states)


@dataclass(frozen=True, slots=True)
class _ChunkStart:
    """A chunk with all that is needed to run it again with the same result."""

    chunk: Chunk
    state: RecurrentState
    randomness: Mapping[str, Tensor]


def _chunk_starts(
    network: Network, chunks: list[Chunk], state: RecurrentState
) -> tuple[list[_ChunkStart], list[RecurrentState]]:
    """Run through the chunks without a graph; return each one's start and end state."""
    starts, ends = [], []
    for chunk in chunks:
        starts.append(_ChunkStart(chunk, state, random_state(chunk.block.x.device)))
        with torch.no_grad():
            _, state = network(chunk.block.x, start_of(network, chunk, state))
        ends.append(state)
    return starts, ends


def _chunk_gradients(
    network: Network, start: _ChunkStart, adjoint: Gradients
) -> tuple[Tensor, Gradients, Gradients]:
    """Differentiate one chunk's losses and the later losses through its end state.

    Args:
        network: as in `bptt_gradients`.
        start: the chunk and its start.
        adjoint: d later losses / d end state; zeros for the last chunk.

    Returns:
        The chunk's loss, the parameters' gradients, and the adjoint of the start state.
    """
    parameters = tuple(network.parameters())
    leaves = tuple(tensor.detach().requires_grad_() for tensor in start.state.tensors)
    loss, end = _loss(network, start.chunk, start_of(network, start.chunk, RecurrentState(leaves)))
    outputs, seeds = (loss, *end.tensors), (torch.ones_like(loss), *adjoint)
    found = _differentiate(outputs, (*parameters, *leaves), seeds)
    return loss.detach(), found[: len(parameters)], found[len(parameters) :]


def start_of(network: Network, chunk: Chunk, state: RecurrentState) -> RecurrentState:
    """Replace the rows in which a series starts by the network's initial state."""
    return state if chunk.resets is None else network.started(state, chunk.resets)


def _differentiate(
    outputs: Tensor | Gradients, inputs: Gradients, seeds: Gradients | None = None
) -> Gradients:
    """Differentiate; inputs that no output depends on (a learned start) have zeros."""
    return torch.autograd.grad(outputs, inputs, seeds, allow_unused=True, materialize_grads=True)


def _loss(network: Network, chunk: Chunk, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
    """Sum the scored losses of a chunk, with a graph; return them and the state after it."""
    block = chunk.block
    prediction, end = network(block.x, state, last=len(block.y), noise=block.noise)
    mask = block.mask if chunk.scored else torch.zeros_like(block.mask)
    return scored_loss(network, prediction, block.y, mask) / block.count, end


def scored_loss(network: Network, prediction: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """Sum the losses of the elements where the mask is True."""
    # NaN must be gone before the loss: a masked NaN loss still has a NaN gradient.
    losses = network.head.loss(prediction, torch.where(mask, y, 0.0))
    return torch.where(mask, losses, 0.0).sum()


def zero_gradients(network: Network, block: Block) -> tuple[Tensor, Gradients]:
    """Return a zero loss and zero gradients."""
    zeros = tuple(torch.zeros_like(parameter) for parameter in network.parameters())
    return block.x.new_zeros(()), zeros


def add_gradients(left: Gradients, right: Gradients) -> Gradients:
    """Add two sets of gradients, parameter by parameter."""
    return tuple(a + b for a, b in zip(left, right, strict=True))


def _can_replay(network: Network, device: torch.device) -> bool:
    """Whether running a chunk again draws the same dropout.

    cuDNN draws the dropout between layers from a state of its own, cached and advanced
    outside torch's generators: https://github.com/pytorch/pytorch/issues/74177
    """
    if device.type != "cuda":
        return True
    fused = (module for module in network.modules() if isinstance(module, nn.RNNBase))
    return not any(module.training and module.dropout > 0 for module in fused)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Read the state of the generators that dropout may draw from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Set the generators back, those of `device` if `states` has them."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    if device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])


@contextmanager
def _replayed(states: Mapping[str, Tensor], device: torch.device) -> Iterator[None]:
    """Draw from an earlier state of the generators, then restore the current one."""
    now = random_state(device)
    set_random_state(states, device)
    try:
        yield
    finally:
        set_random_state(now, device)
