"""The file of the price store: where it lies, and what to tell when it fails.

Paths and words; `database.py` does the work.
"""

import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path

from forecaster import database
from forecaster.data.store_schema import MIGRATIONS


def store_path(home: Path) -> Path:
    """Return where the prices of a home are stored."""
    return home / "data" / "prices.db"


def connect_for_writing(home: Path) -> sqlite3.Connection:
    """Open the store of a home, made and migrated where needed.

    Raises:
        CannotWriteError: the home is missing, no folder, or read-only.
        SettingsError: the store was made by a newer version.
        StorageError: the file is damaged, or the disk failed.
        TryLaterError: another process holds it.
    """
    return database.connect_for_writing(_store(store_path(home)), home)


def connect_for_reading(home: Path) -> sqlite3.Connection:
    """Open the store of a home read-only, with all queries on one snapshot.

    Raises:
        UnknownNameError: nothing is stored there, or the home is a file.
        SettingsError: the store was made by another version.
        StorageError: the file is damaged.
    """
    return database.connect_for_reading(_store(store_path(home)), home)


def translated_errors(path: Path) -> AbstractContextManager[None]:
    """Turn what SQLite and the file system raise into our errors, naming the store."""
    return database.translated_errors(_store(path))


def _store(path: Path) -> database.Database:
    return database.Database(
        path=path,
        migrations=MIGRATIONS,
        absent=f"no prices are stored under {path.parent.parent}; run `forecaster fetch TICKER` or "
        "`forecaster data import FILE` first, or name another --home.",
        wrong_row="Correct the prices.",
        lost="fetch again.",
        writer="forecaster fetch",
    )
