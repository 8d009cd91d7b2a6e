"""Point-in-time returns, range and turnover of one history.

Arrays in, arrays out; knows no ticker and no calendar. A later split or dividend
changes no earlier value.

Shape letters: D trading days of one ticker, oldest first.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from forecaster.data.history import BASES, Basis
from forecaster.errors import UsageError

Daily = NDArray[np.float64]

_AS_TRADED: Final[Basis] = "as-traded"


def log_total_return(close: Daily, dividend: Daily, split: Daily, basis: Basis) -> Daily:
    """Return the log total return from each close to the next.

    Split-adjusted: log((C_t + D_t) / C_{t-1}). As-traded: log(split_t (C_t + D_t) / C_{t-1}),
    where one old share has become split_t new ones and D_t is paid on each of these.

    Args:
        close: (D,) prices above 0.
        dividend: (D,) cash per share on the ex-date, 0 otherwise, on the basis of `close`.
        split: (D,) new shares per old one, 1 otherwise; read when as-traded only.
        basis: how `close` is expressed.

    Returns:
        (D,) log returns; the first is NaN.

    Raises:
        UsageError: `basis` is none of the two.
    """
    if basis not in BASES:
        raise UsageError(f"basis {basis!r} is not known; use one of {', '.join(BASES)}.")
    worth = close + dividend
    if basis == _AS_TRADED:
        worth = split * worth
    earned = np.full(len(close), np.nan)
    earned[1:] = np.log(worth[1:] / close[:-1])
    return earned


def intraday(open_price: Daily, close: Daily) -> Daily:
    """Return log(C/O), the part of each day's return earned while the exchange was open."""
    return np.log(close / open_price)


def overnight(total: Daily, open_price: Daily, close: Daily) -> Daily:
    """Return the part of each total return earned while the exchange was closed.

    It is the total less the intraday part, not log(O_t/C_{t-1}): a dividend and a split fall
    between two sessions, so only this way do the parts add up to the total on an ex-date too.

    Args:
        total: (D,) from `log_total_return`.
        open_price: (D,) prices above 0.
        close: (D,) prices above 0.
    """
    return total - intraday(open_price, close)


def log_range(high: Daily, low: Daily) -> Daily:
    """Return log(log(H/L)), the day's volatility on a scale without bounds.

    NaN where high and low are equal: such a day has no range, and counts as missing.
    """
    return _log_above_zero(np.log(high / low))


def log_dollar_volume(close: Daily, volume: Daily) -> Daily:
    """Return log(C x V), which no split changes; NaN where nothing was traded."""
    return _log_above_zero(close * volume)


def _log_above_zero(values: Daily) -> Daily:
    found: Daily = np.log(values, out=np.full(len(values), np.nan), where=values > 0)
    return found
