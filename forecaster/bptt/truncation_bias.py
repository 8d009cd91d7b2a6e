"""From curves over lags to a reach: decay, effective memory, the reach for a tolerance.

Numbers in, numbers out: knows no network.

Shape letters: R lags.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from forecaster.bptt.gradients import bptt_gradients
from forecaster.bptt.plan import BPTTPlan
from forecaster.models.network import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanBias:
    """How far a plan's gradient lies from the exact one.

    `bias` is the norm of the difference over the norm of the exact gradient, `cosine` that
    of the angle between them, `noise_ratio` the difference over the standard error of the
    exact gradient; NaN where a block of one lane gives none.
    """

    k1: int
    k2: int
    bias: float
    cosine: float
    noise_ratio: float


@dataclass(frozen=True, slots=True, eq=False)
class ExactGradient:
    """The full gradient of a block, as one vector, and its standard error over lanes."""

    vector: Tensor
    noise: float

    @property
    def norm(self) -> float:
        """Its length."""
        return float(self.vector.norm())

    @property
    def relative_noise(self) -> float:
        """The standard error over the length."""
        return self.noise / self.norm if self.norm > 0.0 else float("nan")


def exact_gradient(network: Network, x: Tensor, y: Tensor, mask: Tensor) -> ExactGradient:
    """Differentiate a block by full BPTT, lane by lane.

    The standard error takes lanes as independent draws; stocks of the same days are not,
    so that the true noise is larger.
    """
    full, count = BPTTPlan.full(), max(float(mask.sum()), 1.0)
    batch_rows = [
        _vector(network, x[:, b : b + 1], y[:, b : b + 1], mask[:, b : b + 1], full, count)
        for b in range(x.shape[1])
    ]
    each = torch.stack(batch_rows)
    spread = (each - each.mean(dim=0)).square().sum()
    noise = float((spread * len(each) / (len(each) - 1)).sqrt()) if len(each) > 1 else float("nan")
    return ExactGradient(each.sum(dim=0), noise)


def plan_bias(
    network: Network, x: Tensor, y: Tensor, mask: Tensor, plan: BPTTPlan, exact: ExactGradient
) -> PlanBias:
    """Compare a truncated plan's gradient of a block with the exact one at the same weights."""
    found = _vector(network, x, y, mask, plan, max(float(mask.sum()), 1.0))
    difference = float((found - exact.vector).norm())
    return PlanBias(
        k1=plan.k1 or plan.horizon(len(x)),
        k2=plan.horizon(len(x)),
        bias=difference / exact.norm if exact.norm > 0.0 else float("nan"),
        cosine=float(torch.nn.functional.cosine_similarity(found, exact.vector, dim=0)),
        noise_ratio=difference / exact.noise if exact.noise > 0.0 else float("nan"),
    )


def guaranteed(days: int) -> BPTTPlan:
    """Make the plan in which every error reaches back more than `days` and at most twice that."""
    return BPTTPlan.truncated(k2=2 * days, k1=days)


def bias_by_horizon(
    network: Network,
    x: Tensor,
    y: Tensor,
    mask: Tensor,
    horizons: Sequence[int],
    exact: ExactGradient,
) -> tuple[PlanBias, ...]:
    """Measure the bias at each guaranteed reach."""
    return tuple(plan_bias(network, x, y, mask, guaranteed(k), exact) for k in horizons)


def _vector(
    network: Network, x: Tensor, y: Tensor, mask: Tensor, plan: BPTTPlan, count: float
) -> Tensor:
    state = network.initial_state(x.shape[1])
    found = bptt_gradients(network, x, y, mask, state, plan, count)
    return torch.cat([gradient.flatten() for gradient in found.gradients])


NEGLIGIBLE = 1e-12  # of a curve's peak; below it rounding is all there is


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """A guaranteed reach, or the reason why there is none.

    `days` counts the error's own day; `bound` is the largest relative bias that a reach of
    `days` can have. Both None where `declined` says why.
    """

    days: int | None
    bound: float | None
    declined: str | None


def effective_memory(curve: np.ndarray, share: float) -> int:
    """Give the largest lag at which the curve is still `share` of lag 0."""
    return int(np.flatnonzero(curve >= share * curve[0]).max(initial=0))


def decay_rate(curve: np.ndarray) -> float:
    """Fit by what factor a curve falls per lag, on the older half of its lags.

    Least squares on the logarithm; lags that have sunk in rounding are left out. 0 where
    fewer than two lags are left: nothing is remembered.
    """
    alive = np.flatnonzero(curve > NEGLIGIBLE * curve.max(initial=0.0))
    if len(alive) < 2 or alive[-1] < 1:
        return 0.0
    lags = alive[alive >= alive[-1] / 2]
    if len(lags) < 2:
        lags = alive[-2:]
    return float(np.exp(np.polyfit(lags, np.log(curve[lags]), 1)[0]))


def half_life(decay: float) -> float:
    """Give the lags in which a curve with this decay halves; infinite if it does not fall."""
    if decay >= 1.0:
        return math.inf
    return math.log(2.0) / -math.log(decay) if decay > 0.0 else 0.0


def horizon_for(parts: np.ndarray, partial: np.ndarray, tolerance: float) -> Horizon:
    """Choose the smallest reach whose bias stays below a tolerance, by a conservative bound.

    What a reach of k leaves out is at most the sum of the parts from lag k on, plus a
    geometric tail beyond the last one measured; the whole gradient is at least as long as
    any partial one less what that leaves out.

    Args:
        parts: (R + 1,) norm of what each lag adds to the gradient.
        partial: (R + 2,) norm of the gradient with the first k lags.
        tolerance: relative bias allowed, above 0.

    Returns:
        A reach in 1..R, or none: the curve does not fall, or too much may lie beyond R.

    Source: Aicher, Foti and Fox (2019), "Adaptively Truncating Backpropagation Through Time
    to Control Gradient Bias". Deviation: the decay is fitted to the parameters' gradient by
    lag itself, so that no bound on ds/dW is needed.
    """
    lags = len(parts) - 1
    decay = decay_rate(parts)
    if not np.isfinite(parts).all():
        return Horizon(days=None, bound=None, declined="the gradient is not finite")
    if decay >= 1.0:
        why = f"the gradient does not fall with the lag (by a factor of {decay:.3f} a day)"
        return Horizon(days=None, bound=None, declined=f"memory exceeds {lags} days: {why}")
    recent = parts[-max(1, lags // 10) :]  # one lag's norm may happen to be small
    tail = recent.max() * decay / (1.0 - decay)
    left_out = np.append(np.cumsum(parts[::-1])[::-1], 0.0) + tail
    least = (partial - left_out).max()
    if least > 0.0:
        bounds = left_out[1:-1] / least
        if (bounds <= tolerance).any():
            days = int(np.argmax(bounds <= tolerance)) + 1
            return Horizon(days=days, bound=float(bounds[days - 1]), declined=None)
    share = f"{left_out[-2] / least:.0%}" if least > 0.0 else "all"
    return Horizon(
        days=None,
        bound=None,
        declined=f"memory exceeds {lags} days: up to {share} of the gradient may lie beyond, "
        f"more than {tolerance:.0%}",
    )
