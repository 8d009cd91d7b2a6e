"""Gradients of one block of days at fixed weights: full or truncated BPTT, stored or recomputed.

Pure: no weight moves, `p.grad` is never touched. Every scored day counts once, with weight
1 / count, however the block is cut.

Shape letters: T days, B batch rows, F features, K targets, L lookback days.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from forecaster.bptt.chunks import (
    Block,
    BlockGradients,
    Chunk,
    Chunking,
    checked,
    chunks_of,
)
from forecaster.bptt.plan import BPTTPlan, Memory
from forecaster.models.base import RecurrentState
from forecaster.models.network import Network

# Longer gradient horizons are recomputed: the same gradient, a fraction of the memory.
STORE_UP_TO_DAYS = 256
RECOMPUTED_CHUNK_DAYS = 50

Gradients = tuple[Tensor, ...]


def bptt_gradients(
    network: Network,
    block: Block,
    state: RecurrentState,
    plan: BPTTPlan,
    chunking: Chunking | None = None,
) -> BlockGradients:
    """Differentiate the losses of a block of days, errors travelling back as the plan says.

    With E_t the loss of day t and s_i the state after day i, the gradient sums
    dE_t/ds_i * ds_i/dW (immediate) over the pairs i <= t that the plan keeps: all of the
    block for `full`; for `truncated`, with the block cut in chunks of k1 days, those with i
    in the k2 / k1 chunks that end with t's own. The state's values are always carried;
    nothing travels into the days before the block.

    The network is in training mode; the block has an outcome on every day. `chunking` are the
    chunks where they are not all k1 days long or a series starts inside the block.

    Raises:
        ValueError: no days, shapes that do not fit together, no count for scored days, or
            a bidirectional network.

    Source: Williams and Peng (1990), "An Efficient Gradient-Based Algorithm for On-Line
    Training of Recurrent Network Trajectories", BPTT(h; h') with h = k2 and h' = k1.
    """
    block, days = checked(block), len(block.x)
    _require_cuttable(network, "each day's forecast is scored")
    most = plan.chunk_days(days)
    chunking = chunking or Chunking(lengths=plan.chunk_lengths(days))
    if sum(chunking.lengths) != days or max(chunking.lengths) > most:
        raise ValueError(
            f"chunks of {chunking.lengths} days do not make {days} days in chunks of at most "
            f"{most}; cut the block on the plan's k1."
        )
    loss_sum, gradients = _zero_gradients(network, block)
    states = [state.detach()]
    chunks = len(chunking.lengths)
    for last in [chunks - 1] if plan.k2 is None else range(chunking.context, chunks):
        first = 0 if plan.k2 is None else max(0, last - plan.context_chunks)
        _carry(network, block, chunking, states, until=first)
        scored_from = max(chunking.context, 0 if plan.k2 is None else last)
        span = chunks_of(block, chunking, first, last, scored_from)
        found = exact_gradients(network, span, states[first], plan.memory)
        loss_sum = loss_sum + found.loss_sum
        gradients = tuple(map(torch.add, gradients, found.gradients))
        states[first + 1 :] = found.states
    _carry(network, block, chunking, states, until=len(chunking.lengths))
    return BlockGradients(loss_sum=loss_sum, gradients=gradients, states=tuple(states[1:]))


def window_gradients(network: Network, block: Block, plan: BPTTPlan) -> BlockGradients:
    """Differentiate the last day's losses of windows, each started in the initial state.

    Truncated to K days, errors travel through exactly the last K days of each window; the
    days before only contribute their state. A learned initial state has a gradient if errors
    travel back to the window's first day. The block has B windows of L days, with outcomes of
    the last day alone.

    Raises:
        ValueError: no days, shapes that do not fit together, or no count for scored windows.
    """
    x, days = block.x, len(block.x)
    horizon = plan.horizon(days)
    if horizon < days:
        _require_cuttable(network, f"{horizon} of {days} days are differentiated")
    block = replace(checked(replace(block, x=x[-1:])), x=x[days - horizon :])
    state = network.initial_state(x.shape[1])
    if horizon < days:
        with torch.no_grad():
            _, state = network.core(x[: days - horizon], state)
    # The state is the initial one already; only a learned one needs a gradient.
    learned = horizon == days and len(network.start) > 0
    starts = torch.ones(1, x.shape[1], dtype=torch.bool, device=x.device) if learned else None
    span = chunks_of(block, Chunking(lengths=(horizon,), resets=starts), 0, 0)
    return exact_gradients(network, span, state, plan.memory)


def flat_gradient(network: Network, block: Block, plan: BPTTPlan) -> Tensor:
    """Return the gradient of a block that starts in the initial state, as one vector."""
    found = bptt_gradients(network, block, network.initial_state(block.x.shape[1]), plan)
    return torch.cat([gradient.flatten() for gradient in found.gradients])


def _require_cuttable(network: Network, use: str) -> None:
    """Refuse a network that reads days after the one it forecasts, or may not be cut."""
    if not network.core.cuttable:
        raise ValueError(
            f"{type(network.core).__name__} reads a window from both ends, yet {use}; "
            "score complete windows on their last day, in full."
        )


def _carry(
    network: Network, block: Block, chunking: Chunking, states: list[RecurrentState], *, until: int
) -> None:
    """Run without a graph through the chunks whose end state is missing, up to `until`."""
    for number in range(len(states) - 1, until):
        (chunk,) = chunks_of(block, chunking, number, number)
        with torch.no_grad():
            _, state = network.core(chunk.block.x, network.started(states[-1], chunk.resets))
        states.append(state)


def exact_gradients(
    network: Network, span: list[Chunk], state: RecurrentState, memory: Memory
) -> BlockGradients:
    """Differentiate a span through all its days, as the plan's memory asks."""
    days, device = sum(len(chunk.block.x) for chunk in span), span[0].block.x.device
    if is_recomputed(days, memory) and network.core.cuttable and _can_replay(network, device):
        return _recomputed_gradients(network, span, state)
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
        loss, state = _loss(network, chunk, network.started(state, chunk.resets))
        losses.append(loss)
        states.append(state.detach())
    loss = torch.stack(losses).sum() if len(losses) > 1 else losses[0]
    gradients = _differentiate(loss, tuple(network.parameters()))
    return BlockGradients(loss_sum=loss.detach(), gradients=gradients, states=tuple(states))


