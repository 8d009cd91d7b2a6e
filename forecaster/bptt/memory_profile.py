"""The memory of a module at its current weights: everything `forecaster memory` shows.

Shape letters: T days, A anchors, R lags.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from forecaster.bptt.horizon import (
    Horizon,
    PlanBias,
    advise,
    decay_rate,
    exact_gradient,
    guaranteed,
    half_life,
    plan_bias,
    with_count,
)
from forecaster.bptt.lags import ANCHORS, MOST_LAGS, Path, anchor_days, lag_gradients
from forecaster.bptt.plan import Plan
from forecaster.bptt.states import StateFacts, local_growth, state_facts

SHARES = (0.5, 0.1, 0.01)
HORIZONS = (1, 2, 5, 10, 21, 42, 63, 126, 252, 504)
BITING, WASTED = 0.1, 1e-6
TRANSIENT = 0.1  # share of the days in which the Lyapunov walk still finds its direction
FULL = Plan.full()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MemoryProfile:
    """The memory of a network at its current weights, means over batch rows.

    `anchors` (A,) are the days whose errors were followed back, `by_lag` (A, R + 1) the norms of
    the gradient of day t's error by the state k days before, `curve` (R + 1,) its mean over
    anchors, `contributions` (R + 1,) by parameter the norms of what each lag adds to its gradient,
    `growth` (T,) the log growth of an error carried back through each day, `lyapunov` the
    top exponent per day. `biases` are exact, at guaranteed horizons; so is `own`, of the plan asked
    about (None for full BPTT), and `advised`, None where the advice declines. `relative_noise` is
    the standard error of the exact gradient over its norm.
    """

    anchors: np.ndarray
    by_lag: np.ndarray
    curve: np.ndarray
    contributions: Mapping[str, np.ndarray]
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
    path: Path,
    *,
    lags: int = MOST_LAGS,
    anchors: int = ANCHORS,
    tolerance: float = 0.1,
    plan: Plan = FULL,
) -> MemoryProfile:
    """Measure how far back errors travel on whole histories.

    About `anchors` days' errors are followed through up to `lags` days, R, below T. `tolerance` is
    the relative bias allowed at the advised horizon, `plan` that of the training.

    Raises:
        ValueError: `lags`, `anchors` or `tolerance` is out of range, or no anchor is scored.
    """
    if not 0.0 < tolerance < 1.0:
        raise ValueError(f"tolerance is {tolerance}; give a share between 0 and 1.")
    path, days = with_count(path), path.days
    chosen = anchor_days(path, lags, anchors)
    found = lag_gradients(path, chosen, lags)
    growth = local_growth(path).mean(dim=1)
    lyapunov = float(growth[: max(1, days - int(TRANSIENT * days))].mean())
    exact = exact_gradient(path.run, path.batch, path.loss)
    advice, advised = advise(path, found, exact, tolerance)
    curve = found.curve.double().cpu().numpy()
    horizons = [k for k in HORIZONS if k <= lags and k < days]
    return MemoryProfile(
        anchors=np.array(chosen),
        by_lag=found.by_lag.double().cpu().numpy(),
        curve=curve,
        contributions={name: part.numpy() for name, part in found.named_parts.items()},
        growth=growth.double().cpu().numpy(),
        lyapunov=lyapunov,
        states=state_facts(path),
        biases=tuple(plan_bias(path, guaranteed(k), exact) for k in horizons),
        own=None if plan.k2 is None else plan_bias(path, plan, exact),
        relative_noise=exact.relative_noise,
        advice=advice,
        advised=advised,
        alarms=tuple(_alarms(curve, lyapunov, plan.k2)),
    )


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
