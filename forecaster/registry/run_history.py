"""What the nights did: each session's work with its outcome, each training run with its end.

Rows in one database; knows nothing of what a night does.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

from forecaster.errors import ExitCode
from forecaster.registry.registry_file import (
    changing,
    check_name,
    day_of,
    day_text,
    document,
    instant,
    moment,
    reading,
)

RunState = Literal["running", "done", "failed", "stopped"]

_NIGHTS = """
    SELECT name, night, started_at, finished_at, outcome, exit_code, summary
    FROM nights WHERE ?1 IS NULL OR name = ?1 ORDER BY night, name
"""
_AMEND = """
    UPDATE nights SET exit_code = ?, summary = ?
    WHERE name = ? AND night = ? AND finished_at IS NOT NULL
"""
_RUNS = """
    SELECT id, name, night, kind, started_at, ended_at, state, reason, version, updates
    FROM runs WHERE ?1 IS NULL OR name = ?1 ORDER BY id
"""
_BEGIN = "INSERT INTO nights VALUES (?, ?, ?, NULL, NULL, NULL, '{}') ON CONFLICT DO NOTHING"
_FINISH = """
    UPDATE nights SET finished_at = ?, outcome = ?, exit_code = ?, summary = ?
    WHERE name = ? AND night = ? AND finished_at IS NULL
"""
_FORGOTTEN = """
    UPDATE runs SET state = 'stopped', ended_at = ?, reason = 'ended without a word: killed, or '
    || 'the machine went down' WHERE name = ? AND state = 'running'
"""
_RUN_BEGINS = """
    INSERT INTO runs (name, night, kind, started_at, state, reason)
    VALUES (?, ?, ?, ?, 'running', '')
"""
_RUN_ENDS = """
    UPDATE runs SET ended_at = ?, state = ?, reason = ?, version = ?, updates = ?
    WHERE id = ? AND state = 'running'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """The work of one session's evening for one model name; unfinished where it has no end."""

    name: str
    night: date
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    exit_code: int | None
    summary: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training: when, how it ended and why, what came of it."""

    id: int
    name: str
    night: date | None
    kind: str
    started_at: datetime
    ended_at: datetime | None
    state: RunState
    reason: str
    version: str | None
    updates: int | None


def begin_session(home: Path, name: str, night: date) -> None:
    """Store that a night's work was taken up; one that was before keeps its beginning."""
    check_name(name)
    with changing(home) as connection:
        connection.execute(_BEGIN, (name, night.isoformat(), instant()))


def finish_session(
    home: Path,
    name: str,
    night: date,
    *,
    outcome: str,
    exit_code: int = ExitCode.OK,
    summary: Mapping[str, Any] | None = None,
) -> None:
    """Store how a night that was begun ended; a finished one stays as it is."""
    with changing(home) as connection:
        told = (instant(), outcome, exit_code, document(summary))
        connection.execute(_FINISH, (*told, check_name(name), night.isoformat()))


def amend_session(
    home: Path, name: str, night: date, *, exit_code: int, summary: Mapping[str, Any]
) -> None:
    """Store what was made up for in a finished night; one that is not finished stays as it is."""
    with changing(home) as connection:
        row = (exit_code, document(summary), check_name(name), night.isoformat())
        connection.execute(_AMEND, row)


def nights(home: Path, name: str | None = None) -> list[SessionRecord]:
    """List the nights of one model name, or of all, oldest first.

    Raises:
        SettingsError: the registry was made by another version of forecaster.
        StorageError: it is damaged.
    """
    with reading(home) as connection:
        rows = connection.execute(_NIGHTS, (name,)).fetchall() if connection else []
    return [_night(row) for row in rows]


def last_night(home: Path, name: str | None = None) -> SessionRecord | None:
    """Tell the newest finished night; None where there is none."""
    finished = [night for night in nights(home, name) if night.finished_at]
    return finished[-1] if finished else None


def begin_run(home: Path, name: str, kind: str, night: date | None = None) -> int:
    """Store that a training begins; return its number.

    One of the same name that never told its end is stopped: there is one at a time.
    """
    check_name(name)
    with changing(home) as connection:
        connection.execute(_FORGOTTEN, (instant(), name))
        row = (name, day_text(night), kind, instant())
        return connection.execute(_RUN_BEGINS, row).lastrowid or 0


def finish_run(
    home: Path,
    number: int,
    *,
    state: Literal["done", "failed", "stopped"],
    reason: str = "",
    version: str | None = None,
    updates: int | None = None,
) -> None:
    """Store how a training ended; one that has ended stays as it is."""
    with changing(home) as connection:
        connection.execute(_RUN_ENDS, (instant(), state, reason, version, updates, number))


def runs(home: Path, name: str | None = None) -> list[Run]:
    """List the trainings of one model name, or of all, oldest first.

    Raises:
        SettingsError: the registry was made by another version of forecaster.
        StorageError: it is damaged.
    """
    with reading(home) as connection:
        rows = connection.execute(_RUNS, (name,)).fetchall() if connection else []
    return [_run(row) for row in rows]


def _night(row: sqlite3.Row) -> SessionRecord:
    name, night, started_at, finished_at, outcome, exit_code, summary = row
    return SessionRecord(
        name=name,
        night=date.fromisoformat(night),
        started_at=datetime.fromisoformat(started_at),
        finished_at=moment(finished_at),
        outcome=outcome,
        exit_code=exit_code,
        summary=json.loads(summary),
    )


def _run(row: sqlite3.Row) -> Run:
    number, name, night, kind, started_at, ended_at, state, reason, version, updates = row
    return Run(
        id=number,
        name=name,
        night=day_of(night),
        kind=kind,
        started_at=datetime.fromisoformat(started_at),
        ended_at=moment(ended_at),
        state=state,
        reason=reason,
        version=version,
        updates=updates,
    )
