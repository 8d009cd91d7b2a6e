"""What the states of a network show: their size, how far a day stretches them, cold starts.

Arrays in, arrays out, at frozen weights; nothing about plans, optimizers or tickers.

Shape letters: T days, B lanes, F features, K targets, A days looked at, W days since a start.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from forecaster.models.base import RecurrentState
from forecaster.models.network import Network

TINY = 1e-300


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trajectory:
    """The inputs of a block and the states that a network went through.

    `states` are the state's tensors, each (S, Y, B, H): first the one before the first
    day, last the one after the last day.
    """

    x: Tensor
    states: tuple[Tensor, ...]

    def before(self, day: Tensor) -> RecurrentState:
        """Take the states before some days (A,), lanes side by side: each (Y, A * B, H)."""
        picked = (tensor[day].transpose(0, 1).flatten(1, 2) for tensor in self.states)
        return RecurrentState(tuple(tensor.contiguous() for tensor in picked))

    def inputs(self, day: Tensor) -> Tensor:
        """Take the features of some days (A,) as one day of many rows, (1, A * B, F)."""
        return self.x[day].flatten(0, 1)[None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LagGradients:
    """What lies behind the errors of some days.

    Args:
        by_lag: (A, R + 1) norm of dE_t / ds_{t-k}, mean over the scored lanes; NaN where
            an anchor has none.
        curve: (R + 1,) the same, mean over all scored lanes of all anchors.
        parts: (R + 1,) norm of what lag k adds to the gradient of the parameters.
        partial: (R + 2,) norm of the gradient of the parameters with the first k lags only.
    """

    by_lag: Tensor
    curve: Tensor
    parts: Tensor
    partial: Tensor


def trajectory(network: Network, x: Tensor) -> Trajectory:
    """Run a network from its initial state through `x` (T, B, F), keeping every state.

    Raises:
        ValueError: the core's output is not the top layer of its state's first tensor.
    """
    state = network.initial_state(x.shape[1]).detach()
    states = [state.tensors]
    with torch.no_grad():
        for day in x:
            output, state = network.core(day[None], state)
            states.append(state.tensors)
    if not torch.equal(output[0], state.tensors[0][-1]):
        raise ValueError("the core's output is not in its state; its errors cannot be followed.")
    return Trajectory(x=x, states=tuple(torch.stack(parts) for parts in zip(*states, strict=True)))


def lag_gradients(
    network: Network, path: Trajectory, y: Tensor, mask: Tensor, anchors: Sequence[int], lags: int
) -> LagGradients:
    """Carry the errors of the anchor days back through `lags` days, all of them together.

    Args:
        network: without dropout.
        path: where the network went, from `trajectory`.
        y: (T, B, K) outcomes; may hold NaN where `mask` is False.
        mask: (T, B, K) bool, True where an outcome is scored.
        anchors: days whose errors are followed, each at least `lags`.
        lags: how far; lag 0 is the anchor itself.

    Source: the definition of BPTT: dE_t/ds_{i-1} = dE_t/ds_i J_i, and lag t - i adds
    dE_t/ds_i ds_i/dW, the second factor with s_{i-1} held fixed.
    """
    days = torch.tensor(list(anchors), device=path.x.device)
    if len(days) == 0 or int(days.min()) < lags:
        raise ValueError(f"anchors {list(anchors)} do not all have {lags} days behind them.")
    batch_rows = path.x.shape[1]
    scored = mask[days].any(dim=-1)
    adjoint, head = _at_the_error(network, path, days, y[days], mask[days])
    sizes, parts, partial = [], [], [0.0]
    total = (*head, *(torch.zeros_like(weight) for weight in network.core.parameters()))
    for lag in range(lags + 1):
        sizes.append(row_norms(adjoint).reshape(len(days), batch_rows))
        adjoint, found = _pulled_back(network, path, days - lag, adjoint)
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
    """Give the log growth of a vector carried back through each day, (T, B).

    The mean over days tends to the top Lyapunov exponent; the last days, where the walk
    begins, still turn the vector into the direction that grows most.
    """
    generator = torch.Generator().manual_seed(seed)
    adjoint = tuple(
        torch.randn(tensor.shape[1:], generator=generator, dtype=torch.float64).to(tensor)
        for tensor in path.states
    )
    growth = []
    for day in reversed(range(len(path.x))):
        size = row_norms(adjoint).clamp_min(TINY)
        adjoint = tuple(tensor / size[None, :, None] for tensor in adjoint)
        adjoint, _ = _pulled_back(network, path, torch.tensor([day]), adjoint)
        growth.append(row_norms(adjoint).clamp_min(TINY).log())
    return torch.stack(growth[::-1])


def row_norms(state: tuple[Tensor, ...]) -> Tensor:
    """Norm over layers, units and a state's tensors, one per row."""
    return torch.stack([tensor.square().sum(dim=(0, 2)) for tensor in state]).sum(dim=0).sqrt()


