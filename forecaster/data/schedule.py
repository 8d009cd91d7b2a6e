"""A history held against its calendar: where sessions are missing, which bars are on none.

Histories in; rows, pieces and sentences out.  Repairs nothing; knows no clock and no store.

Shape letters: D bars of a history, H holes in it.
"""

from dataclasses import replace
from datetime import date
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from forecaster.data.bars import History
from forecaster.data.exchanges import ALWAYS_OPEN
from forecaster.data.sessions import missed_sessions, sessions_between

# As many sessions as a last bar may lack before a forecast from it is refused (`max_stale`).
MOST_MISSED: Final = 5

Days = NDArray[np.datetime64]


def holes(history: History) -> NDArray[np.intp]:
    """Find the bars (H,) before which more than `MOST_MISSED` sessions in a row have none."""
    return np.flatnonzero(_missed(history) > MOST_MISSED) + 1


def pieces(history: History) -> list[History]:
    """Cut a history at its holes, oldest piece first; one without holes is one piece."""
    cuts = [0, *holes(history).tolist(), len(history.bars)]
    return [replace(history, bars=history.bars.iloc[begin:end]) for begin, end in pairwise(cuts)]


def describe_holes(history: History, after: NDArray[np.intp]) -> str:
    """Say in a sentence where a history has holes.

    Args:
        history: the bars.
        after: (H,) at least one of the rows that `holes` gives.
    """
    ticker, calendar = history.listing.ticker, history.listing.calendar
    longest = int(after[np.argmax(_missed(history)[after - 1])])
    last, following = _days(history)[longest - 1 : longest + 1]
    missing = sessions_between(calendar, _date(last + 1), _date(following - 1))
    what = f"no bars from {missing[0]} to {missing[-1]} ({len(missing):,} sessions of {calendar})"
    if len(after) > 1:
        what = f"{len(after)} holes, the longest: {what}"
    return (
        f"{ticker}: {what}; what follows a hole is learnt and forecast as a new beginning. "
        "Bring the missing bars if there are any."
    )


def describe_strays(history: History) -> str:
    """Say in a sentence how many bars are on days that are no session; empty where none is."""
    ticker, calendar = history.listing.ticker, history.listing.calendar
    days = _days(history)
    strays = days[~np.isin(days, sessions_between(calendar, _date(days[0]), _date(days[-1])))]
    if len(strays) == 0:
        return ""
    on_weekends = not np.is_busday(strays).all()
    better = ALWAYS_OPEN if on_weekends else "NAME of the exchange, such as XLON"
    return (
        f"{ticker}: {len(strays):,} of {len(days):,} bars are on no session of {calendar} "
        f"(first {strays[0]}). If it trades by another calendar, give --calendar {better}."
    )


def _days(history: History) -> Days:
    return history.bars["session"].to_numpy("datetime64[D]")


def _missed(history: History) -> NDArray[np.int64]:
    return missed_sessions(history.listing.calendar, _days(history))


def _date(day: np.datetime64) -> date:
    return date.fromisoformat(str(day))
