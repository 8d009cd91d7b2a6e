"""Calendars that are behind, corrected from bars: sessions that no list has, late holidays.

A correction holds for all tickers of a calendar and is stored with its evidence. `PriceStore`
adds it to the calendar's name (see `trading_calendar`), so that functions which take a name see it
in every process.

Shape letters: D bars of a ticker, S sessions of a calendar.
"""

import json
import logging
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster import database
from forecaster.data.calendar_fit import CONTRADICTING_SHARE, FEWEST_CONTRADICTIONS
from forecaster.data.calendar_names import DEFAULT
from forecaster.data.sessions import as_date, sessions_between
from forecaster.data.trading_calendar import (
    ALWAYS_OPEN,
    Days,
    base_name,
    corrected_name,
    is_week,
    trading_calendar,
)

if TYPE_CHECKING:
    from forecaster.data.store import PriceStore

FEWEST_TICKERS: Final = 3  # of which none has a bar on a day, for a closure of any age
RECENT: Final = timedelta(days=60)  # younger closures need one ticker
REGULAR_SESSIONS: Final = 60  # before a closure
FEWEST_REGULAR: Final = 20
REGULAR_SHARE: Final = 0.95  # of these with a bar: a stock that trades at random is no evidence
_LONGEST: Final = {True: 10, False: 2}  # sessions in a row, by whether there are enough tickers
MOST_TICKERS: Final = 200  # whose bars are read; the first in alphabetical order
_MANY_BARS: Final = 60  # changed bars of a ticker after which more than the newest are compared
_SELECT: Final = "SELECT calendar, day, is_session, reason FROM calendar_corrections ORDER BY 1, 2"
_DELETE: Final = "DELETE FROM calendar_corrections WHERE calendar = ?"
_INSERT: Final = "INSERT INTO calendar_corrections VALUES (?, ?, ?, ?, ?)"
_DAYS: Final = """
    SELECT DISTINCT calendar, session FROM json_each(?)
    CROSS JOIN listings ON ticker = value CROSS JOIN bars USING (ticker)
    WHERE session >= ? ORDER BY calendar, session
"""
_TICKERS: Final = "SELECT ticker FROM listings WHERE calendar = ? ORDER BY ticker LIMIT ?"
log = logging.getLogger(__name__)
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """A day of a calendar that is a session although it was not listed, or none although it was."""

    calendar: str
    day: date
    is_session: bool
    reason: str

    def __str__(self) -> str:
        """Return the correction and its evidence on one line."""
        what = "a session" if self.is_session else "no session"
        return f"calendar {self.calendar}: {self.day} was {what}: {self.reason}"


class Corrections:
    """The corrections in an open store; see `PriceStore.corrections`."""

    def __init__(self, connection: sqlite3.Connection, file: database.Database) -> None:
        self._connection, self._file = connection, file
        self._known: dict[str, list[Correction]] | None = None

    def by_calendar(self) -> dict[str, list[Correction]]:
        """Read all corrections, oldest day first."""
        if self._known is None:
            known: dict[str, list[Correction]] = {}
            with database.translated_errors(self._file):
                for calendar, day, is_session, reason in self._connection.execute(_SELECT):
                    known.setdefault(calendar, []).append(
                        Correction(
                            calendar=calendar,
                            day=date.fromisoformat(day),
                            is_session=bool(is_session),
                            reason=reason,
                        )
                    )
            self._known = known
        return self._known

    def name_of(self, calendar: str) -> str:
        """Return the name of a calendar with its corrections, if it has none in its name yet."""
        known = self.by_calendar().get(calendar, [])
        opened = [one.day for one in known if one.is_session]
        return corrected_name(calendar, opened, [one.day for one in known if not one.is_session])

    def replace(self, calendar: str, found: Iterable[Correction], now: datetime) -> None:
        """Replace the corrections of a calendar."""
        instant = now.isoformat(timespec="seconds")
        rows = [
            (calendar, one.day.isoformat(), int(one.is_session), one.reason, instant)
            for one in found
        ]
        with database.translated_errors(self._file), database.transaction(self._connection):
            self._connection.execute(_DELETE, (calendar,))
            self._connection.executemany(_INSERT, rows)
        self._known = None

    def suspected(self, tickers: Sequence[str], since: date) -> list[str]:
        """List the calendars that the bars of some tickers contradict, corrections included."""
        traded: dict[str, list[str]] = {}
        with database.translated_errors(self._file):
            values = (json.dumps(tickers), since.isoformat())
            for calendar, day in self._connection.execute(_DAYS, values):
                traded.setdefault(calendar, []).append(day)
        return [name for name, days in traded.items() if self._is_contradicted(name, days)]

    def _is_contradicted(self, calendar: str, days: list[str]) -> bool:
        if calendar == ALWAYS_OPEN:
            return False
        traded = np.array(days, dtype="datetime64[D]")
        ends = as_date(traded[0]), as_date(traded[-1])
        return not np.array_equal(sessions_between(self.name_of(calendar), *ends), traded)

    def tickers(self, calendar: str) -> list[str]:
        """List the tickers of a calendar whose bars are evidence."""
        with database.translated_errors(self._file):
            rows = self._connection.execute(_TICKERS, (calendar, MOST_TICKERS))
            return [ticker for (ticker,) in rows]