def _at_the_error(
    network: Network, path: Trajectory, day: Tensor, y: Tensor, mask: Tensor
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Differentiate the errors by the states of their own days and by the head."""
    leaves = tuple(tensor.requires_grad_() for tensor in path.before(day + 1).tensors)
    y, mask = y.flatten(0, 1), mask.flatten(0, 1)
    # From the state, not from the core's output: another node, whose lag 0 would be zero.
    prediction = network.read(leaves[0][-1], path.inputs(day)[0])
    losses = network.head.loss(prediction, torch.where(mask, y, 0.0))
    wanted = (*leaves, *network.head.parameters())
    found = torch.autograd.grad(
        torch.where(mask, losses, 0.0).sum(), wanted, allow_unused=True, materialize_grads=True
    )
    return found[: len(leaves)], found[len(leaves) :]


def _pulled_back(
    network: Network, path: Trajectory, day: Tensor, adjoint: tuple[Tensor, ...]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Carry adjoints over one day; give those of the state before, and the parameters'."""
    leaves = tuple(tensor.requires_grad_() for tensor in path.before(day).tensors)
    _, after = network.core(path.inputs(day), RecurrentState(leaves))
    found = torch.autograd.grad(after.tensors, (*leaves, *network.core.parameters()), adjoint)
    return found[: len(leaves)], found[len(leaves) :]


def _norm(gradients: tuple[Tensor, ...]) -> float:
    return float(torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt())


STRETCHED_DAYS = 250
COLD_DAYS = 63  # a quarter
ROUNDS = 60  # of the power iteration; a few percent do not show in a figure


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ColdStart:
    """Mean loss by days since a start from the initial state, and of the same days without.

    Both (W,), the first day at 0; `warm` are the errors with the state carried on.
    """

    cold: np.ndarray
    warm: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StateFacts:
    """What the states of a block show, means over lanes.

    Args:
        norms: (T,) norm of the state after each day.
        stretched_days: (A,) days whose Jacobian was looked at.
        stretch: (A,) its largest singular value.
        cold_start: what a state begun anew costs.
    """

    norms: np.ndarray
    stretched_days: np.ndarray
    stretch: np.ndarray
    cold_start: ColdStart


def state_facts(network: Network, path: Trajectory, y: Tensor, mask: Tensor) -> StateFacts:
    """Measure all of it on a block; arguments as in `cold_start`."""
    days = len(path.x)
    stretched = np.unique(np.linspace(0, days - 1, STRETCHED_DAYS).round().astype(int))
    stretch = stretches(network, path, stretched.tolist())
    return StateFacts(
        norms=state_norms(path).mean(dim=1).double().cpu().numpy(),
        stretched_days=stretched,
        stretch=stretch.mean(dim=1).double().cpu().numpy(),
        cold_start=cold_start(network, path, y, mask, min(COLD_DAYS, max(1, days // 2))),
    )


def state_norms(path: Trajectory) -> Tensor:
    """Give the norm of the whole state after each day, (T, B)."""
    squares = [tensor[1:].square().sum(dim=(1, 3)) for tensor in path.states]
    return torch.stack(squares).sum(dim=0).sqrt()


def stretches(network: Network, path: Trajectory, days: Sequence[int], seed: int = 0) -> Tensor:
    """Give the largest singular value of ds_t / ds_{t-1} on some days, (A, B).

    The factor by which that day can grow a difference between two states; the Lyapunov
    exponent is about what remains of it when the directions of many days follow each other.

    Source: power iteration on J^T J, forward mode and back; no Jacobian is written down.
    """
    chosen = torch.tensor(list(days), device=path.x.device)
    x, start = path.inputs(chosen), path.before(chosen).tensors

    state = tuple(tensor.requires_grad_() for tensor in start)
    _, after = network.core(x, RecurrentState(state))
    # J v as the gradient by u of (J^T u) v: torch's forward mode warns of its own internals.
    dual = tuple(torch.zeros_like(tensor, requires_grad=True) for tensor in after.tensors)
    pulled = torch.autograd.grad(after.tensors, state, dual, create_graph=True)
    generator = torch.Generator().manual_seed(seed)
    vector = tuple(torch.randn(t.shape, generator=generator, dtype=t.dtype).to(t) for t in start)
    for _ in range(ROUNDS):
        size = row_norms(vector).clamp_min(TINY)
        vector = tuple(tensor / size[None, :, None] for tensor in vector)
        ahead = torch.autograd.grad(pulled, dual, vector, retain_graph=True)
        vector = torch.autograd.grad(after.tensors, state, ahead, retain_graph=True)
    return row_norms(ahead).reshape(len(chosen), path.x.shape[1])


def cold_start(
    network: Network, path: Trajectory, y: Tensor, mask: Tensor, days: int, starts: int = 24
) -> ColdStart:
    """Compare forecasts of a state begun anew with those of the state carried on.

    Args:
        network: without dropout.
        path: where the network went, from `trajectory`.
        y: (T, B, K) outcomes; may hold NaN where `mask` is False.
        mask: (T, B, K) bool, True where an outcome is scored.
        days: W, below T.
        starts: about so many days to begin anew at, evenly over the block.
    """
    batch_rows = path.x.shape[1]
    begin = np.unique(np.linspace(0, len(path.x) - days, starts + 1).astype(int)[1:])
    rows = torch.from_numpy(begin + np.arange(days)[:, None]).to(path.x.device)  # (W, A)

    def side_by_side(tensor: Tensor) -> Tensor:
        return tensor[rows].flatten(1, 2)  # (W, A * B, ...)

    with torch.no_grad():
        cold, _ = network(side_by_side(path.x), network.initial_state(len(begin) * batch_rows))
        warm = side_by_side(network.read(path.states[0][1:, -1], path.x))
        scored = side_by_side(mask)
        outcome = torch.where(scored, side_by_side(y), 0.0)
        count = scored.sum(dim=(1, 2))
        means = [
            torch.where(scored, network.head.loss(forecast, outcome), 0.0).sum(dim=(1, 2)) / count
            for forecast in (cold, warm)
        ]
    return ColdStart(cold=means[0].cpu().numpy(), warm=means[1].cpu().numpy())
