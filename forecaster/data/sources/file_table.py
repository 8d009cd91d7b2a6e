"""Tables (R rows) from files: the dialects of CSV, some rows at a time, and parquet.

Paths and frames in; columns by field out, with numbers parsed and each text stored once.  Of a
large file only some rows are text at any time, so a table takes a hundred bytes a row.
"""

import csv
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.data.history import BAR_COLUMNS, PRICE_COLUMNS
from forecaster.data.sources.dates import Flags, is_empty, is_time_of_day, parse_numbers
from forecaster.errors import DataError, StorageError, UsageError

REQUIRED: Final = ("session", *PRICE_COLUMNS)
# Metadata of a ticker: read where it is the same in all rows of a ticker.
MARKS: Final = ("name", "exchange", "currency")
# Other spellings of each field, without case, spaces, underscores and the like.
_SYNONYMS: Final[dict[str, tuple[str, ...]]] = {
    "session": ("date", "datetime", "timestamp", "day", "tradedate", "tradingday"),
    "open": ("openprice",),
    "high": ("highprice",),
    "low": ("lowprice",),
    "close": ("closeprice", "closelast"),
    "volume": ("vol",),
    "dividend": ("dividends", "dividendamount", "divcash"),
    "split": ("splits", "stocksplits", "splitfactor", "splitcoefficient"),
    "ticker": ("symbol", "tic"),
    **dict.fromkeys(("basis", "calendar", *MARKS), ()),
}
FIELDS: Final = tuple(_SYNONYMS)
_FIELD_OF: Final = {name: field for field in FIELDS for name in (field, *_SYNONYMS[field])}
_DELIMITERS: Final = ",;\t|"
_LARGEST_BYTES: Final = 2**32
CHUNK_ROWS: Final = 200_000
# Usual ones: the running price of the day among the dates, a holiday without prices.
_MOST_LEFT_OUT: Final = 5
_LARGEST_LEFT_OUT_SHARE: Final = 0.01
log = logging.getLogger(__name__)
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTable:
    """Columns by field (R rows), each row with its place: a line of text, a row of parquet.

    `path` is their file, `headers` the name of each field's column there, `others` the names of
    the columns that are no field.
    """

    path: Path | str
    frame: pd.DataFrame
    headers: dict[str, str]
    unit: str
    others: tuple[str, ...] = ()

    @property
    def places(self) -> Places:
        """The line or row number of each row (R,)."""
        return self.frame.index.to_numpy(np.intp)

    def rows(self, kept: Flags | Places) -> "FileTable":
        """Select some rows, by flags or by position, with their places."""
        return replace(self, frame=self.frame.iloc[kept])

    def refuse(self, wrong: Flags, field: str, needed: str) -> None:
        """Raise DataError for the first wrong cell (R,) of a field, if there is any."""
        if wrong.any():
            raise DataError(f"{self.describe(wrong, field, needed)} Correct or remove these rows.")

    def describe(self, wrong: Flags, field: str, needed: str) -> str:
        """Describe in a sentence the first wrong cell (R,) of a field."""
        first = int(np.argmax(wrong))
        value = str(self.frame[field].iloc[first])[:40]
        named = "ticker" in self.frame and field != "ticker"
        whose = f"{str(self.frame['ticker'].iloc[first])[:20]}: " if named else ""
        return (
            f"{self.path}: {whose}{self.unit} {self.places[first]}, column {self.headers[field]}: "
            f"{value!r}; {needed} is needed ({int(wrong.sum())} such)."
        )


def read_table(path: Path, mapping: dict[str, str]) -> FileTable:
    """Read a file; `mapping` has the column of a field where it has no usual name.

    Raises:
        UsageError: no such file; a column is missing, named twice, or not there as mapped.
        DataError, StorageError: it is no table, a cell is no number, or the disk failed.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise UsageError(f"{path}: {what}; name a CSV or parquet file.")
    if path.stat().st_size > _LARGEST_BYTES:
        raise UsageError(f"{path}: larger than {_LARGEST_BYTES >> 20} MiB; split it by ticker.")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return _compact(with_fields(_read_parquet(path), mapping))
        return _read_csv(path, mapping)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}. Check the disk.") from error


def table_of(frame: pd.DataFrame, name: str) -> FileTable:
    """Build a table of a frame with columns named as fields; leave out others."""
    known = [field for field in FIELDS if field in frame.columns]
    numbered = frame[known].set_axis(pd.RangeIndex(len(frame)), axis=0)
    headers = {field: field for field in known}
    return _compact(FileTable(path=name, frame=numbered, headers=headers, unit="iloc"))


def _read_parquet(path: Path) -> FileTable:
    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise UsageError(
            f'{path}: parquet needs pyarrow; run pip install "forecaster[parquet]", or '
            "export the prices as CSV."
        ) from error
    except ValueError as error:
        raise DataError(f"{path}: cannot be read as parquet: {error}. Save it again.") from error
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    frame.columns = [str(name) for name in frame.columns]
    return FileTable(path=path, frame=frame, headers={}, unit="row")


def _read_csv(path: Path, mapping: dict[str, str]) -> FileTable:
    """Read text as text, without guessing; each row keeps its line number."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            header = lines.readline(2**16)
        cells = {mark: next(csv.reader([header], delimiter=mark), []) for mark in _DELIMITERS}
        delimiter = max(_DELIMITERS, key=lambda mark: len(cells[mark]))
        # 1,5 is one and a half where commas occur in numbers and do not separate cells.
        decimal_comma = delimiter == ";" and any(
            part.frame[name].str.contains(",", regex=False).any()
            for part in _parts(path, delimiter, mapping, quiet=True)
            for name in BAR_COLUMNS[1:]
            if name in part.frame
        )
        parts = _parts(path, delimiter, mapping)
        # map keeps no part as text, as a loop variable would.
        return _joined(list(map(partial(_compact, decimal_comma=decimal_comma), parts)))
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        why = " ".join(str(error).removeprefix("Error tokenizing data. C error: ").split())
        raise DataError(
            f"{path}: cannot be read as a table of text: {why}. Save it as CSV in UTF-8 with "
            "as many cells in each line as the header has."
        ) from error


