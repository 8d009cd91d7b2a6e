"""Volatility without a fit: exponential weights, and the days of the past as they were.

Arrays in the order of a panel in (each series' days in a run, oldest first), a forecast for
every row out; a row uses returns of its own day and before.

Shape letters: N rows.
"""

import numpy as np
from scipy.signal import lfilter

from forecaster.evaluation.distributions import StudentT, normal
from forecaster.evaluation.empirical import Samples
from forecaster.evaluation.student_regression import fit_student_regression

DECAY = 0.94
WARM_UP = 22  # returns that a series needs before its first forecast
WINDOW, LEAST = 500, 100  # days of historical simulation, and how many it needs


def ewma_deviation(returns: np.ndarray, series: np.ndarray, decay: float = DECAY) -> np.ndarray:
    """Return the standard deviation forecast for each next day, (N,); NaN for 22 days.

    v_{t+1} = decay v_t + (1 - decay) r_t^2, begun at the mean square of the first 22 returns.
    A day without a return leaves it as it is.

    Args:
        returns: (N,) log return of the day itself, NaN where there is none.
        series: (N,) number of the series, each in one run.

    Source: J.P. Morgan (1996), "RiskMetrics Technical Document", 4th ed., eq. 5.3.
    """
    found = np.full(len(returns), np.nan)
    borders = np.flatnonzero(np.diff(series)) + 1
    for rows in np.split(np.arange(len(returns)), borders):
        known = np.isfinite(returns[rows])
        squares = returns[rows][known] ** 2
        if len(squares) < WARM_UP:
            continue
        variance = np.full(len(squares), np.nan)
        first = squares[:WARM_UP].mean()
        variance[WARM_UP - 1] = first
        variance[WARM_UP:] = lfilter(
            [1.0 - decay], [1.0, -decay], squares[WARM_UP:], zi=[decay * first]
        )[0]
        last = np.cumsum(known) - 1
        found[rows[last >= 0]] = np.sqrt(variance[last[last >= 0]])
    return found


def ewma_normal(returns: np.ndarray, series: np.ndarray) -> StudentT:
    """Forecast the next day's return as normal around 0 with `ewma_deviation`, N rows."""
    deviation = ewma_deviation(returns, series)
    deviation = np.where(deviation > 0.0, deviation, np.nan)
    return normal(np.where(np.isfinite(deviation), 0.0, np.nan), deviation)


def ewma_student(
    returns: np.ndarray, series: np.ndarray, y: np.ndarray, fit: np.ndarray
) -> StudentT:
    """Forecast by `ewma_deviation` with location, scale and tails fitted to what came.

    Args:
        y: (N,) the next day's return, NaN where unknown; only the fit rows are read.
        fit: (N,) rows to learn from, pooled over all series.

    Raises:
        DataError: too few fit rows.
    """
    deviation = ewma_normal(returns, series).scale
    nothing = np.empty((len(y), 0))
    found = fit_student_regression(nothing, nothing, y / deviation, fit)
    unit = found.predict(nothing, nothing)
    df = np.where(np.isnan(deviation), np.nan, unit.df)
    return StudentT(unit.loc * deviation, unit.scale * deviation, df)


def historical_simulation(returns: np.ndarray, series: np.ndarray, window: int = WINDOW) -> Samples:
    """Forecast the next day's return as one of the last `window` returns of the series, N rows.

    Rows with fewer than 100 returns so far have no forecast; shorter histories than the window
    give what they have.

    Source: Hendricks (1996), "Evaluation of Value-at-Risk Models Using Historical Data".
    """
    known = np.isfinite(returns)
    stops = np.cumsum(known)
    begins = np.concatenate([[True], series[1:] != series[:-1]]) if len(series) else known
    first = np.maximum.accumulate(np.where(begins, stops - known, 0))
    starts = np.maximum(stops - window, first)
    enough = stops - starts >= min(LEAST, window)
    return Samples(returns[known], np.where(enough, starts, stops), stops)
