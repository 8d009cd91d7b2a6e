"""The daily mean of many tickers' features: what the market did on a day.

Series in one after another, means out; keeps sums by calendar and day, and no series.

Shape letters: D days of a ticker, C averaged columns, A all days of a calendar.
"""

import numpy as np

from forecaster.data.features import OWN_FEATURES
from forecaster.data.series import SeriesRows
from forecaster.data.timetables import FIRST, LAST

_AVERAGED = ("log_return", "overnight", "intraday", "range_deviation", "volume_deviation")
_COLUMNS = [OWN_FEATURES.index(name) for name in _AVERAGED]
CROSS_SECTION = (*(f"panel_{name}" for name in _AVERAGED), "panel_abs_return")


class DailyMeans:
    """Means by exchange calendar and day; tickers of other exchanges do not mix.

    Source: Kahan (1965), "Further remarks on reducing truncation errors": sums that carry what
    rounding has lost, so that thousands of tickers add up as exactly as two.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def add(self, series: SeriesRows) -> None:
        """Count a ticker in on its days; a missing value counts nowhere."""
        values = series.inputs[:, _COLUMNS]
        moved = np.abs(series.inputs[:, OWN_FEATURES.index("log_return")])
        values = np.column_stack([values, moved])
        rows, known = _number(series.days), np.isfinite(values)
        total, lost, count = self._of(series.calendar)
        rest = values - lost[rows]
        added = total[rows] + rest
        lost[rows] = np.where(known, added - total[rows] - rest, lost[rows])
        total[rows] = np.where(known, added, total[rows])
        count[rows] += known

    def at(self, calendar: str, days: np.ndarray) -> np.ndarray:
        """(D, C) means of the days, in the order of `CROSS_SECTION`; NaN where no ticker counts."""
        rows = _number(days)
        total, _, count = self._of(calendar)
        shape = (len(days), len(CROSS_SECTION))
        means = np.full(shape, np.nan)
        np.divide(total[rows], count[rows], out=means, where=count[rows] > 0)
        return means

    def _of(self, calendar: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(A, C) sums, what they have lost, and counts of a calendar."""
        if calendar not in self._sums:
            shape = (len(np.arange(FIRST, LAST)) + 1, len(CROSS_SECTION))
            counts = np.zeros(shape, dtype=np.int64)
            self._sums[calendar] = (np.zeros(shape), np.zeros(shape), counts)
        return self._sums[calendar]


def _number(days: np.ndarray) -> np.ndarray:
    numbers: np.ndarray = (days.astype("datetime64[D]") - FIRST).astype(np.int64)
    return numbers
