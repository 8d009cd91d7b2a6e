"""Prices from a user's files (CSV, and parquet where pyarrow is installed) and frames (R rows).

A table in, histories out; nothing is repaired and nothing guessed: a cell that cannot be read, or
could be read in two ways, is refused with its line.  Knows no store.
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
    BAR_COLUMNS,
    BASES,
    Basis,
    History,
    Listing,
    flaws,
    is_too_flawed,
    normalise_ticker,
    validate_bars,
)
from forecaster.data.sessions import timezone_of
from forecaster.data.sources.dates import DateOrder, is_empty, parse_days
from forecaster.data.sources.file_table import FileTable, Places, read_table, table_of
from forecaster.data.sources.numbers import DecimalMark
from forecaster.data.trading_calendar import calendar_name
from forecaster.errors import DataError, Question, UsageError

SOURCE: Final = "files"
# The value of an empty cell, or of a column that is missing.
_EMPTY_VALUES: Final = {"volume": 0.0, "dividend": 0.0, "split": 1.0}
_MIDNIGHT: Final = re.compile(r"\d{4}-\d\d-\d\d[ T]00:00:00[+-]\d\d:?\d\d")
# What the names of the columns say of closes; "as-history": as yfinance's Ticker.history().
Form = Literal["", "adjusted", "unadjusted", "as-history"]
_log = logging.getLogger(__name__)
Days = NDArray[np.datetime64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """The user's statements about the bars of a file; None, or no entry, if there is none.

    `calendars` by ticker apply where neither `calendar` nor a column has a value. `dates` is the
    order of dates that could be read in two ways, `ignore` has fields or columns to leave out;
    `named` is the ticker of a file without a column of tickers.
    """

    basis: Basis | None = None
    calendar: str | None = None
    calendars: Mapping[str, str] = field(default_factory=dict)
    dates: DateOrder | None = None
    decimal: DecimalMark | None = None
    ignore: tuple[str, ...] = ()
    named: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A row that no history has, since its date or ticker cannot be read.

    `place` is "line 17" or "row 17", `ticker` empty where it is not known.
    """

    place: str
    ticker: str
    reason: str


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

    Rows are sorted, equal ones kept once; those with a time instead of a date, or without any
    price, are left out.  A missing volume or dividend is 0, a missing or zero split 1.

    Args:
        ticker: name of the one ticker in the file; where there are several, the one to read.
        mapping: column by field (see `file_table.FIELDS`), where it has no usual name.
        options: for what has no column; else closes are as traded, the calendar the ticker's.

    Raises:
        Question: dates could be read in two ways.
        UsageError: no such file; a column, the ticker or pyarrow is missing; a column
            contradicts an option.
        DataError: a cell that cannot be read, two bars of one day, an impossible bar.
        StorageError: the disk failed.
    """
    table = read_table(path, mapping or {})
    if table.frame.empty:
        raise DataError(f"{path}: no rows below the header; at least one bar is needed.")
    if "volume" not in table.frame:
        _log.warning("%s: no volume column; volume counts as missing", path)
    return _contents(table, ticker, options or FileOptions(), SOURCE)


def read_frame(frame: pd.DataFrame, name: str) -> FileContents:
    """Read bars in long form, with columns named as fields; rules and errors are a file's."""
    return _contents(table_of(frame, name), None, FileOptions(), "table")


def _contents(
    table: FileTable, ticker: str | None, options: FileOptions, source: str
) -> FileContents:
    return FileContents(
        histories=_histories(table, ticker, options, source),
        left_out=[],
        columns=table.headers,
        decimal="point",
        basis_is_stated=options.basis is not None or "basis" in table.headers,
        form=_form(table),
    )


def _histories(
    table: FileTable, ticker: str | None, options: FileOptions, source: str
) -> list[History]:
    days, instants = _days(table, options.dates)
    values = table.frame.reindex(columns=list(BAR_COLUMNS[1:])).fillna(_EMPTY_VALUES)
    # Yahoo writes 0 where there was no split.
    values["split"] = values["split"].replace(0.0, 1.0)
    histories = []
    for name, at in _tickers(table, ticker, options.named):
        rows = table.rows(at)
        listing = _listing(rows, name, options, source)
        sessions = _local_days(days[at], instants[at], listing.calendar)
        bars = values.iloc[at].reset_index(drop=True)
        bars.insert(0, "session", sessions.astype("datetime64[s]"))
        histories.append(History(listing=listing, bars=_oldest_first(rows, bars, name)))
    return histories


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


