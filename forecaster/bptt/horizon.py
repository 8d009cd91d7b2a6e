"""The gradient horizon that a module needs, and the bias of truncating BPTT at it.

Shape letters: T days, B batch rows, R lags.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from forecaster.bptt.batch import Batch
from forecaster.bptt.engine import Loss, gradients
from forecaster.bptt.lags import (
    ANCHORS,
    LagGradients,
    Path,
    anchor_days,
    lag_gradients,
    lags_of,
    trajectory,
)
from forecaster.bptt.plan import Plan
from forecaster.bptt.recurrent import Head, Recurrent

NEGLIGIBLE = 1e-12  # of a curve's peak; smaller values are rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanBias:
    """Distance of a plan's gradient from the exact one.

    `bias` is the norm of the difference over that of the exact gradient, `cosine` of the angle
    between them, `noise_ratio` the difference over the exact one's standard error (NaN without).
    """

    k1: int
    k2: int
    bias: float
    cosine: float
    noise_ratio: float


@dataclass(frozen=True, slots=True, eq=False)
class ExactGradient:
    """The full gradient of a block, as one vector, and its standard error over batch rows."""

    vector: Tensor
    noise: float

    @property
    def norm(self) -> float:
        """The length of the vector."""
        return float(self.vector.norm())

    @property
    def relative_noise(self) -> float:
        """The standard error over the length."""
        return self.noise / self.norm if self.norm > 0.0 else float("nan")


def exact_gradient(run: Recurrent, batch: Batch, loss: Loss) -> ExactGradient:
    """Differentiate a batch by full BPTT, row by row, as if these were independent."""
    full, width = Plan.full(), batch.shape[1]
    parts = (batch.rows(slice(b, b + 1)) for b in range(width))
    each = torch.stack([_flat_gradient(run, part, loss, full) for part in parts])
    spread = (each - each.mean(dim=0)).square().sum()
    noise = float((spread * width / (width - 1)).sqrt()) if width > 1 else float("nan")
    return ExactGradient(each.sum(dim=0), noise)


def plan_bias(path: Path, plan: Plan, exact: ExactGradient) -> PlanBias:
    """Compare a truncated plan's gradient of a batch with the exact one at the same weights."""
    found = _flat_gradient(path.run, path.batch, path.loss, plan)
    days = path.days
    difference = float((found - exact.vector).norm())
    return PlanBias(
        k1=plan.k1 or plan.horizon(days),
        k2=plan.horizon(days),
        bias=difference / exact.norm if exact.norm > 0.0 else float("nan"),
        cosine=float(torch.nn.functional.cosine_similarity(found, exact.vector, dim=0)),
        noise_ratio=difference / exact.noise if exact.noise > 0.0 else float("nan"),
    )


def guaranteed(days: int) -> Plan:
    """Make the plan in which every error travels back more than `days`, at most twice that."""
    return Plan.truncated(k2=2 * days, k1=days)


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """A guaranteed gradient horizon, or the reason why there is none.

    `days` counts the error's own day; `bound` is the largest relative bias that the horizon
    can have. Both None where `declined` has the reason.
    """

    days: int | None = None
    bound: float | None = None
    declined: str | None = None


def effective_memory(curve: np.ndarray, share: float) -> int:
    """Return the largest lag at which the curve is still `share` of lag 0 (1 if that is NaN)."""
    known = curve[np.isfinite(curve)]
    return int(np.flatnonzero(curve >= share * known[0]).max(initial=0))


def decay_rate(curve: np.ndarray) -> float:
    """Fit the factor by which a curve falls per lag, on the older half of its lags.

    Without lags that are rounding alone; 0 where fewer than two are left.
    """
    alive = np.flatnonzero(curve > NEGLIGIBLE * curve.max(initial=0.0))
    if len(alive) < 2 or alive[-1] < 1:
        return 0.0
    lags = alive[alive >= alive[-1] / 2]
    if len(lags) < 2:
        lags = alive[-2:]
    return float(np.exp(np.polyfit(lags, np.log(curve[lags]), 1)[0]))


def half_life(decay: float) -> float:
    """Return the lags in which a curve with this decay halves; infinite if it does not fall."""
    if decay >= 1.0:
        return math.inf
    return math.log(2.0) / -math.log(decay) if decay > 0.0 else 0.0


