"""What kind of file a path is: a table of text, parquet, or something to convert first.

Paths in; errors of one line, and frames of parquet, out.  Reads the first bytes of a file, and of
parquet its schema before any cell.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import pandas as pd

from forecaster.data.sources.headers import field_of
from forecaster.errors import DataError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

_LARGEST_BYTES: Final = 2**32
_MOST_ROWS: Final = 100_000_000
_MOST_COLUMNS: Final = 50_000
_SHEET: Final = "a spreadsheet. Save the sheet as CSV UTF-8 and import that"
_ARCHIVE: Final = "an archive. Unpack it and import the CSV in it"
_JSON: Final = "JSON. Convert it to CSV with a header and one row per day, and import that"
_DATABASE: Final = "a database. Export the table as CSV and import that"
_PAGE: Final = "a web page or document, not a table. Download the prices as CSV and import that"
_BINARY: Final = "a binary table. Save it as CSV or parquet and import that"
_BY_SUFFIX: Final = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers"), _SHEET),
    **dict.fromkeys((".zip", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".tar"), _ARCHIVE),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), _JSON),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3"), _DATABASE),
    **dict.fromkeys((".html", ".htm", ".pdf", ".docx"), _PAGE),
    **dict.fromkeys((".pkl", ".pickle", ".h5", ".hdf5", ".feather", ".arrow", ".rds"), _BINARY),
}
_BY_START: Final = (
    (b"PK\x03\x04", f"{_ARCHIVE}; or {_SHEET}"),
    (b"\xd0\xcf\x11\xe0", _SHEET),
    *((start, _ARCHIVE) for start in (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")),
    *((start, _PAGE) for start in (b"%PDF", b"<!doctype", b"<html", b"<?xml")),
    *((start, _JSON) for start in (b"{", b"[{", b"[[")),
    (b"sqlite format 3", _DATABASE),
)
_PARQUET: Final = b"PAR1"


def check_kind(path: Path) -> None:
    """Raise an error with a remedy unless a path is a file of text or parquet.

    Raises:
        UsageError: no such file, a folder, a device or pipe, or too large.
        DataError: it is of a kind that must be converted first.
    """
    if not path.is_file():
        what = "no such file"
        if path.is_dir():
            what = "is a folder"
        elif path.exists():
            what = "is a device or pipe"
        raise UsageError(f"{path}: {what}; name a CSV or parquet file.")
    if path.stat().st_size > _LARGEST_BYTES:
        raise UsageError(f"{path}: larger than {_LARGEST_BYTES >> 20} MiB; split it by ticker.")
    kind = _BY_SUFFIX.get(path.suffix.lower())
    start = _start(path).lstrip().lower()
    kind = kind or next((what for mark, what in _BY_START if start.startswith(mark.lower())), None)
    if kind:
        raise DataError(f"{path}: is {kind}.")


def is_parquet(path: Path) -> bool:
    """Whether a file is parquet by its name or its first bytes."""
    return path.suffix.lower() in (".parquet", ".pq") or _start(path).startswith(_PARQUET)


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a parquet file, its rows numbered from 1, its columns named by text.

    Raises:
        UsageError: pyarrow is not installed.
        DataError: it is no parquet, a column of prices holds lists, or it is too large.
    """
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UsageError(
            f'{path}: parquet needs pyarrow; run pip install "forecaster[parquet]", or '
            "export the prices as CSV."
        ) from error
    try:
        with pq.ParquetFile(path) as file:
            rows, schema = file.metadata.num_rows, file.schema_arrow
        _check_schema(path, rows, schema)
        plain = [one.name for one in schema if not _is_nested(one.type)]
        frame = pd.read_parquet(path, columns=plain)
    except (OSError, ValueError, TypeError, NotImplementedError, ArithmeticError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        why = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: cannot be read as parquet: {why}. Save it again.") from error
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    frame.columns = [str(name) for name in frame.columns]
    decimals = {one.name for one in schema if str(one.type).startswith("decimal")}
    return frame.astype({name: "float64" for name in frame.columns if name in decimals})


def _check_schema(path: Path, rows: int, schema: "pa.Schema") -> None:
    if rows > _MOST_ROWS or len(schema) > _MOST_COLUMNS:
        raise DataError(
            f"{path}: {rows:,} rows of {len(schema):,} columns; at most {_MOST_ROWS:,} of "
            f"{_MOST_COLUMNS:,} are read. Split it by ticker."
        )
    for one in schema:
        if _is_nested(one.type) and (field_of(one.name) or field_of(one.name, rank=1)):
            raise DataError(
                f"{path}: column {one.name} has {one.type} in a cell; one value is needed. "
                "Save it with one value per cell."
            )


def _is_nested(kind: "pa.DataType") -> bool:
    return kind.num_fields > 0 or "binary" in str(kind)