def correct_calendars(
    store: "PriceStore", changed: Mapping[str, int], now: datetime
) -> list[Correction]:
    """Correct the calendars that stored bars contradict; log and return what is new.

    Args:
        changed: the number of new or different bars by ticker; if one has many, its complete
            past is compared, else the newest bars only.
    """
    tickers = [ticker for ticker, count in changed.items() if count]
    if not tickers:
        return []
    since = date.min if max(changed.values()) > _MANY_BARS else now.date() - RECENT
    new = []
    for calendar in store.corrections.suspected(tickers, since):
        known = store.corrections.by_calendar().get(calendar, [])
        found = _corrected(store, calendar, known, now.date())
        if found != known:
            store.corrections.replace(calendar, found, now)
            before = {(one.day, one.is_session) for one in known}
            new += [one for one in found if (one.day, one.is_session) not in before]
    for one in new:
        log.info("%s", one)
    return new


def _corrected(
    store: "PriceStore", calendar: str, known: Sequence[Correction], today: date
) -> list[Correction]:
    """Return the corrections of a calendar that its bars support, and old ones not contradicted."""
    bars = store.all_bars(store.corrections.tickers(calendar))
    parts = [one.reset_index(drop=True) for _, one in bars.groupby("ticker", sort=False)]
    found = {one.day: one for one in find_corrections(calendar, parts, today)}
    traded = set(bars["session"].dt.date)
    kept = {one.day: one for one in known if one.is_session == (one.day in traded)}
    kept |= {day: one for day, one in found.items() if day not in kept}
    return [kept[day] for day in sorted(kept)]


def find_corrections(calendar: str, bars: Sequence[pd.DataFrame], today: date) -> list[Correction]:
    """Find days on which the bars of a calendar's tickers contradict it.

    A day is a session if more than half of the tickers have a bar with a move and a volume, of
    those with bars before and after it. It is none if no ticker has a bar and three that trade
    regularly have one before and after it; within the last 60 days one such ticker suffices.

    Args:
        calendar: its name, without corrections.
        bars: one table per ticker (D,), oldest first.
    """
    tickers = [one for one in map(_Trading.of, bars) if len(one.days) > 1]
    if not tickers:
        return []
    first, last = min(one.days[0] for one in tickers), max(one.days[-1] for one in tickers)
    sessions = sessions_between(calendar, as_date(first), as_date(last))
    tickers = [one for one in tickers if one.is_credible(sessions)]
    found = [*_opened(calendar, tickers, sessions), *_closed(calendar, tickers, sessions, today)]
    return sorted(found, key=lambda one: one.day)


