"""The run history: daily runs with their outcomes, scheduled trainings, test-set evaluations.

Functions that read or write runs raise as `registry_file.reading` and `changing`.
"""

import json
import logging
import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

from forecaster.errors import ForecasterError
from forecaster.evaluation.splits import EvaluationCount
from forecaster.files import to_json
from forecaster.registry.registry_file import (
    RENAMED_IN_QUESTIONS,
    changing,
    check_name,
    now_text,
    reading,
    select,
)

log = logging.getLogger(__name__)

# Where 0.1.0 counted evaluations; taken over once, then renamed.
OLD_FILE, OLD_SCHEMA, TAKEN_OVER = "looks.json", "forecaster.looks/1", ".taken-over"

_SESSIONS = "SELECT * FROM daily_runs WHERE ?1 IS NULL OR name = ?1 ORDER BY session, name"
_BEGIN = "INSERT INTO daily_runs VALUES (?, ?, ?, NULL, NULL, NULL, '{}') ON CONFLICT DO NOTHING"
_FINISH = """
    UPDATE daily_runs SET finished_at = ?, outcome = ?, exit_code = ?, summary = ?
    WHERE name = ? AND session = ? AND finished_at IS NULL
"""
_AMEND = """
    UPDATE daily_runs SET exit_code = ?, summary = ?
    WHERE name = ? AND session = ? AND finished_at IS NOT NULL
"""
_TRAININGS = "SELECT * FROM trainings WHERE ?1 IS NULL OR name = ?1 ORDER BY id"
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
_COUNT = """
    INSERT INTO test_set_evaluations VALUES (?1, ?2, ?3, 1)
    ON CONFLICT (question, "first") DO UPDATE SET
        "last" = max("last", excluded."last"), evaluations = evaluations + 1
    RETURNING evaluations
"""
_OVERLAPPING = """
    SELECT sum(evaluations), count(DISTINCT question) FROM test_set_evaluations
    WHERE "first" <= ?2 AND "last" >= ?1
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
    state: Literal["running", "done", "failed", "stopped"]
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
    """List the daily runs of one model name or of all, oldest session first."""
    with reading(home) as connection:
        return select(connection, SessionRecord, _SESSIONS, name)


def begin_training(home: Path, name: str, kind: str, session: date | None = None) -> int:
    """Record that a training has started and return its number.

    One of the same name that is still running was interrupted: only one runs at a time.
    """
    check_name(name)
    with changing(home) as connection:
        connection.execute(_INTERRUPTED, (now_text(), name))
        row = (name, session.isoformat() if session else None, kind, now_text())
        return connection.execute(_TRAINING_BEGINS, row).lastrowid or 0


def finish_training(
    home: Path, number: int, *, state: Literal["done", "failed", "stopped"], reason: str = ""
) -> None:
    """Record how a training ended; one that has ended stays as it is."""
    with changing(home) as connection:
        connection.execute(_TRAINING_ENDS, (now_text(), state, reason, number))


def trainings(home: Path, name: str | None = None) -> list[Training]:
    """List the scheduled trainings of one model name or of all, oldest first."""
    with reading(home) as connection:
        return select(connection, Training, _TRAININGS, name)


def count_evaluation(home: Path, question: str, first: date, last: date) -> EvaluationCount:
    """Count one more evaluation of the test days from `first` to `last`, and all that overlap them.

    `question` is what was evaluated: a version and how it walked forward. If the count cannot be
    written, a warning is logged and nothing counted.
    """
    old = home / "models" / OLD_FILE
    days = (first.isoformat(), last.isoformat())
    try:
        with changing(home) as connection:
            is_taken_over = old.exists()
            if is_taken_over:
                _take_over(connection, old)
            (count,) = connection.execute(_COUNT, (question, *days)).fetchone()
            total, questions = connection.execute(_OVERLAPPING, days).fetchone()
        if is_taken_over:
            os.replace(old, old.with_name(f"{OLD_FILE}{TAKEN_OVER}"))
    except (ForecasterError, OSError, ValueError, TypeError, LookupError) as error:
        log.warning("test-set evaluations cannot be counted: %s", error)
        return EvaluationCount(same=None, total=None, questions=None)
    return EvaluationCount(same=count, total=total, questions=questions)


def _take_over(connection: sqlite3.Connection, old: Path) -> None:
    """Insert the counts of 0.1.0, renamed; rows that are there were taken over before."""
    content = json.loads(old.read_text())
    if content.get("schema") != OLD_SCHEMA:
        raise ValueError(f"{old}: its schema is {content.get('schema')!r}, not {OLD_SCHEMA!r}")
    for one in content["looks"]:
        question = one["question"]
        for before, now in RENAMED_IN_QUESTIONS.items():
            question = question.replace(before, now)
        row = (question, one["first"], one["last"], one["count"])
        connection.execute("INSERT OR IGNORE INTO test_set_evaluations VALUES (?, ?, ?, ?)", row)
