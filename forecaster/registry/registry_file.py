"""The file of the registry: where it lies, one transaction to change it, one snapshot to read.

Knows paths and words; the tables are in `registry_schema.py`.
"""

import json
import math
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from forecaster import clock, database
from forecaster.errors import StorageError, UsageError
from forecaster.registry.registry_schema import MIGRATIONS

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9,._-]{0,63}")


def registry_path(home: Path) -> Path:
    """Return where the registry of a home lies."""
    return home / "models" / "registry.db"


@contextmanager
def changing(home: Path) -> Iterator[sqlite3.Connection]:
    """Open the registry of a home, made where there is none, for one transaction.

    What is written inside is there whole when the block ends, and not at all if it raises.

    Raises:
        CannotWriteError: the home is missing or read-only.
        SettingsError: the registry was made by a newer version.
        StorageError: the file is damaged or a link, or the disk failed.
        TryLaterError: another process is writing.
    """
    registry = _registry(home)
    _refuse_link(registry.path)
    with (
        closing(database.connect_for_writing(registry, home)) as connection,
        database.translated_errors(registry),
        database.transaction(connection),
    ):
        yield connection


@contextmanager
def reading(home: Path) -> Iterator[sqlite3.Connection | None]:
    """Open the registry of a home read-only, as of one instant; None where there is none.

    Raises:
        SettingsError: the registry was made by another version.
        StorageError: the file is damaged or a link.
    """
    registry = _registry(home)
    _refuse_link(registry.path)
    if not registry.path.exists():
        yield None
        return
    with (
        closing(database.connect_for_reading(registry, home)) as connection,
        database.translated_errors(registry),
    ):
        yield connection


def check_registry(home: Path) -> None:
    """Find out, before any work is done for it, whether the registry could be written.

    Raises:
        CannotWriteError: the home is missing or read-only.
        SettingsError: the registry was made by a newer version.
        StorageError: the file is damaged.
    """
    with changing(home):
        pass


def check_name(name: str) -> str:
    """Return the name of a model, which becomes part of a file's name, if it is one.

    Raises:
        UsageError: it is none.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"--name {name[:80]!r}: a name has 1 to 64 of a-z, 0-9, comma, point, _ and -, and "
            "begins with a letter or digit; for example --name return."
        )
    return name


def instant() -> str:
    """Tell the present instant as the registry writes it."""
    return clock.now().isoformat(timespec="microseconds")


def moment(text: str | None) -> datetime | None:
    """Read an instant; None stays None."""
    return None if text is None else datetime.fromisoformat(text)


def day_text(day: date | None) -> str | None:
    """Write a date; None stays None."""
    return None if day is None else day.isoformat()


def day_of(text: str | None) -> date | None:
    """Read a date; None stays None."""
    return None if text is None else date.fromisoformat(text)


def document(content: Mapping[str, Any] | None) -> str:
    """Write evidence as JSON: keys sorted, numbers that are not finite as null."""
    return json.dumps(_plain(content or {}), sort_keys=True, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    if hasattr(value, "tolist"):  # numpy's numbers and arrays
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise StorageError(f"{path}: is a link; the registry is a file of its own. Put it back.")


def _registry(home: Path) -> database.Database:
    path = registry_path(home)
    return database.Database(
        path=path,
        migrations=MIGRATIONS,
        absent=f"{path}: there is no registry yet; run: forecaster train",
        wrong_row="This is a bug: please report it.",
        lost="train again: versions stay, who is champion and past forecasts are lost.",
        writer="forecaster train",
    )
