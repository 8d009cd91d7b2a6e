"""Prices from a user's files (CSV, and parquet where pyarrow is installed) and frames (R rows).

A table in, histories out; nothing is repaired and nothing guessed: what could be read in two ways
is a question, and a row that cannot be a bar keeps its place until it is screened.  Knows no store.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.data.calendar_names import calendar_for
from forecaster.data.history import (
    BASES,
    Basis,
    History,
    Listing,
    flaws,
    normalise_ticker,
    place_of,
    validate_bars,
)
from forecaster.data.sessions import timezone_of
from forecaster.data.sources.dated_rows import with_dates
from forecaster.data.sources.dates import DateOrder
from forecaster.data.sources.file_bars import bars_of, notes_of
from forecaster.data.sources.file_parts import FileTable, LeftOut, Places
from forecaster.data.sources.file_table import read_table, table_of
from forecaster.data.sources.headers import ColumnChoice, field_of
from forecaster.data.sources.numbers import DecimalMark
from forecaster.data.trading_calendar import calendar_name
from forecaster.errors import DataError, UsageError

SOURCE: Final = "files"
# What a column of names has where they are tickers.
_TICKER: Final = re.compile(r"[A-Z]{1,5}([.-][A-Z]{1,4})?|[0-9]{4,6}(\.[A-Z]{1,3})?")
_MIDNIGHT: Final = re.compile(r"\d{4}-\d\d-\d\d[ T]00:00:00[+-]\d\d:?\d\d")
# What the names of the columns say of closes; "as-history": as yfinance's Ticker.history().
Form = Literal["", "adjusted", "unadjusted", "as-history"]
_log = logging.getLogger(__name__)
Days = NDArray[np.datetime64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """The user's statements about the bars of a file; None, or no entry, if there is none.

    `calendars` by ticker apply where neither `calendar` nor a column has a value. `dates` is the
    order of dates that could be read in two ways, `ignore` has fields or columns to leave out,
    `keep` other columns to read; `named` is the ticker of a file without a column of tickers.
    """

    basis: Basis | None = None
    calendar: str | None = None
    calendars: Mapping[str, str] = field(default_factory=dict)
    dates: DateOrder | None = None
    decimal: DecimalMark | None = None
    ignore: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    named: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileContents:
    """What was read of a file, and how: the column of each field, the decimal mark.

    Histories are not screened: rows that cannot be bars are in them, with their places.
    `basis_is_stated` where a column or an option does; `form` is what the names of the columns
    say of it.
    """

    histories: list[History]
    left_out: list[LeftOut]
    columns: Mapping[str, str]
    decimal: DecimalMark
    basis_is_stated: bool = False
    form: Form = ""


def read_file(
    path: Path,
    ticker: str | None = None,
    mapping: dict[str, str] | None = None,
    options: FileOptions | None = None,
) -> FileContents:
    """Read the bars of one ticker, or of several where the file has a ticker column.

    Rows are sorted, equal ones kept once; a running day, a footer and empty rows at the ends are
    left out with a warning.  A missing volume or dividend is 0, a missing or zero split 1.

    Args:
        ticker: name of the one ticker in the file; where there are several, the one to read.
        mapping: column by field (see `headers.FIELDS`), where it has no usual name.
        options: for what has no column; else closes are as traded, the calendar the ticker's.

    Raises:
        Question: dates or the decimal mark have two readings.
        UsageError: no such file; a column, the ticker or pyarrow is missing; a column
            contradicts an option, or may hold events.
        DataError: the file is of another kind; too many rows cannot be read.
        StorageError: the disk failed.
    """
    stated = options or FileOptions()
    choice = ColumnChoice(mapping=mapping or {}, ignore=stated.ignore, keep=stated.keep)
    table = read_table(path, choice, stated.decimal)
    if table.frame.empty:
        raise DataError(f"{path}: no rows below the header; at least one bar is needed.")
    if "volume" not in table.frame and "volume" not in map(field_of, stated.ignore):
        _log.warning("%s: no volume column; volume counts as missing", path)
    return _contents(table, ticker, stated, SOURCE)


def read_frame(frame: pd.DataFrame, name: str, ticker: str | None = None) -> FileContents:
    """Read bars of a caller's frame in any shape that `flat_frame` knows; each row must be a bar.

    Args:
        frame: the bars.
        name: of the frame, in messages.
        ticker: name of the one ticker in a frame without a column of tickers.

    Raises:
        Question: dates have two readings.
        UsageError: a column or the ticker is missing, or a column may hold events.
        DataError: a row cannot be read, or cannot be a bar.
    """
    table = table_of(frame, name)
    if _ticker_column(table) is not None:
        ticker = None
    elif ticker is None:
        raise UsageError(
            f"{name} has no column of tickers; name its one ticker: bars.assign(ticker='SYM'), or "
            "{'SYM': bars}."
        )
    contents = _contents(table, ticker, FileOptions(), "table")
    if contents.left_out:
        first = contents.left_out[0]
        raise DataError(f"{name}: {first.place}: {first.reason}. Correct or remove these rows.")
    for history in contents.histories:
        bars, found = history.bars, flaws(history.bars)
        if found:
            ticker, row = history.listing.ticker, found[0].row
            note = history.notes.get(int(bars.index[row]))
            if note:
                raise DataError(f"{name}: {ticker}: iloc {bars.index[row]}, {note}. Correct it.")
            try:
                validate_bars(ticker, bars)
            except DataError as error:
                raise DataError(f"{name}: {place_of(bars, row)}{error}") from error
        bars.index = pd.RangeIndex(len(bars))
    return contents


def _contents(
    table: FileTable, ticker: str | None, options: FileOptions, source: str
) -> FileContents:
    histories, left_out = _histories(table, ticker, options, source)
    return FileContents(
        histories=histories,
        left_out=[*table.left_out, *left_out],
        columns=table.headers,
        decimal=table.decimal,
        basis_is_stated=options.basis is not None or "basis" in table.headers,
        form=_form(table),
    )


def _histories(
    table: FileTable, ticker: str | None, options: FileOptions, source: str
) -> tuple[list[History], list[LeftOut]]:
    dated, left_out = with_dates(table, options.dates)
    tickers, unnamed = _tickers(dated.table, ticker, options.named)
    left_out += unnamed
    histories = []
    for name, at in tickers:
        rows = dated.table.rows(at)
        try:
            listing = _listing(rows, name, options, source)
            sessions = _local_days(dated.days[at], dated.instants[at], listing.calendar)
            bars = bars_of(rows, sessions, name)
        except DataError as error:
            if len(tickers) == 1:
                raise
            reason = str(error).removeprefix(f"{table.path}: ")
            place = f"{table.unit} {rows.places[0]}"
            left_out.append(LeftOut(place=place, ticker=name, reason=reason))
        else:
            histories.append(History(listing=listing, bars=bars, notes=notes_of(rows)))
    if ticker and "ticker" in table.frame and table.frame["ticker"].nunique() > 1:
        left_out = [one for one in left_out if one.ticker.strip().upper() == ticker.upper()]
    return histories, left_out


def _form(table: FileTable) -> Form:
    """Return what the names of the columns say of the closes.

    yfinance's `Ticker.history()` adjusts for dividends by default; only without adjustment it
    adds `Adj Close`. Its days are midnights with an offset.
    """
    if "adj" in table.headers["close"].casefold():
        return "adjusted"
    if any("adj" in name.casefold() and "close" in name.casefold() for name in table.others):
        return "unadjusted"
    first = str(table.frame["session"].iloc[0])
    is_history = table.headers.get("dividend") == "Dividends" and _MIDNIGHT.fullmatch(first)
    return "as-history" if is_history else ""


def _listing(rows: FileTable, ticker: str, options: FileOptions, source: str) -> Listing:
    """Read one ticker's listing from its columns, the options, or its name."""
    everywhere = np.ones(len(rows.frame), dtype=np.bool_)
    basis = _one_value(rows, "basis")
    if basis is not None and basis not in BASES:
        rows.refuse(everywhere, "basis", " or ".join(BASES))
    calendar = _one_value(rows, "calendar")
    if calendar is not None:
        try:
            calendar = calendar_name(calendar)
        except UsageError:
            needed = "a market code such as XNYS, or 24/7, 24/5, weekdays"
            rows.refuse(everywhere, "calendar", needed)
    wanted = calendar_name(options.calendar) if options.calendar else None
    pairs = (("basis", basis, options.basis), ("calendar", calendar, wanted))
    for column, found, option in pairs:
        if found and option and found != option:
            raise UsageError(
                f"{rows.path}: {ticker}: column {rows.headers[column]} is {found}, --{column} is "
                f"{option}. Drop the option, or remove the column if it is wrong."
            )
    known = options.calendars.get(ticker) or calendar_for(ticker)
    return Listing(
        ticker=ticker,
        source=source,
        basis=cast(Basis, basis or options.basis or "as-traded"),
        calendar=calendar or wanted or known,
        name=_mark(rows, "name"),
        exchange=_mark(rows, "exchange"),
        currency=_mark(rows, "currency"),
    )


