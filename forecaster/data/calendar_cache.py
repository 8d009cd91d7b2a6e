"""Calendars of exchanges, kept beside the price store: building one takes half a second.

A file counts only if its key is that of this code and of the packages that it was built with; any
other is as good as none. Commands that lock the home for writing write it, the others read it.
"""

import hashlib
import re
import zipfile
from contextlib import suppress
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np

from forecaster.files import atomic_file

FOLDER: Final = Path("data", "calendars")
_NAME: Final = re.compile(r"\w+")
_PACKAGES: Final = ("exchange_calendars", "pandas", "numpy")
_CODE: Final = Path(__file__).with_name("trading_calendar.py")  # and its lists of closures
_used: dict[str, Path] = {}  # the folders to read from and to write to


def use(home: Path, *, writing: bool = False) -> None:
    """Read the calendars of a home from now on, and write them there if `writing`."""
    _used["read"] = home / FOLDER
    if writing:
        _used["write"] = home / FOLDER


def read(calendar: str) -> dict[str, Any] | None:
    """Return the values of a calendar as they were written, or None where none are usable."""
    if "read" not in _used or not _NAME.fullmatch(calendar):
        return None
    try:
        content = BytesIO((_used["read"] / f"{calendar}.npz").read_bytes())
        with np.load(content, allow_pickle=False) as file:
            values = {name: file[name][()] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None
    return values if values.pop("key", None) == _key(calendar) else None


def write(calendar: str, values: dict[str, Any]) -> None:
    """Keep the values of a calendar: arrays, days and text; without a word where it cannot be."""
    if "write" not in _used or not _NAME.fullmatch(calendar):
        return
    content = BytesIO()
    np.savez_compressed(content, key=np.array(_key(calendar)), **values)
    path = _used["write"] / f"{calendar}.npz"
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with atomic_file(path) as stream:
            stream.write(content.getvalue())


def _key(calendar: str) -> str:
    """Return a hash of what the values depend on."""
    versions = [f"{name} {version(name)}" for name in _PACKAGES]
    parts = [calendar, *versions, _CODE.read_text()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
