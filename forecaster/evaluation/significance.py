"""Tests of forecasters' losses: of pairs (Diebold-Mariano, Holm), of many (SPA, MCS), bootstrap.

The tickers of one day share its shock: losses are averaged by day first, and days are the
observations.

Shape letters: n forecasts, D test days, F forecasters, B bootstrap repeats.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from scipy import special

LEVEL = 0.05
REPEATS, TEST_REPEATS = 999, 1_000  # of bootstraps: of intervals, of tests
MIN_DAYS = 20
Conclusion = Literal["better", "worse", "no significant difference"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The mean loss of `forecaster` less that of `benchmark`, with the Diebold-Mariano test.

    `difference` is relative to the benchmark's mean loss, or with `unit` (such as `nats`) absolute
    in it; negative is better. `low` and `high` are its 95 % confidence interval, unadjusted;
    `p_value` is two-sided, NaN where undefined; `adjusted_p_value` is it after `tests` tests (see
    `adjust`).
    """

    target: str
    forecaster: str
    benchmark: str
    difference: float
    p_value: float
    days: int
    low: float = float("nan")
    high: float = float("nan")
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
    low: float
    high: float


def compare_losses(
    own: np.ndarray, other: np.ndarray, days: np.ndarray, *, relative: bool = True
) -> LossDifference:
    """Test equal mean loss of two forecasters of the same outcomes.

    Args:
        own: (n,) losses of the forecaster; NaN in either leaves the forecast out.
        other: (n,) losses of the benchmark.
        days: (n,) the day of each outcome, of any kind that sorts.
        relative: divide by the mean of `other`; not for losses without a natural zero.
    """
    known = np.isfinite(own) & np.isfinite(other)
    gap = daily(own[known] - other[known], days[known])
    mean = float(gap.mean()) if len(gap) else float("nan")
    scale = 1.0 if not relative else float(np.mean(other[known])) if len(gap) else float("nan")
    difference = mean / scale if scale != 0.0 else float("nan") if mean else 0.0
    tested = len(gap) >= MIN_DAYS
    p_value = diebold_mariano(gap) if tested else float("nan")
    margin = _margin(gap) / scale if tested and scale != 0.0 else float("nan")
    return LossDifference(difference, p_value, len(gap), difference - margin, difference + margin)


def _margin(gap: np.ndarray) -> float:
    """Return half the 95 % confidence interval of the mean of daily values (D,)."""
    return float(special.stdtrit(len(gap) - 1, 0.975)) * newey_west_error(gap)


