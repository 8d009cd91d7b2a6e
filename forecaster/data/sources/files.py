"""Prices from other people's files (CSV, and parquet where pyarrow is installed) and frames.

A table in, histories out; nothing is repaired and nothing guessed: what cannot be read, or
could be read in two ways, is refused with its line.  Knows no store.

Shape letters: R rows of a file.
"""

import logging
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.data.bars import BAR_COLUMNS, BASES, PRICE_COLUMNS, History, validate_bars
from forecaster.data.checks import describe_basis
from forecaster.data.sessions import timezone_of
from forecaster.data.sources.cells import is_empty, parse_days, parse_numbers
from forecaster.data.sources.file_table import FileTable, read_table, table_of
from forecaster.data.sources.listings import Said, listing_of
from forecaster.data.tickers import normalise_ticker
from forecaster.errors import DataError, UsageError

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

    Dates and numbers may be written in any form that has one meaning.  Rows stand oldest or
    newest first.  A missing volume is 0, which counts as missing; a missing dividend 0; a
    missing or zero split 1.  Adjusted closes are not used.

    Args:
        path: a CSV or parquet file.
        ticker: name of the one ticker in the file; where there are several, the one to take.
        mapping: column by field (session, open, high, low, close, volume, dividend, split,
            ticker, basis, calendar), where the column has no usual name.
        said: basis and calendar where the file has no such columns; without either the
            closes are as traded, and the ticker tells the calendar.

    Raises:
        UsageError: no such file; a column or the ticker is missing; pyarrow is missing; a
            column of bases or calendars contradicts what is said; nothing says the basis, and
            the splits speak against as traded.
        DataError: a cell that cannot be read, dates that repeat or are out of order, a bar
            that cannot be.
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
    return _histories(table_of(frame, name), None, Said(), "table")


def _histories(table: FileTable, ticker: str | None, said: Said, source: str) -> list[History]:
    days, instants = _days(table)
    values = _values(table)
    histories = []
    for name, kept in _tickers(table, ticker):
        rows = table.rows(kept)
        listing = listing_of(rows, name, said, source)
        sessions = _local_days(days[kept], instants[kept], listing.calendar)
        columns = {column: numbers[kept] for column, numbers in values.items()}
        bars = pd.DataFrame({"session": sessions.astype("datetime64[s]"), **columns})
        valid = _validated(table, name, _oldest_first(rows, bars))
        histories.append(History(listing=listing, bars=valid))
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


def _days(table: FileTable) -> tuple[Days, Days]:
    """Return each row's date as written, and its instant where it was told in UTC (R,)."""
    cells = table.frame["session"]
    if pd.api.types.is_datetime64_dtype(cells.dtype):
        table.refuse(cells.isna().to_numpy(np.bool_), "session", "a date such as 2024-12-31")
        days = cells.to_numpy().astype("datetime64[D]")
        return days, np.full(len(days), np.datetime64("NaT"), dtype="datetime64[s]")
    if isinstance(cells.dtype, pd.DatetimeTZDtype):
        cells = cells.map(lambda moment: moment.isoformat(sep=" ", timespec="seconds"))
    parsed = parse_days(cells.astype(str))
    table.refuse(
        parsed.ambiguous, "session", "a date whose day and month cannot be swapped (YYYY-MM-DD)"
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
    comma = _has_decimal_comma(table, present)
    values = {name: _numbers(table, name, decimal_comma=comma) for name in present}
    for name in PRICE_COLUMNS:
        table.refuse(np.isnan(values[name]), name, "a price")
    for name, nothing in _NOTHING.items():
        column = values.get(name, np.full(len(table.frame), nothing))
        values[name] = np.where(np.isnan(column), nothing, column)
    # Yahoo writes 0 where there was no split.
    values["split"] = np.where(values["split"] == 0, 1.0, values["split"])
    return {name: values[name] for name in BAR_COLUMNS[1:]}


def _has_decimal_comma(table: FileTable, fields: list[str]) -> bool:
    """Tell 1,5 as one and a half: where commas do not separate cells, yet stand in numbers."""
    return table.delimiter == ";" and any(
        table.frame[name].str.contains(",", regex=False).any() for name in fields
    )


def _numbers(table: FileTable, field: str, *, decimal_comma: bool) -> NDArray[np.float64]:
    cells = table.frame[field]
    if cells.dtype == np.float32:
        # 83.81 as it was meant, not 83.80999755859375 as the nearest float32 is.
        return cells.to_numpy().astype(str).astype(np.float64)
    if pd.api.types.is_numeric_dtype(cells.dtype):
        return cells.to_numpy(np.float64, na_value=np.nan)
    text = cells.astype(object).where(cells.notna(), "").astype(str)
    values, unreadable = parse_numbers(text, decimal_comma=decimal_comma)
    table.refuse(unreadable, field, "a number")
    return values


def _tickers(table: FileTable, wanted: str | None) -> list[tuple[str, NDArray[np.bool_]]]:
    """Name the tickers of a file, each with flags of its rows (R,)."""
    asked = normalise_ticker(wanted) if wanted else None
    if "ticker" not in table.frame:
        if asked is None:
            raise UsageError(
                f"{table.path}: has no ticker column, so the ticker is needed. Add --ticker SYM."
            )
        return [(asked, np.ones(len(table.frame), dtype=np.bool_))]
    named = table.frame["ticker"]
    cells = named.astype(object).where(named.notna(), "").astype(str).str.strip()
    table.refuse(is_empty(cells), "ticker", "a ticker")
    codes, names = pd.factorize(cells)
    if asked and len(names) == 1:
        return [(asked, codes == 0)]
    spelt = {name: _ticker(table, str(name), codes == code) for code, name in enumerate(names)}
    return _chosen(table, spelt, codes, asked)


def _ticker(table: FileTable, name: str, rows: NDArray[np.bool_]) -> str:
    try:
        return normalise_ticker(name)
    except UsageError as error:
        place = table.places[np.argmax(rows)]
        raise DataError(f"{table.path}: {table.unit} {place}: {error}") from error


def _chosen(
    table: FileTable, named: dict[str, str], codes: NDArray[np.intp], asked: str | None
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Join spellings of one ticker; keep the one that was asked for."""
    tickers = np.array(list(named.values()))
    chosen = sorted(set(tickers.tolist()))
    if asked and asked not in chosen:
        raise UsageError(f"{table.path}: no ticker {asked}; the file has {', '.join(chosen)}.")
    kept = [asked] if asked else chosen
    return [(name, np.isin(codes, np.flatnonzero(tickers == name))) for name in kept]


def _oldest_first(table: FileTable, bars: pd.DataFrame) -> pd.DataFrame:
    """Turn rows that stand newest first; refuse dates that repeat or go back and forth."""
    sessions = bars["session"]
    repeated = sessions.duplicated().to_numpy(np.bool_)
    table.refuse(repeated, "session", "one row per date, of daily bars,")
    if sessions.is_monotonic_decreasing:
        return bars.iloc[::-1].reset_index(drop=True)
    goes_back = (sessions < sessions.shift()).to_numpy(np.bool_)
    table.refuse(goes_back, "session", "a date after that of the row before")
    return bars


def _validated(table: FileTable, ticker: str, bars: pd.DataFrame) -> pd.DataFrame:
    try:
        return validate_bars(ticker, bars)
    except DataError as error:
        raise DataError(f"{table.path}: {error}") from error
