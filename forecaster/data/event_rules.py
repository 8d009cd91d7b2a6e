"""Rules for splits and dividends on record: the closes must show each as its size says.

`docs/data-validation.md` explains each threshold, with its false alarms and its power.

Shape letters: D bars of a history.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from forecaster.data.series import Hit, Series

SMALLEST_SPLIT: Final = 1.4  # not on record, or on another day; smaller ones look like other moves
# Yahoo applies a split some days late; AAPL fell by half 70 sessions after its 2:1 of 2000.
SPLIT_SESSIONS: Final = 10
# What the market itself moved on the day: in log, in volatilities, and as a share of the split.
SPLIT_TOLERANCE: Final = 0.10
SPLIT_NOISE: Final = 3.0
SPLIT_SHARE: Final = 1 / 3
# Volatilities that a move must be to count as an event: on its own day, or near it.
ON_THE_DAY: Final = 4.0
NEAR_THE_DAY: Final = 10.0
LARGE_DIVIDEND: Final = 0.1  # of the close before; a day may hide less
REPEATED_DIVIDEND_SESSIONS: Final = 3


def split_slips(series: Series) -> list[Hit]:
    """Find moves as large as a split on record: it is missing, applied twice or inverted."""
    found = {}
    for row in np.flatnonzero(series.split != 1.0).tolist():
        for moved in _as_large_as(series, row):
            reason = (
                f"{series.describe_move(moved)} is the split of {series.split[row]:.6g} on "
                f"{series.days[row]}, missing, inverted or applied twice"
            )
            found[moved] = Hit(moved, reason, shown_by=row)
    return [found[row] for row in sorted(found)]


def _as_large_as(series: Series, row: int) -> Iterator[int]:
    """Yield the bars near a split, its own first, whose moves are as large as the split."""
    factor = float(np.log(series.split[row]))
    first = max(0, row - SPLIT_SESSIONS)
    near = slice(first, row + SPLIT_SESSIONS + 1)
    moves, volatility = series.move[near], series.volatility[near]
    is_own = np.arange(first, first + len(moves)) == row
    least = np.where(is_own, ON_THE_DAY, NEAR_THE_DAY) * volatility
    noise = np.maximum(SPLIT_TOLERANCE, SPLIT_NOISE * volatility)
    inverted = 2 * factor if series.basis == "as-traded" else -2 * factor
    for size in (factor, -factor, inverted):
        close = np.abs(moves - size) < np.minimum(noise, SPLIT_SHARE * abs(size))
        is_possible = is_own | (size != inverted and abs(size) >= np.log(SMALLEST_SPLIT))
        yield from (first + np.flatnonzero(close & is_possible & (np.abs(moves) >= least))).tolist()


def _paid_and_fallen(series: Series) -> tuple[np.ndarray, np.ndarray]:
    """Return each day's dividend and the fall of its close, as shares of the close before.

    Closes that are adjusted for dividends fall by none: all are 0 paid.
    """
    if series.basis == "total-return":
        return np.zeros_like(series.close), np.zeros_like(series.close)
    worth = np.exp(series.move) / (series.close + series.dividend)
    return series.dividend * worth, 1.0 - series.close * worth


def _is_unmarked(series: Series) -> NDArray[np.bool_]:
    """Whether each day's dividend is large and the close did not fall by half of it, (D,)."""
    paid, fell = _paid_and_fallen(series)
    unmarked: NDArray[np.bool_] = (paid >= LARGE_DIVIDEND) & (fell < paid / 2)
    return unmarked


def dividend_slips(series: Series) -> list[Hit]:
    """Find large dividends that the close did not fall by, where it ordinarily moves by less."""
    is_certain = series.move >= ON_THE_DAY * series.volatility
    return [
        Hit(row, f"{_describe_dividend(series, row)} cannot be: the close did not fall by it")
        for row in np.flatnonzero(_is_unmarked(series) & is_certain).tolist()
    ]


def odd_dividends(series: Series) -> list[Hit]:
    """Find dividends that the close did not fall by, and the same one paid twice within days."""
    found = {
        row: Hit(row, f"{_describe_dividend(series, row)} left no mark")
        for row in np.flatnonzero(_is_unmarked(series)).tolist()
    }
    for earlier, row in pairwise(np.flatnonzero(series.dividend > 0).tolist()):
        amount = series.dividend[row]
        if amount == series.dividend[earlier] and row - earlier <= REPEATED_DIVIDEND_SESSIONS:
            found[row] = Hit(row, f"dividend {amount:.6g} was paid on {series.days[earlier]}, too")
    return [found[row] for row in sorted(found)]


def _describe_dividend(series: Series, row: int) -> str:
    return f"dividend {series.dividend[row]:.6g} on a close of {series.close[row - 1]:.6g}"
