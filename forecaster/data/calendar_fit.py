"""A ticker's bars compared with calendars: another interval, another calendar, a learned week.

Only a contradiction is compared with every known calendar, which takes some seconds.

Shape letters: D bars of a history, S sessions of a calendar, W weeks.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from forecaster.data.calendar_names import is_unknown_index, main_calendars
from forecaster.data.history import History
from forecaster.data.sessions import as_date, missed_sessions, sessions_between
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

Flags = NDArray[np.bool_]
# A regular interval: name, and calendar days from one bar to the next.
_INTERVALS: Final = (
    ("weekly", 6, 9),
    ("two-weekly", 12, 16),
    ("monthly", 26, 35),
    ("two-monthly", 56, 65),
    ("quarterly", 85, 97),
    ("half-yearly", 175, 190),
    ("yearly", 350, 380),
)
_FEWEST_SPACINGS: Final = 3
# The share of spacings that are alike, from so many spacings on.
_ALIKE: Final = ((20, 0.6), (5, 0.8), (_FEWEST_SPACINGS, 1.0))
_FEWEST_MISSING: Final = 5
_RUN: Final = 12  # such spacings in a row; of a stock that trades at random at most 1 in 4 is alike
_FOLDED: Final = 60  # sessions in which a pattern is looked for
_FEWEST_FOLDED: Final = 24
_LONGEST_PERIOD: Final = 10
_HALF_YEAR: Final = 130
_FEWEST_WEEKS: Final = 8
_ABSENT, _PRESENT, _TRADED = 0.1, 0.9, 0.7  # shares of sessions with a bar
_WEEKDAYS: Final = "Mondays Tuesdays Wednesdays Thursdays Fridays Saturdays Sundays".split()
# Saturday sessions ended before 2001 everywhere, in years of which records are incomplete.
_MODERN: Final = np.datetime64("2001-01-01", "D")

FEWEST_CONTRADICTIONS: Final = 5
CONTRADICTING_SHARE: Final = 0.01
_WEEKS: Final = ("mon-fri", "sun-thu", "sat-wed", "sat-thu", "mon-sat", "sun-fri", "mon-sun")
_USUAL: Final = ("weekdays", ALWAYS_OPEN, *_WEEKS[1:-1])
_FEWEST_LEARNED: Final = 26
_FEW_DAYS, _MUCH = 3, 0.05  # saved by another week, if bars contradict this one, and if none does
_CHANGE_COST: Final = 6  # days that must contradict a week before another one begins


def regular_interval(history: History) -> tuple[int, str] | None:
    """Find bars that are missing in a regular pattern: the first row of it, and its name.

    Weekly to yearly bars, one of two or three sessions, no bars on Mondays. Sessions that are
    missing at random, or for a while, are no pattern.
    """
    days = history.days
    missed = missed_sessions(history)
    if len(missed) < _FEWEST_SPACINGS or missed.sum() < _FEWEST_MISSING:
        return None
    found = _by_spacing(np.diff(days).astype(np.int64))
    if found:
        return found
    sessions = sessions_between(history.listing.calendar, as_date(days[0]), as_date(days[-1]))
    sessions = sessions[(_weekday(sessions) < 5) | (sessions >= _MODERN)]
    has_bar = np.isin(sessions, days)
    # Those follow another calendar.
    if has_bar.sum() < _PRESENT * len(days) or _rests_on_weekend(sessions, has_bar):
        return None
    folded = _by_weekday(sessions, has_bar) or _by_period(has_bar)
    if folded:
        return int(np.searchsorted(days, sessions[folded[0]])), folded[1]
    return _by_sessions(missed)


def _by_spacing(spacing: NDArray[np.int64]) -> tuple[int, str] | None:
    """Find intervals by the days from each bar to the next."""
    needed = _share_needed(len(spacing))
    for name, least, most in _INTERVALS:
        alike = (spacing >= least) & (spacing <= most)
        if alike.mean() >= needed:
            return int(np.argmax(alike)), f"{name} bars"
        edges = np.flatnonzero(np.diff(np.r_[False, alike, False].astype(np.int8)))
        lengths = edges[1::2] - edges[::2]
        if len(lengths) and lengths.max() >= _RUN:
            return int(edges[::2][np.argmax(lengths)]), f"{name} bars"
    return None


def _by_sessions(missed: NDArray[np.int64]) -> tuple[int, str] | None:
    """Find intervals by the sessions that are missing from each bar to the next."""
    step = int(np.bincount(missed).argmax())
    alike = missed == step
    if step == 0 or alike.mean() < _share_needed(len(missed)):
        return None
    return int(np.argmax(alike)), f"bars on 1 of every {step + 1} sessions"


def _share_needed(spacings: int) -> float:
    return next(share for count, share in _ALIKE if spacings >= count)


def _by_period(has_bar: Flags) -> tuple[int, str] | None:
    """Find a pattern that repeats every few sessions."""
    for begin, end in _windows(len(has_bar), _FOLDED):
        window = has_bar[begin:end]
        if len(window) < _FEWEST_FOLDED or window.mean() > _PRESENT or not window.any():
            continue
        for period in range(2, _LONGEST_PERIOD + 1):
            turns = len(window) // period
            share = window[: turns * period].reshape(turns, period).mean(axis=0)
            absent, present = share <= _ABSENT, share >= _PRESENT
            if absent.any() and present.any() and (absent | present).all():
                return begin, f"bars on {int(present.sum())} of every {period} sessions"
    return None


def _by_weekday(sessions: Days, has_bar: Flags) -> tuple[int, str] | None:
    """Find days of the week that never have a bar, while the others have."""
    weekday = _weekday(sessions)
    for begin, end in _windows(len(sessions), _HALF_YEAR):
        part = slice(begin, end)
        expected = np.bincount(weekday[part], minlength=7)
        traded = np.bincount(weekday[part][has_bar[part]], minlength=7)
        share = traded / np.maximum(expected, 1)
        absent = (expected >= _FEWEST_WEEKS) & (share <= _ABSENT)
        others = (expected > 0) & ~absent
        if absent.any() and others.any() and (share[others] >= _TRADED).all():
            return begin, f"no bars on {' and '.join(np.array(_WEEKDAYS)[absent])}"
    return None


def _rests_on_weekend(sessions: Days, has_bar: Flags) -> bool:
    """Whether bars are never on Saturdays or Sundays that are sessions."""
    weekday = _weekday(sessions)
    if weekday.max(initial=0) < 5:
        return False
    found = _by_weekday(sessions, has_bar)
    return found is not None and not any(name in found[1] for name in _WEEKDAYS[:5])


def _windows(length: int, width: int) -> list[tuple[int, int]]:
    """Return overlapping windows of a length, the last one up to its end."""
    if length <= width:
        return [(0, length)]
    begins = [*range(0, length - width, width // 2), length - width]
    return [(begin, begin + width) for begin in begins]


def _weekday(days: Days) -> NDArray[np.int64]:
    return (days.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday


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
    trade on its holidays and rest on its sessions, and another calendar fits them better.
    """
    listing, days = history.listing, history.days
    calendar = base_name(listing.calendar)
    table = trading_calendar(listing.calendar)
    days = days[(days >= max(table.first_known, _MODERN)) & (days <= table.last_known)]
    if len(days) < 2:
        return ""
    sessions = sessions_between(listing.calendar, as_date(days[0]), as_date(days[-1]))
    odd = days[~np.isin(days, sessions)]
    rests = _rests_on_weekend(sessions, np.isin(sessions, days))
    if not (rests or len(odd)):
        return ""
    own = _fit(listing.calendar, days)
    least = max(FEWEST_CONTRADICTIONS, CONTRADICTING_SHARE * len(days))
    other_week = (~np.isin(odd, table.week)).sum() >= least
    both_ways = len(odd) >= least and own.missing >= max(_FEW_DAYS, len(odd) / 4)
    if not (other_week or rests or both_ways):
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


def describe_off_calendar(history: History) -> str:
    """Describe in a sentence how many bars are on days without a session; empty if none is."""
    listing, days = history.listing, history.days
    sessions = sessions_between(listing.calendar, as_date(days[0]), as_date(days[-1]))
    found = days[~np.isin(days, sessions)]
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
    days = history.days if known is None else np.union1d(known, history.days)
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
    first = days[0] - (_weekday(days[:1])[0] + 2) % 7 * DAY  # weeks from Saturday to Friday
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
