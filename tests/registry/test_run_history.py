"""Nights and runs: begun once, ended once, and what never told its end is told of."""

from datetime import UTC, date, datetime

from forecaster import clock
from forecaster.registry.run_history import (
    begin_run,
    begin_session,
    finish_run,
    finish_session,
    last_night,
    nights,
    runs,
)

FRIDAY, MONDAY = date(2024, 3, 1), date(2024, 3, 4)


def at(hour):
    return datetime(2024, 3, 5, hour, tzinfo=UTC)


def test_a_night_that_was_killed_is_unfinished_and_keeps_its_beginning(tmp_path):
    for hour in (1, 2):
        with clock.as_if(at(hour)):
            begin_session(tmp_path, "return", FRIDAY)
    assert last_night(tmp_path) is None
    (found,) = nights(tmp_path)
    assert (found.started_at, found.finished_at, found.outcome) == (at(1), None, None)


def test_a_finished_night_stays_as_it_ended(tmp_path):
    for hour, outcome in ((1, "done"), (2, "failed")):
        with clock.as_if(at(hour)):
            begin_session(tmp_path, "return", FRIDAY)
            finish_session(
                tmp_path, "return", FRIDAY, outcome=outcome, exit_code=hour, summary={"hour": hour}
            )
    found = last_night(tmp_path, "return")
    assert found is not None and (found.outcome, found.exit_code) == ("done", 1)
    assert (found.finished_at, found.summary) == (at(1), {"hour": 1})


def test_the_last_night_is_the_newest_finished_of_its_name(tmp_path):
    for day in (MONDAY, FRIDAY):
        begin_session(tmp_path, "return", day)
        finish_session(tmp_path, "return", day, outcome="done")
    begin_session(tmp_path, "range", MONDAY)
    assert last_night(tmp_path, "range") is None
    found = last_night(tmp_path)
    assert found is not None and (found.name, found.night) == ("return", MONDAY)
    assert [one.night for one in nights(tmp_path, "return")] == [FRIDAY, MONDAY]


def test_a_run_that_never_told_its_end_is_stopped_by_the_next_of_its_name(tmp_path):
    killed = begin_run(tmp_path, "return", "cold", FRIDAY)
    other = begin_run(tmp_path, "range", "cold")
    with clock.as_if(at(3)):
        again = begin_run(tmp_path, "return", "warm", MONDAY)
    finish_run(tmp_path, again, state="done", version="v1", updates=650)
    finish_run(tmp_path, again, state="failed", reason="too late")
    found = {one.id: one for one in runs(tmp_path)}
    assert [found[number].state for number in (killed, other, again)] == [
        *("stopped", "running", "done")
    ]
    assert "killed" in found[killed].reason and found[killed].ended_at == at(3)
    last = found[again]
    assert (last.night, last.kind, last.version, last.updates, last.reason) == (
        *(MONDAY, "warm", "v1", 650, ""),
    )
    assert [one.id for one in runs(tmp_path, "return")] == [killed, again]


def test_a_home_without_a_registry_had_no_night(tmp_path):
    assert (nights(tmp_path), last_night(tmp_path), runs(tmp_path)) == ([], None, [])
