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
from forecaster.training.lags import TINY, Trajectory, row_norms

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
    lanes = path.x.shape[1]
    begin = np.unique(np.linspace(0, len(path.x) - days, starts + 1).astype(int)[1:])
    rows = torch.from_numpy(begin + np.arange(days)[:, None]).to(path.x.device)  # (W, A)

    def side_by_side(tensor: Tensor) -> Tensor:
        return tensor[rows].flatten(1, 2)  # (W, A * B, ...)

    with torch.no_grad():
        cold, _ = network(side_by_side(path.x), network.initial_state(len(begin) * lanes))
        warm = side_by_side(network.read(path.states[0][1:, -1], path.x))
        scored = side_by_side(mask)
        outcome = torch.where(scored, side_by_side(y), 0.0)
        count = scored.sum(dim=(1, 2))
        means = [
            torch.where(scored, network.head.loss(forecast, outcome), 0.0).sum(dim=(1, 2)) / count
            for forecast in (cold, warm)
        ]
    return ColdStart(cold=means[0].cpu().numpy(), warm=means[1].cpu().numpy())
