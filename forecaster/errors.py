"""The exit codes and the error tree, and loops in which one ticker's error stops no other.

A message gives subject, found, needed and remedy, in one line. Anything that is not a
`ForecasterError` is a bug.
"""

import errno
import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)


class ExitCode(IntEnum):
    """How a command ended; docs/commands.md explains each."""

    OK = 0
    BUG = 1
    USAGE = 2
    PARTIAL = 3
    NO_DECISION = 4
    CHECK_FAILED = 5
    BAD_DATA = 65
    UNKNOWN_NAME = 66
    SOURCE_DOWN = 69
    CANNOT_WRITE = 73
    IO_ERROR = 74
    TRY_LATER = 75
    BAD_SETTINGS = 78
    INTERRUPTED = 130
    TERMINATED = 143


def severity(code: int) -> tuple[bool, int]:
    """Return a sort key of exit codes: a bug is worst, then the highest code."""
    return code == ExitCode.BUG, code


class ForecasterError(Exception):
    """A failure with a remedy; never raised itself."""

    exit_code = ExitCode.BUG


class UsageError(ForecasterError):
    """Options that contradict each other, a malformed ticker, an absent device."""

    exit_code = ExitCode.USAGE


class Question(UsageError):
    """What only the user knows; `option` with one of `choices` answers it.

    `reason` is the message without the remedy.
    """

    def __init__(self, message: str, option: str, choices: Sequence[str], reason: str = "") -> None:
        super().__init__(message)
        self.option, self.choices, self.reason = option, tuple(choices), reason or message


class PartialFailure(ForecasterError):
    """The work is done, but some tickers failed."""

    exit_code = ExitCode.PARTIAL


class TrainingFailedError(ForecasterError):
    """Training could not be finished: it diverged, or memory ran out."""

    exit_code = ExitCode.CHECK_FAILED


class OutOfMemoryError(TrainingFailedError):
    """Training asked for more memory than there is."""


class DivergedError(TrainingFailedError):
    """Training met a loss or gradient that is not finite.

    `rows` are the panel rows of the optimizer step that diverged, where one is known; a caller
    that knows tickers and dates adds them to the message.
    """

    def __init__(self, message: str, rows: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.rows = rows


class LeakError(ForecasterError):
    """The audit found a value that depends on the future, or nothing to compare."""

    exit_code = ExitCode.CHECK_FAILED


class TooOldError(ForecasterError):
    """The last successful run, or the model, is older than allowed."""

    exit_code = ExitCode.CHECK_FAILED


class DataError(ForecasterError):
    """Prices that cannot be trusted or are too few."""

    exit_code = ExitCode.BAD_DATA


class ArtifactError(ForecasterError):
    """A model version that is corrupt or was written with another schema."""

    exit_code = ExitCode.BAD_DATA


class UnknownNameError(ForecasterError):
    """No such ticker or version."""

    exit_code = ExitCode.UNKNOWN_NAME


class SourceDownError(ForecasterError):
    """The source of prices cannot be reached or answers nonsense."""

    exit_code = ExitCode.SOURCE_DOWN


class CannotWriteError(ForecasterError):
    """The home is missing or read-only."""

    exit_code = ExitCode.CANNOT_WRITE


class StorageError(ForecasterError):
    """Reading or writing failed: disk full, corrupt file."""

    exit_code = ExitCode.IO_ERROR


class TryLaterError(ForecasterError):
    """Rate limit or lock: the same command may succeed later."""

    exit_code = ExitCode.TRY_LATER


class SettingsError(ForecasterError):
    """A setting from a file or the environment that is not valid."""

    exit_code = ExitCode.BAD_SETTINGS


class TickerBugError(ForecasterError):
    """An unexpected exception in the work on one ticker; `place` is its type and its line."""

    exit_code = ExitCode.PARTIAL

    def __init__(self, message: str, place: str) -> None:
        super().__init__(message)
        self.place = place


class BugError(ForecasterError):
    """An unexpected exception in the work on every ticker, after which the run has gone on."""


# They concern every ticker: exit codes 73, 74, 75 and 78.
_OF_THE_RUN: Final = (CannotWriteError, StorageError, TryLaterError, SettingsError, MemoryError)
_OF_THE_DISK: Final = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE)
)