def _one_value(rows: FileTable, column: str) -> str | None:
    """Read a column with one value for all rows of a ticker; None without such a column."""
    if column not in rows.frame:
        return None
    cells = rows.frame[column].astype(object).astype(str).str.strip()
    rows.refuse((cells != cells.iloc[0]).to_numpy(np.bool_), column, f"one {column} per ticker")
    return str(cells.iloc[0])


def _mark(rows: FileTable, column: str) -> str:
    """Read a mark that is the same in all rows; empty where it is not."""
    if column not in rows.frame or rows.frame[column].isna().any():
        return ""
    found = rows.frame[column].astype(object).unique().tolist()
    # Our own export puts an apostrophe before what a spreadsheet would run.
    return str(found[0]).strip().removeprefix("'") if len(found) == 1 else ""


def _local_days(days: Days, instants: Days, calendar: str) -> Days:
    """Convert instants in UTC to dates of the exchange."""
    in_utc = ~np.isnat(instants)
    if not in_utc.any():
        return days
    utc = pd.DatetimeIndex(instants[in_utc]).tz_localize("UTC")
    found = days.copy()
    local = utc.tz_convert(timezone_of(calendar)).tz_localize(None)
    found[in_utc] = local.to_numpy().astype("datetime64[D]")
    return found


