"""What a measured memory says: numbers, one sentence of advice, a page of figures.

Shape letters: T days.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.report.memory import MemoryFigures, memory_page
from forecaster.report.memory_over_time import OverTime
from forecaster.training.memory import SHARES, MemoryProfile
from forecaster.training.plan import BPTTPlan

Looks = Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReport:
    """What a version remembers, and the reach that its training should have.

    `days` (T,) are the days of the first of `tickers`; the others' stretches end with the
    fit block too. `bias` is a table with a row per guaranteed reach. `looks` are the select
    losses by update of this training, the first, and of others on the same data, by name.
    """

    version: str
    tickers: tuple[str, ...]
    days: NDArray[np.datetime64]
    plan: BPTTPlan
    tolerance: float
    profile: MemoryProfile
    looks: Mapping[str, Looks] = field(default_factory=dict)

    @property
    def bias(self) -> pd.DataFrame:
        """Exact bias of the gradient at guaranteed reaches k: stride k, steps 2k."""
        rows = [(b.stride, b.bias, b.cosine, b.noise_ratio) for b in self.profile.biases]
        return pd.DataFrame(rows, columns=["reach", "bias", "cosine", "bias_over_noise"])

    @property
    def effective_memory(self) -> dict[float, int]:
        """The largest lag in trading days at which that share of the gradient is left."""
        return {share: self.profile.effective_memory(share) for share in SHARES}

    @property
    def advice(self) -> str:
        """One sentence: the reach for the tolerance, or why none is advised."""
        advice, advised = self.profile.advice, self.profile.advised
        if advice.days is None or advised is None:
            return (
                f"No --bptt-steps can be advised for a tolerance of {self.tolerance:.0%}: "
                f"{advice.declined}. {self._remedy}"
            )
        ratio = advised.noise_ratio
        noise = f", {ratio:.2g} of the sampling noise" if ratio == ratio else ""
        return (
            f"For a bias of at most {self.tolerance:.0%}, let every error reach back "
            f"{advice.days} days: --bptt-stride {advised.stride} --bptt-steps {2 * advised.stride} "
            f"(measured bias {advised.bias:.2%}{noise})."
        )

    @property
    def _remedy(self) -> str:
        if self.profile.lyapunov > 0.0:
            return "Errors grow as they travel back: keep BPTT truncated, and lower --lr."
        return "Measure more --lags, or train with --bptt full."

    def html(self) -> str:
        """Draw the report as one page that needs no network."""
        profile = self.profile
        left = self.effective_memory.items()
        rows = [f"{share:.0%}: {_days(k, profile.lags)}" for share, k in left]
        own = profile.own
        facts = {
            "plan of this version": self.plan.describe(),
            "its bias": "none" if own is None else f"{own.bias:.2%}",
            "gradient left": ", ".join(rows),
            "decay": f"{profile.decay:.4f} a day, half-life {profile.half_life:.1f} days",
            "Lyapunov exponent": f"{profile.lyapunov:+.4f} a day",
            "noise": f"standard error {profile.relative_noise:.0%} of the gradient's norm",
            "measured on": f"{len(self.tickers)} series ({', '.join(self.tickers)}), "
            f"{len(self.days):,} days {self.days[0]}..{self.days[-1]} of the fit block",
        }
        figures = MemoryFigures(
            days=self.days,
            anchors=profile.anchors,
            by_lag=profile.by_lag,
            curve=profile.curve,
            decay=profile.decay,
            bias=self.bias,
            noise=profile.relative_noise,
            tolerance=self.tolerance,
            steps=self.plan.steps,
            stride=self.plan.stride or self.plan.steps,
            over_time=OverTime(
                days=self.days,
                growth=profile.growth,
                stretched_days=profile.states.stretched_days,
                stretch=profile.states.stretch,
                norms=profile.states.norms,
                cold=profile.states.cold_start.cold,
                warm=profile.states.cold_start.warm,
                looks=self.looks,
            ),
        )
        title = f"How far back the gradient of {self.version} reaches"
        return memory_page(title, self.advice, facts, profile.alarms, figures)


def _days(lag: int, lags: int) -> str:
    return f"{lag} days or more" if lag == lags else f"{lag} days"
