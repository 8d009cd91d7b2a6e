"""The traces of an unattended run: log as lines of JSON, heartbeat, commands after it."""

import logging
import logging.handlers
import os
import shlex
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final

from forecaster import clock
from forecaster.errors import ExitCode, ForecasterError, SettingsError
from forecaster.files import atomic_file, make_private, to_json

log = logging.getLogger(__name__)

HEARTBEAT: Final = "heartbeat"
FORECASTS: Final = "forecasts.json"
ON_FORECAST_FAILED: Final = "on-forecast-failed"
TIMEOUT_SECONDS: Final = 60.0  # of the command after a failure, or after a forecast


def log_path(home: Path) -> Path:
    """Return the path of a home's log."""
    return home / "logs" / "forecaster.log"


class RunLog(logging.handlers.RotatingFileHandler):
    """A handler that writes notices and events as lines of JSON, never through a link.

    The file is opened for every line, so that it may be moved away at any time.
    """

    def __init__(self, home: Path, max_bytes: int = 1_000_000, backups: int = 5) -> None:
        super().__init__(log_path(home), maxBytes=max_bytes, backupCount=backups, delay=True)
        self.setLevel(logging.INFO)
        self._has_failed = False

    def write(self, event: str, **facts: Any) -> None:
        """Write one event with its facts; `at` is the time in UTC."""
        record = logging.LogRecord("forecaster", logging.INFO, "", 0, event, None, None)
        record.facts = facts
        self.handle(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line of JSON."""
        facts, event = getattr(record, "facts", None), record.getMessage()
        if facts is None:
            facts = {"level": record.levelname.lower(), "text": event}
            event = "notice"
            if record.exc_info:
                facts["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return to_json({"at": clock.now().isoformat(timespec="seconds"), "event": event, **facts})

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record to the file as it is now, and close it again."""
        super().emit(record)
        if self.stream:
            with suppress(OSError):  # reported by handleError
                self.stream.close()
            self.stream = None

    def handleError(self, record: logging.LogRecord) -> None:
        """Warn once that the log cannot be written; the run goes on."""
        if not self._has_failed:
            self._has_failed = True  # before the warning, which comes here, too
            error = sys.exc_info()[1]
            reason = getattr(error, "strerror", None) or error
            log.warning("%s: %s; this run leaves no log", self.baseFilename, reason)

    def _open(self) -> TextIOWrapper:
        path = Path(self.baseFilename)
        make_private(path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
        return os.fdopen(os.open(path, flags, 0o600), "a", encoding="utf-8")


@contextmanager
def run_log(home: Path) -> Iterator[RunLog]:
    """Send all notices of the package to the home's log, too, inside a `with` block."""
    handler, logger = RunLog(home), logging.getLogger("forecaster")
    level = logger.level
    screens = [(one, one.level) for one in logger.handlers]
    for one, _ in screens:  # the log gets what the screen does not show
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


@contextmanager
def bug_log(home: Path) -> Iterator[None]:
    """Write the tracebacks of bugs to the home's log inside a `with` block; reentrant."""
    logger = logging.getLogger("forecaster")
    if any(isinstance(one, RunLog) for one in logger.handlers):
        yield
        return
    handler = RunLog(home)
    handler.setLevel(logging.ERROR)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def write_heartbeat(home: Path) -> None:
    """Record that a run ended well, whether or not anything was due."""
    path = log_path(home).with_name(HEARTBEAT)
    try:
        make_private(path.parent)
        with atomic_file(path) as file:
            file.write(f"{clock.now().isoformat(timespec='seconds')}\n".encode())
    except OSError as error:
        log.warning("%s: %s; status will report the last run as too old", path, error.strerror)


def read_heartbeat(home: Path) -> datetime | None:
    """Return when a run last ended well; None if none ever did."""
    try:
        found = datetime.fromisoformat(log_path(home).with_name(HEARTBEAT).read_text().strip())
    except (OSError, ValueError):
        return None
    return found if found.tzinfo else None


@dataclass(slots=True)
class OnFailure:
    """The command to run after a failure; empty for none. The settings may replace it."""

    command: str

    def run(self, code: int, reason: str) -> bool:
        """Run the command without a shell; return whether it ended with 0, else log a warning.

        Exit code and reason of the run are FORECASTER_EXIT and FORECASTER_REASON to the command.
        """
        if not self.command:
            return False
        facts = {"FORECASTER_EXIT": str(code), "FORECASTER_REASON": reason.replace("\0", "")}
        return not _problem_of("--on-failure", _split(self.command), facts)


def check_command(option: str, command: str) -> None:
    """Refuse, before any work, a command with an open quote."""
    _split(command, option)


def run_on_forecast(command: str, home: Path, made: object) -> None:
    """Pass forecasts to a command as a JSON file, its last argument, without a shell.

    The file, `logs/forecasts.json`, stays. Whatever goes wrong is a warning, which `status` shows
    until the command next ends well.
    """
    file, failed = (log_path(home).with_name(name) for name in (FORECASTS, ON_FORECAST_FAILED))
    try:
        make_private(file.parent)
        with atomic_file(file) as stream:
            stream.write(to_json(made, indent=2).encode())
        words = [*_split(command, "--on-forecast"), str(file)]
        problem = _problem_of("--on-forecast", words, {"FORECASTER_HOME": str(home)})
        if not problem:
            failed.unlink(missing_ok=True)
            return
        with atomic_file(failed) as stream:
            stream.write(f"{clock.now():%Y-%m-%d %H:%M} UTC: {problem}\n".encode())
    except OSError as error:
        log.warning("--on-forecast %s: %s", command, error)


def read_on_forecast_failure(home: Path) -> str:
    """Return when and why the command after a forecast last failed; empty if it ended well."""
    try:
        return log_path(home).with_name(ON_FORECAST_FAILED).read_text().strip()
    except (OSError, ValueError):
        return ""


def _problem_of(option: str, words: list[str], facts: dict[str, str]) -> str:
    """Run a command without a shell; return what went wrong, after a warning, else nothing."""
    problem = ""
    try:
        # Its output is dropped: stdout carries the result of the run and nothing else.
        with subprocess.Popen(
            words,
            env={**os.environ, **facts},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        ) as child:
            try:
                code = child.wait(TIMEOUT_SECONDS)
                problem = f"ended with {code}" if code else ""
            except subprocess.TimeoutExpired:
                problem = f"did not end in {TIMEOUT_SECONDS:.0f} s and was killed"
            finally:
                if child.poll() is None:  # with everything that it has started
                    os.killpg(child.pid, signal.SIGKILL)
    except OSError as error:
        problem = str(error)
    if problem:
        log.warning("%s %s: %s", option, shlex.join(words), problem)
    return problem


@contextmanager
def on_failure(command: str) -> Iterator[OnFailure]:
    """Run a command after any error that leaves the `with` block, bugs included."""
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


def _split(command: str, option: str = "--on-failure") -> list[str]:
    """Split a command into words as a shell would; refuse an open quote."""
    try:
        return shlex.split(command)
    except ValueError as error:
        raise SettingsError(
            f"{option} {command!r}: {error}; close the quote, or name a script."
        ) from error
