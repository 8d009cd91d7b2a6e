"""Gradients of one block of days at fixed weights: full or truncated BPTT.

Pure: nothing is kept, no weight moves, `p.grad` is never touched. Knows no optimizer, no
epoch and no ticker. Every scored day counts once, with weight 1 / count, however the block
is cut.

Shape letters: T days, B batch rows, F features, K targets, L lookback days.
"""

from dataclasses import replace

import torch
from torch import Tensor

from forecaster.bptt.chunks import (
    Block,
    BlockGradients,
    Chunking,
    checked,
    chunks_of,
    fixed_lengths,
)
from forecaster.bptt.plan import BPTTPlan
from forecaster.bptt.recomputation import add_gradients, exact_gradients, start_of, zero_gradients
from forecaster.models.base import RecurrentState
from forecaster.models.network import Network


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

    Args:
        network: in training mode, every parameter trainable.
        block: with an outcome on every day; in context chunks the mask is False.
        state: the state before the first day, B rows.
        plan: how far errors travel back.
        chunking: the chunks, where they are not all k1 days long or a series starts inside
            the block.

    Returns:
        The gradients, the loss and the states after every chunk, all at the current weights.

    Raises:
        ValueError: no days, shapes that do not fit together, no count for scored days, or
            a bidirectional network.

    Source: Williams and Peng (1990), "An Efficient Gradient-Based Algorithm for On-Line
    Training of Recurrent Network Trajectories", BPTT(h; h') with h = k2 and h' = k1.
    """
    block, days = checked(block), len(block.x)
    _require_cuttable(network, "each day's forecast is scored")
    most = plan.chunk_days(days)
    chunking = chunking or Chunking(lengths=fixed_lengths(days, most))
    if sum(chunking.lengths) != days or max(chunking.lengths) > most:
        raise ValueError(
            f"chunks of {chunking.lengths} days do not make {days} days in chunks of at most "
            f"{most}; cut the block on the plan's k1."
        )
    loss_sum, gradients = zero_gradients(network, block)
    states = [state.detach()]
    for first, last in _spans(plan, chunking):
        _carry(network, block, chunking, states, until=first)
        scored_from = max(chunking.context, 0 if plan.k2 is None else last)
        span = chunks_of(block, chunking, first, last, scored_from)
        found = exact_gradients(network, span, states[first], plan.memory)
        loss_sum = loss_sum + found.loss_sum
        gradients = add_gradients(gradients, found.gradients)
        states[first + 1 :] = found.states
    _carry(network, block, chunking, states, until=len(chunking.lengths))
    return BlockGradients(loss_sum=loss_sum, gradients=gradients, states=tuple(states[1:]))


def window_gradients(network: Network, block: Block, plan: BPTTPlan) -> BlockGradients:
    """Differentiate the last day's losses of windows, each started in the initial state.

    Truncated to K days, errors travel through exactly the last K days of each window; the
    days before only contribute their state. A learned initial state has a gradient if errors
    travel back to the window's first day. Windows scored on every day go through
    `bptt_gradients` with `network.initial_state(B)`.

    Args:
        network: in training mode, every parameter trainable.
        block: B windows of L days, with outcomes of the last day alone.
        plan: how far errors travel back.

    Returns:
        The gradients, the loss and the state after the windows.

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


def _spans(plan: BPTTPlan, chunking: Chunking) -> list[tuple[int, int]]:
    """List the chunks, first and last, that are differentiated together."""
    chunks = len(chunking.lengths)
    if plan.k2 is None:
        return [(0, chunks - 1)]
    back = plan.context_chunks
    return [(max(0, last - back), last) for last in range(chunking.context, chunks)]


def _carry(
    network: Network, block: Block, chunking: Chunking, states: list[RecurrentState], *, until: int
) -> None:
    """Run without a graph through the chunks whose end state is missing, up to `until`."""
    for number in range(len(states) - 1, until):
        (chunk,) = chunks_of(block, chunking, number, number)
        with torch.no_grad():
            _, state = network.core(chunk.block.x, start_of(network, chunk, states[-1]))
        states.append(state)
