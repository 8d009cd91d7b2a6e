"""Rows of one ticker in a file, made bars: sorted, equal ones once, events on their days.

Tables in; bars with the places of their rows as index out. Screens nothing.

Shape letter: R rows.
"""

import logging

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.data.history import BAR_COLUMNS, PRICE_COLUMNS, most_flawed, place_of
from forecaster.data.sources.dated_rows import is_without_price, warn_of_no_bars
from forecaster.data.sources.file_parts import FileTable
from forecaster.data.sources.file_table import EMPTY_VALUES, NOTE
from forecaster.data.sources.headers import EVENTS, FIELDS
from forecaster.errors import DataError

_log = logging.getLogger(__name__)
Days = NDArray[np.datetime64]


def bars_of(rows: FileTable, sessions: Days, ticker: str) -> pd.DataFrame:
    """Return the bars of one ticker, oldest first, with the places of their rows as index.

    Raises:
        DataError: too many days have a second row.
    """
    return _oldest_first(rows, _bars(rows, sessions), ticker)


def _bars(rows: FileTable, sessions: Days) -> pd.DataFrame:
    """Return the bars of one ticker, with the places of their rows as index."""
    own = [name for name in rows.frame.columns if name not in (*FIELDS, NOTE)]
    bars = rows.frame.reindex(columns=[*BAR_COLUMNS[1:], *own])
    absent = {name: value for name, value in EMPTY_VALUES.items() if name not in rows.frame}
    bars = bars.astype(np.float64).fillna(absent)
    bars.insert(0, "session", sessions.astype("datetime64[s]"))
    bars.index = pd.Index(rows.places, name=rows.unit)
    return _without_empty_ends(rows, bars)


def notes_of(rows: FileTable) -> dict[int, str]:
    """Return what cannot be read, by place."""
    if NOTE not in rows.frame:
        return {}
    notes = rows.frame[NOTE].astype(str)
    wrong = (notes != "").to_numpy(np.bool_)
    return dict(zip(rows.places[wrong].tolist(), notes[wrong], strict=True))


def _without_empty_ends(table: FileTable, bars: pd.DataFrame) -> pd.DataFrame:
    """Leave out rows without any price before the first bar of a ticker and after the last."""
    sessions, empty = bars["session"].to_numpy(), is_without_price(bars)
    if not empty.any() or empty.all():
        return bars
    known = sessions[~empty]
    outside = empty & ((sessions < known.min()) | (sessions > known.max()))
    warn_of_no_bars(table, bars.index[outside].to_numpy())
    kept: pd.DataFrame = bars[~outside]
    return kept


def _oldest_first(table: FileTable, bars: pd.DataFrame, ticker: str) -> pd.DataFrame:
    """Sort rows, keep equal ones once, add events in rows of their own to their bars."""
    bars = _with_events(bars)
    if bars["session"].duplicated().any():
        equal = bars.duplicated().to_numpy(np.bool_)
        if equal.any():
            _log.warning("%s: %s: %d duplicate rows", table.path, ticker, int(equal.sum()))
        bars = bars[~equal]
        again = bars["session"].duplicated().to_numpy(np.bool_)
        if again.sum() > most_flawed(len(bars)):
            first = int(np.argmax(again))
            raise DataError(
                f"{table.path}: {ticker}: {place_of(bars, first)}a second row of "
                f"{bars['session'].iloc[first]:%Y-%m-%d}; one row per date, of daily bars, is "
                f"needed ({int(again.sum()):,} such). Correct or remove these rows."
            )
    sessions = bars["session"]
    if not (sessions.is_monotonic_increasing or sessions.is_monotonic_decreasing):
        first = int(np.argmax(sessions < sessions.shift()))
        _log.warning(
            "%s: %s: rows are out of order; sorted by date (first %s %d, %s)",
            *(table.path, ticker, table.unit, bars.index[first], sessions.iloc[first].date()),
        )
    return bars.iloc[np.argsort(sessions.to_numpy(), kind="stable")]


def _with_events(bars: pd.DataFrame) -> pd.DataFrame:
    """Move the event of a row without any price to the bar of its day, if that has none."""
    lone = bars[list(PRICE_COLUMNS)].isna().all(axis=1) & ~is_without_price(bars)
    moved = []
    for row in np.flatnonzero(lone).tolist():
        session = bars["session"].iloc[row]
        (others,) = np.nonzero(((bars["session"] == session) & ~lone).to_numpy())
        for name in EVENTS:
            amount = bars[name].iloc[row]
            if len(others) == 1 and amount != EMPTY_VALUES[name]:
                bars[name] = np.where(np.arange(len(bars)) == others[0], amount, bars[name])
                moved.append(row)
    return bars.drop(index=bars.index[moved])
