"""The number of test-set evaluations: how often which test days were evaluated.

Of twenty versions tried on the same days one looks better at 5 % by chance. Every evaluation
counts; another version, or another way to walk forward, is another question.
"""

import json
import logging
import os
import sqlite3
from datetime import date
from pathlib import Path
from typing import Final

from forecaster.errors import ForecasterError
from forecaster.evaluation.evaluation import EvaluationCount
from forecaster.registry.registry_file import changing

log = logging.getLogger(__name__)

# Where 0.1.0 counted evaluations; taken over once, then renamed.
OLD_FILE, OLD_SCHEMA, TAKEN_OVER = "looks.json", "forecaster.looks/1", ".taken-over"
_RENAMED: Final = {" fit_days=": " train_days=", " twins=": " same_inputs="}

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


def count_evaluation(home: Path, question: str, first: date, last: date) -> EvaluationCount:
    """Count one more evaluation of the days from `first` to `last`, and all that overlap them.

    Args:
        home: the workspace; if it can't be written, a warning is logged and nothing counted.
        question: what was evaluated: a version and how it walked forward.
        first: first test day.
        last: last test day.
    """
    old = home / "models" / OLD_FILE
    days = (first.isoformat(), last.isoformat())
    try:
        with changing(home) as connection:
            is_taken_over = _take_over(connection, old)
            (count,) = connection.execute(_COUNT, (question, *days)).fetchone()
            total, questions = connection.execute(_OVERLAPPING, days).fetchone()
        if is_taken_over:
            os.replace(old, old.with_name(f"{OLD_FILE}{TAKEN_OVER}"))
    except (ForecasterError, OSError, ValueError, TypeError, LookupError) as error:
        log.warning("test-set evaluations cannot be counted: %s", error)
        return EvaluationCount(same=None, total=None, questions=None)
    return EvaluationCount(same=count, total=total, questions=questions)


def _take_over(connection: sqlite3.Connection, old: Path) -> bool:
    """Insert the counts of 0.1.0, if there are any; rows that are there were taken over before."""
    if not old.exists():
        return False
    content = json.loads(old.read_text())
    if content.get("schema") != OLD_SCHEMA:
        raise ValueError(f"{old}: its schema is {content.get('schema')!r}, not {OLD_SCHEMA!r}")
    for one in content["looks"]:
        question = one["question"]
        for before, now in _RENAMED.items():
            question = question.replace(before, now)
        connection.execute(
            "INSERT OR IGNORE INTO test_set_evaluations VALUES (?, ?, ?, ?)",
            (question, one["first"], one["last"], one["count"]),
        )
    return True
