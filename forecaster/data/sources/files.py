"""Prices from other people's files (CSV, and parquet where pyarrow is installed) and frames.

A table in, histories out; nothing is repaired and nothing guessed: what cannot be read, or
could be read in two ways, is refused with its line.  Rows that are no bars are left out and
told.  Knows no store.

Shape letters: R rows of a file.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.data.checks import describe_basis
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
from forecaster.data.sessions import calendar_for, calendar_name, timezone_of
from forecaster.data.sources.cells import DateOrder, is_empty, parse_days
from forecaster.data.sources.file_reading import read_table
from forecaster.data.sources.file_table import FileTable, Places, compact, table_of
from forecaster.errors import DataError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the user says of the bars beside the file; None, or no entry, where nothing.

    `calendars` by ticker hold where neither `calendar` nor a column says otherwise.
    `dates` is the order of dates that could be read in two ways.
    """

    basis: Basis | None = None
    calendar: str | None = None
    calendars: Mapping[str, str] = field(default_factory=dict)
    dates: DateOrder | None = None


def listing_of(rows: FileTable, ticker: str, said: Said, source: str) -> Listing:
    """Tell a ticker's basis and calendar: by its columns, by what is said, by its name.

    Args:
        rows: of this ticker alone.
        ticker: upper case.
        said: beside the table.
        source: whose listing it becomes.

    Raises:
        DataError: a column says what is no basis or calendar, or not the same in all rows.
        UsageError: a column contradicts what is said; no calendar of the name that is said.
    """
    basis = _one_value(rows, "basis")
    if basis is not None and basis not in BASES:
        rows.refuse(_all(rows), "basis", " or ".join(BASES))
    calendar = _one_value(rows, "calendar")
    if calendar is not None:
        try:
            calendar = calendar_name(calendar)
        except UsageError:
            rows.refuse(
                _all(rows), "calendar", "a market code such as XNYS, or 24/7, 24/5, weekdays"
            )
    wanted = calendar_name(said.calendar) if said.calendar else None
    known = said.calendars.get(ticker) or calendar_for(ticker)
    return Listing(
        ticker=ticker,
        source=source,
        basis=cast(Basis, _agreed(rows, ticker, "basis", basis, said.basis) or "as-traded"),
        calendar=_agreed(rows, ticker, "calendar", calendar, wanted) or known,
        name=_mark(rows, "name"),
        exchange=_mark(rows, "exchange"),
        currency=_mark(rows, "currency"),
    )


def _one_value(rows: FileTable, column: str) -> str | None:
    """Read what a column says of a ticker in all rows alike; None without such a column."""
    if column not in rows.frame:
        return None
    cells = rows.frame[column].astype(object).astype(str).str.strip()
    rows.refuse((cells != cells.iloc[0]).to_numpy(np.bool_), column, f"one {column} per ticker")
    return str(cells.iloc[0])


def _mark(rows: FileTable, column: str) -> str:
    """Read a mark that all rows tell alike; empty where they do not."""
    if column not in rows.frame or rows.frame[column].isna().any():
        return ""
    told = rows.frame[column].astype(object).unique().tolist()
    # The apostrophe that keeps a spreadsheet from running what our own export writes.
    return str(told[0]).strip().removeprefix("'") if len(told) == 1 else ""


def _all(rows: FileTable) -> NDArray[np.bool_]:
    return np.ones(len(rows.frame), dtype=np.bool_)


def _agreed(
    rows: FileTable, ticker: str, column: str, told: str | None, said: str | None
) -> str | None:
    if told and said and told != said:
        raise UsageError(
            f"{rows.path}: {ticker}: column {rows.headers[column]} says {told}, --{column} "
            f"{said}. Drop the option, or remove the column if it is wrong."
        )
    return told or said


SOURCE: Final = "files"

# What an empty cell, or a column that is not there, says.
_NOTHING: Final = {"volume": 0.0, "dividend": 0.0, "split": 1.0}

_log = logging.getLogger(__name__)

Days = NDArray[np.datetime64]