def _days(table: FileTable, order: DateOrder | None) -> tuple[Days, Days]:
    """Return each row's date as written, and its instant if it is written in UTC (R,)."""
    cells = table.frame["session"]
    if pd.api.types.is_datetime64_dtype(cells.dtype):
        table.refuse(cells.isna().to_numpy(np.bool_), "session", "a date such as 2024-12-31")
        days = cells.to_numpy().astype("datetime64[D]")
        return days, np.full(len(days), np.datetime64("NaT"), dtype="datetime64[s]")
    if isinstance(cells.dtype, pd.DatetimeTZDtype):
        cells = cells.map(lambda moment: moment.isoformat(sep=" ", timespec="seconds"))
    parsed = parse_days(cells, order)
    if parsed.ambiguous.any():
        needed = "a date whose day and month cannot be swapped (YYYY-MM-DD)"
        shown = table.describe(parsed.ambiguous, "session", needed)
        raise Question(f"{shown} Add --dates mdy or dmy.", "dates", ("mdy", "dmy"))
    table.refuse(np.isnat(parsed.days), "session", "a date such as 2024-12-31")
    return parsed.days, parsed.instants


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


def _tickers(table: FileTable, wanted: str | None, named: str) -> list[tuple[str, Places]]:
    """List the tickers of a file, each with the positions of its rows, in order."""
    asked = normalise_ticker(wanted) if wanted else None
    if "ticker" not in table.frame:
        asked = asked or named
        if not asked:
            raise UsageError(
                f"{table.path}: has no ticker column, so the ticker is needed. Add --ticker SYM."
            )
        return [(asked, np.arange(len(table.frame)))]
    cells = table.frame["ticker"].astype("category").cat
    written = pd.Series(cells.categories.astype(str)).str.strip()
    # The last place is that of a missing cell, whose code is -1.
    empty = np.append(is_empty(written), True)
    codes = np.asarray(cells.codes, dtype=np.intp)
    table.refuse(empty[codes], "ticker", "a ticker")
    if asked and written[codes].nunique() == 1:
        return [(asked, np.arange(len(codes)))]
    spelled = {}
    for code, row in zip(*np.unique(codes, return_index=True), strict=True):
        try:
            spelled[code] = normalise_ticker(written[code])
        except UsageError as error:
            raise DataError(f"{table.path}: {table.unit} {table.places[row]}: {error}") from error
    chosen = sorted(set(spelled.values()))
    if asked and asked not in chosen:
        raise UsageError(f"{table.path}: no ticker {asked}; the file has {', '.join(chosen)}.")
    whose = pd.Series(codes).map(spelled)
    rows = whose.groupby(whose).indices
    return [(name, np.asarray(rows[name])) for name in chosen if asked in (None, name)]


def _oldest_first(table: FileTable, bars: pd.DataFrame, ticker: str) -> pd.DataFrame:
    """Sort rows, keep equal ones once, refuse two bars of a day and impossible bars."""
    repeated = bars["session"].duplicated().to_numpy(np.bool_)
    if repeated.any():
        equal = bars.duplicated().to_numpy(np.bool_)
        table.refuse(repeated & ~equal, "session", "one row per date, of daily bars,")
        _log.warning("%s: %s: %d duplicate rows", table.path, ticker, int(equal.sum()))
        table, bars = table.rows(~equal), bars[~equal].reset_index(drop=True)
    sessions = bars["session"]
    if not (sessions.is_monotonic_increasing or sessions.is_monotonic_decreasing):
        first = int(np.argmax(sessions < sessions.shift()))
        _log.warning(
            "%s: %s: rows are out of order; sorted by date (first %s %d, %s)",
            *(table.path, ticker, table.unit, table.places[first], sessions[first].date()),
        )
    order = np.argsort(sessions.to_numpy(), kind="stable")
    bars = bars.take(order).reset_index(drop=True)
    try:
        return validate_bars(ticker, bars)
    except DataError as error:
        found = flaws(bars)
        place = f"{table.path}: {table.unit} {table.places[order[found[0].row]]}"
        hint = " Another column may be meant: --map." if is_too_flawed(bars, found) else ""
        raise DataError(f"{place}: {error}{hint}") from error
