"""The gradient horizon of a network, and the bias of truncating it.

Shape letters: T days, B batch rows, F features, K targets, A anchors, R lags.
"""

import copy
from dataclasses import dataclass

import numpy as np
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
from forecaster.bptt.plan import BPTTPlan
from forecaster.bptt.truncation_bias import (
    ExactGradient,
    Horizon,
    PlanBias,
    decay_rate,
    effective_memory,
    exact_gradient,
    guaranteed,
    half_life,
    horizon_for,
    plan_bias,
)
from forecaster.models.network import Network

SHARES = (0.5, 0.1, 0.01)
HORIZONS = (1, 2, 5, 10, 21, 42, 63, 126, 252, 504)
BITING, WASTED = 0.1, 1e-6
TRANSIENT = 0.1  # share of the days in which the Lyapunov walk still finds its direction
FULL = BPTTPlan.full()


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

    def effective_memory(self, share: float) -> int:
        """Return the largest lag at which the curve is still `share` of lag 0."""
        return effective_memory(self.curve, share)


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
