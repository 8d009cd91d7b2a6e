"""The command of `--on-failure`: run without a shell, with exit code and reason of the run."""

import logging
import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from forecaster.errors import ExitCode, ForecasterError, SettingsError

log = logging.getLogger(__name__)

EXIT: Final = "FORECASTER_EXIT"
REASON: Final = "FORECASTER_REASON"
TIMEOUT_SECONDS: Final = 120.0


@dataclass(slots=True)
class OnFailure:
    """The command to run after a failure; empty for none. The settings may replace it."""

    command: str

    def run(self, code: int, reason: str) -> bool:
        """Run the command with the exit code and the reason in its environment; wait for it.

        Args:
            code: exit code of the run, FORECASTER_EXIT to the command.
            reason: one line, FORECASTER_REASON to the command.

        Returns:
            Whether it ran and ended with 0. If the command fails, a warning is logged.
        """
        words = _split(self.command)
        if not words:
            return False
        environment = {**os.environ, EXIT: str(code), REASON: reason.replace("\0", "")}
        try:
            # Its output is dropped: stdout carries the result of the run and nothing else.
            done = subprocess.run(
                words,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            log.warning("--on-failure %s: %s", self.command, error)
            return False
        if done.returncode:
            log.warning("--on-failure %s: ended with %d", self.command, done.returncode)
        return done.returncode == 0


@contextmanager
def on_failure(command: str) -> Iterator[OnFailure]:
    """Run a command after any error that leaves the `with` block, bugs included.

    Raises:
        SettingsError: a quote in the command is not closed; raised before the block.
    """
    _split(command)
    handler = OnFailure(command)
    try:
        yield handler
    except ForecasterError as error:
        handler.run(error.exit_code, str(error))
        raise
    except BrokenPipeError:
        raise
    except OSError as error:
        is_denied = isinstance(error, PermissionError)
        handler.run(ExitCode.CANNOT_WRITE if is_denied else ExitCode.IO_ERROR, str(error))
        raise
    except Exception as error:
        handler.run(ExitCode.BUG, f"a bug: {type(error).__name__}: {error}")
        raise


def _split(command: str) -> list[str]:
    """Split a command into words as a shell would.

    Raises:
        SettingsError: a quote is not closed.
    """
    try:
        return shlex.split(command)
    except ValueError as error:
        raise SettingsError(
            f"--on-failure {command!r}: {error}; close the quote, or name a script."
        ) from error
