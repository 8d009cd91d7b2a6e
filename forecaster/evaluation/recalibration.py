"""Recalibration on validation days: shrinkage of point forecasts, quantiles of distributions.

Scores of calibration days in, numbers to be stored out; knows no ticker and no network.

Shape letters: n calibration days, N forecasts, Q levels.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from forecaster.evaluation.distributions import Point, Predictive
from forecaster.evaluation.quantiles import Quantiles


def shrinkage(forecast: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """Return the shrinkage factor of each target's forecast, 0 to 1.

    The least-squares slope of the outcome on the forecast, both as deviation from the training
    mean, clipped to 0..1.

    Args:
        forecast: (n, K) in scaled units, so that the training mean is 0.
        outcome: (n, K) in the same units; NaN in either means not scored.

    Returns:
        (K,) factors; 0 without any scored outcome.

    Source: Mincer and Zarnowitz (1969), "The Evaluation of Economic Forecasts", whose
        regression also fits an intercept; here it is held at the mean.
    """
    known = np.isfinite(forecast) & np.isfinite(outcome)
    f, y = np.where(known, forecast, 0.0), np.where(known, outcome, 0.0)
    power = (f * f).sum(axis=0)
    slope = np.divide((f * y).sum(axis=0), power, out=np.zeros_like(power), where=power > 0)
    clipped: np.ndarray = np.clip(slope, 0.0, 1.0)
    return clipped


MIN_SCORES = 100  # per series; with fewer the pooled scores are used
EXTREME = 1e-4  # quantiles beyond are extrapolated by the tail of a formula, not observed


def scores_of(predictive: Predictive, outcome: np.ndarray) -> np.ndarray:
    """Return the residuals of point forecasts, the PITs of distributions, (N,)."""
    if isinstance(predictive, Point):
        residual: np.ndarray = outcome - predictive.mean()
        return residual
    return predictive.cdf(outcome)


def score_quantiles(scores: np.ndarray, levels: Sequence[float]) -> list[float] | None:
    """Return conformal quantiles of scores at `levels`, widened for small samples.

    Args:
        scores: (n,) of calibration days, finite.
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

    Args:
        scores: (n,) NaN where unknown.
        series: (n,) number of the series of each.
        names: name of each series.
        levels: (Q,) as in `score_quantiles`.
    """
    known = np.isfinite(scores)
    found: dict[str, list[float]] = {}
    pooled = score_quantiles(scores[known], levels)
    if pooled is not None:
        found[""] = pooled
    for number, name in enumerate(names):
        mine = scores[known & (series == number)]
        own = score_quantiles(mine, levels) if len(mine) >= MIN_SCORES else None
        if own is not None:
            found[name] = own
    return found


def recalibrated(
    predictive: Predictive,
    names: np.ndarray,
    numbers: Mapping[str, Sequence[float]],
    levels: Sequence[float],
) -> Quantiles:
    """Return calibrated quantiles of forecasts.

    Args:
        predictive: N forecasts of the forecaster that was scored.
        names: (N,) series of each forecast; one without numbers of its own uses the pooled.
        numbers: from `scores_by_series`.
        levels: the same.
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
