"""A ticker's bars compared with calendars: another one that fits better, a learned week.

Only a contradiction is compared with every known calendar, which takes some seconds.

Shape letters: D bars of a history, S sessions of a calendar, W weeks.
"""

import logging
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np

from forecaster.data.calendar_names import DEFAULT, is_unknown_index, main_calendars
from forecaster.data.filled_days import without_filled_days
from forecaster.data.history import History
from forecaster.data.intervals import MODERN, rests_on_weekend, weekday_of
from forecaster.data.sessions import as_date, sessions_between
from forecaster.data.trading_calendar import (
    ALWAYS_OPEN,
    DAY,
    Days,
    base_name,
    every_week,
    exchange_names,
    is_guess,
    is_week,
    ordinary_week,
    trading_calendar,
)

FEWEST_CONTRADICTIONS: Final = 5
CONTRADICTING_SHARE: Final = 0.01
_WEEKS: Final = ("mon-fri", "sun-thu", "sat-wed", "sat-thu", "mon-sat", "sun-fri", "mon-sun")
_USUAL: Final = ("weekdays", ALWAYS_OPEN, *_WEEKS[1:-1])
_FEWEST_LEARNED: Final = 26
_FEWEST_SETTLING: Final = 120  # days: with some holidays
_FEW_DAYS, _MUCH = 3, 0.05  # saved by another week, if bars contradict this one, and if none does
_CHANGE_COST: Final = 6  # days that must contradict a week before another one begins
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Bars on no session of a calendar, and sessions of it without a bar."""

    calendar: str
    off_calendar: int
    missing: int

    @property
    def contradictions(self) -> int:
        """Both together."""
        return self.off_calendar + self.missing

    def __str__(self) -> str:
        """Return both counts in words."""
        return f"{self.off_calendar:,} bars on no session, {self.missing:,} sessions without a bar"


def contradiction(history: History) -> str:
    """Describe in a sentence that bars follow another calendar than theirs; empty if they do not.

    They do so where they trade on days outside its week, or never on its weekend; or where they
    trade on its holidays and rest on its sessions, unless it is New York's, which is taken for
    that of every ticker without a suffix, and another calendar fits them better.
    """
    listing, days = history.listing, history.days
    calendar = base_name(listing.calendar)
    table = trading_calendar(listing.calendar)
    days = days[(days >= max(table.first_known, MODERN)) & (days <= table.last_known)]
    if len(days) < 2:
        return ""
    sessions = sessions_between(listing.calendar, as_date(days[0]), as_date(days[-1]))
    odd = days[~np.isin(days, sessions)]
    rests = rests_on_weekend(sessions, np.isin(sessions, days))
    if not (rests or len(odd)):
        return ""
    own = _fit(listing.calendar, days)
    least = max(FEWEST_CONTRADICTIONS, CONTRADICTING_SHARE * len(days))
    other_week = (~np.isin(odd, table.week)).sum() >= least
    rests_too = calendar == DEFAULT or own.missing >= max(_FEW_DAYS, len(odd) / 4)
    if not (other_week or rests or (len(odd) >= least and rests_too)):
        return ""
    best = _best_fit(days)
    settled = 2 * best.contradictions <= own.contradictions
    if not settled and not (other_week or rests):
        return ""
    what = f"{listing.ticker}: the bars contradict calendar {calendar} ({own})"
    if len(odd):
        what += f", first on {odd[0]}"
    if not settled:
        return f"{what}; no known calendar fits them much better"
    remedy = f". Import with --calendar {best.calendar}" if listing.source == "files" else ""
    return f"{what}; {best.calendar} fits best ({best}){remedy}"


def with_fitting_calendar(history: History) -> History:
    """Return a history with the calendar that its days fit without exception, if not its own.

    Only where the days contradict the ticker's own calendar, and there are enough to decide.
    """
    traded = without_filled_days(history)
    days = traded.days
    if len(days) < _FEWEST_SETTLING or not contradiction(traded):
        return history
    best = _best_fit(days)
    if best.contradictions:
        return history
    own = _fit(history.listing.calendar, days)
    log.warning(
        "%s: all %s days are sessions of %s, not of %s (%s); taken as %s. If that is wrong: "
        "--calendar %s",
        *(history.listing.ticker, f"{len(days):,}", best.calendar, own.calendar, own),
        *(best.calendar, own.calendar),
    )
    return replace(history, listing=replace(history.listing, calendar=best.calendar))


def describe_off_calendar(history: History) -> str:
    """Describe in a sentence how many bars are on days without a session; empty if none is."""
    listing, days = history.listing, history.days
    found = days[~np.isin(days, trading_calendar(listing.calendar).sessions)]
    if len(found) == 0:
        return ""
    what = (
        f"{listing.ticker}: {len(found):,} of {len(days):,} bars are on no session of "
        f"{base_name(listing.calendar)} (first {found[0]})."
    )
    week = min((_fit(name, days) for name in _USUAL), key=lambda fit: fit.contradictions)
    if 2 * week.contradictions > _fit(listing.calendar, days).contradictions:
        return f"{what} If it trades by another calendar, set that: --calendar NAME."
    better = week.calendar
    return f"{what} {better} fits best ({week}); set it if that is right: --calendar {better}."


def _best_fit(days: Days) -> Fit:
    """Return the calendar that fits best of all; the first of several, main exchanges first."""
    main, known = main_calendars(), exchange_names()
    names = [*_USUAL]
    names += [
        *(name for name in main if name in known),
        *(name for name in known if name not in main),
    ]
    best = _fit(names[0], days)
    for name in names[1:]:
        if best.contradictions == 0:
            break
        off_week = 0 if is_week(name) else int((~np.isin(days, ordinary_week(name))).sum())
        if off_week < best.contradictions:
            best = min(best, _fit(name, days), key=lambda fit: fit.contradictions)
    return best


def _fit(calendar: str, days: Days) -> Fit:
    sessions = sessions_between(calendar, as_date(days[0]), as_date(days[-1]))
    common = int(np.isin(days, sessions).sum())
    return Fit(calendar=calendar, off_calendar=len(days) - common, missing=len(sessions) - common)


def with_learned_week(history: History, known: Days | None = None) -> History:
    """Return a history whose calendar, where it is only a guess, is the week of its own days.

    Args:
        known: stored days to learn from, too.
    """
    calendar = history.listing.calendar
    if not is_guess(calendar) or history.bars.empty:
        return history
    days = without_filled_days(history).days
    if known is not None:
        days = np.union1d(known, days)
    if len(days) < _FEWEST_LEARNED:
        return history
    own, learned = _fit(calendar, days), _learn(days, base_name(calendar).partition("@")[2])
    least = _FEW_DAYS if own.off_calendar >= _FEW_DAYS else _MUCH * len(days)
    if own.contradictions - _fit(learned, days).contradictions < least:
        return history
    return replace(history, listing=replace(history.listing, calendar=learned))


def _learn(days: Days, zone: str) -> str:
    """Find the weeks that contradict the days least, with as few changes as explain them.

    Source: Viterbi (1967), "Error bounds for convolutional codes": the cheapest path through the
    weeks of `_WEEKS`, where a day that contradicts costs 1 and a change `_CHANGE_COST`.
    """
    first = days[0] - (weekday_of(days[:1])[0] + 2) % 7 * DAY  # weeks from Saturday to Friday
    count = int((days[-1] - first).astype(np.int64)) // 7 + 1
    traded = np.zeros(count * 7, dtype=np.bool_)
    traded[(days - first).astype(np.int64)] = True
    masks = np.array([_from_saturday(week) for week in _WEEKS])
    cost = (traded.reshape(count, 1, 7) != masks).sum(axis=2)
    total, back = cost[0].astype(np.int64), np.zeros((count, len(masks)), dtype=np.intp)
    for week in range(1, count):
        cheapest = int(np.argmin(total))
        change = total[cheapest] + _CHANGE_COST
        back[week] = np.where(total <= change, np.arange(len(masks)), cheapest)
        total = np.minimum(total, change) + cost[week]
    path = [int(np.argmin(total))]
    for week in range(count - 1, 0, -1):
        path.append(int(back[week][path[-1]]))
    path.reverse()
    name = _WEEKS[path[0]]
    for week in range(1, count):
        if path[week] != path[week - 1]:
            name += f"/{first + 7 * week * DAY}/{_WEEKS[path[week]]}"
    if name == "mon-sun":
        return ALWAYS_OPEN
    return f"{name}@{zone}" if zone else name


@lru_cache
def _from_saturday(week: str) -> tuple[bool, ...]:
    """Return the days of a week with a session, Saturday first."""
    saturday = np.datetime64("2024-06-01", "D") + np.arange(7) * DAY
    return tuple(np.isin(saturday, every_week(week).sessions).tolist())


def describe_guess(history: History) -> str:
    """Describe in a sentence that no calendar is known; empty where one is."""
    ticker, calendar = history.listing.ticker, base_name(history.listing.calendar)
    if is_guess(calendar):
        return (
            f"{ticker}: no calendar is known for its exchange; every day of the week {calendar} "
            "counts as a session, holidays too."
        )
    if history.listing.source == "files" and is_unknown_index(ticker):
        return (
            f"{ticker}: an index of unknown exchange; {calendar} is a guess. If it is another: "
            "--calendar NAME, or a column calendar."
        )
    return ""
