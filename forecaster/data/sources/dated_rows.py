"""Rows of a file by date: what has no date, or nothing else, is left out.

Tables in; tables with dates out.  Shape letter: R rows.
"""

import logging
import re
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.data.history import PRICE_COLUMNS, most_flawed
from forecaster.data.sources.dates import DateOrder, is_time_of_day, parse_days
from forecaster.data.sources.file_parts import FileTable, LeftOut, Places
from forecaster.data.sources.file_table import EMPTY_VALUES, NOTE
from forecaster.data.sources.headers import EVENTS
from forecaster.data.sources.numbers import Flags
from forecaster.errors import Question

_FIRST_DAY: Final = np.datetime64("1900-01-01")
_SERIAL: Final = re.compile(r"[0-9]{5}(\.[0-9]+)?")
_log = logging.getLogger(__name__)
Days = NDArray[np.datetime64]


class DatedRows(NamedTuple):
    """A table with each row's date as written and, if that is in UTC, its instant (R,)."""

    table: FileTable
    days: Days
    instants: Days


def with_dates(table: FileTable, order: DateOrder | None) -> tuple[DatedRows, list[LeftOut]]:
    """Read the dates; leave out rows without one.

    Raises:
        Question: dates have two readings.
        DataError: too many rows have no date to trust the others.
    """
    days, instants = _days(table, order)
    early = days < _FIRST_DAY
    unreadable = np.isnat(days) | early
    quiet = unreadable & ~early & (_is_running(table, unreadable) | is_without_price(table.frame))
    loud = unreadable & ~quiet
    if loud.sum() > most_flawed(len(days)):
        table.refuse(loud, "session", _needed_date(table, loud))
    if unreadable.all():
        table.refuse(unreadable, "session", _needed_date(table, unreadable))
    warn_of_no_bars(table, table.places[quiet])
    left_out = [_left_out(table, row) for row in np.flatnonzero(loud).tolist()]
    kept = ~unreadable
    return DatedRows(table.rows(kept), days[kept], instants[kept]), left_out


def _is_running(table: FileTable, unreadable: Flags) -> Flags:
    """Return which rows (R,) have a time instead of a date, if they are few."""
    found = np.zeros_like(unreadable)
    found[unreadable] = is_time_of_day(table.frame["session"][unreadable])
    return found if found.sum() <= most_flawed(len(found)) else np.zeros_like(found)


def is_without_price(frame: pd.DataFrame) -> Flags:
    """Return which rows (R,) have neither a price nor an event nor anything unreadable."""
    empty = frame["close"].isna()
    if empty.any():
        empty = frame[list(PRICE_COLUMNS)].isna().all(axis=1)
    for name in EVENTS:
        if name in frame:
            empty &= frame[name] == EMPTY_VALUES[name]
    if NOTE in frame:
        empty &= frame[NOTE].astype(str) == ""
    return empty.to_numpy(np.bool_)


def _needed_date(table: FileTable, wrong: Flags) -> str:
    value = str(table.frame["session"].iloc[int(np.argmax(wrong))]).strip()
    needed = "a date such as 2024-12-31, from 1900-01-01 on,"
    if _SERIAL.fullmatch(value):
        needed += " and no serial number: format the column as a date in the spreadsheet; it"
    return needed


def warn_of_no_bars(table: FileTable, places: Places) -> None:
    """Log how many rows are no bars at all, and where the first are."""
    if len(places):
        shown = ", ".join(str(place) for place in places[:5]) + " ..." * (len(places) > 5)
        _log.warning(
            "%s: %d rows without a date or without any price left out (%s %s)",
            *(table.path, len(places), table.unit, shown),
        )


def _left_out(table: FileTable, row: int) -> LeftOut:
    cell = str(table.frame["session"].iloc[row])[:40]
    return LeftOut(
        place=f"{table.unit} {table.places[row]}",
        ticker=str(table.frame["ticker"].iloc[row]) if "ticker" in table.frame else "",
        reason=f"column {table.headers['session']}: {cell!r} is no date from 1900-01-01 on",
    )


def _days(table: FileTable, order: DateOrder | None) -> tuple[Days, Days]:
    """Return each row's date as written, and its instant if it is written in UTC (R,)."""
    cells = table.frame["session"]
    if pd.api.types.is_datetime64_dtype(cells.dtype):
        days = cells.to_numpy().astype("datetime64[D]")
        return days, np.full(len(days), np.datetime64("NaT"), dtype="datetime64[s]")
    if isinstance(cells.dtype, pd.DatetimeTZDtype):
        cells = cells.map(lambda moment: moment.isoformat(sep=" ", timespec="seconds"))
    parsed = parse_days(cells, order)
    if parsed.ambiguous.any():
        why = (
            f"{table.describe(parsed.ambiguous, 'session')}; a date whose day and month cannot be "
            f"swapped (YYYY-MM-DD) is needed ({int(parsed.ambiguous.sum()):,} such)."
        )
        remedy = f"Add --dates {' or '.join(parsed.orders)}."
        raise Question(f"{why} {remedy}", "dates", parsed.orders, why)
    return parsed.days, parsed.instants