def _recomputed_gradients(
    network: Network, span: list[Chunk], state: RecurrentState
) -> BlockGradients:
    """Differentiate a span exactly, keeping the activations of a few days at a time.

    Forward without a graph; then, last chunk first, forward again and backward, the adjoint of
    the start state handed to the chunk before.

    Source: Chen et al. (2016), "Training Deep Nets with Sublinear Memory Cost", with
    balanced chunks of days as the segments.
    """
    device, states, randomness = span[0].block.x.device, [state.detach()], []
    chunks = [part for chunk in span for part in chunk.split(RECOMPUTED_CHUNK_DAYS)]
    for chunk in chunks:
        randomness.append(random_state(device))
        with torch.no_grad():
            _, end = network(chunk.block.x, network.started(states[-1], chunk.resets))
        states.append(end)
    loss_sum, gradients = _zero_gradients(network, span[0].block)
    adjoint = tuple(torch.zeros_like(tensor) for tensor in states[-1].tensors)
    for chunk, start, drawn in reversed(list(zip(chunks, states, randomness, strict=False))):
        with _replayed(drawn, device):
            loss, part, adjoint = _chunk_gradients(network, chunk, start, adjoint)
        loss_sum, gradients = loss_sum + loss, tuple(map(torch.add, gradients, part))
    kept = tuple(end for end, chunk in zip(states[1:], chunks, strict=True) if chunk.keeps_state)
    return BlockGradients(loss_sum=loss_sum, gradients=gradients, states=kept)


def _chunk_gradients(
    network: Network, chunk: Chunk, start: RecurrentState, adjoint: Gradients
) -> tuple[Tensor, Gradients, Gradients]:
    """Differentiate one chunk's losses and, by the adjoint of its end state, the later losses.

    Returns the chunk's loss, the parameters' gradients, and the adjoint of the start state.
    """
    parameters = tuple(network.parameters())
    leaves = tuple(tensor.detach().requires_grad_() for tensor in start.tensors)
    loss, end = _loss(network, chunk, network.started(RecurrentState(leaves), chunk.resets))
    outputs, seeds = (loss, *end.tensors), (torch.ones_like(loss), *adjoint)
    found = _differentiate(outputs, (*parameters, *leaves), seeds)
    return loss.detach(), found[: len(parameters)], found[len(parameters) :]


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


def _zero_gradients(network: Network, block: Block) -> tuple[Tensor, Gradients]:
    """Return a zero loss and zero gradients."""
    zeros = tuple(torch.zeros_like(parameter) for parameter in network.parameters())
    return block.x.new_zeros(()), zeros


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
