"""One writer at a time: a lock that dies with its process, and a note of who holds it.

Readers need none. Knows nothing of what is written.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import filelock

from forecaster.database import refuse_unwritable
from forecaster.errors import CannotWriteError, TryLaterError

LOCK, HOLDER = ".lock", ".lock.json"
_LONGEST_NOTE: Final = 10_000
_PATIENCE: Final = 0.2  # seconds: whoever only looks who writes holds the lock for less
_held: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())


@contextmanager
def writer(home: Path, what: str) -> Iterator[None]:
    """Be the only writer of a home while the block runs; inside another such block, stay it.

    Args:
        home: the workspace.
        what: the command, as another one will be told.

    Raises:
        CannotWriteError: the home is missing or read-only, or the lock is a link.
        TryLaterError: another process writes; it is named.
    """
    path = home.resolve()
    if path in _held.get():
        yield
        return
    refuse_unwritable(home, home / LOCK)
    lock = filelock.FileLock(path / LOCK, timeout=_PATIENCE)
    try:
        lock.acquire(poll_interval=_PATIENCE / 4)
    except filelock.Timeout:
        raise TryLaterError(f"{home}: {_holder(path)}. Try again when it is done.") from None
    except OSError as error:
        why = f"{error.strerror}. Remove it if it is a link"
        raise CannotWriteError(f"{path / LOCK}: {why}.") from error
    token = _held.set(_held.get() | {path})
    try:
        _note(path / HOLDER, what)
        yield
    finally:
        _held.reset(token)
        with suppress(OSError):
            (path / HOLDER).unlink(missing_ok=True)
        lock.release()


def holder(home: Path) -> str | None:
    """Tell who writes at the moment, in words; None where nobody does."""
    lock = filelock.FileLock(home / LOCK, timeout=0)
    if not (home / LOCK).exists():
        return None
    try:
        lock.acquire()
    except filelock.Timeout:
        return _holder(home)
    except OSError:
        return None
    lock.release()
    return None


def _note(path: Path, what: str) -> None:
    """Leave word of who holds the lock; a link in the note's place is replaced, not followed."""
    side = path.with_name(f"{path.name}.new")
    # No note is no reason to stop: the lock itself is held.
    with suppress(OSError):
        side.unlink(missing_ok=True)
        with side.open("x") as file:
            # The file's own time: in a replay the clock tells another one.
            since = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
            words = {"pid": os.getpid(), "command": what, "since": f"{since:%Y-%m-%d %H:%M:%S} UTC"}
            json.dump(words, file)
        os.replace(side, path)


def _holder(home: Path) -> str:
    """Tell who holds the lock, as far as can be read."""
    try:
        handle = os.open(home / HOLDER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(handle, "rb") as file:
            note = json.loads(file.read(_LONGEST_NOTE))
        return f"{note['command']} (process {note['pid']}) is writing since {note['since']}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process is writing"
