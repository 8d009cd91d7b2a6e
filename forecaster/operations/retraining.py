"""Scheduled training: when one is due, and the decision on its challenger."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, Literal

from forecaster.errors import (
    CannotWriteError,
    ExitCode,
    ForecasterError,
    StorageError,
    TryLaterError,
)
from forecaster.operations.challenger import train_challenger
from forecaster.operations.due_sessions import session_dates
from forecaster.operations.promotion import run_promotion_test
from forecaster.registry.champion_history import champion_status, decisions
from forecaster.registry.promotion import fail, keep, postpone, promote
from forecaster.registry.run_history import trainings
from forecaster.registry.versions import read_manifest
from forecaster.settings import Settings

log = logging.getLogger(__name__)

DRIFT_FACTOR: Final = 3  # drift trains after a third of the sessions between two trainings
# Errors that leave the session's run unfinished: the next run repeats it.
_UNFINISHED: Final = (CannotWriteError, StorageError, TryLaterError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The decision on a challenger; `version` is None if its training failed.

    `exit_code` is 0 for promoted and kept, 4 if the promotion test could not be made, and that of
    the error for a failure.
    """

    outcome: Literal["promoted", "kept", "unable", "failed"]
    version: str | None
    reason: str
    exit_code: int = ExitCode.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingDay:
    """A session at whose end may be trained: model name, tickers and calendars."""

    home: Path
    name: str
    day: date
    tickers: tuple[str, ...]
    calendars: Collection[str]


def training_due(training: TrainingDay, every: int, drift: Sequence[str]) -> str | None:
    """Return why a training is due; None if none is.

    Never trained; `every` sessions since the last training; or drift, and a third of them.
    """
    done = [one.session for one in trainings(training.home, training.name) if one.state == "done"]
    last = max((session for session in done if session is not None), default=None)
    if last is None:
        return "never trained"
    passed = len(session_dates(training.calendars, last, training.day))
    if passed >= every:
        return f"{passed} sessions since the last training, as of {last}"
    if drift and DRIFT_FACTOR * passed >= every:
        return f"drift: {drift[0]}"
    return None


def untested_challenger(training: TrainingDay, *, record: bool = True) -> str | None:
    """Find a challenger that has not been tested and was trained by this day.

    Args:
        training: model name and day.
        record: whether a corrupt challenger is recorded as failed.
    """
    home, name = training.home, training.name
    challenger = champion_status(home, name).challenger
    if challenger is None or any(one.challenger == challenger for one in decisions(home, name)):
        return None
    try:
        last = read_manifest(home, challenger).data.blocks.last
    except ForecasterError as error:
        log.warning("challenger %s", error)
        if record:
            fail(home, name, version=challenger, session=training.day, reason=str(error))
        return None
    return challenger if last <= training.day else None


def train_and_decide(training: TrainingDay, settings: Settings) -> Decided:
    """Train a challenger and decide on it; after a failure the champion stays.

    Raises:
        CannotWriteError, StorageError, TryLaterError: the disk failed or another process writes;
            the session's run is unfinished.
    """
    try:
        version = train_challenger(
            training.home, training.name, settings, training.tickers, training.day
        )
    except _UNFINISHED:
        raise
    except ForecasterError as error:
        log.warning("training failed, the champion stays: %s", error)
        return Decided(outcome="failed", version=None, reason=str(error), exit_code=error.exit_code)
    return decide(training, version)


def decide(training: TrainingDay, version: str) -> Decided:
    """Make the promotion test of a challenger and store the decision with its numbers.

    Raises:
        CannotWriteError, StorageError, TryLaterError: as `train_and_decide`.
    """
    home, name, session = training.home, training.name, training.day
    try:
        found = run_promotion_test(home, name, version, session)
    except _UNFINISHED:
        raise
    except ForecasterError as error:
        log.warning("%s cannot be tested, the champion stays: %s", version, error)
        fail(home, name, version=version, session=session, reason=str(error))
        return Decided(
            outcome="failed", version=version, reason=str(error), exit_code=error.exit_code
        )
    reason, evidence = found.reason, found.evidence
    if found.promoted:
        promote(home, name, version, reason=reason, session=session, evidence=evidence)
        return Decided(outcome="promoted", version=version, reason=reason)
    if found.able:
        keep(home, name, version, reason=reason, session=session, evidence=evidence)
        return Decided(outcome="kept", version=version, reason=reason)
    postpone(home, name, version, reason=reason, session=session, evidence=evidence)
    return Decided(outcome="unable", version=version, reason=reason, exit_code=ExitCode.NO_DECISION)
