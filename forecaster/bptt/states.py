"""What a module's states show: norms, stretch, growth of an error carried back, cold starts.

Shape letters: T days, B batch rows, A days measured, W days since a start.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from forecaster.bptt.lags import Path, Tensors, day_before
from forecaster.bptt.nest import mapped

TINY = 1e-300
STRETCHED_DAYS = 250
COLD_DAYS = 63  # a quarter
POWER_ITERATIONS = 60  # a few percent do not show in a figure


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


def state_facts(path: Path) -> StateFacts:
    """Measure the states of a block."""
    days = path.days
    stretched = np.unique(np.linspace(0, days - 1, STRETCHED_DAYS).round().astype(int))
    norms, stretch = state_norms(path), stretches(path, stretched.tolist())
    return StateFacts(
        norms=norms.mean(dim=1).double().cpu().numpy(),
        stretched_days=stretched,
        stretch=stretch.mean(dim=1).double().cpu().numpy(),
        cold_start=cold_start(path, min(COLD_DAYS, max(1, days // 2))),
    )


def state_norms(path: Path) -> Tensor:
    """Compute the norm of the complete state after each day, (T, B)."""
    each = zip(*(tensor[1:] for tensor in path.states), strict=True)
    return torch.stack([path.row_norms(state) for state in each])


def stretches(path: Path, days: Sequence[int], seed: int = 0) -> Tensor:
    """Compute the largest singular value of ds_t / ds_{t-1} on some days, (A, B).

    Source: power iteration on J^T J, forward mode and back; no Jacobian is written down.
    """
    chosen = torch.tensor(list(days)).to(path.outputs.device)
    state = path.before(chosen)
    _, after = path.run_day(chosen, state)
    # J v as the gradient by u of (J^T u) v: torch's forward mode warns of its own internals.
    dual = tuple(torch.zeros_like(tensor, requires_grad=True) for tensor in after)
    pulled = torch.autograd.grad(after, state, dual, create_graph=True)
    generator = torch.Generator().manual_seed(seed)
    vector = tuple(torch.randn(t.shape, generator=generator, dtype=t.dtype).to(t) for t in state)
    for _ in range(POWER_ITERATIONS):
        ahead = torch.autograd.grad(pulled, dual, _normalized(path, vector), retain_graph=True)
        vector = torch.autograd.grad(after, state, ahead, retain_graph=True)
    return path.row_norms(ahead).reshape(len(chosen), -1)


def cold_start(path: Path, days: int, starts: int = 24) -> ColdStart:
    """Compare the loss on W days after about `starts` cold starts with the state carried on."""
    batch, width = path.batch, path.batch.shape[1]
    first = np.unique(np.linspace(0, path.days - days, starts + 1).astype(int)[1:])
    rows = torch.from_numpy(first + np.arange(days)[:, None]).to(path.outputs.device)  # (W, A)

    def as_rows(tensor: Tensor) -> Tensor:
        return tensor[rows].flatten(1, 2)  # (W, A * B, ...)

    with torch.no_grad():
        state = path.run.initial_state(len(first) * width)
        cold, _ = path.run.run(mapped(batch.x, as_rows), state, days)
        scored = as_rows(path.mask)
        outcome = torch.where(scored, as_rows(batch.y), 0.0)
        count = scored.flatten(1).sum(dim=1)
        means = [
            torch.where(scored, path.loss(forecast, outcome), 0.0).flatten(1).sum(dim=1) / count
            for forecast in (cold, as_rows(path.outputs))
        ]
    return ColdStart(cold=means[0].cpu().numpy(), warm=means[1].cpu().numpy())


def local_growth(path: Path, seed: int = 0) -> Tensor:
    """Compute the log growth of a vector carried back through each day, (T, B).

    The mean over days tends to the top Lyapunov exponent, but for the last days, where it starts.
    """
    generator = torch.Generator().manual_seed(seed)
    adjoint = tuple(
        torch.randn(tensor.shape[1:], generator=generator, dtype=torch.float64).to(tensor)
        for tensor in path.states
    )
    growth = []
    for day in reversed(range(path.days)):
        index = torch.tensor([day]).to(path.outputs.device)
        adjoint, _ = day_before(path, index, _normalized(path, adjoint))
        growth.append(path.row_norms(adjoint).clamp_min(TINY).log())
    return torch.stack(growth[::-1])


def _normalized(path: Path, state: Tensors) -> Tensors:
    size = path.row_norms(state).clamp_min(TINY)
    return tuple(
        tensor / size.view(*(-1 if d == dim else 1 for d in range(tensor.ndim)))
        for tensor, dim in zip(state, path.dims, strict=True)
    )
