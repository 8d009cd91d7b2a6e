"""What a run would do, told without doing it: `forecaster retrain --dry-run`."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, Literal

from forecaster.data.exchanges import calendar_for
from forecaster.errors import (
    CannotWriteError,
    ExitCode,
    ForecasterError,
    StorageError,
    TryLaterError,
)
from forecaster.operations.challenger import train_challenger
from forecaster.operations.due_sessions import Due, StoreState, newest_final, session_dates
from forecaster.operations.promotion import judge
from forecaster.registry.champion import champion_of
from forecaster.registry.champion_history import champion_status, decisions
from forecaster.registry.promotion import fail, keep, postpone, promote
from forecaster.registry.run_history import trainings
from forecaster.registry.versions import read_manifest
from forecaster.settings import Settings

log = logging.getLogger(__name__)

SOONEST: Final = 3  # drift trains after a third of the sessions between two trainings
_Decided = Literal["promoted", "kept", "unable", "failed"]
# What no later night would mend by itself, or what leaves this night undone.
_STOPS: Final = (CannotWriteError, StorageError, TryLaterError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What became of a challenger; `version` is None where its training failed.

    `exit_code` is 0 for promoted and kept, 4 for one that could not be judged, and that of the
    error for one that failed.
    """

    outcome: _Decided
    version: str | None
    reason: str
    exit_code: ExitCode = ExitCode.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingDay:
    """The evening of a training: whose, as of which day, on which tickers and calendars."""

    home: Path
    name: str
    day: date
    tickers: tuple[str, ...]
    calendars: Collection[str]


def why_due(evening: TrainingDay, every: int, drift: Sequence[str]) -> str | None:
    """Say why a training is due; None where none is.

    Never trained; `every` sessions since the last training; or drift, and a third of them.
    """
    done = [one.session for one in trainings(evening.home, evening.name) if one.state == "done"]
    last = max((session for session in done if session is not None), default=None)
    if last is None:
        return "never trained"
    passed = len(session_dates(evening.calendars, last, evening.day))
    if passed >= every:
        return f"{passed} sessions since the last training, as of {last}"
    if drift and SOONEST * passed >= every:
        return f"drift: {drift[0]}"
    return None


def pending(evening: TrainingDay, *, decides: bool = True) -> str | None:
    """Name a challenger that nobody has judged and that had been trained by this evening.

    Args:
        evening: whose, and when.
        decides: whether one that is damaged is noted as failed.
    """
    challenger = champion_status(evening.home, evening.name).challenger
    if challenger is None:
        return None
    if any(one.challenger == challenger for one in decisions(evening.home, evening.name)):
        return None
    try:
        last = read_manifest(evening.home, challenger).data.blocks.last
    except ForecasterError as error:
        log.warning("challenger %s", error)
        if decides:
            fail(
                evening.home,
                evening.name,
                version=challenger,
                session=evening.day,
                reason=str(error),
            )
        return None
    return challenger if last <= evening.day else None


def train_and_judge(evening: TrainingDay, settings: Settings) -> Decided:
    """Train a challenger, and decide on it; a failure leaves the champion as it is.

    Raises:
        CannotWriteError, StorageError, TryLaterError: the disk failed or someone else writes; the
            night is not done.
    """
    try:
        version = train_challenger(
            evening.home,
            evening.name,
            settings.train,
            evening.tickers,
            evening.day,
            start=settings.retrain.start,
            checkpoint_every=settings.retrain.checkpoint_every,
        )
    except _STOPS:
        raise
    except ForecasterError as error:
        log.warning("training failed, the champion stays: %s", error)
        return Decided(outcome="failed", version=None, reason=str(error), exit_code=error.exit_code)
    return decide(evening, version)


def decide(evening: TrainingDay, version: str) -> Decided:
    """Judge a challenger and store what is decided, with its numbers.

    Raises:
        CannotWriteError, StorageError, TryLaterError: as `train_and_judge`.
    """
    home, name = evening.home, evening.name
    try:
        found = judge(home, name, version, evening.day)
    except _STOPS:
        raise
    except ForecasterError as error:
        log.warning("%s cannot be judged, the champion stays: %s", version, error)
        fail(home, name, version=version, session=evening.day, reason=str(error))
        return Decided(
            outcome="failed", version=version, reason=str(error), exit_code=error.exit_code
        )
    reason, session, evidence = found.reason, evening.day, found.evidence
    if found.promoted:
        promote(home, name, version, reason=reason, session=session, evidence=evidence)
        return Decided(outcome="promoted", version=version, reason=reason)
    if found.able:
        keep(home, name, version, reason=reason, session=session, evidence=evidence)
        return Decided(outcome="kept", version=version, reason=reason)
    postpone(home, name, version, reason=reason, session=session, evidence=evidence)
    return Decided(outcome="unable", version=version, reason=reason, exit_code=ExitCode.NO_DECISION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be done: the tickers to fetch, the nights, by whom, and why trained.

    `nights` are those whose bars are stored, `expected` those that a fetch should bring.
    """

    fetch: tuple[str, ...]
    sessions: tuple[date, ...]
    expected: tuple[date, ...]
    champion: str
    judge: str | None
    train: str | None


def plan_sessions(
    home: Path,
    name: str,
    settings: Settings,
    stored: StoreState,
    due: Due,
    *,
    asked: Sequence[str],
    fetches: Sequence[str] | None,
) -> Plan:
    """Tell what a run would do, as far as calendars and stored bars know.

    Args:
        home: the workspace.
        name: of the model.
        settings: of the run.
        stored: what there is of the tickers.
        due: the nights that stored bars allow.
        asked: tickers that were named, as they would be stored.
        fetches: the tickers that the source would be asked for, none for all; None for nothing.
    """
    new = sorted(set(asked) - set(stored.tickers))
    calendars = [*stored.calendars.values(), *map(calendar_for, new)]
    expected = () if fetches is None else _expected(calendars, due)
    sessions = (*due.sessions, *expected)
    choice = champion_of(home, name)
    judged, reason = None, None
    if sessions:
        evening = TrainingDay(
            home=home,
            name=name,
            day=sessions[-1],
            tickers=stored.tickers,
            calendars=tuple(calendars),
        )
        judged = pending(evening, decides=False)
        reason = why_due(evening, settings.retrain.every, ())
    return Plan(
        fetch=() if fetches is None else tuple(fetches) or stored.tickers,
        sessions=due.sessions,
        expected=expected,
        champion=choice.manifest.version if choice.manifest else "baseline",
        judge=judged,
        train=reason,
    )


def _expected(calendars: Sequence[str], due: Due) -> tuple[date, ...]:
    """List the final nights that no stored bar is of; where none was ever done, the newest."""
    newest = newest_final(calendars)
    if newest is None:
        return ()
    known = [*due.sessions, *([due.last] if due.last else [])]
    return tuple(session_dates(calendars, max(known), newest)) if known else (newest,)
