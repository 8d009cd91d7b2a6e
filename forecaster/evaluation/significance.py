"""Whether one forecaster's losses are smaller than another's by more than chance.

Losses in, test results out. The tickers of one day share its shock: losses are averaged by day
first, and days are the observations.

Shape letters: n forecasts, D test days.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.05
Conclusion = Literal["better", "worse", "no significant difference"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The mean loss of `forecaster` less that of `benchmark`, with the Diebold-Mariano test.

    `difference` is relative to the benchmark's mean loss, or with `unit` (such as `nats`) absolute
    in it; negative is better. `p_value` is two-sided; NaN where the daily losses never differ,
    or on a single day. `adjusted_p_value` is it after `tests` tests (see `adjust`).
    """

    target: str
    forecaster: str
    benchmark: str
    difference: float
    p_value: float
    days: int
    loss: str = "MSE"
    unit: str = ""
    tests: int = 1
    adjusted_p_value: float | None = None

    @property
    def decisive_p_value(self) -> float:
        """The adjusted p-value where there is one."""
        return self.p_value if self.adjusted_p_value is None else self.adjusted_p_value

    @property
    def conclusion(self) -> Conclusion:
        """Result of the test at the 5 % level."""
        if not self.decisive_p_value < LEVEL:
            return "no significant difference"
        return "better" if self.difference < 0 else "worse"


class LossDifference(NamedTuple):
    """The numbers of a `Comparison`."""

    difference: float
    p_value: float
    days: int


def compare_losses(
    own: np.ndarray, other: np.ndarray, days: np.ndarray, *, relative: bool = True
) -> LossDifference:
    """Test equal mean loss of two forecasters of the same outcomes.

    Args:
        own: (n,) losses of the forecaster: squared errors, CRPS, negative log densities; NaN
            in either leaves the forecast out.
        other: (n,) losses of the benchmark.
        days: (n,) the day of each outcome, of any kind that sorts.
        relative: divide the difference by the mean of `other`; not for losses without a natural
            zero.
    """
    known = np.isfinite(own) & np.isfinite(other)
    gap = daily(own[known] - other[known], days[known])
    mean = float(gap.mean()) if len(gap) else float("nan")
    scale = 1.0 if not relative else float(np.mean(other[known])) if len(gap) else float("nan")
    difference = mean / scale if scale != 0.0 else float("nan") if mean else 0.0
    return LossDifference(difference, diebold_mariano(gap), len(gap))


def daily(values: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Sum values (n,) by day over the mean number of values a day, (D,), oldest day first.

    The mean of the result is the mean of the values: a day counts by its forecasts.
    """
    distinct, place = np.unique(days, return_inverse=True)
    sums: np.ndarray = np.bincount(place, weights=values, minlength=len(distinct))
    return sums * (len(distinct) / max(len(values), 1))


def bandwidth(days: int) -> int:
    """Return the number of lags in the Newey-West variance of daily means."""
    return int(4 * (days / 100) ** (2 / 9))


def diebold_mariano(gap: np.ndarray) -> float:
    """Test that daily loss differences (D,) have mean zero; return the two-sided p-value.

    t = mean / sqrt(V / D), V the Newey-West variance with L = floor(4 (D / 100)^(2/9)) lags,
    times sqrt((D + 1 - 2h + h(h - 1) / D) / D) with h = L + 1, on Student's t with D - 1
    degrees of freedom. NaN on fewer than L + 2 days, or where the difference never changes.

    Source: Diebold and Mariano (1995), "Comparing Predictive Accuracy"; Newey and West (1987);
        Harvey, Leybourne and Newbold (1997), "Testing the Equality of Prediction Mean Squared
        Errors", eq. 9. Deviation: h counts the autocovariances of the variance, not the horizon,
        which is one day: their factor for h = 1 is nearer to 1 and rejects a little too often.
    """
    t = newey_west_t(gap)
    return float(2.0 * stats.t.sf(abs(t), len(gap) - 1)) if np.isfinite(t) else float("nan")


def newey_west_t(gap: np.ndarray) -> float:
    """Return the t statistic of the mean of daily values (D,), as in `diebold_mariano`."""
    error = newey_west_error(gap)
    return float(gap.mean() / error) if error > 0.0 else float("nan")


def newey_west_error(gap: np.ndarray) -> float:
    """Return the standard error of the mean of daily values (D,), as in `diebold_mariano`.

    0 where they never change, NaN on fewer than L + 2 days.
    """
    days, lags = len(gap), bandwidth(len(gap))
    if days < lags + 2:
        return float("nan")
    if np.ptp(gap) == 0.0:
        return 0.0
    deviation = gap - gap.mean()
    variance = deviation @ deviation / days
    for lag in range(1, lags + 1):
        weight = 1.0 - lag / (lags + 1.0)
        variance += 2.0 * weight * (deviation[lag:] @ deviation[:-lag]) / days
    if not variance > 0.0:
        return float("nan")
    h = lags + 1
    small = np.sqrt((days + 1 - 2 * h + h * (h - 1) / days) / days)
    return float(np.sqrt(variance / days) / small)


def adjust(comparisons: Sequence[Comparison], questions: int = 1) -> tuple[Comparison, ...]:
    """Correct the p-values of one family of comparisons by Holm, times the number of questions.

    Args:
        comparisons: the family; one without p-value is not counted.
        questions: such families asked of the same test days (Bonferroni).

    Source: Holm (1979), "A Simple Sequentially Rejective Multiple Test Procedure".
    """
    adjusted = holm(np.array([each.p_value for each in comparisons]))
    count = int(np.isfinite(adjusted).sum()) * questions
    return tuple(
        replace(each, adjusted_p_value=min(float(p) * questions, 1.0), tests=count)
        if np.isfinite(p)
        else each
        for each, p in zip(comparisons, adjusted, strict=True)
    )


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return Holm's adjusted p-values; NaN stays NaN and is not counted.

    Own code: that of statsmodels collects garbage first, half a second each time.
    """
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    steps = np.arange(len(order), 0, -1) * p_values[order]
    adjusted = np.full(len(p_values), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
