"""The command of `--on-failure`: told how a run ended, run without a shell."""

import logging
import os
import shlex
import subprocess
from typing import Final

from forecaster.errors import SettingsError

log = logging.getLogger(__name__)

EXIT: Final = "FORECASTER_EXIT"
REASON: Final = "FORECASTER_REASON"
LONGEST_SECONDS: Final = 120.0


def words_of(command: str) -> list[str]:
    """Split a command into words as a shell would; no word where there is no command.

    Raises:
        SettingsError: a quote is not closed.
    """
    try:
        return shlex.split(command)
    except ValueError as error:
        raise SettingsError(
            f"--on-failure {command!r}: {error}; close the quote, or name a script."
        ) from error


def tell_failure(command: str, code: int, reason: str) -> bool:
    """Run the command with the exit code and the reason in its environment; wait for it.

    Args:
        command: words as for a shell, but no shell runs them; empty for none.
        code: exit code of the run, FORECASTER_EXIT to the command.
        reason: one line, FORECASTER_REASON to the command.

    Returns:
        Whether it ran and ended with 0. A command that fails is warned of and changes nothing.
    """
    words = words_of(command)
    if not words:
        return False
    told = {**os.environ, EXIT: str(code), REASON: reason.replace("\0", "")}
    try:
        # Its output is none of ours: stdout carries the result of the run and nothing else.
        done = subprocess.run(
            words,
            env=told,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=LONGEST_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("--on-failure %s: %s", command, error)
        return False
    if done.returncode:
        log.warning("--on-failure %s: ended with %d", command, done.returncode)
    return done.returncode == 0