def daily(values: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Sum values (n,) by day over the mean number of values a day, (D,), oldest day first.

    The mean of the result is the mean of the values: a day counts by its forecasts.
    """
    distinct, place = np.unique(days, return_inverse=True)
    sums: np.ndarray = np.bincount(place, weights=values, minlength=len(distinct))
    return sums * (len(distinct) / max(len(values), 1))


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
    return float(2.0 * special.stdtr(len(gap) - 1, -abs(t))) if np.isfinite(t) else float("nan")


def newey_west_t(gap: np.ndarray) -> float:
    """Return the t statistic of the mean of daily values (D,), as in `diebold_mariano`."""
    error = newey_west_error(gap)
    return float(gap.mean() / error) if error > 0.0 else float("nan")


def newey_west_error(gap: np.ndarray) -> float:
    """Return the standard error of the mean of daily values (D,), as in `diebold_mariano`.

    0 where they never change, NaN on fewer than L + 2 days.
    """
    days, lags = len(gap), int(4 * (len(gap) / 100) ** (2 / 9))
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

    A comparison without p-value is not counted. `questions` is the number of such families asked
    of the same test days (Bonferroni).

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
    """Return Holm's adjusted p-values; NaN stays NaN and is not counted."""
    # Not that of statsmodels: it collects garbage first, half a second each time.
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    steps = np.arange(len(order), 0, -1) * p_values[order]
    adjusted = np.full(len(p_values), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaTest:
    """Hansen's consistent p-value of the best forecaster against the benchmark.

    None where undefined: `reason` explains why.
    """

    benchmark: str
    forecasters: int
    days: int
    p_value: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfidenceSet:
    """Forecasters that may be the best: `included` at `size`, and the p-value of each name."""

    size: float
    included: tuple[str, ...]
    p_values: dict[str, float]
    days: int
    reason: str = ""


def superior_predictive_ability(
    losses: dict[str, np.ndarray], benchmark: str, *, seed: int = 0
) -> SpaTest:
    """Test that no forecaster is better than the benchmark, on all of them together.

    `losses` are daily means (D,) by name. Forecasters whose losses equal the benchmark's on every
    day are left out.

    Source: Hansen (2005), "A Test for Superior Predictive Ability", by arch; stationary
        bootstrap of days.
    """
    from arch.bootstrap import SPA

    base, p_value = losses[benchmark], None
    others = [v for k, v in losses.items() if k != benchmark and np.ptp(v - base) > 0.0]
    reason = _too_little(len(base), len(others))
    if not reason:
        table = np.column_stack(others)
        block = block_length(base[:, None] - table)
        test = SPA(base, table, block_size=block, reps=TEST_REPEATS, seed=seed)
        test.compute()
        p_value = float(test.pvalues["consistent"])
    return SpaTest(
        benchmark=benchmark, forecasters=len(others), days=len(base), p_value=p_value, reason=reason
    )


def model_confidence_set(
    losses: dict[str, np.ndarray], *, size: float = 0.10, seed: int = 0
) -> ConfidenceSet:
    """Return the model confidence set: forecasters not significantly worse than the best.

    `losses` are daily means (D,) by name; `size` is the probability, at most, that the set misses
    the best one.

    Source: Hansen, Lunde and Nason (2011), "The Model Confidence Set", by arch.
    """
    from arch.bootstrap import MCS

    # Equal losses have no variance of their difference: arch sees each of them once.
    first = {values.tobytes(): name for name, values in reversed(losses.items())}
    same_as = {name: first[values.tobytes()] for name, values in losses.items()}
    names = list(dict.fromkeys(same_as.values()))
    table = np.column_stack([losses[name] for name in names])
    reason = _too_little(len(table), len(names) - 1)
    included, p_values = tuple(losses), {}
    if not reason:
        block = block_length(table[:, :1] - table)
        test = MCS(table, size=size, block_size=block, reps=TEST_REPEATS, seed=seed)
        test.compute()
        found = test.pvalues["Pvalue"]
        p_values = {name: float(found[names.index(same_as[name])]) for name in losses}
        included = tuple(name for name in losses if p_values[name] > size)
    return ConfidenceSet(
        size=size, included=included, p_values=p_values, days=len(table), reason=reason
    )


def _too_little(days: int, others: int) -> str:
    if days < MIN_DAYS:
        return f"{days} days; at least {MIN_DAYS} are needed"
    return "" if others else "every forecaster has the same losses"


def block_length(series: np.ndarray) -> int:
    """Return the longest mean block length of daily series (D,) or (D, F), 1 to sqrt(3 D).

    Source: Politis and White (2004), "Automatic Block-Length Selection for the Dependent
        Bootstrap", corrected by Patton, Politis and White (2009), by arch.
    """
    from arch.bootstrap import optimal_block_length

    columns = series[:, None] if series.ndim == 1 else series
    moving = columns[:, np.ptp(columns, axis=0) > 0.0]
    days = len(columns)
    if days < MIN_DAYS or moving.shape[1] == 0:
        return 1
    with np.errstate(all="ignore"):
        found = optimal_block_length(moving)["stationary"].to_numpy()
    longest = np.max(found[np.isfinite(found)], initial=1.0)
    return int(np.clip(np.ceil(longest), 1, np.sqrt(3 * days)))


def day_weights(days: int, block: int, *, repeats: int = REPEATS, seed: int = 0) -> np.ndarray:
    """Return how often each repeat draws each day, (B, D), in runs of `block` days on average.

    Source: Politis and Romano (1994), "The Stationary Bootstrap", by arch.
    """
    from arch.bootstrap import StationaryBootstrap

    draws = StationaryBootstrap(block, np.arange(days), seed=seed).bootstrap(repeats)
    weights = np.zeros((repeats, days))
    for repeat, ((drawn,), _) in enumerate(draws):
        weights[repeat] = np.bincount(drawn, minlength=days)
    return weights


def interval(
    sums: np.ndarray, value: Callable[[np.ndarray], np.ndarray], weights: np.ndarray
) -> tuple[float, float]:
    """Return a score's 95 % bootstrap percentile interval; NaN where under half define it.

    Args:
        sums: (D, K) what each day adds to the score's sums.
        value: the formula, from sums (..., K) to scores (...), NaN where undefined.
        weights: (B, D) of `day_weights`.
    """
    repeats = value(weights @ sums)
    known = repeats[np.isfinite(repeats)]
    if len(known) < max(len(repeats) / 2, 2):
        return float("nan"), float("nan")
    tail = (1.0 - 0.95) / 2.0
    low, high = np.quantile(known, [tail, 1.0 - tail])
    return float(low), float(high)
