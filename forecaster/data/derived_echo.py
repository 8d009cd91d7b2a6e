"""The earnings echo: what happened one to four quarters before the day that is forecast.

Companies report about every 13 weeks, mostly on the same weekday; volume and range jump on
those days. Weeks back are counted from the next session's date, so the days read are all past.

Shape letters as in `derived.py`.
"""

import numpy as np

from forecaster.data.features import TRAILING_DAYS
from forecaster.data.piece import Columns, Piece, lagged, mean_of

ECHO_DAYS = (91, 182, 273, 364)
AROUND = 2  # sessions to either side; reports move by a day or two


def echo_group(piece: Piece) -> Columns:
    """Give abnormal volume and range so many calendar days before the next session.

    Abnormal is the deviation from the mean of the 22 days before. Of each distance the
    session on that date (or the first after it), and the mean over 5 sessions around it;
    NaN where the piece begins later. `*_echo` is the mean over the distances there are.
    """
    columns: Columns = {}
    for name in ("range", "volume"):
        value = piece[f"log_{name}"]
        abnormal = value - lagged(mean_of(value, TRAILING_DAYS), 1)
        week = mean_of(abnormal, 2 * AROUND + 1)
        for days in ECHO_DAYS:
            rows = _rows_before(piece, days)
            columns[f"{name}_echo{days}"] = _picked(abnormal, rows, 0)
            columns[f"{name}_echo{days}_around"] = _picked(week, rows, AROUND)
        columns[f"{name}_echo"] = _mean_known([columns[f"{name}_echo{days}"] for days in ECHO_DAYS])
    return columns


def _rows_before(piece: Piece, days: int) -> np.ndarray:
    """(D,) row of the first session on or after a date in the past; -1 where there is none."""
    dates = piece.next_days - np.timedelta64(days, "D")
    rows = np.searchsorted(piece.days, dates, side="left")
    return np.where(dates >= piece.days[0], rows, -1)


def _picked(values: np.ndarray, rows: np.ndarray, later: int) -> np.ndarray:
    """Take the value `later` rows after some rows, but none of the row's own future."""
    return np.where(rows >= 0, values[np.minimum(rows + later, np.arange(len(rows)))], np.nan)


def _mean_known(columns: list[np.ndarray]) -> np.ndarray:
    """Average columns row by row, missing values skipped; NaN where all are."""
    values = np.column_stack(columns)
    known = np.isfinite(values)
    means = np.full(len(values), np.nan)
    np.divide(np.where(known, values, 0.0).sum(1), known.sum(1), out=means, where=known.any(1))
    return means
