"""A table as it stands in a file: which column is which field, and where each row stands.

Frames in; knows no bars and opens no file.  Everything that is wrong with a cell is said here,
with file, line, column and value.

Shape letters: R rows.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.errors import DataError, UsageError

REQUIRED: Final = ("session", "open", "high", "low", "close")
# What a ticker is called, beside its bars: read where it is told alike in all rows of a ticker.
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

_log = logging.getLogger(__name__)

Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTable:
    """Columns by field (R rows), each row with its place: a line of text, a row of parquet.

    `path` says where they came from, `headers` the name that a field's column has there.
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
        """Keep some rows, by flags or by position, with their places."""
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
    """Take a frame whose columns are named as fields are; others are left out."""
    known = [field for field in FIELDS if field in frame.columns]
    numbered = frame[known].set_axis(pd.RangeIndex(len(frame)), axis=0)
    headers = {field: field for field in known}
    return FileTable(path=name, frame=numbered, headers=headers, unit="iloc")


def with_fields(table: FileTable, mapping: dict[str, str], *, quiet: bool = False) -> FileTable:
    """Keep the columns that are fields, renamed; say which are left out.

    Args:
        table: columns as they are called in the file.
        mapping: column by field, where the column has no usual name.
        quiet: these columns were told before.

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
        _log.info("%s: columns not used: %s", table.path, ", ".join(ignored))
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
