"""The error tree: every failure that a user can act on, with the exit code it ends in.

A message names subject, found, needed and remedy, in one line. Anything that is not a
`ForecasterError` is a bug and exits 1.
"""

from collections.abc import Sequence


class ForecasterError(Exception):
    """A failure with a remedy; never raised itself."""

    exit_code = 1


class UsageError(ForecasterError):
    """Options that contradict each other, a malformed ticker, an absent device."""

    exit_code = 2


class PartialFailure(ForecasterError):
    """The work is done, but some tickers failed."""

    exit_code = 3


class TrainingFailedError(ForecasterError):
    """Training could not be finished: it diverged, or found no memory."""

    exit_code = 5


class OutOfMemoryError(TrainingFailedError):
    """Training asked for more memory than there is."""


class DivergedError(TrainingFailedError):
    """Training met a loss or gradient that is not finite.

    `rows` are the flat rows of the panel that the update had read, where one update's can be
    told; whoever knows tickers and dates puts them into the message.
    """

    exit_code = 5

    def __init__(self, message: str, rows: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.rows = rows


class LeakError(ForecasterError):
    """The audit found a value that the future touches, or nothing to compare."""

    exit_code = 5


class TooOldError(ForecasterError):
    """The last good night, or the model, is older than it may be."""

    exit_code = 5


class DataError(ForecasterError):
    """Prices that cannot be trusted or are too few."""

    exit_code = 65


class ArtifactError(ForecasterError):
    """A trained version that is damaged or was made by another schema."""

    exit_code = 65


class UnknownNameError(ForecasterError):
    """No such ticker or version."""

    exit_code = 66


class SourceDownError(ForecasterError):
    """The source of prices cannot be reached or answers nonsense."""

    exit_code = 69


class CannotWriteError(ForecasterError):
    """The home is missing or read-only."""

    exit_code = 73


class StorageError(ForecasterError):
    """Reading or writing failed on the way: disk full, damaged file."""

    exit_code = 74


class TryLaterError(ForecasterError):
    """Rate limit or lock: the same command may succeed later."""

    exit_code = 75


class SettingsError(ForecasterError):
    """A setting from a file or the environment that is not valid."""

    exit_code = 78


NAMED_AT_MOST = 5  # tickers in one sentence


def name_some(names: Sequence[str]) -> str:
    """Join a few names and count the rest, for one line of text."""
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
