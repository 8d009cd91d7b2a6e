"""Whether the forecast side and the realised side have anything to do with each other.

Arrays in, a test out.

Shape letters: n forecasts.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from forecaster.evaluation.significance import daily, diebold_mariano

MIN_FORECASTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionTest:
    """Share of sides that were right, share expected by chance, and a p-value.

    `statistic` and `p_value` are None where undefined: `reason` says why.
    """

    right: float | None
    by_chance: float | None
    statistic: float | None
    p_value: float | None
    reason: str = ""


def pesaran_timmermann(forecast: np.ndarray, outcome: np.ndarray) -> DirectionTest:
    """Test one series' sides against independence, one-sided: better than by chance.

    S = (P - P*) / sqrt(V(P) - V(P*)), with P the share of right sides, P* = a b + (1 - a)(1 - b)
    what independent sides with the same shares of rises a (realised) and b (forecast) would
    reach; standard normal. Days on which either is exactly 0, or NaN, are left out.

    Args:
        forecast: (n,) forecast moves.
        outcome: (n,) realised moves.

    Source: Pesaran and Timmermann (1992), "A Simple Nonparametric Test of Predictive
        Performance", eqs. 3-6.
    """
    kept = _sided(forecast, outcome)
    rises, called = outcome[kept] > 0, forecast[kept] > 0
    n, a, b = len(rises), *_shares(rises, called)
    reason = _degenerate(n, a, b)
    if reason:
        return _undefined(reason)
    right, chance = float(np.mean(rises == called)), a * b + (1 - a) * (1 - b)
    variance = chance * (1 - chance) / n
    of_chance = (
        (2 * a - 1) ** 2 * b * (1 - b) / n
        + (2 * b - 1) ** 2 * a * (1 - a) / n
        + 4 * a * b * (1 - a) * (1 - b) / n**2
    )
    if variance <= of_chance:
        return _undefined("too few forecasts of one of the sides")
    statistic = (right - chance) / np.sqrt(variance - of_chance)
    return DirectionTest(
        right=right,
        by_chance=chance,
        statistic=float(statistic),
        p_value=float(stats.norm.sf(statistic)),
    )


def panel_direction(forecast: np.ndarray, outcome: np.ndarray, days: np.ndarray) -> DirectionTest:
    """Test the sides of many series at once, one-sided, with days as the observations.

    P - P* is twice the covariance of the two indicators of a rise. Its summands are added up by
    day, and their mean is tested with the variance of `diebold_mariano`, which allows for the
    shock that a day's tickers share and for autocorrelation.

    Args:
        days: (n,) the day of each outcome.

    Source: Pesaran and Timmermann (2009), "Testing Dependence Among Serially Correlated
        Multicategory Variables", for the regression form. Deviation: clustered by day.
    """
    kept = _sided(forecast, outcome)
    rises, called = outcome[kept] > 0, forecast[kept] > 0
    a, b = _shares(rises, called)
    distinct = len(np.unique(days[kept]))
    reason = _degenerate(int(kept.sum()), a, b)
    if not reason and distinct < MIN_FORECASTS:
        reason = f"{distinct} days; at least {MIN_FORECASTS} are needed"
    if reason:
        return _undefined(reason)
    together = daily(2.0 * (rises - a) * (called - b), days[kept])
    two_sided = diebold_mariano(together)
    if np.isnan(two_sided):
        return _undefined("the sides of the days do not vary")
    p_value = two_sided / 2.0 if together.mean() > 0 else 1.0 - two_sided / 2.0
    return DirectionTest(
        right=float(np.mean(rises == called)),
        by_chance=a * b + (1 - a) * (1 - b),
        statistic=float(stats.norm.isf(p_value)),
        p_value=p_value,
    )


def _undefined(reason: str) -> DirectionTest:
    return DirectionTest(right=None, by_chance=None, statistic=None, p_value=None, reason=reason)


def _sided(forecast: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    known = np.isfinite(forecast) & np.isfinite(outcome)
    sided: np.ndarray = known & (forecast != 0.0) & (outcome != 0.0)
    return sided


def _shares(rises: np.ndarray, called: np.ndarray) -> tuple[float, float]:
    """Return the shares of realised and of forecast rises."""
    a, b = (float(side.sum()) / max(len(side), 1) for side in (rises, called))
    return a, b


def _degenerate(count: int, rises: float, called: float) -> str:
    if count < MIN_FORECASTS:
        return f"{count} forecasts with a side; at least {MIN_FORECASTS} are needed"
    if called in (0.0, 1.0):
        return "the forecaster always takes the same side"
    return "the outcome always has the same side" if rises in (0.0, 1.0) else ""