def horizon_for(parts: np.ndarray, partial: np.ndarray, tolerance: float) -> Horizon:
    """Choose the smallest horizon whose bias stays below a tolerance, by a conservative bound.

    A horizon of k leaves out at most the sum of the parts from lag k on, plus a geometric
    tail beyond the last one measured; the exact gradient is at least as long as any partial
    one less what that leaves out. None is chosen if the curve does not fall, or too much may
    lie beyond R.

    `parts` (R + 1,) are the norms of each lag's contribution to the gradient, `partial` (R + 2,)
    those of the gradient with the first k lags.

    Source: Aicher, Foti and Fox (2019), "Adaptively Truncating Backpropagation Through Time
    to Control Gradient Bias". Deviation: the decay is fitted to the parameters' gradient by
    lag itself, so that no bound on ds/dW is needed.
    """
    lags, decay = len(parts) - 1, decay_rate(parts)
    if not np.isfinite(parts).all():
        return Horizon(declined="the gradient is not finite")
    if decay >= 1.0:
        why = f"the gradient does not fall with the lag (by a factor of {decay:.3f} a day)"
        return Horizon(declined=f"memory exceeds {lags} days: {why}")
    recent = parts[-max(1, lags // 10) :]  # one lag's norm may happen to be small
    tail = recent.max() * decay / (1.0 - decay)
    left_out = np.append(np.cumsum(parts[::-1])[::-1], 0.0) + tail
    least = (partial - left_out).max()
    if least > 0.0:
        bounds = left_out[1:-1] / least
        if (bounds <= tolerance).any():
            days = int(np.argmax(bounds <= tolerance)) + 1
            return Horizon(days=days, bound=float(bounds[days - 1]))
    share = f"{left_out[-2] / least:.0%}" if least > 0.0 else "all"
    why = f"up to {share} of the gradient may lie beyond, more than {tolerance:.0%}"
    return Horizon(declined=f"memory exceeds {lags} days: {why}")


def advise(
    path: Path, found: LagGradients, exact: ExactGradient, tolerance: float
) -> tuple[Horizon, PlanBias | None]:
    """Choose a horizon by the bound, then check it by the exact bias of the batch."""
    advice = horizon_for(found.parts.numpy(), found.partial.numpy(), tolerance)
    days, lags = advice.days, len(found.parts) - 1
    while days is not None:
        advised = plan_bias(path, guaranteed(days), exact)
        if advised.bias <= tolerance:
            return Horizon(days=days, bound=advice.bound), advised
        if days == lags:
            why = f"a gradient horizon of {lags} days still has a bias of {advised.bias:.0%}"
            return Horizon(declined=f"memory exceeds {lags} days: {why}"), None
        days = min(2 * days, lags)  # the anchors' errors were not like the other days'
    return advice, None


def truncation_bias(
    module: nn.Module | Recurrent,
    batch: Batch,
    plan: Plan,
    *,
    loss: Loss,
    head: Head | None = None,
) -> PlanBias:
    """Measure how far a truncated plan's gradient is from the exact one, at these weights.

    A copy of the module runs from its initial state without dropout, as `gradients` would.

    Raises:
        ValueError: as `gradients`.

    Examples:
        >>> rnn, mse = torch.nn.RNN(2, 3), torch.nn.MSELoss(reduction="none")
        >>> batch = Batch(x=torch.randn(50, 4, 2), y=torch.randn(50, 4, 3))
        >>> found = truncation_bias(rnn, batch, Plan.truncated(k2=50), loss=mse)
        >>> found.bias < 1e-5, round(found.cosine, 3)  # nothing is cut
        (True, 1.0)
    """
    path = trajectory(module, batch, loss=loss, head=head)
    path = with_count(path)
    return plan_bias(path, plan, exact_gradient(path.run, path.batch, loss))


def suggest_horizon(
    module: nn.Module | Recurrent,
    batch: Batch,
    *,
    loss: Loss,
    head: Head | None = None,
    tolerance: float = 0.1,
    lags: int | None = None,
) -> Horizon:
    """Choose the gradient horizon whose bias stays within a tolerance, at these weights.

    It is to be guaranteed to every error: `Plan.truncated(k2=2 * days, k1=days)`. See
    `horizon_for`; the bias of what it chooses is measured before it is suggested.

    Args:
        module: the recurrent network, as for `gradients`.
        loss: one value per day and row.
        head: maps outputs to forecasts, if the module does not.
        batch: whole histories, twice as long as the horizon at least.
        tolerance: norm of the gradient's bias over that of the exact gradient, between 0 and 1.
        lags: how far back to measure; None for half of the days, at most 252.

    Raises:
        ValueError: `tolerance` or `lags` is out of range; and as `gradients`.

    Examples:
        >>> rnn, mse = torch.nn.RNN(2, 3), torch.nn.MSELoss(reduction="none")
        >>> batch = Batch(x=torch.randn(200, 4, 2), y=torch.randn(200, 4, 3))
        >>> found = suggest_horizon(rnn, batch, loss=mse)
        >>> found.days is not None or found.declined is not None
        True
    """
    if not 0.0 < tolerance < 1.0:
        raise ValueError(f"tolerance is {tolerance}; give a share between 0 and 1.")
    path = with_count(trajectory(module, batch, loss=loss, head=head))
    number = lags_of(batch, lags)
    found = lag_gradients(path, anchor_days(path, number, ANCHORS), number)
    exact = exact_gradient(path.run, path.batch, loss)
    return advise(path, found, exact, tolerance)[0]


def with_count(path: Path) -> Path:
    """Set the count of a path's batch, so that its rows' gradients add up to its own."""
    if path.batch.count is not None:
        return path
    return replace(path, batch=replace(path.batch, count=max(float(path.mask.sum()), 1.0)))


def _flat_gradient(run: Recurrent, batch: Batch, loss: Loss, plan: Plan) -> Tensor:
    """Return the gradient of a batch that starts in the initial state, as one vector."""
    found = gradients(run, batch, plan, loss=loss)
    return torch.cat([gradient.flatten() for gradient in found.by_name.values()])