def _parts(
    path: Path, delimiter: str, mapping: dict[str, str], *, quiet: bool = False
) -> Iterator[FileTable]:
    """Read the fields of a file as text, some rows at a time; yield at least one part."""
    reader = pd.read_csv(
        path,
        sep=delimiter,
        header=None,
        dtype=str,
        keep_default_na=False,
        skip_blank_lines=False,
        encoding="utf-8-sig",
        compression=None,
        chunksize=CHUNK_ROWS,
    )
    with reader:
        first = next(iter(reader))
        header = first.iloc[0].fillna("").str.strip().tolist()
        for cells in chain([first.iloc[1:]], reader):
            body = cells.fillna("").set_axis(header, axis=1).set_axis(cells.index + 1, axis=0)
            frame = body[~(body == "").all(axis=1)]
            table = FileTable(path=path, frame=frame, headers={}, unit="line")
            yield with_fields(table, mapping, quiet=quiet)
            quiet = True


def with_fields(table: FileTable, mapping: dict[str, str], *, quiet: bool = False) -> FileTable:
    """Select and rename the columns that are fields; unless quiet, log which are left out."""
    columns = list(table.frame.columns)
    shown = ", ".join(name or "(no name)" for name in columns[:40])
    found: dict[str, list[int]] = {}
    for place, name in enumerate(columns):
        field = _FIELD_OF.get("".join(filter(str.isalnum, name.casefold())))
        if field and field not in mapping:
            found.setdefault(field, []).append(place)
    found = {name: at for name, at in found.items() if name not in MARKS or len(at) == 1}
    folded = [name.casefold() for name in columns]
    for field, column in mapping.items():
        if field not in FIELDS:
            raise UsageError(f"--map {field}={column}: {field} is none of {', '.join(FIELDS)}.")
        if folded.count(column.casefold()) != 1:
            raise UsageError(
                f"{table.path}: --map {field}={column} needs one column of this name; the file has "
                f"{shown}."
            )
        found[field] = [folded.index(column.casefold())]
    _refuse_unclear(table.path, columns, found, shown)
    used = {places[0] for places in found.values()}
    ignored = [name for place, name in enumerate(columns) if place not in used and name]
    if ignored and not quiet:
        log.info("%s: columns not used: %s", table.path, ", ".join(ignored))
    frame = pd.DataFrame({field: table.frame.iloc[:, at[0]] for field, at in found.items()})
    headers = {field: columns[at[0]] for field, at in found.items()}
    return replace(table, frame=frame, headers=headers, others=tuple(ignored))


def _refuse_unclear(
    path: Path | str, columns: list[str], found: dict[str, list[int]], shown: str
) -> None:
    """Refuse a field that several columns could be, and a required one without a column."""
    for field, places in found.items():
        if len(places) > 1:
            names = " and ".join(columns[place] for place in places)
            raise UsageError(
                f"{path}: {names} could both be {field}; rename or remove one of them, "
                f"or choose with --map {field}=COLUMN."
            )
    missing = [field for field in REQUIRED if field not in found]
    if missing:
        raise UsageError(
            f"{path}: no column for {', '.join(missing)} among {shown}. "
            f"Name it with --map {missing[0]}=COLUMN."
        )


def _compact(table: FileTable, *, decimal_comma: bool = False) -> FileTable:
    """Parse a part's numbers, and store each distinct text of its other columns once."""
    table = _without_other_rows(table)
    columns: dict[str, pd.Series] = {}
    for name in table.frame.columns:
        cells = table.frame[name]
        if name in BAR_COLUMNS[1:]:
            numbers = _numbers(table, name, decimal_comma=decimal_comma)
            if name in PRICE_COLUMNS:
                table.refuse(np.isnan(numbers), name, "a price")
            columns[name] = pd.Series(numbers, index=cells.index)
        else:
            columns[name] = cells.astype("category") if _is_text(cells) else cells
    return replace(table, frame=pd.DataFrame(columns, index=table.frame.index))


def _joined(tables: Sequence[FileTable]) -> FileTable:
    """Join the parts of one table."""
    columns = {}
    for name in tables[0].frame.columns:
        parts = [table.frame[name] for table in tables]
        columns[name] = (
            pd.api.types.union_categoricals(parts)
            if isinstance(parts[0].dtype, pd.CategoricalDtype)
            else np.concatenate([part.to_numpy() for part in parts])
        )
    places = np.concatenate([table.places for table in tables])
    return replace(tables[0], frame=pd.DataFrame(columns, index=places))


def _without_other_rows(table: FileTable) -> FileTable:
    """Leave out rows with a time instead of a date or without any price, unless they are many."""
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
    kinds = pd.api.types
    return not (kinds.is_numeric_dtype(cells.dtype) or kinds.is_datetime64_any_dtype(cells.dtype))


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
