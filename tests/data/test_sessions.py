from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest

from forecaster.data import exchanges
from forecaster.data.exchanges import calendar_for
from forecaster.data.sessions import (
    CALENDAR_INPUTS,
    close_of,
    count_sessions,
    is_final,
    last_final_session,
    next_session,
    scheduled_inputs,
    sessions_between,
    timezone_of,
)
from forecaster.data.trading_calendar import trading_calendar
from forecaster.errors import DataError, UsageError

TICKERS = [
    ("AAPL", "", "XNYS", "no suffix is New York"),
    ("BRK-B", "", "XNYS", "a hyphen before a class, not before a currency"),
    ("BRK.B", "", "XNYS", "the same class in the spelling of files"),
    ("VOD.L", "", "XLON", "London"),
    ("SAP.DE", "", "XETR", "Xetra"),
    ("7203.T", "", "XTKS", "Tokyo"),
    ("RELIANCE.NS", "", "XBOM", "the National exchange keeps Bombay's days"),
    ("M&M.NS", "", "XBOM", "an ampersand"),
    ("ENI.MI", "", "XMIL", "Milan, MTAA in Yahoo's table"),
    ("000001.SZ", "", "XSHG", "Shenzhen keeps Shanghai's days"),
    ("^GSPC", "America/New_York", "XNYS", "an index has no suffix, its time zone does"),
    ("^GSPC", "", "XNYS", "an index from a file has no time zone"),
    ("^N225", "Asia/Tokyo", "XTKS", "Tokyo's index"),
    ("^FTSE", "Europe/London", "XLON", "London's index"),
    ("^GDAXI", "Europe/Berlin", "XETR", "Frankfurt's index"),
    ("^HSI", "Asia/Hong_Kong", "XHKG", "Hong Kong's index"),
    ("^TA125.TA", "Asia/Jerusalem", "weekdays", "an index of an exchange without calendar"),
    ("BTC-USD", "UTC", "24/7", "a coin never closes"),
    ("ETH-EUR", "UTC", "24/7", "a coin in euro"),
    ("EURUSD=X", "Europe/London", "24/5", "currencies rest on weekends"),
    ("ES=F", "America/New_York", "CMES", "a future"),
    ("QNBK.QA", "", "weekdays", "Doha: no calendar is known"),
    ("OPAP.AT", "", "weekdays", "Athens: its calendar cannot be built on pandas 3"),
]


@pytest.mark.parametrize(("ticker", "zone", "calendar", "why"), TICKERS)
def test_a_ticker_names_its_calendar(ticker, zone, calendar, why):
    assert calendar_for(ticker, zone) == calendar, why


@pytest.mark.slow  # 8 s: fifty calendars
def test_every_calendar_of_the_tables_can_be_built():
    names = {*exchanges._BY_SUFFIX.values(), *exchanges._INDEX_BY_TIMEZONE.values()}
    for name in sorted(names | {"CMES", "24/5", "24/7", "weekdays"}):
        assert len(sessions_between(name, date(2024, 1, 1), date(2024, 12, 31))) > 230, name


def test_an_unknown_calendar_is_refused_with_a_remedy():
    with pytest.raises(UsageError, match=r"XXXX: no calendar of this name.*'weekdays'"):
        next_session("XXXX", date(2024, 1, 2))


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
    ("XSAU", "2010-06-03", "2010-06-06", "before Riyadh's records: its own week"),
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


def test_a_bar_is_final_when_its_session_had_settled():
    fetched = datetime(2026, 3, 6, 22, 0, tzinfo=UTC)
    assert is_final("XNYS", date(2026, 3, 6), fetched)
    assert not is_final("XNYS", date(2026, 3, 6), fetched, settle=timedelta(hours=2))
    assert not is_final("XNYS", date(2026, 3, 9), fetched)


def test_a_bar_on_no_session_is_final_once_a_later_session_is():
    saturday = date(2026, 3, 7)
    assert not is_final("XNYS", saturday, datetime(2026, 3, 8, 23, 0, tzinfo=UTC))
    assert is_final("XNYS", saturday, datetime(2026, 3, 9, 21, 0, tzinfo=UTC))


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


def _inputs(calendar: str, *days: str) -> list[dict[str, float]]:
    values = scheduled_inputs(calendar, np.array(days, dtype="datetime64[D]"))
    assert values.shape == (len(days), len(CALENDAR_INPUTS))
    return [dict(zip(CALENDAR_INPUTS, row, strict=True)) for row in values.tolist()]


