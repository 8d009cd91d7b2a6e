"""The writers' lock of a home, released when its process dies; readers need none."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import filelock

from forecaster.data import calendar_cache
from forecaster.database import refuse_unwritable
from forecaster.errors import CannotWriteError, TryLaterError
from forecaster.files import atomic_file, to_json
from forecaster.operations.clock_check import refuse_clock_behind

LOCK, HOLDER = ".lock", ".lock.json"
_MAX_NOTE_BYTES: Final = 10_000
_TIMEOUT: Final = 0.2  # seconds: `holder` takes the lock for less
_locked: ContextVar[frozenset[Path]] = ContextVar("locked", default=frozenset())


@contextmanager
def writer(home: Path, what: str) -> Iterator[None]:
    """Lock a home for writing inside a `with` block; reentrant. `what` is the command.

    Raises:
        CannotWriteError: the home is missing or read-only, or the lock is a link.
        TryLaterError: another process is writing, which the error describes, or the clock is
            behind the stored prices.
    """
    path = home.resolve()
    if path in _locked.get():
        yield
        return
    refuse_unwritable(home, home / LOCK)
    calendar_cache.use(home, writing=True)
    refuse_clock_behind(home)
    lock = filelock.FileLock(path / LOCK, timeout=_TIMEOUT, mode=0o600)
    try:
        lock.acquire(poll_interval=_TIMEOUT / 4)
    except filelock.Timeout:
        raise TryLaterError(f"{home}: {_holder(path)}. Try again when it is done.") from None
    except OSError as error:
        why = f"{error.strerror}. Remove it if it is a link"
        raise CannotWriteError(f"{path / LOCK}: {why}.") from error
    token = _locked.set(_locked.get() | {path})
    try:
        _note(path / HOLDER, what)
        yield
    finally:
        _locked.reset(token)
        with suppress(OSError):
            (path / HOLDER).unlink(missing_ok=True)
        lock.release()


def holder(home: Path) -> str | None:
    """Describe the process that is writing now; None if there is none."""
    try:
        if (home / LOCK).exists():
            with filelock.FileLock(home / LOCK, timeout=0, mode=0o600):
                pass
    except filelock.Timeout:
        return _holder(home)
    except OSError:
        pass
    return None


def _note(path: Path, what: str) -> None:
    """Write a note of the lock's holder; a link in its place is replaced, not followed."""
    with suppress(OSError), atomic_file(path) as file:  # the lock is valid without a note
        # The file's own time: in a replay the clock is set to another one.
        since = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
        note = {"pid": os.getpid(), "command": what, "since": f"{since:%Y-%m-%d %H:%M:%S} UTC"}
        file.write(to_json(note).encode())


def _holder(home: Path) -> str:
    """Describe the holder of the lock from its note."""
    try:
        handle = os.open(home / HOLDER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(handle, "rb") as file:
            note = json.loads(file.read(_MAX_NOTE_BYTES))
        return f"{note['command']} (process {note['pid']}) is writing since {note['since']}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process is writing"
