"""The run history: the daily run of each session with its outcome, and every scheduled training.

Rows of one database; knows nothing of what a daily run does.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

from forecaster.database import to_json
from forecaster.registry.registry_file import (
    changing,
    check_name,
    day_text,
    now_text,
    parse_day,
    parse_time,
    reading,
)

TrainingState = Literal["running", "done", "failed", "stopped"]

_SESSIONS = """
    SELECT name, session, started_at, finished_at, outcome, exit_code, summary
    FROM daily_runs WHERE ?1 IS NULL OR name = ?1 ORDER BY session, name
"""
_BEGIN = "INSERT INTO daily_runs VALUES (?, ?, ?, NULL, NULL, NULL, '{}') ON CONFLICT DO NOTHING"
_FINISH = """
    UPDATE daily_runs SET finished_at = ?, outcome = ?, exit_code = ?, summary = ?
    WHERE name = ? AND session = ? AND finished_at IS NULL
"""
_AMEND = """
    UPDATE daily_runs SET exit_code = ?, summary = ?
    WHERE name = ? AND session = ? AND finished_at IS NOT NULL
"""
_TRAININGS = """
    SELECT id, name, session, kind, started_at, ended_at, state, reason, version, steps
    FROM trainings WHERE ?1 IS NULL OR name = ?1 ORDER BY id
"""
_INTERRUPTED = """
    UPDATE trainings SET state = 'stopped', ended_at = ?, reason = 'killed, or the machine went '
    || 'down' WHERE name = ? AND state = 'running'
"""
_TRAINING_BEGINS = """
    INSERT INTO trainings (name, session, kind, started_at, state, reason)
    VALUES (?, ?, ?, ?, 'running', '')
"""
_TRAINING_ENDS = """
    UPDATE trainings SET ended_at = ?, state = ?, reason = ?
    WHERE id = ? AND state = 'running'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """The daily run of one session for one model name; unfinished if `finished_at` is None."""

    name: str
    session: date
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    exit_code: int | None
    summary: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One scheduled training: when it ran, how and why it ended, and the version it made."""

    id: int
    name: str
    session: date | None
    kind: str
    started_at: datetime
    ended_at: datetime | None
    state: TrainingState
    reason: str
    version: str | None
    steps: int | None


def begin_session(home: Path, name: str, session: date) -> None:
    """Record that the daily run of a session has started; one that had keeps its start."""
    check_name(name)
    with changing(home) as connection:
        connection.execute(_BEGIN, (name, session.isoformat(), now_text()))


def finish_session(
    home: Path,
    name: str,
    session: date,
    *,
    outcome: str,
    exit_code: int = 0,
    summary: Mapping[str, Any] | None = None,
) -> None:
    """Record how a started daily run ended; a finished one stays as it is."""
    with changing(home) as connection:
        end = (now_text(), outcome, exit_code, to_json(summary or {}, sort_keys=True))
        connection.execute(_FINISH, (*end, check_name(name), session.isoformat()))


def amend_session(
    home: Path, name: str, session: date, *, exit_code: int, summary: Mapping[str, Any]
) -> None:
    """Replace the summary of a finished daily run, after late bars."""
    with changing(home) as connection:
        row = (exit_code, to_json(summary, sort_keys=True), check_name(name), session.isoformat())
        connection.execute(_AMEND, row)


def session_records(home: Path, name: str | None = None) -> list[SessionRecord]:
    """List the daily runs of one model name or of all, oldest session first.

    Raises:
        SettingsError: the registry was made by another version of forecaster.
        StorageError: the registry is corrupt.
    """
    with reading(home) as connection:
        rows = connection.execute(_SESSIONS, (name,)).fetchall() if connection else []
    return [_session_record(row) for row in rows]


def begin_training(home: Path, name: str, kind: str, session: date | None = None) -> int:
    """Record that a training has started and return its number.

    One of the same name that is still running was interrupted: only one runs at a time.
    """
    check_name(name)
    with changing(home) as connection:
        connection.execute(_INTERRUPTED, (now_text(), name))
        row = (name, day_text(session), kind, now_text())
        return connection.execute(_TRAINING_BEGINS, row).lastrowid or 0


def finish_training(
    home: Path, number: int, *, state: Literal["done", "failed", "stopped"], reason: str = ""
) -> None:
    """Record how a training ended; one that has ended stays as it is."""
    with changing(home) as connection:
        connection.execute(_TRAINING_ENDS, (now_text(), state, reason, number))


def trainings(home: Path, name: str | None = None) -> list[Training]:
    """List the scheduled trainings of one model name or of all, oldest first.

    Raises:
        SettingsError: the registry was made by another version of forecaster.
        StorageError: the registry is corrupt.
    """
    with reading(home) as connection:
        rows = connection.execute(_TRAININGS, (name,)).fetchall() if connection else []
    return [_training(row) for row in rows]


def _session_record(row: sqlite3.Row) -> SessionRecord:
    name, session, started_at, finished_at, outcome, exit_code, summary = row
    return SessionRecord(
        name=name,
        session=date.fromisoformat(session),
        started_at=datetime.fromisoformat(started_at),
        finished_at=parse_time(finished_at),
        outcome=outcome,
        exit_code=exit_code,
        summary=json.loads(summary),
    )


def _training(row: sqlite3.Row) -> Training:
    number, name, session, kind, started_at, ended_at, state, reason, version, steps = row
    return Training(
        id=number,
        name=name,
        session=parse_day(session),
        kind=kind,
        started_at=datetime.fromisoformat(started_at),
        ended_at=parse_time(ended_at),
        state=state,
        reason=reason,
        version=version,
        steps=steps,
    )
