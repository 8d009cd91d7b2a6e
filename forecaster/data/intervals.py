"""Bars of another interval than a day: sessions that are missing in a regular pattern.

Shape letters: D bars of a history, S sessions of a calendar.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from forecaster.data.history import History
from forecaster.data.sessions import as_date, missed_sessions, sessions_between
from forecaster.data.trading_calendar import Days

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
MODERN: Final = np.datetime64("2001-01-01", "D")


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
    sessions = sessions[(weekday_of(sessions) < 5) | (sessions >= MODERN)]
    has_bar = np.isin(sessions, days)
    # Those follow another calendar.
    if has_bar.sum() < _PRESENT * len(days) or rests_on_weekend(sessions, has_bar):
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
    weekday = weekday_of(sessions)
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


def rests_on_weekend(sessions: Days, has_bar: Flags) -> bool:
    """Whether bars are never on Saturdays or Sundays that are sessions."""
    weekday = weekday_of(sessions)
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


def weekday_of(days: Days) -> NDArray[np.int64]:
    """Return the days of the week, Monday 0."""
    return (days.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
