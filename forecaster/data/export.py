"""Files that users ask for: CSV that a spreadsheet may open, parquet, and anything else."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from forecaster.errors import CannotWriteError, UsageError
from forecaster.files import output_file

if TYPE_CHECKING:
    import pandas as pd

# A spreadsheet runs a cell with such a start as a formula.
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


def write_table(table: "pd.DataFrame", file: Path) -> None:
    """Write a table; see `write_tables`."""
    write_tables([table], file)


def write_tables(tables: "Iterable[pd.DataFrame]", file: Path) -> int:
    """Write tables with the same columns, one after another, to a .csv or .parquet file.

    Each is taken when the one before is written. Return the number of rows.

    In CSV dates are YYYY-MM-DD, numbers read back equal, and text that a spreadsheet would run
    as a formula gets an apostrophe before it.

    Raises:
        UsageError: another ending, or pyarrow is not installed.
        CannotWriteError, StorageError: as for `output_file`.
    """
    check_format(file)
    write = _write_parquet if file.suffix.lower() == ".parquet" else _write_csv
    with output_file(file) as stream:
        return write(tables, stream)


def check_format(file: Path, *, endings: Sequence[str] = (".csv", ".parquet")) -> None:
    """Refuse a file whose name does not end in a format that can be written."""
    ending = file.suffix.lower()
    if ending not in endings:
        known = f"{', '.join(endings[:-1])} or {endings[-1]}"
        raise UsageError(f"{file}: the name must end in {known}, to choose the format.")
    if ending == ".parquet" and find_spec("pyarrow") is None:
        raise UsageError(
            f'{file}: parquet needs pyarrow; run pip install "forecaster[parquet]", or write CSV.'
        )


def _write_csv(tables: "Iterable[pd.DataFrame]", stream: IO[bytes]) -> int:
    rows = 0
    for number, table in enumerate(tables):
        text = table.apply(_escape)
        options: dict[str, Any] = {"date_format": "%Y-%m-%d", "lineterminator": "\n"}
        text.to_csv(stream, index=False, header=number == 0, **options)
        rows += len(table)
    return rows


def _write_parquet(tables: "Iterable[pd.DataFrame]", stream: IO[bytes]) -> int:
    import pyarrow
    from pyarrow import parquet

    rows, schema = 0, None
    with ExitStack() as opened:
        for table in tables:
            part = pyarrow.Table.from_pandas(table, schema=schema, preserve_index=False)
            if schema is None:
                schema = part.schema
                writer = opened.enter_context(parquet.ParquetWriter(stream, schema))
            writer.write_table(part)
            rows += len(table)
    return rows


def _escape(column: "pd.Series[Any]") -> "pd.Series[Any]":
    if column.dtype.kind in "biufcmM":
        return column
    return column.map(
        lambda cell: (
            f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell
        )
    )


def check_folder(option: str, file: Path | None) -> None:
    """Refuse, before any work, a file whose folder does not exist."""
    if file is not None and not file.absolute().parent.is_dir():
        raise CannotWriteError(
            f"{option} {file}: {file.parent} is no folder. Make it, or choose a file elsewhere."
        )
