"""The command of `--on-failure`: told how a run ended, run without a shell."""

import json
import logging
import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from forecaster import clock
from forecaster.errors import SettingsError

log = logging.getLogger(__name__)

MOST_BYTES: Final = 1_000_000  # of one file
KEPT: Final = 5  # older files: forecaster.log.1 is the newest of them
HEARTBEAT: Final = "heartbeat"


def log_path(home: Path) -> Path:
    """Return where the log of a home lies."""
    return home / "logs" / "forecaster.log"


class RunLog(logging.Handler):
    """Write notices and events as lines of JSON.

    The file is opened anew for every line, so that it may be moved away at any time.
    """

    def __init__(self, home: Path, most_bytes: int = MOST_BYTES, kept: int = KEPT) -> None:
        super().__init__(logging.INFO)
        self.path = log_path(home)
        self._most_bytes, self._kept, self._has_failed = most_bytes, kept, False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a notice of the package."""
        self.write("notice", level=record.levelname.lower(), text=record.getMessage())

    def write(self, event: str, **facts: Any) -> None:
        """Write one event: `at` (UTC), `event`, then its facts; dates as ISO text."""
        content = {"at": clock.now().isoformat(timespec="seconds"), "event": event, **facts}
        line = json.dumps(content, default=_text, ensure_ascii=True)
        try:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            self._rotate(len(line))
            _append(self.path, line + "\n")
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True  # first: this warning comes here, too
                log.warning("%s: %s; this night leaves no log", self.path, error.strerror)

    def _rotate(self, more: int) -> None:
        """Move the file aside where it would grow too long, and the older ones on."""
        if not self.path.exists() or self.path.stat().st_size + more < self._most_bytes:
            return
        for number in range(self._kept - 1, 0, -1):
            older = self._older(number)
            if older.exists():
                os.replace(older, self._older(number + 1))
        os.replace(self.path, self._older(1))

    def _older(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


@contextmanager
def run_log(home: Path) -> Iterator[RunLog]:
    """Send all notices of the package to the home's log, too, while the block runs."""
    handler, logger = RunLog(home), logging.getLogger("forecaster")
    level = logger.level
    screens = [(one, one.level) for one in logger.handlers]
    for one, _ in screens:  # what the screen does not show, the log still keeps
        one.setLevel(max(one.level, logger.getEffectiveLevel()))
    logger.addHandler(handler)
    logger.setLevel(min(logging.INFO, logger.getEffectiveLevel()))
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        for one, before in screens:
            one.setLevel(before)


def beat(home: Path) -> None:
    """Note that a run ended well, whether or not there was anything to do."""
    path = log_path(home).with_name(HEARTBEAT)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        beside = path.with_name(f"{HEARTBEAT}.{os.getpid()}")
        _append(beside, clock.now().isoformat(timespec="seconds") + "\n")
        os.replace(beside, path)
    except OSError as error:
        log.warning("%s: %s; status will find the night too old", path, error.strerror)


def last_beat(home: Path) -> datetime | None:
    """Tell when a run last ended well; None where none ever did."""
    try:
        found = datetime.fromisoformat(log_path(home).with_name(HEARTBEAT).read_text().strip())
    except (OSError, ValueError):
        return None
    return found if found.tzinfo else None


def _append(path: Path, text: str) -> None:
    """Append to a file of our own: never through a link, which may lead anywhere."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, 0o600), "a") as file:
        file.write(text)


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime | date) else str(value)


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
