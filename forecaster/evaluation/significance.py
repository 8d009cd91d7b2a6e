"""Whether one forecaster's losses are smaller than another's by more than chance.

Losses or the forecast table in, numbers and sentences out; knows no network. The tickers of
one day share its shock: everything is averaged by day first, and days are what counts.

Shape letters: n forecasts, D report days.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The mean loss of `forecaster` less that of `rival`, tested over days.

    `difference` is relative to the rival's mean loss, or with `unit` (such as `nats`) absolute
    in it; negative is better. `p_value` is two-sided; NaN where the daily losses never differ,
    or on a single day. `adjusted` is the p-value after `comparisons` were made (see `adjust`).
    """

    target: str
    forecaster: str
    benchmark: str
    difference: float
    p_value: float
    days: int
    loss: str = "MSE"
    unit: str = ""
    comparisons: int = 1
    adjusted: float | None = None

    @property
    def decisive(self) -> float:
        """The p-value that the verdict rests on: the adjusted one where there is one."""
        return self.p_value if self.adjusted is None else self.adjusted

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `not distinguishable`."""
        if not self.decisive < LEVEL:
            return "not distinguishable"
        return "better" if self.difference < 0 else "worse"

    @property
    def sentence(self) -> str:
        """The verdict in words, with the numbers that it rests on."""
        own, benchmark, by = self.forecaster, self.benchmark, f"{self.loss} {self.difference:+.2%}"
        if self.unit:
            by = f"{self.loss} {self.difference:+.4f} {self.unit}"
        days = f"{self.days:,} day" + ("s" if self.days != 1 else "")
        if np.isnan(self.p_value) and self.difference == 0.0:
            return f"{own} makes the same forecasts as {benchmark}"
        if np.isnan(self.p_value):
            return f"{own} against {benchmark}: {by} over {days}, too few to tell"
        stands = {"better": "better than", "worse": "worse than"}
        words = stands.get(self.verdict, "not distinguishable from")
        chance = f"p = {self.decisive:.2g} over {days}"
        if self.adjusted is not None:
            chance += f", after {self.comparisons:,} comparison" + "s" * (self.comparisons != 1)
        return f"{own} is {words} {benchmark}: {by}, {chance}"


def compare(table: pd.DataFrame, target: str, forecaster: str, benchmark: str) -> Comparison:
    """Test equal accuracy of two forecasters on the same forecasts.

    Source: as of `diebold_mariano`; a day weighs by its forecasts, so that the sign is that of
        the pooled scores.
    """
    rows = table[table["target"] == target]
    keys = ["session", "ticker"] if "ticker" in rows else ["session"]
    own, other = (
        rows[rows["forecaster"] == name].set_index(keys).sort_index()
        for name in (forecaster, benchmark)
    )
    squared, others = (
        ((side["forecast"] - side["actual"]) ** 2).to_numpy() for side in (own, other)
    )
    days = own.index.get_level_values("session").to_numpy()
    return compare_losses(
        squared, others, days, target=target, forecaster=forecaster, benchmark=benchmark
    )


def compare_losses(
    own: np.ndarray,
    other: np.ndarray,
    days: np.ndarray,
    *,
    target: str,
    forecaster: str,
    benchmark: str,
    loss: str = "MSE",
    unit: str = "",
) -> Comparison:
    """Test equal mean loss of two forecasters of the same outcomes.

    Args:
        own: (n,) losses of the forecaster: squared errors, CRPS, negative log densities; NaN
            in either leaves the forecast out.
        other: (n,) losses of the rival.
        days: (n,) the day of each outcome, of any kind that sorts.
        loss: what the losses are, for the sentence.
        unit: of losses without a natural zero, such as `nats`; then the difference is absolute.
    """
    known = np.isfinite(own) & np.isfinite(other)
    gap = daily(own[known] - other[known], days[known])
    mean = float(gap.mean()) if len(gap) else float("nan")
    scale = 1.0 if unit else float(np.mean(other[known])) if len(gap) else float("nan")
    return Comparison(
        target=target,
        forecaster=forecaster,
        benchmark=benchmark,
        difference=mean / scale if scale != 0.0 else float("nan") if mean else 0.0,
        p_value=diebold_mariano(gap),
        days=len(gap),
        loss=loss,
        unit=unit,
    )


def daily(values: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Sum values (n,) by day over the mean number of values a day, (D,), oldest day first.

    The mean of the result is the mean of the values: a day counts by its forecasts.
    """
    distinct, place = np.unique(days, return_inverse=True)
    sums: np.ndarray = np.bincount(place, weights=values, minlength=len(distinct))
    return sums * (len(distinct) / max(len(values), 1))


def bandwidth(days: int) -> int:
    """Return the number of lags over which daily means are taken to be correlated."""
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
    """Return the t statistic of the mean of daily values (D,), as `diebold_mariano` tests it."""
    error = newey_west_error(gap)
    return float(gap.mean() / error) if error > 0.0 else float("nan")


def newey_west_error(gap: np.ndarray) -> float:
    """Return the standard error of the mean of daily values (D,), as `diebold_mariano` has it.

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


def adjust(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Raise the p-values of comparisons made together, so that one in twenty families errs.

    Returns:
        The same comparisons with `adjusted` and the number of those that had a p-value.

    Source: Holm (1979), "A Simple Sequentially Rejective Multiple Test Procedure".
    """
    raised = holm(np.array([each.p_value for each in comparisons]))
    count = int(np.isfinite(raised).sum())
    return tuple(
        replace(each, adjusted=float(p), comparisons=count) if np.isfinite(p) else each
        for each, p in zip(comparisons, raised, strict=True)
    )


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return Holm's adjusted p-values; NaN stays NaN and counts as no comparison.

    Own code: that of statsmodels collects garbage first, half a second each time.
    """
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    steps = np.arange(len(order), 0, -1) * p_values[order]
    raised = np.full(len(p_values), np.nan)
    raised[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return raised


def verdict(
    own: np.ndarray,
    benchmarks: dict[str, np.ndarray],
    days: np.ndarray,
    *,
    target: str,
    forecaster: str,
    loss: str = "MSE",
    unit: str = "",
) -> tuple[Comparison, ...]:
    """Compare one forecaster's losses (n,) with those of every rival, with Holm's adjustment.

    Returns:
        A comparison per rival, in order; `.sentence` of each is the verdict in words.
    """
    found = [
        compare_losses(
            own,
            losses,
            days,
            target=target,
            forecaster=forecaster,
            benchmark=benchmark,
            loss=loss,
            unit=unit,
        )
        for benchmark, losses in benchmarks.items()
    ]
    return adjust(found)
