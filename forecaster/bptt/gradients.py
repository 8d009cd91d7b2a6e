"""Gradients of one block of days at frozen weights: full or truncated BPTT.

Pure: nothing is kept, no weight moves, `p.grad` is never touched. Knows no optimizer, no
pass and no ticker. Every scored day counts once, with weight 1 / count, however the block
is cut.

Shape letters: T days, B rows (lanes or windows), F features, K targets, L lookback days.
"""

from dataclasses import replace

import torch
from torch import Tensor

from forecaster.bptt.chunks import (
    Block,
    BlockGradients,
    Grid,
    Segment,
    checked_block,
    even,
    segments_of,
)
from forecaster.bptt.plan import BPTTPlan
from forecaster.bptt.recomputation import exact_gradients, nothing, started, sums
from forecaster.models.base import RecurrentState
from forecaster.models.network import Network

__all__ = ["Block", "BlockGradients", "Grid", "bptt_gradients", "window_gradients"]


def bptt_gradients(
    network: Network,
    x: Tensor,
    y: Tensor,
    mask: Tensor,
    state: RecurrentState,
    plan: BPTTPlan,
    count: float,
    grid: Grid | None = None,
    noise: Tensor | None = None,
) -> BlockGradients:
    """Differentiate the losses of a block of days, errors reaching back as the plan says.

    With E_t the loss of day t and s_i the state after day i, the gradient sums
    dE_t/ds_i * ds_i/dW (immediate) over the pairs i <= t that the plan keeps: all of the
    block for `full`; for `truncated`, with the block cut in segments of k1 = stride days,
    those with i in the k2 / k1 segments that end with t's own. The state's values are always
    carried; nothing reaches into the days before the block.

    Args:
        network: in training mode, every parameter trainable.
        x: (T, B, F) features, finite everywhere, oldest day first, T at least 1.
        y: (T, B, K) outcomes; may hold NaN where `mask` is False.
        mask: (T, B, K) bool, True where an outcome is scored; False in context segments.
        state: the state before the first day, B rows.
        plan: how far errors travel back.
        count: what the sum of the losses is divided by; above 0 if anything is scored.
        grid: the segments, where they are not all `plan.k1` days long or a series
            begins inside the block.
        noise: (T, B, H) factors of the hidden units in place of the dropout before the head;
            None to draw them here.

    Returns:
        The gradients, the loss and the states on the grid, all at the weights as they are.

    Raises:
        ValueError: no days, shapes that do not belong together, no count for scored days, or
            a bidirectional network.

    Source: Williams and Peng (1990), "An Efficient Gradient-Based Algorithm for On-Line
    Training of Recurrent Network Trajectories", BPTT(h; h') with h = k2 and h' = k1.
    """
    block = replace(checked_block(x, y, mask, count), noise=noise)
    _require_cuttable(network, "each day's forecast is scored")
    grid = grid or Grid(lengths=even(len(x), plan.chunk_days(len(x))))
    if sum(grid.lengths) != len(x) or max(grid.lengths) > plan.chunk_days(len(x)):
        raise ValueError(
            f"segments of {grid.lengths} days do not make {len(x)} days in pieces of at most "
            f"{plan.chunk_days(len(x))}; cut the block on the plan's stride."
        )
    total = nothing(network, block)
    states = [state.detach()]
    for first, last in _spans(plan, grid):
        while len(states) <= first:
            states.append(_carried(network, segments_of(block, grid, len(states) - 1), states[-1]))
        span = segments_of(
            block, grid, first, last, scored_from=max(grid.context, _own(plan, last))
        )
        found = exact_gradients(network, span, states[first], plan.memory)
        total = (total[0] + found.loss_sum, sums(total[1], found.gradients))
        states[first + 1 :] = found.states
    while len(states) <= len(grid.lengths):
        states.append(_carried(network, segments_of(block, grid, len(states) - 1), states[-1]))
    return BlockGradients(loss_sum=total[0], gradients=total[1], states=tuple(states[1:]))


def window_gradients(
    network: Network,
    x: Tensor,
    y_last: Tensor,
    mask_last: Tensor,
    plan: BPTTPlan,
    count: float,
    noise: Tensor | None = None,
) -> BlockGradients:
    """Differentiate the last day's losses of windows, each begun in the initial state.

    Truncated to K days, the error reaches exactly the last K days of each window; the days
    before them only lend their state. A learned initial state is reached by errors that
    reach the window's first day. Windows scored on every day go through
    `bptt_gradients` with `network.initial_state(B)`.

    Args:
        network: in training mode, every parameter trainable.
        x: (L, B, F) features of B windows, oldest day first.
        y_last: (B, K) outcomes of the last day; may hold NaN where `mask_last` is False.
        mask_last: (B, K) bool, True where an outcome is scored.
        plan: how far errors travel back.
        count: what the sum of the losses is divided by; above 0 if anything is scored.
        noise: (B, H) factors of the last day's hidden units in place of the dropout before
            the head; None to draw them here.

    Returns:
        The gradients, the loss and the state after the windows.

    Raises:
        ValueError: no days, shapes that do not belong together, or no count for scored windows.
    """
    horizon = plan.horizon(len(x))
    if horizon < len(x):
        _require_cuttable(network, f"{horizon} of {len(x)} days are differentiated")
    last = checked_block(x[-1:], y_last[None], mask_last[None], count)
    block = replace(last, x=x[len(x) - horizon :], noise=None if noise is None else noise[None])
    state = _warmed_state(network, x[: len(x) - horizon])
    # The state is the initial one already; only a learned one has to be reached by errors.
    learned = horizon == len(x) and len(network.start) > 0
    begins = torch.ones(1, x.shape[1], dtype=torch.bool, device=x.device) if learned else None
    span = segments_of(block, Grid(lengths=(horizon,), resets=begins), 0)
    return exact_gradients(network, span, state, plan.memory)


def _require_cuttable(network: Network, use: str) -> None:
    """Refuse a network that reads days after the one it forecasts, or may not be cut."""
    if not network.core.cuttable:
        raise ValueError(
            f"{type(network.core).__name__} reads a window from both ends, yet {use}; "
            "score whole windows on their last day, in full."
        )


def _warmed_state(network: Network, x: Tensor) -> RecurrentState:
    """Run from the initial state through days that no error reaches."""
    state = network.initial_state(x.shape[1])
    if len(x) > 0:
        with torch.no_grad():
            _, state = network.core(x, state)
    return state


def _spans(plan: BPTTPlan, grid: Grid) -> list[tuple[int, int]]:
    """List the segments, first and last, that are differentiated together."""
    final = len(grid.lengths) - 1
    if grid.context > final:
        return []
    if plan.k2 is None:
        return [(0, final)]
    back = plan.k2 // (plan.k1 or plan.k2) - 1
    return [(max(0, last - back), last) for last in range(grid.context, final + 1)]


def _own(plan: BPTTPlan, last: int) -> int:
    """Give the first segment whose errors belong to the span that ends with `last`."""
    return 0 if plan.k2 is None else last


def _carried(network: Network, span: list[Segment], state: RecurrentState) -> RecurrentState:
    """Run through days without a graph; give the state after them."""
    with torch.no_grad():
        for segment in span:
            _, state = network.core(segment.block.x, started(network, segment, state))
    return state
