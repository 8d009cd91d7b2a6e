"""Sessions of an exchange, and a history compared with them.

Knows no clock, no store and no calendar library. A session is an exchange-local date from 1900 to
2100.

Shape letters: D days or bars of a history, S sessions of a calendar, G gaps.
"""

import logging
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.data.history import History
from forecaster.data.trading_calendar import (
    DAY,
    FIRST,
    LAST,
    Days,
    base_name,
    trading_calendar,
)
from forecaster.errors import DataError

SETTLE: Final = timedelta(minutes=60)  # after the close, until a source has corrected itself
MAX_MISSED_SESSIONS: Final = 5  # as many as a last bar may lack before a forecast is refused

_log = logging.getLogger(__name__)


def next_session(calendar: str, day: date) -> date:
    """Return the first session strictly after `day`, surprise closures skipped."""
    sessions = trading_calendar(calendar).sessions
    return as_date(sessions[np.searchsorted(sessions, _as_day(day), side="right")])


def last_final_session(calendar: str, now: datetime) -> date:
    """Return the newest session that had closed and settled at an aware instant."""
    if now.tzinfo is None:
        raise ValueError(f"an instant needs a timezone, got {now.isoformat()}")
    table = trading_calendar(calendar)
    limit = np.datetime64(int((now - SETTLE).timestamp()), "s")
    closed = int(np.searchsorted(table.closes, limit, side="right"))
    if closed == 0:
        raise DataError(f"{calendar}: no session had closed by {now.isoformat()}.")
    return as_date(table.sessions[closed - 1])


def close_of(calendar: str, session: date) -> datetime:
    """Return the closing time of a session (UTC), or of the next one if `session` is none."""
    table = trading_calendar(calendar)
    close = table.closes[np.searchsorted(table.sessions, _as_day(session))]
    return datetime.fromtimestamp(int(close.astype(np.int64)), UTC)


def sessions_between(calendar: str, first: date, last: date) -> Days:
    """List the sessions from `first` to `last`, both included, as (S,) datetime64[D]."""
    sessions = trading_calendar(calendar).sessions
    begin = np.searchsorted(sessions, _as_day(first))
    end = np.searchsorted(sessions, _as_day(last), side="right")
    return sessions[begin:end].copy()


def count_sessions(calendar: str, first: date, last: date) -> int:
    """Count the sessions from `first` to `last`, both included."""
    return len(sessions_between(calendar, first, last))


def missed_sessions(history: History) -> NDArray[np.int64]:
    """Count the sessions strictly between each bar and the next, (D - 1,)."""
    sessions, days = trading_calendar(history.listing.calendar).sessions, history.days
    before_next = np.searchsorted(sessions, days[1:])
    return before_next - np.searchsorted(sessions, days[:-1], side="right")


def timezone_of(calendar: str) -> str:
    """Return the time zone in which a calendar's sessions are dates."""
    return trading_calendar(calendar).timezone


def check_days(days: Days) -> None:
    """Raise `DataError` for days outside 1900..2100, of which no calendar is known."""
    outside = ~((days >= FIRST) & (days < LAST - 31 * DAY))
    if outside.any():
        raise DataError(
            f"{days[outside][0]}: no calendar is known for this day; days from 1900 to 2100 "
            "are needed. Remove or correct the bars with such dates."
        )


def _as_day(day: date) -> np.datetime64:
    days = np.array([day], dtype="datetime64[D]")
    check_days(days)
    found: np.datetime64 = days[0]
    return found


def as_date(day: np.datetime64) -> date:
    """Convert a day to a plain date."""
    return date.fromisoformat(str(day))


def final_part(history: History, now: datetime) -> History:
    """Remove the bars whose session had not settled at an instant; `DataError` for future bars."""
    ticker, bars = history.listing.ticker, history.bars
    if bars.empty:
        return history
    newest = bars["session"].iloc[-1].date()
    if newest > (now + timedelta(days=1)).date():
        raise DataError(
            f"{ticker}: a bar of {newest} lies in the future (today is {now.date()}). "
            "Correct its date, or the clock of this machine."
        )
    last = pd.Timestamp(last_final_session(history.listing.calendar, now))
    unfinished = int((bars["session"] > last).sum())
    if unfinished:
        _log.info("%s: %d unfinished bar left out", ticker, unfinished)
        bars = bars.iloc[:-unfinished]
    return replace(history, bars=bars)


def gaps(history: History) -> NDArray[np.intp]:
    """Find the bars (G,) before which more than `MAX_MISSED_SESSIONS` in a row have none."""
    return np.flatnonzero(missed_sessions(history) > MAX_MISSED_SESSIONS) + 1


def new_gaps(before: History | None, now: History) -> NDArray[np.intp]:
    """Find the gaps (G,) that were not there before bars were added."""
    found, days = gaps(now), now.days
    if before is None:
        return found
    known = before.days
    there = {(known[row - 1], known[row]) for row in gaps(before)}
    return np.array([row for row in found if (days[row - 1], days[row]) not in there], np.intp)


def segments(history: History) -> list[History]:
    """Split a history at its gaps, oldest segment first."""
    cuts = [0, *gaps(history).tolist(), len(history.bars)]
    return [replace(history, bars=history.bars.iloc[begin:end]) for begin, end in pairwise(cuts)]


def describe_gaps(history: History, after: NDArray[np.intp]) -> str:
    """Describe in a sentence the gaps before some bars, (G,) of those that `gaps` returns."""
    ticker, calendar = history.listing.ticker, history.listing.calendar
    longest = int(after[np.argmax(missed_sessions(history)[after - 1])])
    last, following = history.days[longest - 1 : longest + 1]
    missing = sessions_between(calendar, as_date(last + 1), as_date(following - 1))
    named = f"{len(missing):,} sessions of {base_name(calendar)}"
    what = f"no bars from {missing[0]} to {missing[-1]} ({named})"
    if len(after) > 1:
        what = f"{len(after)} gaps, the longest: {what}"
    return (
        f"{ticker}: {what}; the series is split into segments there, and each is trained on and "
        "forecast by itself. Import the missing bars if they exist."
    )
