"""The exit codes and the error tree: every failure that a user can act on.

A message gives subject, found, needed and remedy, in one line. Anything that is not a
`ForecasterError` is a bug.
"""

from collections.abc import Sequence
from enum import IntEnum


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


class ForecasterError(Exception):
    """A failure with a remedy; never raised itself."""

    exit_code = ExitCode.BUG


class UsageError(ForecasterError):
    """Options that contradict each other, a malformed ticker, an absent device."""

    exit_code = ExitCode.USAGE


class Question(UsageError):
    """What only the user knows; `option` with one of `choices` answers it."""

    def __init__(self, message: str, option: str, choices: Sequence[str]) -> None:
        super().__init__(message)
        self.option, self.choices = option, tuple(choices)


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


NAMED_AT_MOST = 5  # tickers in one sentence


def name_some(names: Sequence[str]) -> str:
    """Join the first few names and count the rest, for one line of text."""
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
