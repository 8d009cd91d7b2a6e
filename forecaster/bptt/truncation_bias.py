"""The bias of truncated gradients, and the gradient horizon that keeps it below a tolerance.

Shape letters: R lags.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from forecaster.bptt.chunks import Block
from forecaster.bptt.gradients import flat_gradient
from forecaster.bptt.plan import BPTTPlan
from forecaster.models.network import Network

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


def exact_gradient(network: Network, block: Block) -> ExactGradient:
    """Differentiate a block by full BPTT, batch row by batch row, as if these were independent."""
    full, width = BPTTPlan.full(), block.x.shape[1]
    each = torch.stack(
        [flat_gradient(network, block.rows(slice(b, b + 1)), full) for b in range(width)]
    )
    spread = (each - each.mean(dim=0)).square().sum()
    noise = float((spread * width / (width - 1)).sqrt()) if width > 1 else float("nan")
    return ExactGradient(each.sum(dim=0), noise)


def plan_bias(network: Network, block: Block, plan: BPTTPlan, exact: ExactGradient) -> PlanBias:
    """Compare a truncated plan's gradient of a block with the exact one at the same weights."""
    found, days = flat_gradient(network, block, plan), len(block.x)
    difference = float((found - exact.vector).norm())
    return PlanBias(
        k1=plan.k1 or plan.horizon(days),
        k2=plan.horizon(days),
        bias=difference / exact.norm if exact.norm > 0.0 else float("nan"),
        cosine=float(torch.nn.functional.cosine_similarity(found, exact.vector, dim=0)),
        noise_ratio=difference / exact.noise if exact.noise > 0.0 else float("nan"),
    )


def guaranteed(days: int) -> BPTTPlan:
    """Make the plan in which every error travels back more than `days`, at most twice that."""
    return BPTTPlan.truncated(k2=2 * days, k1=days)


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
    """Return the largest lag at which the curve is still `share` of lag 0."""
    return int(np.flatnonzero(curve >= share * curve[0]).max(initial=0))


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
