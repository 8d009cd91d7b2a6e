"""Gradient norms by date and lag, and what the states show: norms, stretch, cold starts.

Shape letters: T days, B batch rows, F features, K targets, Y layers, A anchors (days whose errors
are followed), R lags, W days since a start.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from forecaster.bptt.chunks import Block
from forecaster.bptt.gradients import scored_loss
from forecaster.models.base import RecurrentState
from forecaster.models.network import Network

TINY = 1e-300
STRETCHED_DAYS = 250
COLD_DAYS = 63  # a quarter
POWER_ITERATIONS = 60  # a few percent do not show in a figure

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trajectory:
    """A block of days and a network's states, (T + 1, Y, B, H) each, from before its first day."""

    block: Block
    states: Tensors

    def before(self, day: Tensor) -> RecurrentState:
        """Select the states before some days (A,), as rows of one: each (Y, A * B, H)."""
        picked = (tensor[day].transpose(0, 1).flatten(1, 2) for tensor in self.states)
        return RecurrentState(tuple(tensor.contiguous() for tensor in picked))

    def inputs(self, day: Tensor) -> Tensor:
        """Select the features of some days (A,) as one day of many rows, (1, A * B, F)."""
        return self.block.x[day].flatten(0, 1)[None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LagGradients:
    """Gradients of the errors of some days, by lag k.

    `by_lag` (A, R + 1) is the norm of dE_t / ds_{t-k}, mean over the scored batch rows (NaN
    without), `curve` (R + 1,) its mean over those of all anchors. `parts` (R + 1,) is the norm of
    lag k's contribution to the gradient of the parameters, `partial` (R + 2,) that of the first k.
    """

    by_lag: Tensor
    curve: Tensor
    parts: Tensor
    partial: Tensor


def trajectory(network: Network, block: Block) -> Trajectory:
    """Run a network without dropout from its initial state, keeping every state.

    Raises:
        ValueError: the core's output is not the top layer of its state's first tensor.
    """
    state = network.initial_state(block.x.shape[1]).detach()
    states = [state.tensors]
    with torch.no_grad():
        for day in block.x:
            output, state = network.core(day[None], state)
            states.append(state.tensors)
    if not torch.equal(output[0], state.tensors[0][-1]):
        raise ValueError("the core's output is not in its state; its errors cannot be followed.")
    tensors = tuple(torch.stack(parts) for parts in zip(*states, strict=True))
    return Trajectory(block=block, states=tensors)


def lag_gradients(
    network: Network, path: Trajectory, anchors: Sequence[int], lags: int
) -> LagGradients:
    """Follow the errors of the anchor days back through R lags, all of them together.

    Each anchor has R days behind it; lag 0 is the anchor itself. The network has no dropout.

    Source: the definition of BPTT: dE_t/ds_{i-1} = dE_t/ds_i J_i, and lag t - i adds
    dE_t/ds_i ds_i/dW, the second factor with s_{i-1} held fixed.
    """
    days = torch.tensor(list(anchors)).to(path.block.x.device)
    if min(anchors, default=-1) < lags:
        raise ValueError(f"anchors {list(anchors)} do not all have {lags} days behind them.")
    scored = path.block.mask[days].any(dim=-1)
    adjoint, head = _error_gradients(network, path, days)
    sizes, parts, partial = [], [], [0.0]
    total = (*head, *(torch.zeros_like(weight) for weight in network.core.parameters()))
    for lag in range(lags + 1):
        sizes.append(row_norms(adjoint).reshape(scored.shape))
        adjoint, found = _day_before(network, path, days - lag, adjoint)
        own = head if lag == 0 else ()
        parts.append(_norm((*own, *found)))
        # The head's part stays as it is: only the day itself goes through it.
        core = zip(total[len(head) :], found, strict=True)
        total = (*head, *(before + now for before, now in core))
        partial.append(_norm(total))
    size = torch.stack(sizes, dim=-1)  # (A, B, R + 1), 0 where not scored
    return LagGradients(
        by_lag=size.sum(dim=1) / scored.sum(dim=1, keepdim=True),
        curve=size.sum(dim=(0, 1)) / scored.sum(),
        parts=torch.tensor(parts, dtype=torch.float64),
        partial=torch.tensor(partial, dtype=torch.float64),
    )


def local_growth(network: Network, path: Trajectory, seed: int = 0) -> Tensor:
    """Compute the log growth of a vector carried back through each day, (T, B).

    The mean over days tends to the top Lyapunov exponent, but for the last days, where it starts.
    """
    generator = torch.Generator().manual_seed(seed)
    adjoint = tuple(
        torch.randn(tensor.shape[1:], generator=generator, dtype=torch.float64).to(tensor)
        for tensor in path.states
    )
    growth = []
    for day in reversed(range(len(path.block.x))):
        index = torch.tensor([day]).to(path.block.x.device)
        adjoint, _ = _day_before(network, path, index, _normalized(adjoint))
        growth.append(row_norms(adjoint).clamp_min(TINY).log())
    return torch.stack(growth[::-1])


def row_norms(state: Tensors) -> Tensor:
    """Compute the norm over layers, units and a state's tensors, one per row."""
    return torch.stack([tensor.square().sum(dim=(0, 2)) for tensor in state]).sum(dim=0).sqrt()


def _normalized(state: Tensors) -> Tensors:
    size = row_norms(state).clamp_min(TINY)
    return tuple(tensor / size[None, :, None] for tensor in state)


def _error_gradients(network: Network, path: Trajectory, day: Tensor) -> tuple[Tensors, Tensors]:
    """Differentiate the errors of some days by the states of these days and by the head."""
    leaves = tuple(tensor.requires_grad_() for tensor in path.before(day + 1).tensors)
    y, mask = (tensor[day].flatten(0, 1) for tensor in (path.block.y, path.block.mask))
    # From the state, not from the core's output: another node, whose lag 0 would be zero.
    prediction = network.read(leaves[0][-1], path.inputs(day)[0])
    loss = scored_loss(network, prediction, y, mask)
    wanted = (*leaves, *network.head.parameters())
    found = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
    return found[: len(leaves)], found[len(leaves) :]


def _day_before(
    network: Network, path: Trajectory, day: Tensor, adjoint: Tensors
) -> tuple[Tensors, Tensors]:
    """Move adjoints back over one day; return those of the state before and the parameters'."""
    leaves = tuple(tensor.requires_grad_() for tensor in path.before(day).tensors)
    _, after = network.core(path.inputs(day), RecurrentState(leaves))
    found = torch.autograd.grad(after.tensors, (*leaves, *network.core.parameters()), adjoint)
    return found[: len(leaves)], found[len(leaves) :]


def _norm(gradients: Tensors) -> float:
    return float(torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ColdStart:
    """Mean loss by days since a start, (W,): `cold` from the initial state, `warm` carried on."""

    cold: np.ndarray
    warm: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StateFacts:
    """Norms (T,) after each day and largest singular values (A,) of the Jacobian on some days."""

    norms: np.ndarray
    stretched_days: np.ndarray
    stretch: np.ndarray
    cold_start: ColdStart


def state_facts(network: Network, path: Trajectory) -> StateFacts:
    """Measure the states of a block."""
    days = len(path.block.x)
    stretched = np.unique(np.linspace(0, days - 1, STRETCHED_DAYS).round().astype(int))
    norms, stretch = state_norms(path), stretches(network, path, stretched.tolist())
    return StateFacts(
        norms=norms.mean(dim=1).double().cpu().numpy(),
        stretched_days=stretched,
        stretch=stretch.mean(dim=1).double().cpu().numpy(),
        cold_start=cold_start(network, path, min(COLD_DAYS, max(1, days // 2))),
    )


def state_norms(path: Trajectory) -> Tensor:
    """Compute the norm of the complete state after each day, (T, B)."""
    squares = [tensor[1:].square().sum(dim=(1, 3)) for tensor in path.states]
    return torch.stack(squares).sum(dim=0).sqrt()


def stretches(network: Network, path: Trajectory, days: Sequence[int], seed: int = 0) -> Tensor:
    """Compute the largest singular value of ds_t / ds_{t-1} on some days, (A, B).

    Source: power iteration on J^T J, forward mode and back; no Jacobian is written down.
    """
    chosen = torch.tensor(list(days)).to(path.block.x.device)
    x, start = path.inputs(chosen), path.before(chosen).tensors

    state = tuple(tensor.requires_grad_() for tensor in start)
    _, after = network.core(x, RecurrentState(state))
    # J v as the gradient by u of (J^T u) v: torch's forward mode warns of its own internals.
    dual = tuple(torch.zeros_like(tensor, requires_grad=True) for tensor in after.tensors)
    pulled = torch.autograd.grad(after.tensors, state, dual, create_graph=True)
    generator = torch.Generator().manual_seed(seed)
    vector = tuple(torch.randn(t.shape, generator=generator, dtype=t.dtype).to(t) for t in start)
    for _ in range(POWER_ITERATIONS):
        ahead = torch.autograd.grad(pulled, dual, _normalized(vector), retain_graph=True)
        vector = torch.autograd.grad(after.tensors, state, ahead, retain_graph=True)
    return row_norms(ahead).reshape(len(chosen), path.block.x.shape[1])


def cold_start(network: Network, path: Trajectory, days: int, starts: int = 24) -> ColdStart:
    """Compare the loss on W days after about `starts` cold starts with the state carried on."""
    block = path.block
    first = np.unique(np.linspace(0, len(block.x) - days, starts + 1).astype(int)[1:])
    rows = torch.from_numpy(first + np.arange(days)[:, None]).to(block.x.device)  # (W, A)

    def as_rows(tensor: Tensor) -> Tensor:
        return tensor[rows].flatten(1, 2)  # (W, A * B, ...)

    with torch.no_grad():
        cold, _ = network(as_rows(block.x), network.initial_state(len(first) * block.x.shape[1]))
        warm = as_rows(network.read(path.states[0][1:, -1], block.x))
        scored = as_rows(block.mask)
        outcome = torch.where(scored, as_rows(block.y), 0.0)
        count = scored.sum(dim=(1, 2))
        means = [
            torch.where(scored, network.head.loss(forecast, outcome), 0.0).sum(dim=(1, 2)) / count
            for forecast in (cold, warm)
        ]
    return ColdStart(cold=means[0].cpu().numpy(), warm=means[1].cpu().numpy())
