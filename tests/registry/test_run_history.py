"""Daily runs and trainings start and end once; every test-set evaluation is counted."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from forecaster import clock
from forecaster.evaluation.splits import EvaluationCount
from forecaster.registry.promotion import register
from forecaster.registry.run_history import (
    OLD_FILE,
    begin_session,
    begin_training,
    count_evaluation,
    finish_session,
    finish_training,
    session_records,
    trainings,
)

FRIDAY, MONDAY = date(2024, 3, 1), date(2024, 3, 4)

MAY, JUNE, JULY = date(2020, 5, 1), date(2020, 6, 1), date(2020, 7, 1)


def at(hour):
    return datetime(2024, 3, 5, hour, tzinfo=UTC)


def test_a_killed_daily_run_is_unfinished_and_keeps_its_start(tmp_path):
    for hour in (1, 2):
        with clock.as_if(at(hour)):
            begin_session(tmp_path, "return", FRIDAY)
    (found,) = session_records(tmp_path)
    assert (found.started_at, found.finished_at, found.outcome) == (at(1), None, None)


def test_a_finished_daily_run_stays_as_it_ended(tmp_path):
    for hour, outcome in ((1, "done"), (2, "failed")):
        with clock.as_if(at(hour)):
            begin_session(tmp_path, "return", FRIDAY)
            finish_session(
                tmp_path, "return", FRIDAY, outcome=outcome, exit_code=hour, summary={"hour": hour}
            )
    (found,) = session_records(tmp_path, "return")
    assert (found.outcome, found.exit_code) == ("done", 1)
    assert (found.finished_at, found.summary) == (at(1), {"hour": 1})


def test_daily_runs_are_listed_by_session_and_name(tmp_path):
    for day in (MONDAY, FRIDAY):
        begin_session(tmp_path, "return", day)
        finish_session(tmp_path, "return", day, outcome="done")
    begin_session(tmp_path, "range", MONDAY)
    found = [(one.name, one.session, bool(one.finished_at)) for one in session_records(tmp_path)]
    assert found == [("return", FRIDAY, True), ("range", MONDAY, False), ("return", MONDAY, True)]
    assert [one.session for one in session_records(tmp_path, "return")] == [FRIDAY, MONDAY]


def test_an_interrupted_training_is_stopped_by_the_next_of_its_name(tmp_path):
    killed = begin_training(tmp_path, "return", "cold", FRIDAY)
    other = begin_training(tmp_path, "range", "cold")
    with clock.as_if(at(3)):
        again = begin_training(tmp_path, "return", "warm", MONDAY)
    register(tmp_path, "v1", "return", training=again, steps=650)
    finish_training(tmp_path, again, state="failed", reason="too late")
    found = {one.id: one for one in trainings(tmp_path)}
    assert [found[number].state for number in (killed, other, again)] == [
        *("stopped", "running", "done")
    ]
    assert "killed" in found[killed].reason and found[killed].ended_at == at(3)
    last = found[again]
    assert (last.session, last.kind, last.version, last.steps, last.reason) == (
        *(MONDAY, "warm", "v1", 650, ""),
    )
    assert [one.id for one in trainings(tmp_path, "return")] == [killed, again]


def test_a_home_without_a_registry_had_no_daily_run(tmp_path):
    assert (session_records(tmp_path), trainings(tmp_path)) == ([], [])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path


def test_evaluations_of_overlapping_days_add_up_over_questions(home: Path) -> None:
    assert count_evaluation(home, "one", MAY, JUNE) == EvaluationCount(same=1, total=1, questions=1)
    assert count_evaluation(home, "one", MAY, JULY) == EvaluationCount(same=2, total=2, questions=1)
    assert count_evaluation(home, "two", JUNE, JULY) == EvaluationCount(
        same=1, total=3, questions=2
    )
    assert count_evaluation(home, "one", JUNE, JULY) == EvaluationCount(
        same=1, total=4, questions=2
    )
    later = date(2020, 8, 1)
    assert count_evaluation(home, "one", later, later) == EvaluationCount(
        same=1, total=1, questions=1
    )


def old_counts(home: Path, *looks: dict[str, object]) -> Path:
    """The file in which 0.1.0 counted evaluations."""
    path = home / "models" / OLD_FILE
    path.write_text(json.dumps({"schema": "forecaster.looks/1", "looks": looks}))
    return path


def test_counts_of_the_first_release_are_taken_over_once(home: Path) -> None:
    old = {"question": "one", "first": "2020-05-01", "last": "2020-06-01", "count": 4}
    path = old_counts(home, old, {**old, "question": "two", "count": 2})
    first = count_evaluation(home, "one", MAY, JUNE)
    assert (first.same, first.total, first.questions) == (5, 7, 2)
    assert not path.exists() and path.with_name("looks.json.taken-over").exists()
    assert count_evaluation(home, "one", MAY, JULY).total == 8


def test_a_kill_before_the_old_file_is_renamed_counts_nothing_twice(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = {"question": "one", "first": "2020-05-01", "last": "2020-06-01", "count": 4}
    old_counts(home, old)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        count_evaluation(home, "one", MAY, JUNE)
    assert count_evaluation(home, "one", MAY, JUNE).same == 6


def test_an_old_file_of_another_schema_stops_the_count_with_a_warning(
    home: Path, logged_warnings: list[str]
) -> None:
    path = home / "models" / OLD_FILE
    path.write_text(json.dumps({"schema": "else"}))
    nothing = EvaluationCount(same=None, total=None, questions=None)
    assert count_evaluation(home, "one", MAY, JUNE) == nothing
    assert json.loads(path.read_text()) == {"schema": "else"}
    assert "cannot be counted" in logged_warnings[0]


def test_a_missing_home_counts_nothing(tmp_path: Path, logged_warnings: list[str]) -> None:
    assert count_evaluation(tmp_path / "none", "one", MAY, JUNE).total is None
    assert len(logged_warnings) == 1
