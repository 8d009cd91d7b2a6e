"""Rules on a history's prices: splits, units, spikes, jumps, frozen prices, dividends.

Histories in, signs out.  Repairs nothing; knows no calendar, no source and no store.  All
moves are total returns (see `returns.py`), so that a dividend or a split that the bars tell
of is no move.

Shape letters: D trading days.
"""

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from forecaster.data.bars import PRICE_COLUMNS, History
from forecaster.data.findings import Sign
from forecaster.data.returns import log_total_return

Daily = NDArray[np.float64]

# A smaller split is lost among ordinary moves of a day.
SMALLEST_SPLIT: Final = 1.4
# Yahoo applies a split some days late, or to the wrong days around it; months away a move of
# the same size is the market's (AAPL fell by half 70 sessions after its 2:1 of 2000).
SPLIT_SESSIONS: Final = 10
# What the market itself moved on the day of the slip.
SPLIT_TOLERANCE: Final = 0.10
# Pence for pounds, cents for dollars.  No share has moved so far in a day and been right.
UNIT: Final = 100.0
UNIT_TOLERANCE: Final = 1.4
# GameStop's wildest day was a factor of 2.35, and its way back one of 1.8.
SPIKE: Final = 2.0
SPIKE_RETURN: Final = 1.1
# qlib's health check asks at the same step; crises and mergers get there, too.
JUMP: Final = 1.5
# As many as may be missing in a row: a week of one price is a halt, or a source that repeats.
FROZEN_SESSIONS: Final = 5
SAME_PRICE: Final = 1e-6
LARGE_DIVIDEND: Final = 0.1
REPEATED_DIVIDEND_SESSIONS: Final = 3


def split_slips(history: History) -> list[Sign]:
    """Find moves near a split that are as large as the split: it is missing or applied twice."""
    move, split = _moves(history), _column(history, "split")
    found = {}
    for row in np.flatnonzero(np.abs(np.log(split)) >= np.log(SMALLEST_SPLIT)).tolist():
        size = abs(float(np.log(split[row])))
        first = max(0, row - SPLIT_SESSIONS)
        near = np.abs(np.abs(move[first : row + SPLIT_SESSIONS + 1]) - size) < SPLIT_TOLERANCE
        day = history.bars["session"].iloc[row]
        for at in (first + np.flatnonzero(near)).tolist():
            found[at] = (
                f"{_step(history, at)} is the split of {split[row]:.6g} on {day:%Y-%m-%d}, "
                "missing or applied twice"
            )
    return sorted(found.items())


def unit_slips(history: History) -> list[Sign]:
    """Find factors of 100 between two closes, or between the prices of one bar."""
    prices = history.bars[list(PRICE_COLUMNS)].to_numpy(np.float64)
    inside = np.log(prices.max(axis=1) / prices.min(axis=1))
    between = np.abs(_moves(history))
    slip, band = np.log(UNIT), np.log(UNIT_TOLERANCE)
    within, across = np.abs(inside - slip) < band, np.abs(between - slip) < band
    return [
        (row, f"{_step(history, row)} is a factor of about 100")
        if across[row]
        else (row, f"its prices {_shown(prices[row])} are a factor of about 100 apart")
        for row in np.flatnonzero(within | across).tolist()
    ]


def spikes(history: History) -> list[Sign]:
    """Find single bars that leave both neighbours by a factor, and these agree."""
    move = _moves(history)
    there, back = move[1:-1], move[2:]
    left = (np.abs(there) >= np.log(SPIKE)) & (np.abs(back) >= np.log(SPIKE))
    rows = 1 + np.flatnonzero(left & (np.abs(there + back) < np.log(SPIKE_RETURN)))
    return [(row, f"{_step(history, row)}, and back the next day") for row in rows.tolist()]


def jumps(history: History) -> list[Sign]:
    """Find moves that no dividend or split explains, nor the way back of a spike."""
    rows = np.flatnonzero(np.abs(_moves(history)) > np.log(JUMP))
    back = {row + 1 for row, _ in spikes(history)}
    return [
        (row, f"{_step(history, row)} without a split or dividend to explain it")
        for row in rows.tolist()
        if row not in back
    ]


def fresh_jumps(history: History) -> list[Sign]:
    """Find a jump of the newest bar, which no later bar bears out yet."""
    newest = len(history.bars) - 1
    return [
        (row, f"{reason}; the next session will tell")
        for row, reason in jumps(history)
        if row == newest
    ]


def frozen(history: History) -> list[Sign]:
    """Find runs of sessions without any move, between them or within."""
    high, low, close = (_column(history, name) for name in ("high", "low", "close"))
    same = np.abs(np.diff(close, prepend=np.nan)) <= SAME_PRICE * close
    still = same & (high - low <= SAME_PRICE * close)
    edges = np.flatnonzero(np.diff(np.r_[False, still, False].astype(np.int8)))
    runs = zip(edges[::2], edges[1::2], strict=True)
    return [
        (int(first - 1), f"{end - first + 1} sessions at {close[first]:.6g} without any move")
        for first, end in runs
        if end - first + 1 >= FROZEN_SESSIONS
    ]


def odd_dividends(history: History) -> list[Sign]:
    """Find dividends that the close did not fall by, and the same one paid twice within days."""
    close, dividend = _column(history, "close"), _column(history, "dividend")
    # In shares of the day before on either basis.
    scale = np.exp(_moves(history)) * np.r_[np.nan, close[:-1]] / (close + dividend)
    before = np.r_[np.nan, close[:-1]]
    paid, fell = dividend * scale, before - close * scale
    unseen = (paid >= LARGE_DIVIDEND * before) & (fell < paid / 2)
    found = {
        int(row): f"dividend {dividend[row]:.6g} on a close of {before[row]:.6g} left no mark"
        for row in np.flatnonzero(unseen)
    }
    paying = np.flatnonzero(dividend > 0)
    for earlier, row in pairwise(paying.tolist()):
        if dividend[row] == dividend[earlier] and row - earlier <= REPEATED_DIVIDEND_SESSIONS:
            day = history.bars["session"].iloc[earlier]
            found[row] = f"dividend {dividend[row]:.6g} stands on {day:%Y-%m-%d}, too"
    return sorted(found.items())


def _moves(history: History) -> Daily:
    """Return each day's log total return (D,), the first NaN."""
    close, dividend, split = (_column(history, name) for name in ("close", "dividend", "split"))
    return log_total_return(close, dividend, split, history.listing.basis)


def _column(history: History, name: str) -> Daily:
    return history.bars[name].to_numpy(np.float64)


def _step(history: History, row: int) -> str:
    close = _column(history, "close")
    return f"close {close[row]:.6g} after {close[row - 1]:.6g}"


def _shown(prices: Daily) -> str:
    return ", ".join(f"{price:.6g}" for price in prices)
