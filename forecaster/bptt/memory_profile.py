"""The gradient horizon of a network, and the bias of truncating it.

Shape letters: T days, B batch rows, F features, K targets, A anchors, R lags.
"""

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from forecaster.bptt.chunks import Block
from forecaster.bptt.gradient_by_lag import (
    LagGradients,
    StateFacts,
    lag_gradients,
    local_growth,
    state_facts,
    trajectory,
)
from forecaster.bptt.gradients import flat_gradient
from forecaster.bptt.plan import BPTTPlan
from forecaster.models.network import Network

SHARES = (0.5, 0.1, 0.01)
HORIZONS = (1, 2, 5, 10, 21, 42, 63, 126, 252, 504)
BITING, WASTED = 0.1, 1e-6
TRANSIENT = 0.1  # share of the days in which the Lyapunov walk still finds its direction
FULL = BPTTPlan.full()
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MemoryProfile:
    """The memory of a network at its current weights, means over batch rows.

    `anchors` (A,) are the days whose errors were followed back, `by_lag` (A, R + 1) the norms of
    the gradient of day t's error by the state k days before, `curve` (R + 1,) its mean over
    anchors, `growth` (T,) the log growth of an error carried back through each day, `lyapunov` the
    top exponent per day. `biases` are exact, at guaranteed horizons; so is `own`, of the plan asked
    about (None for full BPTT), and `advised`, None where the advice declines. `relative_noise` is
    the standard error of the exact gradient over its norm.
    """

    anchors: np.ndarray
    by_lag: np.ndarray
    curve: np.ndarray
    growth: np.ndarray
    lyapunov: float
    states: StateFacts
    biases: tuple[PlanBias, ...]
    own: PlanBias | None
    relative_noise: float
    advice: Horizon
    advised: PlanBias | None
    alarms: tuple[str, ...]

    @property
    def lags(self) -> int:
        """The longest lag measured."""
        return len(self.curve) - 1

    @property
    def decay(self) -> float:
        """The factor by which the curve falls per day, fitted on its older half."""
        return decay_rate(self.curve)

    @property
    def half_life(self) -> float:
        """Days in which the curve halves; infinite if it does not fall."""
        return half_life(self.decay)


def memory_profile(
    network: Network,
    block: Block,
    *,
    lags: int = 252,
    anchors: int = 16,
    tolerance: float = 0.1,
    plan: BPTTPlan = FULL,
) -> MemoryProfile:
    """Measure how far back errors travel on a block of whole histories.

    A copy of the network runs as in training, without dropout; the block is `Block.averaged`.
    About `anchors` days' errors are followed through up to `lags` days, R, below T. `tolerance` is
    the relative bias allowed at the advised horizon, `plan` that of the training.

    Raises:
        ValueError: `lags`, `anchors` or `tolerance` is out of range, or no anchor is scored.
    """
    days = len(block.x)
    if not 1 <= lags < days:
        raise ValueError(f"lags is {lags}; give 1 to {days - 1} for a block of {days} days.")
    if anchors < 1 or not 0.0 < tolerance < 1.0:
        raise ValueError(
            f"anchors is {anchors} and tolerance {tolerance}; give at least 1, and a share "
            "between 0 and 1."
        )
    network = _without_dropout(network)
    chosen = _anchor_days(block.mask, lags, anchors)
    path = trajectory(network, block)
    found = lag_gradients(network, path, chosen, lags)
    growth = local_growth(network, path).mean(dim=1)
    lyapunov = float(growth[: max(1, days - int(TRANSIENT * days))].mean())
    exact = exact_gradient(network, block)
    advice, advised = _advise(network, block, found, exact, tolerance)
    curve = found.curve.double().cpu().numpy()
    horizons = [k for k in HORIZONS if k <= lags and k < days]
    return MemoryProfile(
        anchors=np.array(chosen),
        by_lag=found.by_lag.double().cpu().numpy(),
        curve=curve,
        growth=growth.double().cpu().numpy(),
        lyapunov=lyapunov,
        states=state_facts(network, path),
        biases=tuple(plan_bias(network, block, guaranteed(k), exact) for k in horizons),
        own=None if plan.k2 is None else plan_bias(network, block, plan, exact),
        relative_noise=exact.relative_noise,
        advice=advice,
        advised=advised,
        alarms=tuple(_alarms(curve, lyapunov, plan.k2)),
    )


def _without_dropout(network: Network) -> Network:
    """Copy a network for training mode (cuDNN differentiates in no other), dropout off."""
    copied = copy.deepcopy(network)
    for module in copied.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.RNNBase):
            module.dropout = 0.0
    return copied.train().requires_grad_()


def _anchor_days(mask: Tensor, lags: int, anchors: int) -> list[int]:
    """Spread anchors over the scored days that have all lags behind them."""
    scored = np.flatnonzero(mask.any(dim=-1).any(dim=-1).cpu().numpy())
    scored = scored[scored >= lags]
    if len(scored) == 0:
        raise ValueError(f"no scored day has {lags} days behind it; measure fewer lags.")
    places = np.linspace(0, len(scored) - 1, min(anchors, len(scored))).round().astype(int)
    return [int(day) for day in scored[places]]


def _advise(
    network: Network, block: Block, found: LagGradients, exact: ExactGradient, tolerance: float
) -> tuple[Horizon, PlanBias | None]:
    """Choose a horizon by the bound, then check it by the exact bias of the block."""
    advice = horizon_for(found.parts.numpy(), found.partial.numpy(), tolerance)
    days, lags = advice.days, len(found.parts) - 1
    while days is not None:
        advised = plan_bias(network, block, guaranteed(days), exact)
        if advised.bias <= tolerance:
            return Horizon(days=days, bound=advice.bound), advised
        if days == lags:
            why = f"a gradient horizon of {lags} days still has a bias of {advised.bias:.0%}"
            return Horizon(declined=f"memory exceeds {lags} days: {why}"), None
        days = min(2 * days, lags)  # the anchors' errors were not like the other days'
    return advice, None


def _alarms(curve: np.ndarray, lyapunov: float, k2: int | None) -> list[str]:
    """List what is wrong with how errors travel."""
    found = []
    if lyapunov > 0.0:
        found.append(
            f"explosion: the Lyapunov exponent is {lyapunov:+.3g} a day, so errors of far days "
            "dominate the gradient; truncation helps here, full BPTT does not"
        )
    decay = decay_rate(curve)
    if decay >= 1.0:
        found.append(f"growing: the gradient grows by a factor of {decay:.3f} per day of lag")
    if k2 is None or k2 >= len(curve):
        return found
    share = curve[k2] / curve[0]
    if share > BITING:
        found.append(
            f"truncation is biting: {k2} days back the gradient is still {share:.0%} of that "
            "on the day itself; raise --bptt-k2"
        )
    elif share < WASTED:
        found.append(
            f"horizon too long: {k2} days back the gradient is {share:.0e} of that on the day "
            "itself; a shorter horizon, guaranteed by a --bptt-k1 of half of it, gives the same"
        )
    return found
