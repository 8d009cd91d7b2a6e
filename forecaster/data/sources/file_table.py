"""A table as it stands in a file: which column is which field, and where each row stands.

Reads CSV and parquet, or takes a frame; knows no bars.  Everything that is wrong with a cell
is said here, with file, line, column and value.

Shape letters: R rows.
"""

import csv
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.errors import DataError, StorageError, UsageError

REQUIRED: Final = ("session", "open", "high", "low", "close")
FIELDS: Final = (*REQUIRED, "volume", "dividend", "split", "ticker", "basis", "calendar")

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
}
_FIELD_OF: Final = {name: field for field, names in _SYNONYMS.items() for name in names}
_DELIMITERS: Final = ",;\t|"
_LARGEST_BYTES: Final = 2**29

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
    delimiter: str = ","

    @property
    def places(self) -> Places:
        """The line or row number of each row (R,)."""
        return self.frame.index.to_numpy(np.intp)

    def rows(self, kept: NDArray[np.bool_]) -> "FileTable":
        """Keep some rows, in order, with their places."""
        return replace(self, frame=self.frame[kept])

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


def read_table(path: Path, mapping: dict[str, str]) -> FileTable:
    """Read a file and find its fields.

    Args:
        path: parquet where it ends in .parquet or .pq, CSV otherwise.
        mapping: column by field, where the column has no usual name.

    Raises:
        UsageError: no such file; a column is missing, named twice, or not there as mapped.
        DataError: a file that cannot be read as a table.
        StorageError: the disk failed.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise UsageError(f"{path}: {what}; name a CSV or parquet file.")
    if path.stat().st_size > _LARGEST_BYTES:
        raise UsageError(f"{path}: larger than {_LARGEST_BYTES >> 20} MiB; split it by ticker.")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return _with_fields(_read_parquet(path), mapping)
        return _with_fields(_read_csv(path), mapping)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}. Check the disk.") from error


def table_of(frame: pd.DataFrame, name: str) -> FileTable:
    """Take a frame whose columns are named as fields are; others are left out."""
    known = [field for field in FIELDS if field in frame.columns]
    numbered = frame[known].set_axis(pd.RangeIndex(len(frame)), axis=0)
    headers = {field: field for field in known}
    return FileTable(path=name, frame=numbered, headers=headers, unit="iloc")


def _read_csv(path: Path) -> FileTable:
    """Read text as text: nothing is guessed, and each row keeps its line number."""
    try:
        delimiter = _delimiter(path)
        cells = pd.read_csv(
            path,
            sep=delimiter,
            header=None,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
            encoding="utf-8-sig",
            compression=None,
        )
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        why = " ".join(str(error).removeprefix("Error tokenizing data. C error: ").split())
        raise DataError(
            f"{path}: cannot be read as a table of text: {why}. Save it as CSV in UTF-8 with "
            "as many cells in each line as the header has."
        ) from error
    cells = cells.fillna("")
    cells.index = pd.RangeIndex(1, len(cells) + 1)
    header, body = cells.iloc[0].str.strip().tolist(), cells.iloc[1:]
    blank = (body == "").all(axis=1)
    frame = body[~blank].set_axis(header, axis=1)
    return FileTable(path=path, frame=frame, headers={}, unit="line", delimiter=delimiter)


def _delimiter(path: Path) -> str:
    """Take the separator that splits the header into most cells."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        header = lines.readline(2**16)
    return max(_DELIMITERS, key=lambda mark: len(next(csv.reader([header], delimiter=mark), [])))


def _read_parquet(path: Path) -> FileTable:
    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise UsageError(
            f'{path}: parquet needs pyarrow; run pip install "forecaster[parquet]", or '
            "bring the prices as CSV."
        ) from error
    except ValueError as error:
        raise DataError(f"{path}: cannot be read as parquet: {error}. Save it anew.") from error
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    frame.columns = [str(name) for name in frame.columns]
    return FileTable(path=path, frame=frame, headers={}, unit="row")


def _with_fields(table: FileTable, mapping: dict[str, str]) -> FileTable:
    """Keep the columns that are fields, renamed; say which are left out."""
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
    if ignored:
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
    return found


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
