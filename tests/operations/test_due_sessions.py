"""Which nights there are to do, at any hour, in any mix of exchanges."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from forecaster import clock
from forecaster.data.store import PriceStore
from forecaster.errors import TryLaterError
from forecaster.operations import due_sessions
from forecaster.registry.run_history import begin_session, finish_session
from tests.data.histories import history

JAN = {day: date(2024, 1, day) for day in range(1, 32)}


def at(day, hour, minute=0):
    return datetime(2024, 1, day, hour, minute, tzinfo=UTC)


def stored(home, days=6, calendar="XNYS", ticker="AAPL", first="2024-01-02"):
    with clock.as_if(at(2, 0)), PriceStore.open_for_writing(home) as store:
        store.upsert(history(ticker, calendar=calendar, first=first, close=np.ones(days)), at(2, 0))
    return due_sessions.held(home)


def done(home, *days):
    for day in days:
        begin_session(home, "return", JAN[day])
        finish_session(home, "return", JAN[day], outcome="done")


def due(home, held, now, as_of=None, catch_up=63):
    with clock.as_if(now):
        return due_sessions.due(home, "return", held, as_of, catch_up)


def test_the_first_run_does_the_newest_night_alone(tmp_path):
    """Sessions of 2024-01-02, 03, 04, 05, 08, 09; nobody asks for a forecast of last week."""
    held = stored(tmp_path)
    assert due(tmp_path, held, at(10, 3)).session_records == (JAN[9],)
    assert due(tmp_path, held, at(10, 3), as_of=JAN[7]).session_records == (JAN[5],)


@pytest.mark.parametrize(
    ("now", "nights", "why"),
    [
        (at(8, 21, 59), (3, 4, 5), "closed at 21:00, but not settled before 22:00"),
        (at(8, 22, 0), (3, 4, 5, 8), "final to the minute"),
        (at(20, 0), (3, 4, 5, 8, 9), "after a week off; no bar, no night"),
    ],
)
def test_every_night_since_the_last_one_is_due_in_order(tmp_path, now, session_records, why):
    held = stored(tmp_path)
    done(tmp_path, 2)
    assert due(tmp_path, held, now).session_records == tuple(JAN[day] for day in session_records), (
        why
    )


def test_what_is_done_is_not_due_again(tmp_path):
    held = stored(tmp_path)
    done(tmp_path, 9)
    found = due(tmp_path, held, at(10, 3))
    assert found.session_records == () and not found.is_waiting
    assert due(tmp_path, held, at(10, 3), as_of=JAN[4]).session_records == ()


def test_a_night_that_was_begun_is_done_again_and_those_after_it(tmp_path):
    """Killed in the first night of all: not only the newest is owed."""
    held = stored(tmp_path)
    begin_session(tmp_path, "return", JAN[4])
    assert due(tmp_path, held, at(10, 3)).session_records == tuple(JAN[day] for day in (4, 5, 8, 9))


def test_a_session_without_a_bar_is_waited_for(tmp_path):
    """The source is late: the night of the 10th is final, and nobody has seen its bar."""
    held = stored(tmp_path)
    done(tmp_path, 9)
    found = due(tmp_path, held, at(10, 23))
    assert found.session_records == () and found.is_waiting and found.newest == JAN[10]


def test_too_many_nights_are_cut_to_the_newest(tmp_path):
    held = stored(tmp_path)
    done(tmp_path, 2)
    found = due(tmp_path, held, at(10, 3), catch_up=2)
    assert (found.session_records, found.left_out) == ((JAN[8], JAN[9]), 3)


def test_a_night_waits_for_every_exchange_that_was_open(tmp_path):
    """New York closes at 21:00, bitcoin's day at midnight, and only then is all of it known."""
    stored(tmp_path, 1, ticker="AAPL")
    held = stored(tmp_path, 2, calendar="24/7", ticker="BTC-USD")
    done(tmp_path, 1)
    assert due(tmp_path, held, at(2, 23)).session_records == ()
    assert due(tmp_path, held, at(3, 1)).session_records == (JAN[2],)
    assert due(tmp_path, held, at(4, 1)).session_records == (JAN[2], JAN[3])


def test_the_evening_of_a_day_is_that_of_its_own_sessions():
    """Tokyo's next session does not belong to the night; a holiday in New York does not hold it."""
    both = ("XNYS", "XTKS")
    assert due_sessions.evening(both, JAN[9]) == at(9, 22)
    assert due_sessions.evening(both, JAN[15]) == at(15, 7), "Martin Luther King's day"


def test_a_clock_set_back_is_refused(tmp_path):
    held = stored(tmp_path)
    with clock.as_if(at(2, 0) - timedelta(hours=2)), pytest.raises(TryLaterError, match="set it"):
        due_sessions.refuse_clock_set_back(held)
    with clock.as_if(at(2, 0)):
        due_sessions.refuse_clock_set_back(held)


def test_night_dates_by_hand():
    """After one day, until another, of any exchange."""
    assert due_sessions.session_dates(["XNYS"], JAN[12], JAN[17]) == [JAN[16], JAN[17]]
    assert due_sessions.session_dates(["XNYS", "24/7"], JAN[12], JAN[14]) == [JAN[13], JAN[14]]
    assert due_sessions.session_dates(["XNYS"], JAN[12], JAN[12]) == []
