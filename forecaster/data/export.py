"""Tables out to files: CSV that a spreadsheet may open, and parquet.

Frames in, whole files out: a reader sees the old file or the new one, never a half.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Final, TextIO

import pandas as pd

from forecaster.database import atomic_file
from forecaster.errors import CannotWriteError, StorageError, UsageError

# A spreadsheet runs a cell that starts so as a formula.
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


def write_csv(frame: pd.DataFrame, target: Path | TextIO) -> None:
    """Write a table without its index; dates as YYYY-MM-DD, numbers so that they read back equal.

    Text that a spreadsheet would run as a formula gets an apostrophe before it.

    Args:
        frame: columns of numbers, dates or text.
        target: a file to make or replace, or an open text stream.

    Raises:
        CannotWriteError: the folder is missing or read-only.
        StorageError: the disk is full or failed; an older file is still there.
    """
    safe = frame.apply(_escape)
    if not isinstance(target, Path):
        _to_csv(safe, target)
        return
    with output_file(target) as stream:
        stream.write(_to_csv(safe).encode())


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write a table without its index as parquet.

    Raises:
        UsageError: pyarrow is not installed.
        CannotWriteError: the folder is missing or read-only.
        StorageError: the disk is full or failed; an older file is still there.
    """
    if find_spec("pyarrow") is None:
        raise UsageError(
            f'{path}: parquet needs pyarrow; run pip install "forecaster[parquet]", or write CSV.'
        )
    with output_file(path) as stream:
        frame.to_parquet(stream, index=False)


def _escape(column: "pd.Series[Any]") -> "pd.Series[Any]":
    if pd.api.types.is_numeric_dtype(column.dtype) or column.dtype.kind in "Mm":
        return column
    return column.map(_escape_cell)


def _escape_cell(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell


def _to_csv(frame: pd.DataFrame, stream: TextIO | None = None) -> str:
    return frame.to_csv(stream, index=False, date_format="%Y-%m-%d", lineterminator="\n") or ""


def check_folder(option: str, file: Path | None) -> None:
    """Refuse, before any work, a file whose folder is not there.

    Raises:
        CannotWriteError: names the option, the file and the folder.
    """
    if file is not None and not file.absolute().parent.is_dir():
        raise CannotWriteError(
            f"{option} {file}: {file.parent} is no folder. Make it, or name a file elsewhere."
        )


@contextmanager
def output_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a stream that becomes the file when the block ends without an error.

    Raises:
        CannotWriteError: the folder is missing or read-only.
        StorageError: the disk is full or failed; an older file is still there.
    """
    try:
        with atomic_file(path) as stream:
            yield stream
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise CannotWriteError(
            f"{path}: {error.strerror}. Name a file in an existing, writable folder."
        ) from error
    except OSError as error:
        raise StorageError(
            f"{path}: {error.strerror}; nothing was written. Free or check the disk."
        ) from error
