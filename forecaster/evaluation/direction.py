"""Whether forecast and realised directions are independent.

Shape letters: n forecasts.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from forecaster.evaluation.significance import daily, diebold_mariano

MIN_FORECASTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionTest:
    """Share of correct directions, share expected by chance, and the one-sided p-value.

    All are None where undefined: `reason` explains why.
    """

    accuracy: float | None = None
    expected_by_chance: float | None = None
    statistic: float | None = None
    p_value: float | None = None
    reason: str = ""


def directional_accuracy_test(
    forecast: np.ndarray, outcome: np.ndarray, days: np.ndarray
) -> DirectionTest:
    """Test the directions of many series at once, one-sided, with days as the observations.

    With P the share of correct directions and P* = a b + (1 - a)(1 - b) what independent
    directions with the same shares of rises a (realised) and b (forecast) would reach, P - P* is
    twice the covariance of the two indicators of a rise. Its summands are added up by day, and
    their mean is tested with the variance of `diebold_mariano`, which allows for the shock that a
    day's tickers share and for autocorrelation.

    Args:
        forecast: (n,) forecast moves.
        outcome: (n,) realised moves; where either is exactly 0, or NaN, the row is left out.
        days: (n,) the day of each outcome.

    Source: Pesaran and Timmermann (2009), "Testing Dependence Among Serially Correlated
        Multicategory Variables", for the regression form. Deviation: clustered by day.
    """
    kept = np.isfinite(forecast) & np.isfinite(outcome) & (forecast != 0.0) & (outcome != 0.0)
    rises, forecast_rises = outcome[kept] > 0, forecast[kept] > 0
    a, b = (float(side.sum()) / max(len(side), 1) for side in (rises, forecast_rises))
    reason = _degenerate(int(kept.sum()), len(np.unique(days[kept])), a, b)
    if reason:
        return DirectionTest(reason=reason)
    together = daily(2.0 * (rises - a) * (forecast_rises - b), days[kept])
    two_sided = diebold_mariano(together)
    if np.isnan(two_sided):
        return DirectionTest(reason="the directions of the days do not vary")
    p_value = two_sided / 2.0 if together.mean() > 0 else 1.0 - two_sided / 2.0
    return DirectionTest(
        accuracy=float(np.mean(rises == forecast_rises)),
        expected_by_chance=a * b + (1 - a) * (1 - b),
        statistic=float(stats.norm.isf(p_value)),
        p_value=p_value,
    )


def _degenerate(count: int, days: int, rises: float, forecast_rises: float) -> str:
    if count < MIN_FORECASTS:
        return f"{count} forecasts with a direction; at least {MIN_FORECASTS} are needed"
    if forecast_rises in (0.0, 1.0):
        return "the forecaster always forecasts the same direction"
    if rises in (0.0, 1.0):
        return "the outcome always has the same direction"
    return "" if days >= MIN_FORECASTS else f"{days} days; at least {MIN_FORECASTS} are needed"
