"""Calendars that are behind: sessions and closures that only bars show."""

import logging
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster.data.calendar_corrections import (
    correct_calendars,
    describe_corrections,
    find_corrections,
)
from forecaster.data.columns import scheduled_inputs
from forecaster.data.history import History, Listing
from forecaster.data.sessions import next_session, sessions_between
from forecaster.data.store import PriceStore

TODAY = date(2025, 6, 30)
NOW = datetime(2025, 6, 30, 23, tzinfo=UTC)
SATURDAY = "2025-03-15"
SESSIONS = sessions_between("XNYS", date(2024, 1, 2), date(2025, 6, 27))


def bars(days, volume=1000.0):
    """Bars that move, on some days."""
    days = np.asarray(days, "datetime64[D]")
    close = 50.0 + np.arange(len(days)) % 7
    prices = {"open": close, "high": close + 1, "low": close - 1, "close": close}
    rest = {"volume": volume, "dividend": 0.0, "split": 1.0}
    return pd.DataFrame({"session": days.astype("datetime64[s]")} | prices | rest)


def with_days(*days):
    return np.union1d(SESSIONS, np.array(days, dtype="datetime64[D]"))


def without(*days):
    return np.setdiff1d(SESSIONS, np.array(days, dtype="datetime64[D]"))


def found(*tickers, calendar="XNYS", today=TODAY):
    some = [one if isinstance(one, pd.DataFrame) else bars(one) for one in tickers]
    return {str(one.day): one.is_session for one in find_corrections(calendar, some, today)}


THIN = SESSIONS[::2]
STILL = bars(with_days(SATURDAY)).assign(**dict.fromkeys(("open", "high", "low", "close"), 50.0))
WEEKENDS = np.arange("2024-01-02", "2025-06-28", dtype="datetime64[D]")
FLAT_DAYS = sessions_between("weekdays", date(2024, 1, 2), date(2025, 6, 27))