@dataclass(frozen=True, slots=True, eq=False)
class _Trading:
    """A ticker's days (D,), and on which of them it moved and was traded."""

    days: Days
    is_traded: Flags

    @classmethod
    def of(cls, bars: pd.DataFrame) -> "_Trading":
        close, volume = bars["close"].to_numpy(), bars["volume"].to_numpy()
        moved = (np.diff(close, prepend=np.nan) != 0) | (bars["high"] > bars["low"]).to_numpy()
        has_volume = (volume > 0) | (not volume.any())
        return cls(bars["session"].to_numpy("datetime64[D]"), moved & has_volume)

    def is_credible(self, sessions: Days) -> bool:
        """Whether few of its days are off the calendar: else it follows another one."""
        odd = int((~np.isin(self.days, sessions)).sum())
        return odd <= max(FEWEST_CONTRADICTIONS, CONTRADICTING_SHARE * len(self.days))

    def spans(self, days: Days) -> Flags:
        """Return which days it has bars before and after."""
        inside: Flags = (days > self.days[0]) & (days < self.days[-1])
        return inside


def _opened(calendar: str, tickers: Sequence[_Trading], sessions: Days) -> list[Correction]:
    if not tickers:
        return []
    odd = [np.setdiff1d(one.days[one.is_traded], sessions) for one in tickers]
    days, have = np.unique(np.concatenate(odd), return_counts=True)
    spanned = np.sum([one.spans(days) for one in tickers], axis=0)
    # A ticker without a suffix is taken for an American one, whatever it is.
    is_holiday = np.is_busday(days) & (calendar == DEFAULT)
    needed = np.where(is_holiday, FEWEST_TICKERS, 1)
    return [
        Correction(
            calendar=calendar,
            day=as_date(day),
            is_session=True,
            reason=f"{count:,} of {of:,} tickers have a bar",
        )
        for day, count, of, least in zip(days, have, spanned, needed, strict=True)
        if of and 2 * min(count, of) > of and count >= least
    ]


def _closed(
    calendar: str, tickers: Sequence[_Trading], sessions: Days, today: date
) -> list[Correction]:
    if calendar == ALWAYS_OPEN or not tickers:
        return []
    spanned = np.sum([one.spans(sessions) for one in tickers], axis=0)
    have = np.sum([np.isin(sessions, one.days) for one in tickers], axis=0)
    empty = np.flatnonzero((spanned > 0) & (have == 0))
    lacking = [_lacking(one, sessions) for one in tickers] if len(empty) else []
    table = trading_calendar(calendar)
    found = []
    for row in empty.tolist():
        runs = [runs[row] for runs in lacking if row in runs]
        day, enough = sessions[row], len(runs) >= FEWEST_TICKERS
        is_recent = as_date(day) >= today - RECENT
        is_known = table.first_known <= day and not is_week(calendar)
        if runs and max(runs) <= _LONGEST[enough] and (is_recent or (enough and is_known)):
            reason = f"none of {spanned[row]:,} tickers has a bar, before and after it they have"
            found.append(
                Correction(calendar=calendar, day=as_date(day), is_session=False, reason=reason)
            )
    return found


def _lacking(ticker: _Trading, sessions: Days) -> dict[int, int]:
    """Return the sessions that a ticker lacks though it trades regularly, with the run's length."""
    has_bar = np.isin(sessions, ticker.days)
    begin, end = np.searchsorted(sessions, [ticker.days[0], ticker.days[-1]])
    traded = np.flatnonzero(has_bar[begin : end + 1]) + begin
    found: dict[int, int] = {}
    for before, after in pairwise(traded.tolist()):
        length = after - before - 1
        past = has_bar[max(begin, before + 1 - REGULAR_SESSIONS) : before + 1]
        if length and len(past) >= FEWEST_REGULAR and past.mean() >= REGULAR_SHARE:
            found |= dict.fromkeys(range(before + 1, after), length)
    return found


def describe_corrections(known: Mapping[str, Sequence[Correction]]) -> list[str]:
    """Describe the corrections of each calendar in a sentence."""
    return [
        f"{base_name(calendar)}: days corrected from bars: {len(some):,}, the last {some[-1].day} "
        f"({'a session' if some[-1].is_session else 'no session'}: {some[-1].reason})"
        for calendar, some in known.items()
    ]