def _tickers(
    table: FileTable, wanted: str | None, named: str
) -> tuple[list[tuple[str, Places]], list[LeftOut]]:
    """List the tickers of a file, each with the positions of its rows, and what is no ticker."""
    asked = normalise_ticker(wanted) if wanted else None
    column = _ticker_column(table)
    if column is None:
        asked = asked or named
        if not asked:
            raise UsageError(
                f"{table.path}: has no ticker column, so the ticker is needed. Add --ticker SYM."
            )
        return [(asked, np.arange(len(table.frame)))], []
    cells = table.frame[column].astype("category").cat
    # The last place is that of a missing cell, whose code is -1.
    written = [*cells.categories.astype(str).str.strip(), ""]
    codes = np.asarray(cells.codes, dtype=np.intp) % len(written)
    present = np.unique(codes)
    if asked and len(present) == 1:
        return [(asked, np.arange(len(codes)))], []
    spelled, left_out = {}, []
    for code in present.tolist():
        try:
            spelled[code] = normalise_ticker(written[code])
        except UsageError as error:
            rows = np.flatnonzero(codes == code)
            place = f"{table.unit} {table.places[rows[0]]}"
            reason = f"{str(error).rstrip('.')} ({len(rows):,} rows)"
            left_out.append(LeftOut(place=place, ticker="", reason=reason))
    chosen = sorted(set(spelled.values()))
    if not chosen:
        raise DataError(f"{table.path}: {left_out[0].place}: {left_out[0].reason}.")
    if asked and asked not in chosen:
        raise UsageError(f"{table.path}: no ticker {asked}; the file has {', '.join(chosen)}.")
    whose = pd.Series(codes).map(spelled)
    rows_of = whose.groupby(whose).indices
    return [(name, np.asarray(rows_of[name])) for name in chosen if asked in (None, name)], left_out


def _ticker_column(table: FileTable) -> str | None:
    """Return the column of tickers: the field, or names that are tickers, several in a file."""
    if "ticker" in table.frame:
        return "ticker"
    if "name" in table.frame:
        names = table.frame["name"].astype(str).unique()
        if len(names) > 1 and all(map(_TICKER.fullmatch, names)):
            return "name"
    return None