SHAPES = {
    "a Saturday of all": ([with_days(SATURDAY)] * 3, {SATURDAY: True}),
    "a Saturday of one": ([with_days(SATURDAY)], {SATURDAY: True}),
    "a Saturday of two in three": ([with_days(SATURDAY)] * 2 + [SESSIONS], {SATURDAY: True}),
    "a Saturday of one in two": ([with_days(SATURDAY), SESSIONS], {}),
    "a Saturday before the other was listed": (
        [with_days(SATURDAY), SESSIONS[SESSIONS > np.datetime64(SATURDAY)]],
        {SATURDAY: True},
    ),
    "a Saturday after which nothing came": (
        [with_days(SATURDAY)[with_days(SATURDAY) <= np.datetime64(SATURDAY)]],
        {},
    ),
    "a Saturday without volume": (
        [
            bars(with_days(SATURDAY)).assign(
                volume=lambda one: np.where(one["session"] == pd.Timestamp(SATURDAY), 0.0, 9.0)
            )
        ],
        {},
    ),
    "an index, which never has a volume": (
        [bars(with_days(SATURDAY), volume=0.0)],
        {SATURDAY: True},
    ),
    "a Saturday that repeats Friday": ([STILL], {}),
    "a session on a holiday": ([with_days("2024-07-04")] * 3, {"2024-07-04": True}),
    "a foreign ticker without a suffix": ([with_days("2024-07-04")], {}),
    "another calendar altogether": ([WEEKENDS], {}),
    "holidays filled forward": ([FLAT_DAYS], {}),
    "a day without a bar of any": ([without("2025-06-18")] * 3, {"2025-06-18": False}),
    "the same of one ticker": ([without("2025-06-18")], {"2025-06-18": False}),
    "of one ticker, long ago": ([without("2024-06-18")], {}),
    "of three, long ago": ([without("2024-06-18")] * 3, {"2024-06-18": False}),
    "of two in three": ([without("2025-06-18")] * 2 + [SESSIONS], {}),
    "a halt of a week": ([without(*SESSIONS[-12:-7])], {}),
    "of stocks that trade at random": ([THIN, SESSIONS[1::2][1::2], SESSIONS[::3]], {}),
    "the newest days, which may still come": ([SESSIONS[:-1]] * 3, {}),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_bars_show_what_the_calendar_does_not_know(shape):
    tickers, expected = SHAPES[shape]
    assert found(*tickers) == expected


def test_a_week_learns_recent_holidays_only():
    days = sessions_between("sun-thu@Asia/Qatar", date(2024, 1, 2), date(2025, 6, 26))
    closed = np.array(["2024-06-16", "2025-06-08"], dtype="datetime64[D]")
    assert found(*[np.setdiff1d(days, closed)] * 3, calendar="sun-thu@Asia/Qatar") == {
        "2025-06-08": False
    }


def stored(home: Path, **tickers):
    """A home with tickers of XNYS on some days, and its calendars corrected."""
    home.mkdir(exist_ok=True)
    with PriceStore.open_for_writing(home) as store:
        for name, days in tickers.items():
            listing = Listing(ticker=name, source="test", basis="as-traded", calendar="XNYS")
            store.upsert(History(listing=listing, bars=bars(days)), NOW)
        return correct_calendars(store, dict.fromkeys(tickers, 999), NOW)


def calendar_of(home: Path, ticker: str) -> str:
    with PriceStore.open_for_reading(home) as store:
        return store.listing(ticker).calendar


def test_a_corrected_calendar_holds_for_each_ticker_of_it_and_one_home(tmp_path, caplog):
    """A process with two homes open, and a child that only knows the name, see the same."""
    one, other = tmp_path / "one", tmp_path / "other"
    with caplog.at_level(logging.INFO):
        stored(one, AAA=with_days(SATURDAY), BBB=with_days(SATURDAY), CCC=SESSIONS)
    assert "calendar XNYS: 2025-03-15 was a session: 2 of 3 tickers have a bar" in caplog.text
    stored(other, AAA=SESSIONS)
    corrected = calendar_of(one, "CCC")
    friday, saturday, monday = date(2025, 3, 14), date(2025, 3, 15), date(2025, 3, 17)
    assert next_session(corrected, friday) == saturday
    assert next_session(calendar_of(other, "AAA"), friday) == monday
    code = (
        "from datetime import date; from forecaster.data.sessions import next_session;"
        f"print(next_session({corrected!r}, date(2025, 3, 14)))"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == str(saturday)


def test_a_forecast_for_a_closed_day_is_for_the_next_session(tmp_path):
    (correction,) = stored(tmp_path / "home", AAA=without("2025-06-18"))
    assert not correction.is_session
    # The 19th is Juneteenth.
    calendar = calendar_of(tmp_path / "home", "AAA")
    assert next_session(calendar, date(2025, 6, 17)) == date(2025, 6, 20)


def test_no_input_of_the_past_changes_with_a_correction():
    """The calendar did not know them when the forecast was made."""
    plain = scheduled_inputs("XNYS", SESSIONS)
    assert np.array_equal(scheduled_inputs("XNYS+20250315-20250618", SESSIONS), plain)


def test_a_correction_is_taken_back_when_bars_contradict_it(tmp_path):
    home = tmp_path / "home"
    stored(home, AAA=without("2025-06-18"))
    assert calendar_of(home, "AAA") == "XNYS-20250618"
    stored(home, BBB=SESSIONS)
    assert calendar_of(home, "AAA") == "XNYS"


def test_a_correction_outlives_the_time_in_which_one_ticker_suffices(tmp_path):
    home = tmp_path / "home"
    stored(home, AAA=without("2025-06-18"))
    with PriceStore.open_for_writing(home) as store:
        later = datetime(2026, 3, 1, tzinfo=UTC)
        assert correct_calendars(store, {"AAA": 999}, later) == []
    assert calendar_of(home, "AAA") == "XNYS-20250618"


def test_what_is_known_already_is_not_corrected_again(tmp_path):
    home = tmp_path / "home"
    assert len(stored(home, AAA=with_days(SATURDAY))) == 1
    assert stored(home, AAA=with_days(SATURDAY)) == []
    assert calendar_of(home, "AAA") == "XNYS+20250315"


def test_a_stored_listing_keeps_the_plain_name(tmp_path):
    """Whatever name a history had when it was stored."""
    home = tmp_path / "home"
    stored(home, AAA=with_days(SATURDAY))
    with PriceStore.open_for_writing(home) as store:
        history = store.history("AAA")
        assert store.upsert(history, NOW) == 0
        assert store.summary()["calendar"].tolist() == ["XNYS"]
        assert [one.calendar for one in store.states()] == ["XNYS+20250315"]
        sentences = describe_corrections(store.corrections.by_calendar())
    assert sentences == [
        "XNYS: days corrected from bars: 1, the last 2025-03-15 (a session: 1 of 1 tickers have "
        "a bar)"
    ]
