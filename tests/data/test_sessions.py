"""Sessions as they were and as they were scheduled; gaps found, described and cut."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest

from forecaster.data import calendar_names as calendars
from forecaster.data.sessions import (
    MAX_MISSED_SESSIONS,
    close_of,
    count_sessions,
    describe_gaps,
    gaps,
    last_final_session,
    next_session,
    segments,
    sessions_between,
    timezone_of,
)
from forecaster.data.trading_calendar import (
    base_name,
    calendar_name,
    corrected_name,
    exchange_names,
    trading_calendar,
)
from forecaster.errors import UsageError
from tests.data.histories import history, with_bars


@pytest.mark.slow  # 8 s: fifty calendars
def test_every_calendar_of_the_tables_can_be_built():
    names = {*calendars._EXCHANGES, *exchange_names()}
    for name in sorted(names | {"24/5", "24/7", "weekdays"}):
        assert len(sessions_between(name, date(2024, 1, 1), date(2024, 12, 31))) > 230, name


def test_an_unknown_calendar_is_refused_with_a_remedy():
    with pytest.raises(UsageError, match=r"XXXX: no calendar of this name.*'weekdays'"):
        next_session("XXXX", date(2024, 1, 2))


@pytest.mark.parametrize(
    "name",
    ["sun-foo", "sun-thu@Asia/Nowhere", "sun-thu/2024-13-01/mon-fri", "XNYS+2025", "XNYS+20251399"],
)
def test_a_malformed_calendar_is_refused(name):
    with pytest.raises(UsageError, match="no calendar of this name"):
        calendar_name(name)


def test_the_name_of_a_calendar_carries_its_corrections():
    name = corrected_name("XBOM", [date(2025, 2, 2)], [date(2024, 1, 2)])
    assert name == "XBOM-20240102+20250202"
    assert base_name(name) == "XBOM"
    assert base_name("sun-thu/2022-01-03/mon-fri@Asia/Dubai").endswith("@Asia/Dubai")
    assert corrected_name("XBOM", [], []) == "XBOM"


NEXT = [
    ("XNYS", "2024-03-28", "2024-04-01", "Good Friday lies between"),
    ("XNYS", "2024-12-24", "2024-12-26", "Christmas, a Wednesday"),
    ("XNYS", "2024-12-31", "2025-01-02", "year end"),
    ("XNYS", "2001-09-10", "2001-09-17", "as it came, four surprise closures later"),
    ("XNYS", "2024-02-28", "2024-02-29", "leap day"),
    ("XNYS", "2024-06-15", "2024-06-17", "asked on a Saturday"),
    ("XNYS", "1928-01-03", "1928-01-04", "older than the library's default of 20 years"),
    ("XTKS", "2024-05-02", "2024-05-07", "Golden Week"),
    ("XTKS", "1990-01-01", "1990-01-02", "before Tokyo's records: weekdays"),
    ("XHKG", "1955-12-23", "1955-12-26", "before Hong Kong's records: weekdays"),
    ("XHKG", "2024-02-09", "2024-02-14", "lunar new year"),
    ("XSHG", "1985-06-07", "1985-06-10", "before Shanghai's exchange"),
    ("XSHG", "2030-01-31", "2030-02-01", "after Shanghai's records: weekdays"),
    ("XSAU", "2024-06-06", "2024-06-09", "Riyadh trades from Sunday to Thursday"),
    ("XSAU", "2015-06-04", "2015-06-07", "before Riyadh's records: its own week"),
    ("XSAU", "2010-06-02", "2010-06-05", "before 2013 from Saturday to Wednesday"),
    ("XTAE", "2024-06-20", "2024-06-23", "Tel Aviv traded from Sunday to Thursday"),
    ("XTAE", "2026-01-08", "2026-01-09", "and trades on Fridays since 2026"),
    ("XTAE", "2024-04-21", "2024-04-24", "Passover, which pandas 3 asks in its own way"),
    ("ASEX", "2024-05-02", "2024-05-07", "Orthodox Easter likewise"),
    ("XBSE", "2024-05-02", "2024-05-07", "the same in Bucharest"),
    ("XBOM", "2025-01-31", "2025-02-01", "a Saturday with the budget"),
    pytest.param(
        *("XKRX", "1998-12-04", "1998-12-05", "Seoul traded on Saturdays"), marks=pytest.mark.slow
    ),
    pytest.param(*("XKRX", "1998-12-11", "1998-12-14", "and no longer"), marks=pytest.mark.slow),
    ("sun-thu", "2024-06-20", "2024-06-23", "a week of its own"),
    ("sun-thu@Asia/Qatar", "2024-06-20", "2024-06-23", "the same in a time zone"),
    ("sun-thu/2022-01-03/mon-fri@Asia/Dubai", "2021-12-30", "2022-01-02", "Dubai's old week"),
    ("sun-thu/2022-01-03/mon-fri@Asia/Dubai", "2022-01-06", "2022-01-07", "and its new one"),
    ("XBOM+20250202-20250203", "2025-02-01", "2025-02-02", "a session added"),
    ("XBOM+20250202-20250203", "2025-02-02", "2025-02-04", "a session removed"),
    ("24/7", "2024-06-14", "2024-06-15", "Saturday is a day like any other"),
    ("24/5", "2024-06-14", "2024-06-17", "currencies rest on weekends"),
    ("weekdays", "2024-12-24", "2024-12-25", "no holidays are known"),
]


@pytest.mark.parametrize(("calendar", "day", "following", "why"), NEXT)
def test_next_session(calendar, day, following, why):
    found = next_session(calendar, date.fromisoformat(day))
    assert found == date.fromisoformat(following), why


FINAL = [
    ("XNYS", "2026-03-06T21:59:59", "2026-03-05", "winter: close 21:00 UTC, a second too early"),
    ("XNYS", "2026-03-06T22:00:00", "2026-03-06", "winter: close plus one hour"),
    ("XNYS", "2026-03-09T21:00:00", "2026-03-09", "summer time began on Sunday: close 20:00 UTC"),
    ("XNYS", "2026-11-27T18:59:59", "2026-11-25", "half day: close 18:00 UTC; Thanksgiving before"),
    ("XNYS", "2026-11-27T19:00:00", "2026-11-27", "half day, settled"),
    ("XNYS", "2023-07-03T18:00:00", "2023-07-03", "half day before the Fourth: close 17:00 UTC"),
    ("XNYS", "2026-01-01T12:00:00", "2025-12-31", "new year's day"),
    ("XLON", "2024-03-28T17:30:00", "2024-03-28", "winter time: close 16:30 UTC"),
    ("XLON", "2024-04-02T16:30:00", "2024-04-02", "summer time: close 15:30 UTC"),
    ("XTKS", "2024-06-14T07:00:00", "2024-06-14", "Tokyo closes at 06:00 UTC"),
    ("XTKS", "2024-11-05T07:00:00", "2024-11-01", "Tokyo trades 30 minutes longer since then"),
    ("24/7", "2024-06-15T00:59:59", "2024-06-13", "a coin's day ends at midnight UTC"),
    ("24/7", "2024-06-15T01:00:00", "2024-06-14", "settled"),
    ("sun-thu@Asia/Qatar", "2024-06-16T21:59:00", "2024-06-16", "midnight in Doha plus an hour"),
    ("sun-thu@Asia/Qatar", "2024-06-16T21:58:00", "2024-06-13", "a minute earlier"),
    ("XBOM+20250202", "2025-02-02T11:00:00", "2025-02-02", "an added session closes as others"),
    ("XBOM+20250202", "2025-02-02T10:59:00", "2025-02-01", "and not earlier"),
    ("weekdays", "2024-06-15T00:59:00", "2024-06-14", "23:59 UTC plus one hour"),
]


@pytest.mark.parametrize(("calendar", "instant", "session", "why"), FINAL)
def test_last_final_session(calendar, instant, session, why):
    now = datetime.fromisoformat(instant).replace(tzinfo=UTC)
    assert last_final_session(calendar, now) == date.fromisoformat(session), why


def test_finality_does_not_depend_on_the_zone_of_the_instant():
    tokyo = datetime(2026, 3, 7, 7, 0, tzinfo=timezone(timedelta(hours=9)))
    assert last_final_session("XNYS", tokyo) == date(2026, 3, 6)


def test_a_naive_instant_is_refused():
    with pytest.raises(ValueError, match="timezone"):
        last_final_session("XNYS", datetime(2026, 3, 7))


def test_a_weekend_has_no_later_final_session():
    friday, monday = date(2026, 3, 6), date(2026, 3, 9)
    assert last_final_session("XNYS", datetime(2026, 3, 8, 23, 0, tzinfo=UTC)) == friday
    assert last_final_session("XNYS", datetime(2026, 3, 9, 21, 0, tzinfo=UTC)) == monday


def test_sessions_between_includes_both_ends():
    found = sessions_between("XNYS", date(2024, 3, 28), date(2024, 4, 2))
    assert found.tolist() == [date(2024, 3, 28), date(2024, 4, 1), date(2024, 4, 2)]
    assert count_sessions("XNYS", date(2024, 3, 28), date(2024, 4, 2)) == 3
    assert count_sessions("XNYS", date(2024, 3, 30), date(2024, 3, 31)) == 0


def test_the_count_of_a_year_is_known():
    # 366 days less 104 weekend days less 10 holidays of 2024.
    assert count_sessions("XNYS", date(2024, 1, 1), date(2024, 12, 31)) == 252


def test_the_zone_of_a_calendar_is_known():
    zones = {"XNYS": "America/New_York", "XTKS": "Asia/Tokyo", "24/7": "UTC", "weekdays": "UTC"}
    assert {calendar: timezone_of(calendar) for calendar in zones} == zones


def test_sessions_given_out_are_a_copy():
    first = sessions_between("XNYS", date(2024, 1, 2), date(2024, 1, 5))
    first[:] = np.datetime64("1970-01-01")
    assert sessions_between("XNYS", date(2024, 1, 2), date(2024, 1, 5))[0].item().year == 2024


def test_surprises_are_no_sessions_and_sessions_are_in_order():
    for calendar in ("XNYS", "XTSE", "XTKS", "XHKG", "XTAI", "XDUB"):
        table = trading_calendar(calendar)
        assert len(table.surprises) > 0, calendar
        assert not np.isin(table.surprises, table.sessions).any(), calendar
        assert (np.diff(table.sessions) > np.timedelta64(0, "D")).all(), calendar


@pytest.mark.parametrize(
    ("calendar", "session", "close", "why"),
    [
        ("XNYS", "2024-07-02", "2024-07-02T20:00", "16:00 in New York's summer"),
        ("XNYS", "2024-12-02", "2024-12-02T21:00", "16:00 in New York's winter"),
        ("XNYS", "2024-07-03", "2024-07-03T17:00", "a half day"),
        ("XNYS", "2024-07-04", "2024-07-05T20:00", "a holiday: the next session's"),
        ("24/7", "2024-07-06", "2024-07-07T00:00", "a day ends at its midnight"),
    ],
)
def test_the_close_of_a_session(calendar, session, close, why):
    expected = datetime.fromisoformat(close).replace(tzinfo=UTC)
    assert close_of(calendar, date.fromisoformat(session)) == expected, why


def without(*lost, days=40, **listing):
    """Forty bars of 2024 less those at the places given."""
    whole = history(close=np.arange(1.0, days + 1), **listing)
    return with_bars(whole, whole.bars.drop(index=list(lost)))


def on(one, calendar):
    """The same bars, on another calendar."""
    return replace(one, listing=replace(one.listing, calendar=calendar))


@pytest.mark.parametrize(
    ("lost", "found"),
    [
        ([], []),
        (range(10, 10 + MAX_MISSED_SESSIONS), []),
        (range(10, 11 + MAX_MISSED_SESSIONS), [10]),
        ([*range(10, 20), *range(25, 35)], [10, 15]),
    ],
)
def test_a_gap_is_more_than_five_missed_sessions(lost, found):
    """Five may be missing, as they may after the last bar of a forecast."""
    assert gaps(without(*lost)).tolist() == found


def test_holidays_and_closures_are_no_gaps():
    """After 11 September 2001 New York was shut for four sessions, and for a weekend."""
    assert len(gaps(history(first="2001-08-01", close=np.ones(100)))) == 0


def test_the_calendar_counts_the_sessions():
    """5 to 10 January 2024 are six days of a coin and four of a share."""
    coin = without(*range(3, 9), calendar="24/7")
    assert gaps(coin).tolist() == [3]
    assert len(gaps(on(coin, "weekdays"))) == 0


def test_segments_have_all_bars_in_order():
    parts = segments(without(*range(10, 20), *range(25, 35)))
    assert [part.bars["close"].tolist() for part in parts] == [
        [*map(float, range(1, 11))],
        [*map(float, range(21, 26))],
        [*map(float, range(36, 41))],
    ]
    assert {part.listing.ticker for part in parts} == {"AAPL"}


def test_a_gap_is_described_with_its_days():
    """Bars 11 to 20 of 2024: 2024-01-17 to 2024-01-30, ten sessions."""
    one = without(*range(10, 20))
    sentence = describe_gaps(one, gaps(one))
    assert sentence.startswith(
        "AAPL: no bars from 2024-01-17 to 2024-01-30 (10 sessions of XNYS); "
    )


def test_several_gaps_are_described_by_the_longest():
    one = without(*range(5, 12), *range(20, 30))
    sentence = describe_gaps(one, gaps(one))
    assert "2 gaps, the longest: no bars from 2024-01-31 to 2024-02-13 (10 sessions" in sentence
