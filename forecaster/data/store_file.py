"""The file of the price store: how it is made, opened and migrated.

SQL and paths; knows no bars.  Every failure of SQLite leaves here as one of our errors.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from forecaster.data.store_schema import MIGRATIONS
from forecaster.errors import (
    CannotWriteError,
    DataError,
    ForecasterError,
    SettingsError,
    StorageError,
    TryLaterError,
    UnknownNameError,
)

_BUSY_SECONDS: Final = 5.0


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
    path = store_path(home)
    _refuse_unwritable(home)
    with translated_errors(path):
        if not path.exists():
            _create(path)
        _refuse_empty(path)
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        with _closed_on_error(connection):
            version = _version(connection, path)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            _migrate(connection, path, version)
    return connection


def connect_for_reading(home: Path) -> sqlite3.Connection:
    """Open the store of a home read-only, with all queries on one snapshot.

    Raises:
        UnknownNameError: nothing is stored there, or the home is a file.
        SettingsError: the store was made by another version.
        StorageError: the file is damaged.
    """
    path = store_path(home)
    if home.is_file():
        raise UnknownNameError(_no_folder(home))
    if not path.is_file():
        raise UnknownNameError(
            f"no prices are stored under {home}; run `forecaster fetch TICKER` or "
            "`forecaster data import FILE` first, or name another --home."
        )
    with translated_errors(path):
        _refuse_empty(path)
        try:
            return _snapshot(path, "mode=ro")
        except sqlite3.OperationalError:
            # A read-only folder has no room for the files that SQLite puts beside the store.
            wal = path.with_name(path.name + "-wal")
            if os.access(path.parent, os.W_OK) or (wal.exists() and wal.stat().st_size):
                raise
            return _snapshot(path, "mode=ro&immutable=1")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write everything inside, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # On a full disk SQLite has rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise into our errors, naming the file."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise DataError(f"{path}: refused a row: {error}. Correct the prices.") from error
    except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
        if isinstance(error, sqlite3.ProgrammingError | sqlite3.NotSupportedError):
            raise
        raise _translate(path, error) from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}. Free or check the disk.") from error


def _translate(path: Path, error: sqlite3.DatabaseError) -> ForecasterError:
    # The low byte is the primary code, the rest detail.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return TryLaterError(f"{path}: another process is writing. Try again when it is done.")
    if code == sqlite3.SQLITE_READONLY:
        return CannotWriteError(f"{path}: cannot be written. Check its permissions.")
    if code == sqlite3.SQLITE_FULL:
        return StorageError(f"{path}: the disk is full; nothing was changed. Free some space.")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return _damaged(path, str(error))
    return StorageError(f"{path}: {error}. Check the disk and the permissions of the folder.")


def _damaged(path: Path, why: str) -> StorageError:
    return StorageError(
        f"{path}: damaged: {why}. Restore a backup, or save what is readable with "
        f"`sqlite3 {path} .recover`, move the file away and fetch again."
    )


def _no_folder(home: Path) -> str:
    if home.exists():
        return f"home {home}: is a file; a folder is needed. Name one with --home."
    return f"home {home}: does not exist. Run `mkdir -p {home}`, or name another --home."


def _refuse_unwritable(home: Path) -> None:
    if not home.is_dir():
        raise CannotWriteError(_no_folder(home))
    folder = store_path(home).parent
    for place in (home, folder, store_path(home)):
        if place.exists() and not os.access(place, os.W_OK):
            raise CannotWriteError(f"{place}: is read-only. Give yourself the right to write it.")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise CannotWriteError(
            f"{folder}: {error.strerror}; a folder is needed. Move away what is there, "
            "or name another --home."
        ) from error


def _refuse_empty(path: Path) -> None:
    """Refuse a file of no bytes, which SQLite would take for a new store."""
    if path.stat().st_size == 0:
        raise _damaged(path, "it has no content")


def _create(path: Path) -> None:
    """Make a store under another name and link it, so that no half-made one is ever seen."""
    unfinished = path.with_name(path.name + ".new")
    with closing(sqlite3.connect(unfinished, timeout=_BUSY_SECONDS, isolation_level=None)) as new:
        _migrate(new, unfinished, _version(new, unfinished))
    try:
        # A link, unlike a rename, never replaces the store that another process has just made.
        os.link(unfinished, path)
    except OSError:
        if not path.exists():  # a file system without links
            os.rename(unfinished, path)
    unfinished.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _snapshot(path: Path, query: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?{query}", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
    )
    with _closed_on_error(connection):
        connection.execute("BEGIN")
        version = _version(connection, path)
        if version < len(MIGRATIONS):
            raise SettingsError(
                f"{path}: schema {version}, this version of forecaster needs "
                f"{len(MIGRATIONS)}. Run a command that writes, such as `forecaster fetch`."
            )
    return connection


@contextmanager
def _closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Read the schema version; refuse one that is newer than ours."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(MIGRATIONS):
        raise SettingsError(
            f"{path}: schema {version} is newer than {len(MIGRATIONS)}, the newest that this "
            "version of forecaster knows. Update forecaster, or name another --home."
        )
    return version


def _migrate(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Bring the tables up to date in one transaction, after a copy of what was there."""
    if version == len(MIGRATIONS):
        return
    if version > 0:
        with closing(sqlite3.connect(path.with_name(f"{path.name}.v{version}"))) as copy:
            connection.backup(copy)
    with transaction(connection):
        # Another process may have been faster.
        for step in MIGRATIONS[_version(connection, path) :]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