def read_file(
    path: Path,
    ticker: str | None = None,
    mapping: dict[str, str] | None = None,
    said: Said | None = None,
) -> list[History]:
    """Read the bars of one ticker, or of several where the file has a ticker column.

    Dates and numbers may be written in any form that has one meaning.  Rows are sorted, equal
    ones taken once; a row with a time instead of a date, or without any price, is left out.  A
    missing volume is 0, which counts as missing; a missing dividend 0; a missing or zero split
    1.  Adjusted closes are not used.

    Args:
        path: a CSV or parquet file.
        ticker: name of the one ticker in the file; where there are several, the one to take.
        mapping: column by field (session, open, high, low, close, volume, dividend, split,
            ticker, basis, calendar), where the column has no usual name.
        said: basis and calendar where the file has no such columns; without either the
            closes are as traded, and the ticker tells the calendar. And the order of dates.

    Raises:
        UsageError: no such file; a column or the ticker is missing; pyarrow is missing; a
            column of bases or calendars contradicts what is said; nothing says the basis, and
            the splits speak against as traded.
        DataError: a cell that cannot be read, two bars of one day, a bar that cannot be.
        StorageError: the disk failed.
    """
    table = read_table(path, mapping or {})
    if table.frame.empty:
        raise DataError(f"{path}: no rows below the header; at least one bar is needed.")
    if "volume" not in table.frame:
        _log.warning("%s: no volume column; volume counts as missing", path)
    return _histories(table, ticker, said or Said(), SOURCE)


def read_frame(frame: pd.DataFrame, name: str) -> list[History]:
    """Read bars in long form; the rules and errors are those of a file.

    Args:
        frame: columns ticker, session, open, high, low, close and, optional, volume,
            dividend, split, basis and calendar, by these names.
        name: of the frame, for errors.
    """
    return _histories(compact(table_of(frame, name)), None, Said(), "table")


def _histories(table: FileTable, ticker: str | None, said: Said, source: str) -> list[History]:
    days, instants = _days(table, said.dates)
    values = _values(table)
    histories = []
    for name, at in _tickers(table, ticker):
        rows = table.rows(at)
        listing = listing_of(rows, name, said, source)
        sessions = _local_days(days[at], instants[at], listing.calendar)
        columns = {column: numbers[at] for column, numbers in values.items()}
        bars = pd.DataFrame({"session": sessions.astype("datetime64[s]"), **columns})
        histories.append(History(listing=listing, bars=_oldest_first(rows, bars, name)))
        _check_basis(table, histories[-1], told=said.basis is not None or "basis" in rows.frame)
    return histories


def _check_basis(table: FileTable, history: History, *, told: bool) -> None:
    """Refuse to take a basis for granted that the splits speak against."""
    doubt = describe_basis(history)
    if doubt and not told:
        raise UsageError(
            f"{table.path}: {doubt} for want of a word. Say which they are: --basis "
            f"{' or '.join(BASES)}, or a column basis."
        )
    if doubt:
        _log.warning("%s", doubt)


def _days(table: FileTable, order: DateOrder | None) -> tuple[Days, Days]:
    """Return each row's date as written, and its instant where it was told in UTC (R,)."""
    cells = table.frame["session"]
    if pd.api.types.is_datetime64_dtype(cells.dtype):
        table.refuse(cells.isna().to_numpy(np.bool_), "session", "a date such as 2024-12-31")
        days = cells.to_numpy().astype("datetime64[D]")
        return days, np.full(len(days), np.datetime64("NaT"), dtype="datetime64[s]")
    if isinstance(cells.dtype, pd.DatetimeTZDtype):
        cells = cells.map(lambda moment: moment.isoformat(sep=" ", timespec="seconds"))
    parsed = parse_days(cells, order)
    table.refuse(
        parsed.ambiguous,
        "session",
        "a date whose day and month cannot be swapped (YYYY-MM-DD), or --dates mdy or dmy,",
    )
    table.refuse(np.isnat(parsed.days), "session", "a date such as 2024-12-31")
    return parsed.days, parsed.instants


def _local_days(days: Days, instants: Days, calendar: str) -> Days:
    """Turn instants told in UTC into dates at the exchange."""
    in_utc = ~np.isnat(instants)
    if not in_utc.any():
        return days
    zone = timezone_of(calendar)
    local = pd.DatetimeIndex(instants[in_utc]).tz_localize("UTC").tz_convert(zone)
    found = days.copy()
    found[in_utc] = local.tz_localize(None).to_numpy().astype("datetime64[D]")
    return found


