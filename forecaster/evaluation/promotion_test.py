"""The promotion test: whether a challenger is non-inferior to champion and baseline.

The question is not whether the challenger is better, which 126 days seldom show, but whether it
can be more than a little worse. The rules are the table `RULES`.

Shape letters: n tested rows (a ticker on a day), D days.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, Final

import numpy as np
from scipy import special

from forecaster.evaluation.calibration import coverage_error
from forecaster.evaluation.significance import daily, newey_west_error


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of the promotion test."""

    margin: float = 0.01  # share of a benchmark's mean loss by which the challenger may be worse
    confidence: float = 0.90  # one-sided, of the upper bound that is compared with the margin
    least_days: int = 63
    slack: float = 0.02  # by which a coverage may always miss its nominal value
    chance: float = 0.99  # two-sided, of the deviation that a calibrated interval may have


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """One target's tested rows: losses of all forecasters, and the challenger's coverage.

    `days` (n,) are those of the outcomes; `challenger` (n,) and each of `benchmarks` (n,) are
    losses of the kind `loss` (`CRPS`, `MSE`), never below 0; `inside` has, by nominal coverage,
    (n,) 1 if the challenger's interval covered the outcome, 0 if not, NaN without interval.
    """

    target: str
    loss: str
    days: np.ndarray
    challenger: np.ndarray
    benchmarks: Mapping[str, np.ndarray]
    inside: Mapping[float, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionResult:
    """Whether the challenger is promoted, whether the test could be made (`able`), and why."""

    promoted: bool
    able: bool
    reason: str
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one rule found of a trial; `place` are the keys of `numbers` in its evidence."""

    passed: bool
    sentence: str
    place: tuple[str, str]
    numbers: dict[str, float | int | None]


Rule = Callable[[Trial, Limits], Iterator[Finding]]


def non_inferiority(trial: Trial, limits: Limits) -> Iterator[Finding]:
    """Compare the challenger's mean loss with each benchmark's.

    mean of the loss difference + t * standard error <= margin * the benchmark's mean loss, t the
    one-sided quantile of Student's t with D - 1 degrees of freedom.

    Source: Diebold and Mariano (1995) and Harvey, Leybourne and Newbold (1997) for the standard
        error (`newey_west_error`); non-inferiority in place of superiority is ours.
    """
    for name, losses in trial.benchmarks.items():
        gap, scale = daily(trial.challenger - losses, trial.days), float(losses.mean())
        t = float(special.stdtrit(len(gap) - 1, limits.confidence))
        difference = float(gap.mean()) / scale
        upper = (float(gap.mean()) + t * newey_west_error(gap)) / scale
        against = f"{trial.loss} {difference:+.2%} against {name}"
        yield Finding(
            passed=bool(upper <= limits.margin),  # not `upper > margin`: False of a NaN
            sentence=f"{trial.target}: {against}, at most {upper:+.2%}",
            place=("against", name),
            numbers=_finite(benchmark_loss=scale, difference=difference, upper=upper),
        )


def interval_coverage(trial: Trial, limits: Limits) -> Iterator[Finding]:
    """Compare each interval's coverage with its nominal one.

    |coverage - nominal| <= the larger of `slack` and t * standard error, two-sided.
    """
    t = float(special.stdtrit(len(np.unique(trial.days)) - 1, (1.0 + limits.chance) / 2.0))
    for nominal, inside in trial.inside.items():
        share, error = coverage_error(inside, trial.days, nominal)
        allowed, count = max(limits.slack, t * error), int(np.isfinite(inside).sum())
        sentence = f"there was no {nominal:.0%} interval"
        if count:
            sentence = f"the {nominal:.0%} interval covered {share:.1%} of {count:,} outcomes; "
            sentence += f"{allowed:.1%} off is allowed"
        yield Finding(
            passed=bool(abs(share - nominal) <= allowed),
            sentence=f"{trial.target}: {sentence}",
            place=("coverage", f"{nominal:.0%}"),
            numbers=_finite(inside=share, allowed=allowed, forecasts=count),
        )


# Every target must pass every rule. Sentences of the first one are the reason of a promotion.
RULES: Final[tuple[Rule, ...]] = (non_inferiority, interval_coverage)


def promotion_test(
    trials: Sequence[Trial], *, flaws: Sequence[str] = (), limits: Limits | None = None
) -> PromotionResult:
    """Decide whether a challenger is promoted: only if every target passes every rule.

    `flaws` are other reasons against it, such as forecasts that do not reproduce.
    """
    limits = limits or Limits()
    targets = {trial.target: _facts(trial) for trial in trials}
    evidence: dict[str, Any] = {"limits": asdict(limits), "flaws": list(flaws), "targets": targets}
    if missing := _missing(trials, limits):
        return PromotionResult(promoted=False, able=False, reason=missing, evidence=evidence)
    not_finite = [
        f"{one.target}: {count:,} of {len(one.challenger):,} forecasts are not finite"
        for one in trials
        if (count := int((~np.isfinite(one.challenger)).sum()))
    ]
    if flaws or not_finite:
        reason = "; ".join([*flaws, *not_finite])
        return PromotionResult(promoted=False, able=True, reason=reason, evidence=evidence)
    findings: list[list[Finding]] = [[] for _ in RULES]
    for (rule, own), trial in product(zip(RULES, findings, strict=True), trials):
        for found in rule(trial, limits):
            kind, subject = found.place
            targets[trial.target].setdefault(kind, {})[subject] = found.numbers
            own.append(found)
    failed = [[one for one in found if not one.passed] for found in findings]
    passed = not any(failed)
    cited = findings[0] if passed else [one for found in failed for one in found]
    limit = f" ({limits.confidence:.0%} confidence; {limits.margin:.0%} is allowed)"
    reason = "; ".join(one.sentence for one in cited) + (limit if passed or failed[0] else "")
    return PromotionResult(promoted=passed, able=True, reason=reason, evidence=evidence)


def _missing(trials: Sequence[Trial], limits: Limits) -> str:
    """Return why the test cannot be made; empty if it can."""
    if not trials:
        return "there are no forecasts to test"
    for trial in trials:
        for name, losses in trial.benchmarks.items():
            if len(losses) and not np.isfinite(losses).all():
                return f"{trial.target}: {name} has no finite {trial.loss} to compare with"
        days = len(np.unique(trial.days))
        if days < limits.least_days:
            return (
                f"{trial.target}: {days} days that no version was trained on, "
                f"{limits.least_days} are needed; wait, or use `forecaster models compare`"
            )
        for name, losses in trial.benchmarks.items():
            if not losses.mean() > 0.0:
                return f"{trial.target}: {name} has no error at all; such days show nothing"
    return ""


def _facts(trial: Trial) -> dict[str, Any]:
    """Return the tested rows in numbers, for the record."""
    days = np.unique(trial.days)
    first, last = (str(days[0]), str(days[-1])) if len(days) else (None, None)
    own = float(np.mean(trial.challenger)) if len(trial.challenger) else float("nan")
    return {
        **{"loss": trial.loss, "days": len(days), "first": first, "last": last},
        **{"forecasts": len(trial.challenger), **_finite(challenger=own)},
        **{"against": {}, "coverage": {}},
    }


def _finite(**numbers: float | int) -> dict[str, float | int | None]:
    return {name: value if np.isfinite(value) else None for name, value in numbers.items()}
