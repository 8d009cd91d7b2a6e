"""A history compared with its calendar: bars not final, sessions missing, bars off the calendar.

Histories in; histories, rows and sentences out. Repairs nothing; knows no clock, no store.

Shape letters: D bars of a history, G gaps in it.
"""

import logging
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.data.exchanges import ALWAYS_OPEN, WEEKDAYS
from forecaster.data.history import History
from forecaster.data.sessions import last_final_session, missed_sessions, sessions_between
from forecaster.errors import DataError

# As many sessions as a last bar may lack before a forecast from it is refused (`max_stale`).
MAX_MISSED_SESSIONS: Final = 5

Days = NDArray[np.datetime64]

_log = logging.getLogger(__name__)


def final_part(history: History, now: datetime) -> History:
    """Remove the bars whose session had not closed and settled at an instant, and log how many.

    Raises:
        DataError: a bar lies in the future.
    """
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
        bars = bars[bars["session"] <= last]
    return replace(history, bars=bars.reset_index(drop=True))


def gaps(history: History) -> NDArray[np.intp]:
    """Find the bars (G,) before which more than `MAX_MISSED_SESSIONS` in a row have none."""
    return np.flatnonzero(_missed(history) > MAX_MISSED_SESSIONS) + 1


def new_gaps(before: History | None, now: History) -> NDArray[np.intp]:
    """Find the gaps (G,) that were not there before bars were added."""
    found, days = gaps(now), _days(now)
    if before is None:
        return found
    known = _days(before)
    there = {(known[row - 1], known[row]) for row in gaps(before)}
    return np.array([row for row in found if (days[row - 1], days[row]) not in there], np.intp)


def segments(history: History) -> list[History]:
    """Split a history at its gaps, oldest segment first."""
    cuts = [0, *gaps(history).tolist(), len(history.bars)]
    return [replace(history, bars=history.bars.iloc[begin:end]) for begin, end in pairwise(cuts)]


def describe_gaps(history: History, after: NDArray[np.intp]) -> str:
    """Describe in a sentence where a history has gaps.

    Args:
        history: the bars.
        after: (G,) at least one of the rows that `gaps` returns.
    """
    ticker, calendar = history.listing.ticker, history.listing.calendar
    longest = int(after[np.argmax(_missed(history)[after - 1])])
    last, following = _days(history)[longest - 1 : longest + 1]
    missing = sessions_between(calendar, _date(last + 1), _date(following - 1))
    what = f"no bars from {missing[0]} to {missing[-1]} ({len(missing):,} sessions of {calendar})"
    if len(after) > 1:
        what = f"{len(after)} gaps, the longest: {what}"
    return (
        f"{ticker}: {what}; the series is split into segments there, and each is trained on and "
        "forecast by itself. Import the missing bars if they exist."
    )


def describe_guess(history: History) -> str:
    """Describe in a sentence that no calendar is known; empty where one is."""
    if history.listing.calendar != WEEKDAYS:
        return ""
    return (
        f"{history.listing.ticker}: no calendar is known for its exchange; every weekday counts as "
        "a session, holidays too."
    )


def describe_off_calendar(history: History) -> str:
    """Describe in a sentence how many bars are on days without a session; empty if none is."""
    ticker, calendar = history.listing.ticker, history.listing.calendar
    days = _days(history)
    found = days[~np.isin(days, sessions_between(calendar, _date(days[0]), _date(days[-1])))]
    if len(found) == 0:
        return ""
    on_weekends = not np.is_busday(found).all()
    better = ALWAYS_OPEN if on_weekends else "XLON"
    return (
        f"{ticker}: {len(found):,} of {len(days):,} bars are on no session of {calendar} "
        f"(first {found[0]}). If it trades by another calendar, set that, such as {better}: "
        "--calendar NAME, or a column calendar."
    )


def _days(history: History) -> Days:
    return history.bars["session"].to_numpy("datetime64[D]")


def _missed(history: History) -> NDArray[np.int64]:
    return missed_sessions(history.listing.calendar, _days(history))


def _date(day: np.datetime64) -> date:
    return date.fromisoformat(str(day))