# day, weekday of the next session, gap days, and the flags that are set
SCHEDULE = [
    ("XNYS", "2024-06-10", "tue", 0, set(), "an ordinary Monday"),
    ("XNYS", "2024-06-07", "mon", 2, set(), "a weekend is no holiday gap"),
    ("XNYS", "2024-03-27", "thu", 0, {"month_end", "holiday_before"}, "before Good Friday"),
    ("XNYS", "2024-03-28", "mon", 3, {"holiday_gap"}, "over Good Friday and Easter"),
    ("XNYS", "2023-06-30", "mon", 2, {"half_day", "holiday_before"}, "July 3rd closes early"),
    ("XNYS", "2023-07-03", "wed", 1, {"holiday_gap"}, "over the Fourth, a Tuesday"),
    ("XNYS", "2026-11-24", "wed", 0, {"holiday_before"}, "Thanksgiving follows the next"),
    ("XNYS", "2026-11-25", "fri", 1, {"holiday_gap", "half_day"}, "over Thanksgiving"),
    ("XNYS", "2024-12-30", "tue", 0, {"month_end", "holiday_before"}, "year end"),
    ("XNYS", "2024-05-30", "fri", 0, {"month_end"}, "a month ends on a Friday"),
    ("XNYS", "2024-06-20", "fri", 0, {"option_expiry"}, "third Friday"),
    ("XNYS", "2024-06-13", "fri", 0, set(), "second Friday"),
    ("XNYS", "2008-03-19", "thu", 0, {"option_expiry", "holiday_before"}, "third is Good Friday"),
    ("XNYS", "2008-03-20", "mon", 3, {"holiday_gap"}, "no expiry on Good Friday itself"),
    ("XNYS", "2001-09-10", "tue", 0, set(), "not known of the 11th"),
    ("XNYS", "2001-09-11", "wed", 0, set(), "a bar on a day that became none"),
    ("XNYS", "2012-10-26", "mon", 2, set(), "Sandy was not scheduled"),
    ("XNYS", "2012-10-25", "fri", 0, set(), "nor that it would follow the weekend"),
    ("XNYS", "1968-12-24", "thu", 1, {"holiday_gap"}, "Christmas, in the crisis' list too"),
    ("XNYS", "2024-06-08", "mon", 1, set(), "a bar on a Saturday"),
    ("XNYS", "2024-07-04", "fri", 0, set(), "a bar on a holiday"),
    ("XTKS", "2020-09-30", "thu", 0, set(), "Tokyo's trading system failed on the day"),
    ("XTKS", "2024-05-02", "tue", 4, {"holiday_gap"}, "Golden Week is known in advance"),
    ("XHKG", "2024-09-05", "fri", 0, set(), "typhoon Yagi struck on the day"),
    ("XHKG", "2024-02-09", "wed", 4, {"holiday_gap"}, "lunar new year is known in advance"),
    ("XSAU", "2024-06-06", "", 2, set(), "Riyadh: Sunday follows Thursday as always"),
    ("24/7", "2024-06-14", "", 0, set(), "the next day is a Saturday"),
    ("24/5", "2024-06-14", "mon", 2, set(), "currencies rest on weekends"),
]


@pytest.mark.parametrize(("calendar", "day", "weekday", "gap", "flags", "why"), SCHEDULE)
def test_scheduled_inputs(calendar, day, weekday, gap, flags, why):
    (found,) = _inputs(calendar, day)
    expected = dict.fromkeys(CALENDAR_INPUTS, 0.0) | {"gap_days": float(gap)}
    expected |= {f"next_{weekday}": 1.0} if weekday else {}
    expected |= dict.fromkeys(flags, 1.0)
    assert found == expected, why


def test_scheduled_inputs_do_not_depend_on_the_other_days():
    days = np.arange("2012-10-20", "2012-11-05", dtype="datetime64[D]")
    together = scheduled_inputs("XNYS", days)
    backwards = scheduled_inputs("XNYS", days[::-1])
    alone = scheduled_inputs("XNYS", days[6:7])
    np.testing.assert_array_equal(together, backwards[::-1])
    np.testing.assert_array_equal(together[6:7], alone)


def test_scheduled_inputs_take_any_unit_and_no_days_at_all():
    seconds = np.array(["2024-06-10"], dtype="datetime64[s]")
    np.testing.assert_array_equal(
        scheduled_inputs("XNYS", seconds),
        scheduled_inputs("XNYS", seconds.astype("datetime64[D]")),
    )
    assert scheduled_inputs("XNYS", seconds[:0]).shape == (0, len(CALENDAR_INPUTS))


@pytest.mark.parametrize("day", ["1899-12-31", "2107-01-03", "NaT"])
def test_days_that_no_calendar_knows_are_refused(day):
    with pytest.raises(DataError, match=r"days from 1900 to 2100"):
        scheduled_inputs("XNYS", np.array([day], dtype="datetime64[D]"))


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
