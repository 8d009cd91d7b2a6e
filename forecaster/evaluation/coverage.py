"""Calibration of distributions and intervals: PIT histogram, coverage, interval score.

Shape letters: N forecasts, G groups.
"""

import numpy as np

from forecaster.evaluation.significance import daily, newey_west_error


def pit_histogram(pit: np.ndarray, bins: int = 20) -> np.ndarray:
    """Count probability integral transforms in equal bins of 0..1, (bins,); NaN left out.

    Args:
        pit: (N,) `predictive.cdf(outcome)`; uniform counts mean calibrated.

    Source: Diebold, Gunther and Tay (1998), "Evaluating Density Forecasts".
    """
    counts: np.ndarray = np.histogram(pit[np.isfinite(pit)], bins=bins, range=(0.0, 1.0))[0]
    return counts


def mean_by(values: np.ndarray, groups: np.ndarray) -> dict[object, tuple[float, int]]:
    """Return the mean of values and their number, by group in sorted order.

    Args:
        values: (N,) such as those of `Intervals.inside`, whose mean is the coverage; NaN is left
            out.
        groups: (N,) ticker numbers or years; a group without value is left out.
    """
    known = np.isfinite(values)
    distinct, place = np.unique(groups[known], return_inverse=True)
    sums = np.bincount(place, values[known], minlength=len(distinct))
    counts = np.bincount(place, minlength=len(distinct))
    return {
        group: (float(mean), int(count))
        for group, mean, count in zip(
            distinct.tolist(), sums / np.maximum(counts, 1), counts, strict=True
        )
    }


def coverage_error(inside: np.ndarray, days: np.ndarray, coverage: float) -> tuple[float, float]:
    """Return the coverage and its standard error.

    The error is that of a binomial with `coverage`, or the Newey-West one over days where that is
    larger: misses of one day, and of one crisis, come together.

    Args:
        inside: (N,) of `Intervals.inside`: 1, 0, or NaN where unknown, left out.
        days: (N,) day of each outcome, of any kind that sorts.
        coverage: the nominal one, such as .8.

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


def interval_scores(bounds: np.ndarray, y: np.ndarray, coverage: float) -> np.ndarray:
    """Return interval scores (N,): width plus 2 / alpha times the distance of a miss.

    Args:
        bounds: (N, 2) lower and upper ends, NaN where unknown.
        y: (N,) outcomes, NaN where unknown.
        coverage: the nominal one, 1 - alpha.

    Source: Gneiting and Raftery (2007), "Strictly Proper Scoring Rules", eq. 43.
    """
    low, high = bounds.T
    miss = np.maximum(low - y, 0.0) + np.maximum(y - high, 0.0)
    scores: np.ndarray = high - low + 2.0 / (1.0 - coverage) * miss
    return scores
