"""Daily runs and trainings start once and end once; interrupted ones are marked."""

from datetime import UTC, date, datetime

from forecaster import clock
from forecaster.registry.promotion import register
from forecaster.registry.run_history import (
    begin_session,
    begin_training,
    finish_session,
    finish_training,
    session_records,
    trainings,
)

FRIDAY, MONDAY = date(2024, 3, 1), date(2024, 3, 4)


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
