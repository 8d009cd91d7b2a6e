"""Forecast intervals from the residuals of days that were not fitted.

Split conformal prediction on signed residuals, one series at a time: the interval holds
its promise if tomorrow's residual is exchangeable with those of the select block.
Residuals in, numbers out; knows no ticker and no network.
"""

import numpy as np

MIN_RESIDUALS = 100  # per series; below that the pooled residuals serve


def residual_bounds(residuals: np.ndarray, coverage: float) -> tuple[float, float] | None:
    """Return the lower and upper residual of a central interval, widened for small samples.

    Args:
        residuals: (n,) actual minus forecast on calibration days, finite.
        coverage: share of outcomes to hold, such as 0.8; the tails share the rest evenly.

    Returns:
        The floor((n+1) a)-th smallest and the ceil((n+1)(1-a))-th smallest residual with
        a = (1 - coverage) / 2, or None when n is too small for that tail.

    Source: Vovk, Gammerman, Shafer (2005), "Algorithmic Learning in a Random World";
        two one-sided quantiles instead of one of absolute residuals, so that skewed
        residuals give a skewed interval.
    """
    ordered = np.sort(residuals)
    # (1 - 0.8) / 2 is a little below 0.1 in binary; unrounded, the floor falls one rank short.
    below = round((len(ordered) + 1) * (1.0 - coverage) / 2.0, 9)
    low = int(np.floor(below)) - 1
    high = int(np.ceil(len(ordered) + 1 - below)) - 1
    if low < 0 or high >= len(ordered):
        return None
    return float(ordered[low]), float(ordered[high])


def bounds_by_series(
    residuals: np.ndarray, series: np.ndarray, names: tuple[str, ...], coverage: float
) -> dict[str, tuple[float, float]]:
    """Calibrate each series by itself where it has enough residuals, all of them pooled as ''.

    Args:
        residuals: (n,) actual minus forecast, NaN where unknown.
        series: (n,) number of the series of each residual.
        names: name of each series.

    Returns:
        Bounds by series name; `""` holds the pooled bounds, for every other series.
    """
    known = np.isfinite(residuals)
    bounds: dict[str, tuple[float, float]] = {}
    pooled = residual_bounds(residuals[known], coverage)
    if pooled is not None:
        bounds[""] = pooled
    for number, name in enumerate(names):
        mine = residuals[known & (series == number)]
        own = residual_bounds(mine, coverage) if len(mine) >= MIN_RESIDUALS else None
        if own is not None:
            bounds[name] = own
    return bounds
