"""How much of a forecast to believe, learnt on days that were not fitted.

Arrays in, numbers out; knows no ticker and no network.

Shape letters: n calibration forecasts, K targets.
"""

import numpy as np


def shrinkage(forecast: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """Return the share of each target's forecast that its outcomes bear out, 0 to 1.

    The least-squares slope of the outcome on the forecast, both as deviation from the fit
    block's mean, clipped: a forecast worse than that mean is worth nothing (0), and none is
    made bolder than the network made it (1).

    Args:
        forecast: (n, K) in scaled units, so that the fit block's mean is 0.
        outcome: (n, K) in the same units; NaN in either means not scored.

    Returns:
        (K,) factors; 0 where there is nothing to learn from.

    Source: Mincer and Zarnowitz (1969), "The Evaluation of Economic Forecasts", whose
        regression also fits an intercept; here it is held at the mean.
    """
    known = np.isfinite(forecast) & np.isfinite(outcome)
    f, y = np.where(known, forecast, 0.0), np.where(known, outcome, 0.0)
    power = (f * f).sum(axis=0)
    slope = np.divide((f * y).sum(axis=0), power, out=np.zeros_like(power), where=power > 0)
    clipped: np.ndarray = np.clip(slope, 0.0, 1.0)
    return clipped