def _values(table: FileTable) -> dict[str, NDArray[np.float64]]:
    """Read the number columns (R,), each under its field."""
    present = [name for name in BAR_COLUMNS[1:] if name in table.frame]
    values = {name: table.frame[name].to_numpy(np.float64) for name in present}
    for name, nothing in _NOTHING.items():
        column = values.get(name, np.full(len(table.frame), nothing))
        values[name] = np.where(np.isnan(column), nothing, column)
    # Yahoo writes 0 where there was no split.
    values["split"] = np.where(values["split"] == 0, 1.0, values["split"])
    return {name: values[name] for name in BAR_COLUMNS[1:]}


def _tickers(table: FileTable, wanted: str | None) -> list[tuple[str, Places]]:
    """Name the tickers of a file, each with the positions of its rows, in order."""
    asked = normalise_ticker(wanted) if wanted else None
    if "ticker" not in table.frame:
        if asked is None:
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
    known, first = np.unique(codes, return_index=True)
    rows = zip(known.tolist(), first.tolist(), strict=True)
    spelt = {code: _ticker(table, written[code], row) for code, row in rows}
    return _chosen(table, spelt, codes, asked)


def _ticker(table: FileTable, name: str, row: int) -> str:
    try:
        return normalise_ticker(name)
    except UsageError as error:
        raise DataError(f"{table.path}: {table.unit} {table.places[row]}: {error}") from error


def _chosen(
    table: FileTable, named: dict[int, str], codes: Places, asked: str | None
) -> list[tuple[str, Places]]:
    """Join spellings of one ticker; keep the one that was asked for."""
    chosen = sorted(set(named.values()))
    if asked and asked not in chosen:
        raise UsageError(f"{table.path}: no ticker {asked}; the file has {', '.join(chosen)}.")
    number = {name: at for at, name in enumerate(chosen)}
    whose = np.zeros(max(named) + 1, dtype=np.intp)
    for code, name in named.items():
        whose[code] = number[name]
    # One sort instead of a look at every row for every ticker.
    by_ticker = np.argsort(whose[codes], kind="stable")
    ends = np.cumsum(np.bincount(whose[codes], minlength=len(chosen)))
    parts = dict(zip(chosen, np.split(by_ticker, ends[:-1]), strict=True))
    return [(name, parts[name]) for name in ([asked] if asked else chosen)]


def _oldest_first(table: FileTable, bars: pd.DataFrame, ticker: str) -> pd.DataFrame:
    """Sort rows, take equal ones once, refuse two bars of a day and what cannot be a bar."""
    repeated = bars["session"].duplicated().to_numpy(np.bool_)
    if repeated.any():
        equal = bars.duplicated().to_numpy(np.bool_)
        table.refuse(repeated & ~equal, "session", "one row per date, of daily bars,")
        _log.warning("%s: %s: %d rows stand twice", table.path, ticker, int(equal.sum()))
        table, bars = table.rows(~equal), bars[~equal].reset_index(drop=True)
    sessions = bars["session"]
    if not (sessions.is_monotonic_increasing or sessions.is_monotonic_decreasing):
        first = int(np.argmax(sessions < sessions.shift()))
        _log.warning(
            "%s: %s: rows are out of order; sorted by date (first %s %d, %s)",
            *(table.path, ticker, table.unit, table.places[first], sessions[first].date()),
        )
    order = np.argsort(sessions.to_numpy(), kind="stable")
    return _validated(table.rows(order), ticker, bars.take(order).reset_index(drop=True))


def _validated(table: FileTable, ticker: str, bars: pd.DataFrame) -> pd.DataFrame:
    try:
        return validate_bars(ticker, bars)
    except DataError as error:
        found = flaws(bars)
        place = f"{table.path}: {table.unit} {table.places[found[0].row]}"
        hint = " Another column may be meant: --map." if is_too_flawed(bars, found) else ""
        raise DataError(f"{place}: {error}{hint}") from error
