"""Files: SQLite databases opened and migrated, other files written atomically, JSON.

SQL and paths; knows no table.  Every failure of SQLite is raised as one of our errors.
"""

import fcntl
import json
import math
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import IO, Any, Final
from uuid import uuid4

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
_YOUNG_SECONDS: Final = 2.0  # an unfinished file may not be locked yet
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
    if home.is_file():
        raise UnknownNameError(_no_folder(home))
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
        raise CannotWriteError(_no_folder(home))
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


def _no_folder(home: Path) -> str:
    if home.exists():
        return f"home {home}: is a file; a folder is needed. Name one with --home."
    return f"home {home}: does not exist. Run `mkdir -p {home}`, or name another --home."


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
