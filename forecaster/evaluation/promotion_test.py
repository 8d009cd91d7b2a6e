"""Whether a challenger may take the champion's place, judged on days that neither was fitted on.

Losses and hits in, a verdict with its numbers out; knows no version, no network and no file. The
question is not whether the challenger is better, which 126 days seldom tell, but whether it can
be more than a little worse.

Shape letters: n judged rows (a ticker on a day), D days.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from forecaster.errors import SettingsError
from forecaster.evaluation.coverage import coverage_error
from forecaster.evaluation.significance import daily, newey_west_error


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is asked of a challenger.

    Args:
        margin: share of a rival's mean loss by which it may be worse.
        confidence: one-sided, of the upper bound that is held against the margin.
        least_days: fewer judged days tell nothing.
        slack: by how much a coverage may miss what it promises, whatever the days say.
        chance: two-sided, of the deviation that many days would allow a calibrated interval.
    """

    margin: float = 0.01
    confidence: float = 0.90
    least_days: int = 63
    slack: float = 0.02
    chance: float = 0.99

    def __post_init__(self) -> None:
        """Refuse rules that nothing or everything passes."""
        for name in ("margin", "slack"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise SettingsError(f"Gate: {name} {getattr(self, name):g}; needed is 0 to 1.")
        for name in ("confidence", "chance"):
            if not 0.5 <= getattr(self, name) < 1.0:
                raise SettingsError(f"Gate: {name} {getattr(self, name):g}; needed is 0.5 to 1.")
        if self.least_days < 10:
            raise SettingsError(f"Gate: least_days {self.least_days}; needed are 10 or more.")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """One target's judged rows: everyone's losses on them, and the challenger's hits.

    `days` (n,) are those of the outcomes; `challenger` (n,) and each of `rivals` (n,) are losses
    of the kind `loss` (`CRPS`, `MSE`), never below 0; `inside` has, by coverage, (n,) 1 where the
    challenger's interval held the outcome, 0 where not, NaN where it gave none.
    """

    target: str
    loss: str
    days: np.ndarray
    challenger: np.ndarray
    benchmarks: Mapping[str, np.ndarray]
    inside: Mapping[float, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionResult:
    """Whether the challenger is promoted, whether that could be judged, why, and on what numbers.

    `evidence` holds what JSON can hold.
    """

    promoted: bool
    able: bool
    reason: str
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The challenger's mean loss less a rival's, and its upper bound, as shares of the rival's."""

    target: str
    loss: str
    benchmark: str
    benchmark_loss: float
    difference: float
    upper: float

    @property
    def sentence(self) -> str:
        """Say the difference and how bad it may be."""
        return (
            f"{self.target}: {self.loss} {self.difference:+.2%} against {self.benchmark}, "
            f"at most {self.upper:+.2%}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageCheck:
    """The share of outcomes that an interval held, and by how much chance may move it."""

    target: str
    coverage: float
    inside: float
    allowed: float
    forecasts: int

    @property
    def good(self) -> bool:
        """Whether it is near enough to what was promised."""
        return bool(abs(self.inside - self.coverage) <= self.allowed)

    @property
    def sentence(self) -> str:
        """Say what was promised and what came."""
        if not self.forecasts:
            return f"{self.target}: no {self.coverage:.0%} interval was given"
        return (
            f"{self.target}: the {self.coverage:.0%} interval held {self.inside:.1%} of "
            f"{self.forecasts:,} outcomes; {self.allowed:.1%} off is allowed"
        )


def verdict(
    trials: Sequence[Trial], *, flaws: Sequence[str] = (), rule: Rule | None = None
) -> PromotionResult:
    """Judge a challenger: promoted only if every target passes everything.

    For each rival: mean of the loss difference + t * standard error <= margin * the rival's mean
    loss, t the one-sided quantile of Student's t with D - 1 degrees of freedom. For each coverage:
    |inside - promised| <= the larger of `slack` and t * standard error, two-sided.

    Args:
        trials: one per target.
        flaws: what else speaks against it, such as forecasts that do not reproduce.
        rule: None for the defaults.

    Source: Diebold and Mariano (1995) and Harvey, Leybourne and Newbold (1997) for the standard
        error (`newey_west_error`); non-inferiority in place of superiority is ours.
    """
    rule = rule or Rule()
    missing = _missing(trials, rule)
    evidence: dict[str, Any] = {"rule": asdict(rule), "flaws": list(flaws)}
    evidence["targets"] = {trial.target: _facts(trial) for trial in trials}
    if missing:
        return PromotionResult(promoted=False, able=False, reason=missing, evidence=evidence)
    wild = [_wild(trial) for trial in trials if not np.isfinite(trial.challenger).all()]
    against = [*flaws, *wild]
    if against:
        return PromotionResult(
            promoted=False, able=True, reason="; ".join(against), evidence=evidence
        )
    bounds = [_bound(trial, name, rule) for trial in trials for name in trial.benchmarks]
    held = [_held(trial, coverage, rule) for trial in trials for coverage in trial.inside]
    for one in bounds:
        evidence["targets"][one.target]["against"][one.benchmark] = _told(one)
    for each in held:
        evidence["targets"][each.target]["coverage"][f"{each.coverage:.0%}"] = _told(each)
    # Not `upper > margin`, which is False of a NaN.
    worse = [one.sentence for one in bounds if not one.upper <= rule.margin]
    off = [each.sentence for each in held if not each.good]
    passed = not worse and not off
    said = [one.sentence for one in bounds] if passed else [*worse, *off]
    limit = f" ({rule.confidence:.0%} confidence; {rule.margin:.0%} is allowed)"
    reason = "; ".join(said) + (limit if passed or worse else "")
    return PromotionResult(promoted=passed, able=True, reason=reason, evidence=evidence)


def _missing(trials: Sequence[Trial], rule: Rule) -> str:
    """Say what cannot be judged; empty where all can."""
    if not trials:
        return "nothing was forecast that could be judged"
    for trial in trials:
        for name, losses in trial.benchmarks.items():
            if len(losses) and not np.isfinite(losses).all():
                return f"{trial.target}: {name} has no finite {trial.loss} to be held against"
        days = len(np.unique(trial.days))
        if days < rule.least_days:
            return (
                f"{trial.target}: {days} days that nobody was fitted on, {rule.least_days} are "
                "needed; wait, or judge by `forecaster models compare`"
            )
        for name, losses in trial.benchmarks.items():
            if not losses.mean() > 0.0:
                return f"{trial.target}: {name} makes no error at all; such days tell nothing"
    return ""


def _wild(trial: Trial) -> str:
    count = int((~np.isfinite(trial.challenger)).sum())
    return f"{trial.target}: {count:,} of {len(trial.challenger):,} forecasts are not finite"


def _facts(trial: Trial) -> dict[str, Any]:
    """Note what was judged, for the record."""
    days = np.unique(trial.days)
    own = float(np.mean(trial.challenger)) if len(trial.challenger) else float("nan")
    return {
        "loss": trial.loss,
        "days": len(days),
        "first": str(days[0]) if len(days) else None,
        "last": str(days[-1]) if len(days) else None,
        "forecasts": len(trial.challenger),
        "challenger": own if np.isfinite(own) else None,
        "against": {},
        "coverage": {},
    }


def _bound(trial: Trial, name: str, rule: Rule) -> Bound:
    benchmark = trial.benchmarks[name]
    gap, scale = daily(trial.challenger - benchmark, trial.days), float(benchmark.mean())
    t = float(stats.t.ppf(rule.confidence, len(gap) - 1))
    return Bound(
        target=trial.target,
        loss=trial.loss,
        benchmark=name,
        benchmark_loss=scale,
        difference=float(gap.mean()) / scale,
        upper=(float(gap.mean()) + t * newey_west_error(gap)) / scale,
    )


def _held(trial: Trial, coverage: float, rule: Rule) -> CoverageCheck:
    inside = trial.inside[coverage]
    share, error = coverage_error(inside, trial.days, coverage)
    days = len(np.unique(trial.days))
    t = float(stats.t.ppf((1.0 + rule.chance) / 2.0, days - 1))
    return CoverageCheck(
        target=trial.target,
        coverage=coverage,
        inside=share,
        allowed=max(rule.slack, t * error),
        forecasts=int(np.isfinite(inside).sum()),
    )


def _told(one: Bound | CoverageCheck) -> dict[str, float | int | None]:
    """Keep the numbers of a test; what is no number becomes None."""
    numbers = {name: value for name, value in asdict(one).items() if not isinstance(value, str)}
    return {k: v if np.isfinite(v) else None for k, v in numbers.items() if k != "coverage"}
