"""Tables from files: the dialects of CSV, some rows at a time, and parquet.

Paths in, tables out, with numbers parsed; knows no bars.  Of a large file only some rows are text
at any time, so a table takes a hundred bytes a row, whatever the file's size.
"""

import csv
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final

import pandas as pd

from forecaster.data.sources.file_table import NUMBERS, FileTable, compact, joined, with_fields
from forecaster.errors import DataError, StorageError, UsageError

_DELIMITERS: Final = ",;\t|"
_LARGEST_BYTES: Final = 2**32
CHUNK_ROWS: Final = 200_000


def read_table(path: Path, mapping: dict[str, str]) -> FileTable:
    """Read a file, find its fields, and read its numbers.

    Args:
        path: parquet where it ends in .parquet or .pq, CSV otherwise.
        mapping: column by field, where the column has no usual name.

    Raises:
        UsageError: no such file; a column is missing, named twice, or not there as mapped.
        DataError: a file that cannot be read as a table; a cell that is no number.
        StorageError: the disk failed.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise UsageError(f"{path}: {what}; name a CSV or parquet file.")
    if path.stat().st_size > _LARGEST_BYTES:
        raise UsageError(f"{path}: larger than {_LARGEST_BYTES >> 20} MiB; split it by ticker.")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return joined([compact(with_fields(_read_parquet(path), mapping))])
        return _read_csv(path, mapping)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}. Check the disk.") from error


def _read_csv(path: Path, mapping: dict[str, str]) -> FileTable:
    """Read text as text, without guessing; each row keeps its line number."""
    try:
        delimiter = _delimiter(path)
        comma = delimiter == ";" and _has_decimal_comma(path, mapping)
        parts = _parts(path, delimiter, mapping)
        return joined(list(map(partial(compact, decimal_comma=comma), parts)))
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
            body = cells.fillna("").set_axis(header, axis=1)
            body.index = body.index + 1
            frame = body[~(body == "").all(axis=1)]
            table = FileTable(path=path, frame=frame, headers={}, unit="line")
            yield with_fields(table, mapping, quiet=quiet)
            quiet = True


def _has_decimal_comma(path: Path, mapping: dict[str, str]) -> bool:
    """Whether 1,5 means one and a half: commas occur in numbers and do not separate cells."""
    return any(
        part.frame[name].str.contains(",", regex=False).any()
        for part in _parts(path, ";", mapping, quiet=True)
        for name in NUMBERS
        if name in part.frame
    )


def _delimiter(path: Path) -> str:
    """Return the separator that splits the header into most cells."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        header = lines.readline(2**16)
    return max(_DELIMITERS, key=lambda mark: len(next(csv.reader([header], delimiter=mark), [])))


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
