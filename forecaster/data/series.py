"""A history's columns as arrays, with the size of its own ordinary moves: what rules compare with.

Every value of a bar comes from that bar and the `MEMORY` bars before it, so that an append with
as many bars before it gives the same values as the whole history.

Shape letters: D bars of a history, K kinds of moves.
"""

from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.data.columns import log_total_return
from forecaster.data.history import PRICE_COLUMNS, History
from forecaster.data.sessions import missed_sessions

Daily = NDArray[np.float64]

_YEAR: Final = 250  # bars that the ordinary size of a move is estimated from
_TAIL: Final = 100  # of these; a fiftieth of fewer may be a fault
_MONTH: Final = 20  # fewer are no estimate
MEMORY: Final = _YEAR + 1  # bars: a move joins two
_UNKNOWN: Final = 0.05  # the daily volatility of a ticker without a month of bars, at least
_LEAST: Final = 0.005  # a halted or pegged price may still move by this
_TENTH: Final = 1.645  # a tenth of normal moves are larger than this many standard deviations
_FIFTIETH: Final = 2.326
_HALF: Final = 0.6745  # and half of them larger than this
_DECIMALS: Final = 6  # of prices, as far as their step is looked for
_SAME: Final = 1e-6  # relative: prices of single precision are off by less
_STEPS: Final = 4.0  # volatilities that a price step is one of


class Hit(NamedTuple):
    """The position of a bar that breaks a rule, and how in words.

    `shown_by` is the position of a later bar without which nothing is wrong, or -1.
    """

    row: int
    reason: str
    shown_by: int = -1


def ordinary_sizes(moves: Daily) -> Daily:
    """Estimate the volatility of moves (D, K) on each day from those before it, (D, K), never NaN.

    The largest of three estimates that a few wild days do not reach: by the tenth of a year's
    moves that are largest, by its largest but for five, and by the median of the last month.
    """
    past = pd.DataFrame(np.abs(moves)).shift()
    tenth = past.rolling(_YEAR, min_periods=1).quantile(0.9).to_numpy() / _TENTH
    tail = past.rolling(_YEAR, min_periods=_TAIL).quantile(0.98).to_numpy() / _FIFTIETH
    month = past.rolling(_MONTH).median().to_numpy() / _HALF
    least = np.where(np.isnan(month), _UNKNOWN, _LEAST)
    sizes: Daily = np.fmax(np.fmax(tenth, tail), np.fmax(month, least))
    return sizes


def price_step(close: Daily) -> Daily:
    """Return the step of prices around each close (D,), a power of ten: the finest of a month."""
    steps = 10.0 ** -np.arange(_DECIMALS + 1.0)[:, None]
    whole = np.abs(close / steps - np.round(close / steps)) <= _SAME * close / steps
    step = np.where(whole, steps, 10.0 ** -(_DECIMALS + 1)).max(axis=0)
    return np.asarray(pd.Series(step).rolling(_MONTH, min_periods=1).min())


class Series:
    """A history's columns as arrays (D,).

    `move` is each day's log total return, the first NaN; `volatility` its ordinary size and
    `reach` that of the range from low to high, both as known before the day and grown by the
    sessions without a bar before it.
    """

    def __init__(self, history: History) -> None:
        bars, self.basis = history.bars, history.listing.basis
        self.history, self.days = history, history.days
        self.open, self.high, self.low, self.close = (
            bars[name].to_numpy(np.float64) for name in PRICE_COLUMNS
        )
        self.dividend = bars["dividend"].to_numpy(np.float64)
        self.split = bars["split"].to_numpy(np.float64)
        self.move = log_total_return(self.close, self.dividend, self.split, self.basis)
        waited = np.sqrt(1.0 + np.r_[0, missed_sessions(history)])
        lower = np.fmin(self.close, np.r_[np.nan, self.close[:-1]])
        one_step = np.log1p(price_step(self.close) / lower) / _STEPS
        sizes = ordinary_sizes(np.column_stack([self.move, np.log(self.high / self.low)]))
        self.volatility, ranges = sizes.T * waited
        self.volatility = np.maximum(self.volatility, one_step)
        self.reach = np.maximum(ranges, self.volatility)

    def describe_move(self, row: int) -> str:
        """Return the closes of a row and of the one before in words."""
        return f"close {self.close[row]:.6g} after {self.close[row - 1]:.6g}"
