"""Across tickers: did the higher forecast come with the higher outcome, day by day?

Shape letters: N forecasts, D days.
"""

import numpy as np
from scipy.stats import rankdata

MIN_SERIES = 5  # a correlation over fewer tickers is mostly noise


def daily_correlations(
    forecast: np.ndarray, outcome: np.ndarray, days: np.ndarray, *, ranks: bool = False
) -> tuple[np.ndarray, str]:
    """Correlate forecasts and outcomes across series on each day: the information coefficient.

    Args:
        forecast: (N,) finite forecasts.
        outcome: (N,) finite outcomes.
        days: (N,) the day of each outcome.
        ranks: correlate ranks (Spearman) instead of values (Pearson).

    Returns:
        (D,) correlations in the order of the days, NaN on days with fewer than 5 series or
        where all forecasts or all outcomes are equal, and the reason if every day is NaN.

    Source: Grinold and Kahn (1999), "Active Portfolio Management", ch. 6.
    """
    _, place = np.unique(days, return_inverse=True)
    order = np.argsort(place, kind="stable")
    borders = np.flatnonzero(np.diff(place[order])) + 1
    groups = np.split(order, borders) if len(order) else []
    found = np.array([_correlation(forecast[here], outcome[here], ranks) for here in groups])
    if np.isfinite(found).any():
        return found, ""
    if max((len(here) for here in groups), default=0) < MIN_SERIES:
        return found, f"no day with at least {MIN_SERIES} series"
    return found, "on every day all forecasts or all outcomes are equal"


def _correlation(one: np.ndarray, other: np.ndarray, ranks: bool) -> float:
    if len(one) < MIN_SERIES or _equal(one) or _equal(other):
        return float("nan")
    if ranks:
        one, other = rankdata(one), rankdata(other)
    one, other = one - one.mean(), other - other.mean()
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


def _equal(values: np.ndarray) -> bool:
    """Whether values differ by rounding at most."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())