class Failures:
    """The errors by ticker of a loop in which none stops the work on the other tickers."""

    def __init__(self) -> None:
        self.errors: dict[str, ForecasterError] = {}

    @contextmanager
    def of(self, ticker: str) -> Iterator[None]:
        """Record any exception of a block as the ticker's error, unless it concerns the whole run.

        Raises:
            CannotWriteError, StorageError, TryLaterError, SettingsError, MemoryError: as they are.
            OSError: one of a file or a disk.
        """
        try:
            yield
        except _OF_THE_RUN:
            raise
        except ForecasterError as error:
            self.errors[ticker] = error
        # A source may answer anything, and no list of exceptions is complete: what one ticker's
        # numbers cause, in any line of ours or of a library, must not cost the others their
        # forecasts. The one handler of its kind; the log file has the traceback.
        except Exception as error:
            if isinstance(error, OSError) and (error.filename or error.errno in _OF_THE_DISK):
                raise
            self.errors[ticker] = _bug_of(ticker, error)

    @property
    def bugs(self) -> dict[str, TickerBugError]:
        """The unexpected ones."""
        found = self.errors.items()
        return {name: error for name, error in found if isinstance(error, TickerBugError)}

    def common_bug(self, count: int) -> BugError | None:
        """Return the bug that failed all of `count` tickers, more than one, at the same line."""
        places = {error.place for error in self.bugs.values()}
        if count < 2 or len(self.bugs) < count or len(places) > 1:
            return None
        return BugError(
            f"a bug: {places.pop()}, for each of {count} tickers ({name_some([*self.bugs])}). "
            "Please report it with the traceback in logs/forecaster.log."
        )


@contextmanager
def despite_bugs(step: str, bugs: list[BugError]) -> Iterator[None]:
    """Append an unexpected exception of a step to `bugs`, with a warning; raise other errors."""
    failures = Failures()
    with failures.of(step):
        yield
    for error in failures.errors.values():
        if not isinstance(error, TickerBugError):
            raise error
        log.warning("%s", error)
        bugs.append(BugError(str(error)))


def work_without_failing(
    tickers: Sequence[str], work: Callable[[list[str]], T]
) -> tuple[T, dict[str, TickerBugError]]:
    """Run a job on all tickers; after an unexpected exception, on those that raise none alone.

    Returns:
        The result, and the errors of the tickers that were left out.

    Raises:
        BugError: each ticker raises the same one at the same line, or they do only together.
        TickerBugError: no ticker is left.
    """
    together, alone = Failures(), Failures()
    with together.of("all tickers"):
        return work([*tickers]), {}
    error = together.errors["all tickers"]
    if not isinstance(error, TickerBugError):
        raise error
    for ticker in tickers:
        with alone.of(ticker):
            work([ticker])
    rest = [ticker for ticker in tickers if ticker not in alone.bugs]
    if len(rest) == len(tickers):
        raise BugError(str(error)) from error
    if not rest:
        raise alone.common_bug(len(tickers)) or next(iter(alone.bugs.values()))
    return work(rest), alone.bugs


def _bug_of(ticker: str, error: Exception) -> TickerBugError:
    """Log an unexpected exception with its traceback, and build the ticker's error from it."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{type(error).__name__} in {Path(where.filename).name}, line {where.lineno}"
    text = ascii(str(error))[1:-1][:100]
    found = TickerBugError(f"{ticker}: a bug: {place}: {text}", place)
    log.error("%s", found, exc_info=error)
    found.__cause__ = error
    return found


NAMED_AT_MOST = 5  # tickers in one sentence


def name_some(names: Sequence[str]) -> str:
    """Join the first few names and count the rest, for one line of text."""
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def no_home(home: Path) -> str:
    """Return the message that a home does not exist, or is a file."""
    if home.exists():
        return f"home {home}: is a file; a folder is needed. Name one with --home."
    return f"home {home}: there is no such folder. Run: mkdir -p {home}, or name another --home."
