"""How often anyone has looked at report days: kept beside the versions, and told with each verdict.

Whoever tries twenty versions on the same days sees one that is better at 5 % by chance. Every
evaluation is one look; another version, or another way to walk, is another question asked.
"""

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from uuid import uuid4

from forecaster.evaluation.evaluation import EvaluationCount

log = logging.getLogger(__name__)

SCHEMA = "forecaster.looks/1"
FILE, LOCK = "looks.json", ".looks.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    question: str
    first: str
    last: str
    count: int


def count_evaluation(home: Path, question: str, first: date, last: date) -> EvaluationCount:
    """Count one more look at the days from `first` to `last`, and all that overlap them.

    Args:
        home: the workspace; one that cannot be written is told of, and nothing counted.
        question: what was asked: a version and how it walked.
        first: first report day.
        last: last report day.
    """
    folder = home / "models"
    try:
        with _locked(folder):
            entries = _read(folder / FILE)
            mine = [e for e in entries if (e.question, e.first) == (question, first.isoformat())]
            count = 1 + sum(entry.count for entry in mine)
            latest = max([last.isoformat(), *(entry.last for entry in mine)])
            entry = _Entry(question=question, first=first.isoformat(), last=latest, count=count)
            entries = [e for e in entries if e not in mine] + [entry]
            _write(folder / FILE, entries)
    except (OSError, ValueError, TypeError) as error:
        log.warning("%s: looks cannot be counted (%s)", folder / FILE, error)
        return EvaluationCount(same=None, total=None, questions=None)
    same = [e for e in entries if e.first <= last.isoformat() and e.last >= first.isoformat()]
    questions = len({entry.question for entry in same})
    return EvaluationCount(
        same=count, total=sum(entry.count for entry in same), questions=questions
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read(file: Path) -> list[_Entry]:
    if not file.exists():
        return []
    content = json.loads(file.read_text())
    if content.get("schema") != SCHEMA:
        raise ValueError(f"its schema is {content.get('schema')!r}, not {SCHEMA!r}")
    return [_Entry(**entry) for entry in content["looks"]]


def _write(file: Path, entries: list[_Entry]) -> None:
    side = file.with_name(f".{FILE}-{uuid4().hex}")
    try:
        with side.open("w") as stream:
            json.dump({"schema": SCHEMA, "looks": [asdict(e) for e in entries]}, stream, indent=2)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(side, file)
    finally:
        side.unlink(missing_ok=True)
