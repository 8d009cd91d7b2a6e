"""The due sessions, at any hour, in any mix of exchanges."""

from datetime import UTC, date, datetime

import numpy as np
import pytest

from forecaster import clock
from forecaster.data.store import PriceStore
from forecaster.operations import due_sessions
from forecaster.registry.run_history import begin_session, finish_session
from tests.data.histories import history

JAN = {day: date(2024, 1, day) for day in range(1, 32)}


def at(day, hour, minute=0):
    return datetime(2024, 1, day, hour, minute, tzinfo=UTC)


def stored(home, days=6, calendar="XNYS", ticker="AAPL", first="2024-01-02"):
    with clock.as_if(at(2, 0)), PriceStore.open_for_writing(home) as store:
        store.upsert(history(ticker, calendar=calendar, first=first, close=np.ones(days)), at(2, 0))
    return due_sessions.store_state(home)


def done(home, *days):
    for day in days:
        begin_session(home, "return", JAN[day])
        finish_session(home, "return", JAN[day], outcome="done")


def due(home, stored_now, now, as_of=None, catch_up=63):
    with clock.as_if(now):
        return due_sessions.find_due(home, "return", stored_now, as_of, catch_up)


def test_the_first_run_does_the_newest_session_alone(tmp_path):
    """Sessions of 2024-01-02, 03, 04, 05, 08, 09; last week needs no forecast."""
    stored_now = stored(tmp_path)
    assert due(tmp_path, stored_now, at(10, 3)).sessions == (JAN[9],)
    assert due(tmp_path, stored_now, at(10, 3), as_of=JAN[7]).sessions == (JAN[5],)


@pytest.mark.parametrize(
    ("now", "days", "why"),
    [
        (at(8, 21, 59), (3, 4, 5), "closed at 21:00, but not settled before 22:00"),
        (at(8, 22, 0), (3, 4, 5, 8), "final to the minute"),
        (at(20, 0), (3, 4, 5, 8, 9), "after a week off; without a bar no session"),
    ],
)
def test_every_session_since_the_last_one_is_due_in_order(tmp_path, now, days, why):
    stored_now = stored(tmp_path)
    done(tmp_path, 2)
    assert due(tmp_path, stored_now, now).sessions == tuple(JAN[day] for day in days), why


def test_what_is_done_is_not_due_again(tmp_path):
    stored_now = stored(tmp_path)
    done(tmp_path, 9)
    found = due(tmp_path, stored_now, at(10, 3))
    assert found.sessions == () and not found.is_waiting
    assert due(tmp_path, stored_now, at(10, 3), as_of=JAN[4]).sessions == ()


def test_an_unfinished_session_is_due_again_with_those_after_it(tmp_path):
    """Killed in the very first run: not only the newest is due."""
    stored_now = stored(tmp_path)
    begin_session(tmp_path, "return", JAN[4])
    assert due(tmp_path, stored_now, at(10, 3)).sessions == tuple(JAN[day] for day in (4, 5, 8, 9))


def test_a_session_without_a_bar_is_waited_for(tmp_path):
    """The source is late: the session of the 10th is final, without any bar."""
    stored_now = stored(tmp_path)
    done(tmp_path, 9)
    found = due(tmp_path, stored_now, at(10, 23))
    assert found.sessions == () and found.is_waiting and found.newest == JAN[10]


def test_too_many_sessions_are_cut_to_the_newest(tmp_path):
    stored_now = stored(tmp_path)
    done(tmp_path, 2)
    found = due(tmp_path, stored_now, at(10, 3), catch_up=2)
    assert (found.sessions, found.left_out) == ((JAN[8], JAN[9]), 3)


def test_a_session_is_due_once_every_open_exchange_has_closed(tmp_path):
    """New York closes at 21:00, bitcoin's day at midnight, and only then is all of it known."""
    stored(tmp_path, 1, ticker="AAPL")
    stored_now = stored(tmp_path, 2, calendar="24/7", ticker="BTC-USD")
    done(tmp_path, 1)
    assert due(tmp_path, stored_now, at(2, 23)).sessions == ()
    assert due(tmp_path, stored_now, at(3, 1)).sessions == (JAN[2],)
    assert due(tmp_path, stored_now, at(4, 1)).sessions == (JAN[2], JAN[3])


def test_a_day_settles_with_its_own_sessions():
    """Tokyo's next session belongs to the next day; a holiday in New York delays nothing."""
    both = ("XNYS", "XTKS")
    assert due_sessions.settled_at(both, JAN[9]) == at(9, 22)
    assert due_sessions.settled_at(both, JAN[15]) == at(15, 7), "Martin Luther King's day"


def test_session_dates_by_hand():
    """After one day, until another, of any exchange."""
    assert due_sessions.session_dates(["XNYS"], JAN[12], JAN[17]) == [JAN[16], JAN[17]]
    assert due_sessions.session_dates(["XNYS", "24/7"], JAN[12], JAN[14]) == [JAN[13], JAN[14]]
    assert due_sessions.session_dates(["XNYS"], JAN[12], JAN[12]) == []
