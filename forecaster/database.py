"""SQLite databases opened and migrated.

SQL and paths; knows no table. Every failure of SQLite is raised as one of our errors.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from forecaster.errors import (
    CannotWriteError,
    DataError,
    ForecasterError,
    SettingsError,
    StorageError,
    TryLaterError,
    UnknownNameError,
    no_home,
)
from forecaster.files import make_private, sync_folder, touch_private

_BUSY_SECONDS: Final = 5.0
Migrations = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """One SQLite file of a home, and the parts of its error messages.

    `migrations` has one entry per schema version, oldest first. `absent` is the message for a
    missing file, `wrong_row` and `lost` are the remedies for a refused row and a corrupt file.
    """

    path: Path
    migrations: Migrations
    absent: str
    wrong_row: str
    lost: str

    @property
    def newest(self) -> int:
        """The schema version that this code writes."""
        return len(self.migrations)


def connect_for_writing(database: Database, home: Path) -> sqlite3.Connection:
    """Open a database of a home; create and migrate it where needed.

    Raises:
        CannotWriteError: the home is missing, not a folder, or read-only.
        SettingsError: the file was written by a newer version.
        StorageError, TryLaterError: it is corrupt, or another process holds it.
    """
    refuse_unwritable(home, database.path)
    with translated_errors(database):
        if not database.path.exists():
            _create(database)
        _refuse_empty(database)
        connection = sqlite3.connect(database.path, timeout=_BUSY_SECONDS, isolation_level=None)
        with _closed_on_error(connection):
            version = _version(connection, database)
            for setting in ("journal_mode = WAL", "synchronous = FULL"):
                connection.execute(f"PRAGMA {setting}")
            if 0 < version < database.newest:
                backup = database.path.with_name(f"{database.path.name}.v{version}")
                touch_private(backup)
                with closing(sqlite3.connect(backup)) as copy:
                    connection.backup(copy)
            _migrate(connection, database)
            connection.execute("PRAGMA foreign_keys = ON")  # a migration may replace a table
    return connection


def connect_for_reading(database: Database, home: Path) -> sqlite3.Connection:
    """Open a database of a home read-only, with all queries on one snapshot.

    Raises:
        UnknownNameError: there is no such file.
        SettingsError, StorageError: it was written by a newer version, or is corrupt.
    """
    if not home.is_dir():
        raise UnknownNameError(no_home(home))
    if not (path := database.path).is_file():
        raise UnknownNameError(database.absent)
    with translated_errors(database):
        _refuse_empty(database)
        try:
            return _snapshot(database, "mode=ro")
        except sqlite3.OperationalError:
            # SQLite cannot create its -wal and -shm files in a read-only folder.
            wal = path.with_name(path.name + "-wal")
            if os.access(path.parent, os.W_OK) or (wal.exists() and wal.stat().st_size):
                raise
            return _snapshot(database, "mode=ro&immutable=1")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the statements inside as one transaction: all of them, or none."""
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
def translated_errors(database: Database) -> Iterator[None]:
    """Convert errors of SQLite and the file system to ours, with the file's path."""
    path = database.path
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise DataError(f"{path}: refused a row: {error}. {database.wrong_row}") from error
    except (sqlite3.ProgrammingError, sqlite3.NotSupportedError):
        raise
    except sqlite3.DatabaseError as error:
        raise _translate(database, error) from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}. Free or check the disk.") from error


def integrity_error(path: Path) -> str:
    """Read every page of a file; return what is wrong with it, "" if it is intact."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as connection:
            found = "; ".join(row[0] for row in connection.execute("PRAGMA integrity_check(3)"))
    except sqlite3.Error as error:
        return str(error)
    return "" if found == "ok" else found


def refuse_unwritable(home: Path, path: Path) -> None:
    """Refuse a home in which a file cannot be written; create the file's folder."""
    if not home.is_dir():
        raise CannotWriteError(no_home(home))
    for place in (home, path.parent, path):
        if place.exists() and not os.access(place, os.W_OK):
            raise CannotWriteError(f"{place}: is read-only. Make it writable with chmod.")
    try:
        make_private(path.parent)
    except OSError as error:
        raise CannotWriteError(
            f"{path.parent}: {error.strerror}; a folder is needed. Move the file away, "
            "or name another --home."
        ) from error


def _translate(database: Database, error: sqlite3.DatabaseError) -> ForecasterError:
    path = database.path
    # The low byte is the primary code, the rest detail.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return TryLaterError(f"{path}: another process is writing. Try again when it is done.")
    if code == sqlite3.SQLITE_READONLY:
        return CannotWriteError(f"{path}: cannot be written. Check its permissions.")
    if code == sqlite3.SQLITE_FULL:
        return StorageError(f"{path}: the disk is full; nothing was changed. Free some space.")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return _corrupt(database, str(error))
    return StorageError(f"{path}: {error}. Check the disk and the permissions of the folder.")


def _corrupt(database: Database, why: str) -> StorageError:
    path = database.path
    return StorageError(
        f"{path}: corrupt: {why}. Restore a backup, or save what is readable with "
        f"`sqlite3 {path} .recover`, move {path}* away (with SQLite's -wal and -shm files) and "
        f"{database.lost}"
    )


def _refuse_empty(database: Database) -> None:
    """Refuse an empty file, which SQLite would treat as a new database."""
    if database.path.stat().st_size == 0:
        raise _corrupt(database, "it has no content")


def _create(database: Database) -> None:
    """Create a database under another name and link it, so that no unfinished one is seen."""
    path = database.path
    unfinished = path.with_name(path.name + ".new")
    if unfinished.is_symlink():
        raise StorageError(
            f"{unfinished}: is a link; forecaster never creates one there. Remove it."
        )
    touch_private(unfinished)  # SQLite gives its -wal and -shm files the same mode
    with closing(sqlite3.connect(unfinished, timeout=_BUSY_SECONDS, isolation_level=None)) as new:
        _migrate(new, database)
    try:
        # Unlike a rename, a link never replaces a file that another process has just created.
        os.link(unfinished, path)
    except OSError:
        if not path.exists():  # a file system without links
            os.rename(unfinished, path)
    unfinished.unlink(missing_ok=True)
    sync_folder(path.parent)


def _snapshot(database: Database, query: str) -> sqlite3.Connection:
    uri = f"{database.path.resolve().as_uri()}?{query}"
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
    with _closed_on_error(connection):
        connection.execute("BEGIN")
        if _version(connection, database) == database.newest:
            return connection
        # An older file is read as a migrated copy: a reader may be unable to write.
        copy = sqlite3.connect("", isolation_level=None)
        with _closed_on_error(copy):
            connection.backup(copy)
            connection.close()
            _migrate(copy, database)
    return copy


@contextmanager
def _closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _version(connection: sqlite3.Connection, database: Database) -> int:
    """Read the schema version; refuse one that is newer than ours."""
    version, ours = int(connection.execute("PRAGMA user_version").fetchone()[0]), database.newest
    if version > ours:
        raise SettingsError(
            f"{database.path}: schema {version} is newer than {ours}, the newest that this version "
            "of forecaster knows. Update forecaster, or name another --home."
        )
    return version


def _migrate(connection: sqlite3.Connection, database: Database) -> None:
    """Migrate the tables in one transaction."""
    if _version(connection, database) == database.newest:
        return
    with transaction(connection):
        # Another process may have migrated it meanwhile.
        for step in database.migrations[_version(connection, database) :]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {database.newest}")
