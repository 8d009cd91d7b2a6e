"""Sessions of an exchange: which comes next, which is final, what is scheduled.

Calendar names and dates in, dates and arrays out; knows no bars, no clock and no calendar
library. A session is an exchange-local date from 1900 to 2100.

Shape letters: D days asked about, S sessions of a calendar, C calendar inputs.
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from forecaster.data.trading_calendar import DAY, FIRST, LAST, Days, trading_calendar
from forecaster.errors import DataError

SETTLE: Final = timedelta(minutes=60)
CALENDAR_INPUTS: Final = (
    *("next_mon", "next_tue", "next_wed", "next_thu", "next_fri"),
    "gap_days",
    "holiday_gap",
    "half_day",
    "month_end",
    "option_expiry",
    "holiday_before",
)


def next_session(calendar: str, day: date) -> date:
    """Return the first session strictly after `day`, surprise closures skipped."""
    sessions = trading_calendar(calendar).sessions
    return _as_date(sessions[np.searchsorted(sessions, _as_day(day), side="right")])


def last_final_session(calendar: str, now: datetime, settle: timedelta = SETTLE) -> date:
    """Return the newest session that had closed and settled at the instant `now`.

    Args:
        calendar: a name that `calendar_for` returns.
        now: aware instant.
        settle: how long after the close the source needs to correct itself.

    Raises:
        ValueError: `now` carries no timezone.
    """
    if now.tzinfo is None:
        raise ValueError(f"an instant needs a timezone, got {now.isoformat()}")
    table = trading_calendar(calendar)
    limit = np.datetime64(int((now - settle).timestamp()), "s")
    closed = int(np.searchsorted(table.closes, limit, side="right"))
    if closed == 0:
        raise DataError(f"{calendar}: no session had closed by {now.isoformat()}.")
    return _as_date(table.sessions[closed - 1])


def close_of(calendar: str, session: date) -> datetime:
    """Return the closing time of a session (UTC), or of the next one if `session` is none."""
    table = trading_calendar(calendar)
    place = int(np.searchsorted(table.sessions, _as_day(session)))
    seconds = int(table.closes[place].astype("datetime64[s]").astype(np.int64))
    return datetime.fromtimestamp(seconds, UTC)


def is_final(
    calendar: str, session: date, fetched_at: datetime, settle: timedelta = SETTLE
) -> bool:
    """Whether a bar fetched at an instant will no longer change.

    A bar on a day that is no session counts as final once a later session is.
    """
    return session <= last_final_session(calendar, fetched_at, settle)


def sessions_between(calendar: str, first: date, last: date) -> Days:
    """List the sessions from `first` to `last`, both included, as (S,) datetime64[D]."""
    sessions = trading_calendar(calendar).sessions
    begin = np.searchsorted(sessions, _as_day(first))
    end = np.searchsorted(sessions, _as_day(last), side="right")
    return sessions[begin:end].copy()


def count_sessions(calendar: str, first: date, last: date) -> int:
    """Count the sessions from `first` to `last`, both included."""
    return len(sessions_between(calendar, first, last))


def missed_sessions(calendar: str, days: Days) -> NDArray[np.int64]:
    """Count the sessions strictly between each of (D,) ascending days and the next, (D - 1,)."""
    sessions = trading_calendar(calendar).sessions
    before_next = np.searchsorted(sessions, days[1:])
    return before_next - np.searchsorted(sessions, days[:-1], side="right")


def timezone_of(calendar: str) -> str:
    """Return the time zone in which a calendar's sessions are dates."""
    return trading_calendar(calendar).timezone


def scheduled_inputs(calendar: str, days: Days) -> NDArray[np.float64]:
    """Describe the next scheduled session, as it was known at the close of each day.

    Surprise closures are sessions here: on 2001-09-10 the next one was the 11th.

    Args:
        calendar: a name that `calendar_for` returns.
        days: (D,) dates, in any order; they need not be sessions.

    Returns:
        `CALENDAR_INPUTS` (D, C). `next_mon` .. `next_fri`: weekday of the next
        session, all 0 on a weekend. `gap_days`: days without trading until then.
        `holiday_gap`: one of these is no ordinary day off. `half_day`: it closes early.
        `month_end`: it is the last session of its month. `option_expiry`: it is the third
        Friday, or the session before where that is a holiday. `holiday_before`: a holiday
        gap follows it.

    Raises:
        DataError: a day lies outside 1900..2100.
    """
    days = days.astype("datetime64[D]")
    _refuse_outside(days)
    sessions, described, weekmask = _scheduled(calendar)
    following = np.searchsorted(sessions, days, side="right")
    gap_days, holiday_gap = _gaps(days, sessions[following], weekmask)
    next_inputs = described[following]
    return np.column_stack([next_inputs[:, :5], gap_days, holiday_gap, next_inputs[:, 5:]])


@lru_cache(maxsize=128)
def _scheduled(calendar: str) -> tuple[Days, NDArray[np.float64], str]:
    """Return scheduled sessions (S,) and what is known of each in advance (S, C - 2)."""
    table = trading_calendar(calendar)
    sessions = np.union1d(table.sessions, table.surprises)
    half_day = np.isin(sessions, table.sessions[table.half_days])
    months = sessions.astype("datetime64[M]")
    month_end = np.append(months[1:] != months[:-1], True)
    _, holiday_gap = _gaps(sessions[:-1], sessions[1:], table.weekmask)
    columns = [
        _weekdays_one_hot(sessions),
        half_day,
        month_end,
        _is_option_expiry(sessions),
        np.append(holiday_gap, 0.0),
    ]
    return sessions, np.column_stack(columns).astype(np.float64), table.weekmask


def _gaps(
    days: Days, following: Days, weekmask: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Count the days strictly between, and flag those gaps that hold a day of the week's trade."""
    gap_days = (following - days).astype(np.float64) - 1
    holidays = np.busday_count(days + DAY, following, weekmask=weekmask)
    return gap_days, (holidays > 0).astype(np.float64)


def _weekdays_one_hot(sessions: Days) -> NDArray[np.bool_]:
    # The epoch, 1970-01-01, was a Thursday.
    weekday = (sessions.astype(np.int64) + 3) % 7
    one_hot: NDArray[np.bool_] = weekday[:, None] == np.arange(5)
    return one_hot


def _is_option_expiry(sessions: Days) -> NDArray[np.bool_]:
    months = np.unique(sessions.astype("datetime64[M]"))
    fridays = np.busday_offset(months.astype("datetime64[D]"), 2, roll="forward", weekmask="Fri")
    expiries = np.searchsorted(sessions, fridays, side="right") - 1
    flags = np.zeros(len(sessions), dtype=np.bool_)
    flags[expiries[expiries >= 0]] = True
    return flags


def _refuse_outside(days: Days) -> None:
    outside = ~((days >= FIRST) & (days < LAST - 31 * DAY))
    if outside.any():
        raise DataError(
            f"{days[outside][0]}: no calendar is known for this day; days from 1900 to 2100 "
            "are needed. Remove or correct the bars with such dates."
        )


def _as_day(day: date) -> np.datetime64:
    days = np.array([day], dtype="datetime64[D]")
    _refuse_outside(days)
    found: np.datetime64 = days[0]
    return found


def _as_date(day: np.datetime64) -> date:
    return date.fromisoformat(str(day))
