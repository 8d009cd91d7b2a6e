"""The columns of one part of a table: numbers parsed, each text stored once, other rows left out.

Tables in, tables out; knows no file and no ticker.

Shape letters: R rows of a part.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.data.history import BAR_COLUMNS, PRICE_COLUMNS
from forecaster.data.sources.cells import is_empty, is_time_of_day, parse_numbers
from forecaster.errors import DataError, UsageError

REQUIRED: Final = ("session", "open", "high", "low", "close")
# Metadata of a ticker: read where it is the same in all rows of a ticker.
MARKS: Final = ("name", "exchange", "currency")
FIELDS: Final = (*REQUIRED, "volume", "dividend", "split", "ticker", "basis", "calendar", *MARKS)

# Spellings without case, spaces, underscores and the like.
_SYNONYMS: Final = {
    "session": ("date", "session", "datetime", "timestamp", "day", "tradedate", "tradingday"),
    "open": ("open", "openprice"),
    "high": ("high", "highprice"),
    "low": ("low", "lowprice"),
    "close": ("close", "closeprice", "closelast"),
    "volume": ("volume", "vol"),
    "dividend": ("dividend", "dividends", "dividendamount", "divcash"),
    "split": ("split", "splits", "stocksplits", "splitfactor", "splitcoefficient"),
    "ticker": ("ticker", "symbol", "tic"),
    "basis": ("basis",),
    "calendar": ("calendar",),
    **{mark: (mark,) for mark in MARKS},
}
_FIELD_OF: Final = {name: field for field, names in _SYNONYMS.items() for name in names}

log = logging.getLogger(__name__)

Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTable:
    """Columns by field (R rows), each row with its place: a line of text, a row of parquet.

    `path` is their file, `headers` the name of each field's column there.
    """

    path: Path | str
    frame: pd.DataFrame
    headers: dict[str, str]
    unit: str

    @property
    def places(self) -> Places:
        """The line or row number of each row (R,)."""
        return self.frame.index.to_numpy(np.intp)

    def rows(self, kept: NDArray[np.bool_] | Places) -> "FileTable":
        """Select some rows, by flags or by position, with their places."""
        at = np.flatnonzero(kept) if kept.dtype == np.bool_ else kept
        return replace(self, frame=self.frame.take(at))

    def refuse(self, wrong: NDArray[np.bool_], field: str, needed: str) -> None:
        """Raise DataError for the first wrong cell (R,) of a field, if there is any."""
        if not wrong.any():
            return
        first = int(np.argmax(wrong))
        value = str(self.frame[field].iloc[first])[:40]
        named = "ticker" in self.frame and field != "ticker"
        whose = f"{str(self.frame['ticker'].iloc[first])[:20]}: " if named else ""
        raise DataError(
            f"{self.path}: {whose}{self.unit} {self.places[first]}, column {self.headers[field]}: "
            f"{value!r}; {needed} is needed ({int(wrong.sum())} such). "
            "Correct or remove these rows."
        )


def table_of(frame: pd.DataFrame, name: str) -> FileTable:
    """Build a table of a frame with columns named as fields; leave out others."""
    known = [field for field in FIELDS if field in frame.columns]
    numbered = frame[known].set_axis(pd.RangeIndex(len(frame)), axis=0)
    headers = {field: field for field in known}
    return FileTable(path=name, frame=numbered, headers=headers, unit="iloc")


def with_fields(table: FileTable, mapping: dict[str, str], *, quiet: bool = False) -> FileTable:
    """Select and rename the columns that are fields; log which are left out.

    Args:
        table: columns by their names in the file.
        mapping: column by field, where the column has no usual name.
        quiet: log nothing.

    Raises:
        UsageError: a column is missing, named twice, or not there as mapped.
    """
    columns = list(table.frame.columns)
    found = _usual_columns(columns, set(mapping))
    for field, column in mapping.items():
        found[field] = [_named_column(table.path, columns, field, column)]
    for field, places in found.items():
        if len(places) > 1:
            names = " and ".join(columns[place] for place in places)
            raise UsageError(
                f"{table.path}: {names} could both be {field}; rename or remove one of them, "
                f"or choose with --map {field}=COLUMN."
            )
    missing = [field for field in REQUIRED if field not in found]
    if missing:
        raise UsageError(
            f"{table.path}: no column for {', '.join(missing)} among {_shown(columns)}. "
            f"Name it with --map {missing[0]}=COLUMN."
        )
    used = {places[0] for places in found.values()}
    ignored = [name for place, name in enumerate(columns) if place not in used and name]
    if ignored and not quiet:
        log.info("%s: columns not used: %s", table.path, ", ".join(ignored))
    frame = pd.DataFrame({field: table.frame.iloc[:, at[0]] for field, at in found.items()})
    headers = {field: columns[at[0]] for field, at in found.items()}
    return replace(table, frame=frame, headers=headers)


def _usual_columns(columns: list[str], mapped: set[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place, name in enumerate(columns):
        field = _FIELD_OF.get("".join(filter(str.isalnum, name.casefold())))
        if field and field not in mapped:
            found.setdefault(field, []).append(place)
    return {name: at for name, at in found.items() if name not in MARKS or len(at) == 1}


def _named_column(path: Path | str, columns: list[str], field: str, column: str) -> int:
    if field not in FIELDS:
        raise UsageError(f"--map {field}={column}: {field} is none of {', '.join(FIELDS)}.")
    folded = [name.casefold() for name in columns]
    if folded.count(column.casefold()) != 1:
        raise UsageError(
            f"{path}: --map {field}={column} needs one column of this name; the file has "
            f"{_shown(columns)}."
        )
    return folded.index(column.casefold())


def _shown(columns: list[str]) -> str:
    return ", ".join(name or "(no name)" for name in columns[:40])


NUMBERS: Final = BAR_COLUMNS[1:]
# Usual ones: the running price of the day among the dates, a holiday without prices.
_MOST_LEFT_OUT: Final = 5
_LARGEST_LEFT_OUT_SHARE: Final = 0.01

Flags = NDArray[np.bool_]


def compact(table: FileTable, *, decimal_comma: bool = False) -> FileTable:
    """Parse a part's numbers, and store each distinct text of its other columns once.

    Rows that are no bars, with a time instead of a date or without any price, are left out with
    a warning, unless they are many.

    Args:
        table: (R,) rows of fields, as text or typed.
        decimal_comma: 1.234,5 is meant instead of 1,234.5.

    Raises:
        DataError: a cell that is no number, or a price that is missing.
    """
    table = _without_other_rows(table)
    columns: dict[str, pd.Series] = {}
    for name in table.frame.columns:
        cells = table.frame[name]
        if name in NUMBERS:
            numbers = _numbers(table, name, decimal_comma=decimal_comma)
            if name in PRICE_COLUMNS:
                table.refuse(np.isnan(numbers), name, "a price")
            columns[name] = pd.Series(numbers, index=cells.index)
        else:
            columns[name] = cells.astype("category") if _is_text(cells) else cells
    return replace(table, frame=pd.DataFrame(columns, index=table.frame.index))


def joined(tables: Sequence[FileTable]) -> FileTable:
    """Join the parts of one table."""
    if len(tables) == 1:
        return tables[0]
    first = tables[0]
    columns = {}
    for name in first.frame.columns:
        parts = [table.frame[name] for table in tables]
        columns[name] = (
            pd.api.types.union_categoricals(parts)
            if isinstance(parts[0].dtype, pd.CategoricalDtype)
            else np.concatenate([part.to_numpy() for part in parts])
        )
    places = np.concatenate([table.places for table in tables])
    return replace(first, frame=pd.DataFrame(columns, index=places))


def _without_other_rows(table: FileTable) -> FileTable:
    no_price = np.all([_is_missing(table.frame[name]) for name in PRICE_COLUMNS], axis=0)
    for name, neutral in (("dividend", "0"), ("split", "1")):
        if name in table.frame:
            cells = table.frame[name].astype(object).astype(str).str.strip()
            is_neutral = cells.str.fullmatch(rf"[0{neutral}](\.0*)?").to_numpy(np.bool_)
            no_price &= _is_missing(table.frame[name]) | is_neutral
    session = table.frame["session"]
    no_date = is_time_of_day(session) if _is_text(session) else np.zeros_like(no_price)
    left_out = no_price | no_date
    count = int(left_out.sum())
    if count == 0 or count > max(_MOST_LEFT_OUT, _LARGEST_LEFT_OUT_SHARE * len(left_out)):
        return table
    shown = ", ".join(str(place) for place in table.places[left_out][:5])
    log.warning(
        "%s: %d rows without a date or without any price left out (%s %s)",
        *(table.path, count, table.unit, shown + " ..." * (count > 5)),
    )
    return table.rows(~left_out)


def _is_missing(cells: "pd.Series[str]") -> Flags:
    missing = cells.isna().to_numpy(np.bool_)
    return missing | is_empty(cells) if _is_text(cells) else missing


def _is_text(cells: "pd.Series[str]") -> bool:
    return not (
        pd.api.types.is_numeric_dtype(cells.dtype)
        or pd.api.types.is_datetime64_any_dtype(cells.dtype)
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
