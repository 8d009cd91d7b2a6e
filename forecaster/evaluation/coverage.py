"""Calibration in counts: PIT histogram, coverage by ticker or year, how sure a coverage is.

Shape letters: N forecasts, G groups.
"""

import numpy as np

from forecaster.evaluation.significance import daily, newey_west_error


def pit_histogram(pit: np.ndarray, bins: int = 20) -> np.ndarray:
    """Count probability integral transforms in equal bins of 0..1, (bins,); NaN left out.

    Args:
        pit: (N,) `predictive.cdf(outcome)`; of a calibrated forecaster the counts are level.

    Source: Diebold, Gunther and Tay (1998), "Evaluating Density Forecasts".
    """
    counts: np.ndarray = np.histogram(pit[np.isfinite(pit)], bins=bins, range=(0.0, 1.0))[0]
    return counts


def coverage_by(inside: np.ndarray, groups: np.ndarray) -> dict[object, tuple[float, int]]:
    """Return the share of outcomes inside and their number, by group in sorted order.

    Args:
        inside: (N,) of `Intervals.inside`: 1, 0, or NaN where unknown, left out.
        groups: (N,) ticker numbers, years or whatever sorts; a group without outcome is left out.
    """
    known = np.isfinite(inside)
    distinct, place = np.unique(groups[known], return_inverse=True)
    held = np.bincount(place, inside[known], minlength=len(distinct))
    counts = np.bincount(place, minlength=len(distinct))
    return {
        group: (float(share), int(count))
        for group, share, count in zip(
            distinct.tolist(), held / np.maximum(counts, 1), counts, strict=True
        )
    }


def coverage_error(inside: np.ndarray, days: np.ndarray, coverage: float) -> tuple[float, float]:
    """Return the share of outcomes inside and its standard error.

    The error is that of a binomial with `coverage`, or the Newey-West one over days where that is
    larger: tickers of one day, and days of one crisis, miss together.

    Args:
        inside: (N,) of `Intervals.inside`: 1, 0, or NaN where unknown, left out.
        days: (N,) day of each outcome, of any kind that sorts.
        coverage: what is promised, such as .8.

    Returns:
        Both NaN on too few days (as `newey_west_error`).
    """
    known = np.isfinite(inside)
    beyond = daily(inside[known] - coverage, days[known])
    clustered = newey_west_error(beyond)
    if np.isnan(clustered):
        return float("nan"), float("nan")
    binomial = np.sqrt(coverage * (1.0 - coverage) / known.sum())
    return float(inside[known].mean()), float(max(clustered, binomial))
