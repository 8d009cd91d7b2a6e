"""Calibration of forecasts: corrected on validation days, measured on test days.

Shape letters: n validation rows, N forecasts, Q levels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from forecaster.evaluation.distributions import Point, Predictive
from forecaster.evaluation.quantiles import Quantiles
from forecaster.evaluation.significance import daily, newey_west_error

MIN_SCORES = 100  # per series; with fewer the pooled scores are used
EXTREME = 1e-4  # quantiles beyond are extrapolated by the tail of a formula, not observed


def shrinkage(forecast: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """Return the least-squares slope of each target's outcome on its forecast, (K,), 0 to 1.

    0 without any scored outcome.

    Args:
        forecast: (n, K) in scaled units, so that the training mean is 0.
        outcome: (n, K) in the same units; NaN in either means not scored.

    Source: Mincer and Zarnowitz (1969), "The Evaluation of Economic Forecasts", whose
        regression also fits an intercept; here it is held at the mean.
    """
    known = np.isfinite(forecast) & np.isfinite(outcome)
    f, y = np.where(known, forecast, 0.0), np.where(known, outcome, 0.0)
    power = (f * f).sum(axis=0)
    slope = np.divide((f * y).sum(axis=0), power, out=np.zeros_like(power), where=power > 0)
    return np.asarray(np.clip(slope, 0.0, 1.0))


def scores_of(predictive: Predictive, outcome: np.ndarray) -> np.ndarray:
    """Return the residuals of point forecasts, the PITs of distributions, (N,)."""
    if isinstance(predictive, Point):
        return np.asarray(outcome - predictive.mean())
    return predictive.cdf(outcome)


def score_quantiles(scores: np.ndarray, levels: Sequence[float]) -> list[float] | None:
    """Return conformal quantiles of scores at `levels`, widened for small samples.

    Args:
        scores: (n,) of validation rows, finite.
        levels: (Q,) rising, symmetric about one half.

    Returns:
        The floor((n+1) a)-th smallest score below one half, the ceil((n+1) a)-th above, the
        median between; None when n is too small for the outermost level.

    Source: Vovk, Gammerman, Shafer (2005), "Algorithmic Learning in a Random World"; for PITs,
        Kuleshov, Fenner and Ermon (2018), "Accurate Uncertainties for Deep Learning Using
        Calibrated Regression", with ranks instead of a fitted curve.
    """
    ordered, found = np.sort(scores), []
    for level in levels:
        # (1 - 0.8) / 2 is a little off 0.1 in binary; unrounded, a floor falls one rank short.
        place = round((len(ordered) + 1) * level, 9)
        rank = int(np.floor(place) if level < 0.5 else np.ceil(place)) - 1
        if rank < 0 or rank >= len(ordered):
            return None
        found.append(float(np.median(ordered) if level == 0.5 else ordered[rank]))
    return found


def scores_by_series(
    scores: np.ndarray, series: np.ndarray, names: Sequence[str], levels: Sequence[float]
) -> dict[str, list[float]]:
    """Return quantiles of each series with enough scores, and of all scores pooled as "".

    `scores` (n,) are NaN where unknown; `series` (n,) number the `names`; `levels` (Q,) are those
    of `score_quantiles`.
    """
    known = np.isfinite(scores)
    found = {"": score_quantiles(scores[known], levels)}
    for number, name in enumerate(names):
        mine = scores[known & (series == number)]
        if len(mine) >= MIN_SCORES:
            found[name] = score_quantiles(mine, levels)
    return {name: quantiles for name, quantiles in found.items() if quantiles is not None}


def recalibrated(
    predictive: Predictive,
    names: np.ndarray,
    numbers: Mapping[str, Sequence[float]],
    levels: Sequence[float],
) -> Quantiles:
    """Return calibrated quantiles of N forecasts.

    `names` (N,) are their series, one without `numbers` (of `scores_by_series`, at the same
    `levels`) uses the pooled ones.
    """
    values = np.full((len(predictive), len(levels)), np.nan)
    for name in np.unique(names):
        mine, found = np.flatnonzero(names == name), numbers.get(str(name), numbers.get(""))
        if found is None:
            continue
        part = predictive.take(mine)
        if isinstance(part, Point):
            values[mine] = part.mean()[:, None] + np.array(found)
        else:
            values[mine] = part.quantile(np.clip(found, EXTREME, 1.0 - EXTREME))
    return Quantiles(np.array(levels), values)


def pit_histogram(pit: np.ndarray, bins: int = 20) -> np.ndarray:
    """Count probability integral transforms (N,) in equal bins of 0..1, (bins,); NaN left out.

    Source: Diebold, Gunther and Tay (1998), "Evaluating Density Forecasts".
    """
    return np.histogram(pit[np.isfinite(pit)], bins=bins, range=(0.0, 1.0))[0]


def mean_by(values: np.ndarray, groups: np.ndarray) -> dict[Any, tuple[float, int]]:
    """Return the mean of values (N,) and their number, by group (N,) in sorted order.

    NaN is left out, and so is a group without any value.
    """
    known = np.isfinite(values)
    distinct, place = np.unique(groups[known], return_inverse=True)
    sums, counts = np.bincount(place, values[known]), np.bincount(place)
    means = (sums / np.maximum(counts, 1)).tolist()
    return dict(zip(distinct.tolist(), zip(means, counts.tolist(), strict=True), strict=True))


def coverage_error(inside: np.ndarray, days: np.ndarray, coverage: float) -> tuple[float, float]:
    """Return the coverage and its standard error; both NaN on too few days.

    The error is that of a binomial with `coverage`, or the Newey-West one over days where that is
    larger: misses of one day, and of one crisis, come together.

    Args:
        inside: (N,) of `Intervals.inside`; NaN left out.
        days: (N,) of the outcomes, of any kind that sorts.
        coverage: the nominal one.
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

    `bounds` (N, 2) and outcomes `y` (N,) are NaN where unknown; `coverage` is 1 - alpha.

    Source: Gneiting and Raftery (2007), "Strictly Proper Scoring Rules", eq. 43.
    """
    low, high = bounds.T
    miss = np.maximum(low - y, 0.0) + np.maximum(y - high, 0.0)
    return np.asarray(high - low + 2.0 / (1.0 - coverage) * miss)
