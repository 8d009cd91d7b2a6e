"""Files: written atomically, private folders, JSON."""

import fcntl
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date, datetime
from pathlib import Path
from typing import IO, Any, Final
from uuid import uuid4

from forecaster.errors import CannotWriteError, StorageError

_YOUNG_SECONDS: Final = 2.0  # an unfinished file may not be locked yet


def sync_folder(folder: Path) -> None:
    """Write the entries of a folder through to the disk, so that a power failure keeps them."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private(folder: Path) -> None:
    """Create a folder and its missing parents for the owner only; one that exists is unchanged."""
    if not folder.is_dir():
        if not folder.parent.exists():
            make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def touch_private(path: Path) -> None:
    """Create an empty file for the owner only; one that exists is unchanged."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


@contextmanager
def atomic_file(path: Path, *, private: bool = True) -> Iterator[IO[bytes]]:
    """Yield a stream that replaces the file when the block ends without an error.

    Readers see the old file or the new one, never a part; an OSError leaves the old one intact.
    A link in its place is replaced. Others may read a file that is not private as far as the
    umask lets them. What killed writers of the file have left is removed.
    """
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}.part")
    flags, mode = os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666
    try:
        with os.fdopen(os.open(unfinished, flags, mode), "wb") as stream:
            _locks(stream.fileno())
            _remove_abandoned(path, os.fstat(stream.fileno()).st_mtime)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def output_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a stream that becomes the file when the block ends without an error.

    Raises:
        CannotWriteError: the folder is missing or read-only.
        StorageError: the disk is full or failed; an older file is intact.
    """
    try:
        with atomic_file(path, private=False) as stream:
            yield stream
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise CannotWriteError(
            f"{path}: {error.strerror}. Choose a file in an existing, writable folder."
        ) from error
    except OSError as error:
        raise StorageError(
            f"{path}: {error.strerror}; nothing was written. Free or check the disk."
        ) from error


def to_json(content: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """Convert a value to JSON text; see `to_plain`."""
    return json.dumps(to_plain(content), indent=indent, sort_keys=sort_keys, allow_nan=False)


def to_plain(value: Any) -> Any:
    """Convert a value to what JSON knows.

    Tables become lists of rows, arrays lists, paths text, numbers that are not finite null.
    Dates and naive timestamps, which are sessions, become YYYY-MM-DD; aware ones ISO text.
    """
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return [to_plain(row) for row in value.to_dict(orient="records")]
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, date):
        if value != value:  # NaT
            return None
        is_instant = isinstance(value, datetime) and value.tzinfo is not None
        return value.isoformat() if is_instant else value.strftime("%Y-%m-%d")
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numbers and arrays of numpy
        return to_plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _locks(descriptor: int) -> bool:
    """Lock an unfinished file until it is closed, if no writer has; a killed one has not."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_abandoned(path: Path, now: float) -> None:
    """Remove the unfinished versions of a file that no process writes any more."""
    pattern = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]{32}\.part")
    there = []
    with suppress(OSError):  # a folder that may not be listed
        there = os.listdir(path.parent)
    for left in filter(pattern.fullmatch, there):
        with suppress(OSError):
            handle = os.open(path.with_name(left), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(handle, "rb"):
                if os.fstat(handle).st_mtime < now - _YOUNG_SECONDS and _locks(handle):
                    path.with_name(left).unlink()
