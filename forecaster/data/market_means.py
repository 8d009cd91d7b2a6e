"""The market's columns of a panel: each day's means over the tickers of one exchange.

Shape letters: N rows of the panel, D days of one series, C market columns.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from forecaster.data.trading_calendar import FIRST, LAST

Columns = Mapping[str, np.ndarray]

# What is averaged, from each ticker's own columns.
MARKET_COLUMNS: Final[dict[str, Callable[[Columns], np.ndarray]]] = {
    "panel_log_return": lambda own: own["log_return"],
    "panel_overnight": lambda own: own["overnight"],
    "panel_intraday": lambda own: own["intraday"],
    "panel_range_deviation": lambda own: own["range_deviation"],
    "panel_volume_deviation": lambda own: own["volume_deviation"],
    "panel_abs_return": lambda own: np.abs(own["log_return"]),
}


class DailyMeans:
    """Means of `MARKET_COLUMNS` by day over the tickers of one exchange, added one by one.

    Source: Kahan (1965), "Further remarks on reducing truncation errors": sums that carry what
    rounding has lost, so that thousands of tickers add up as exactly as two.
    """

    def __init__(self) -> None:
        shape = (int((LAST - FIRST).astype(np.int64)) + 1, len(MARKET_COLUMNS))
        self._total, self._lost = np.zeros(shape), np.zeros(shape)
        self._count = np.zeros(shape, dtype=np.int64)

    def add(self, own: Columns, days: np.ndarray) -> None:
        """Add a ticker's own columns on its days; a missing value does not count."""
        values = np.column_stack([compute(own) for compute in MARKET_COLUMNS.values()])
        rows, known = _day_numbers(days), np.isfinite(values)
        rest = values - self._lost[rows]
        added = self._total[rows] + rest
        self._lost[rows] = np.where(known, added - self._total[rows] - rest, self._lost[rows])
        self._total[rows] = np.where(known, added, self._total[rows])
        self._count[rows] += known

    def at(self, days: np.ndarray) -> np.ndarray:
        """Return the means of days (D, C); NaN where no ticker has a value."""
        rows = _day_numbers(days)
        means = np.full((len(days), len(MARKET_COLUMNS)), np.nan)
        count = self._count[rows]
        np.divide(self._total[rows], count, out=means, where=count > 0)
        return means


def market_columns(
    means: Mapping[str, DailyMeans],
    calendars: Sequence[str],
    days: np.ndarray,
    series_offsets: np.ndarray,
) -> dict[str, np.ndarray]:
    """Look up the market's columns (N,) of every row.

    Args:
        means: by exchange calendar: their sessions close at other hours.
        calendars: of each series.
        days: (N,) dates of the rows.
        series_offsets: first row of each series, and N.
    """
    columns = {name: np.full(len(days), np.nan) for name in MARKET_COLUMNS}
    for calendar, (start, stop) in zip(calendars, pairwise(series_offsets.tolist()), strict=True):
        if calendar in means:
            found = means[calendar].at(days[start:stop])
            for column, values in zip(columns.values(), found.T, strict=True):
                column[start:stop] = values
    return columns


def _day_numbers(days: np.ndarray) -> np.ndarray:
    numbers: np.ndarray = (days.astype("datetime64[D]") - FIRST).astype(np.int64)
    return numbers
