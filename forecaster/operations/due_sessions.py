"""The sessions whose daily run is due, from calendars and stored bars; the age of a model.

A session is due once it is final everywhere and some stored ticker has its bar.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from forecaster import clock
from forecaster.data import sessions
from forecaster.data.history import normalise_tickers
from forecaster.data.store import PriceStore
from forecaster.errors import TooOldError, UnknownNameError
from forecaster.registry.manifest import Manifest
from forecaster.registry.run_history import session_records
from forecaster.settings import Settings

log = logging.getLogger(__name__)

_ONE_DAY: Final = timedelta(days=1)
_LONGEST_HOLIDAY: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreState:
    """Calendars, oldest and newest bars of some stored tickers, by ticker."""

    calendars: dict[str, str]
    oldest: dict[str, date]
    newest: dict[str, date]

    @property
    def tickers(self) -> tuple[str, ...]:
        """All tickers, in alphabetical order."""
        return tuple(sorted(self.calendars))

    def known_by(self, day: date) -> tuple[str, ...]:
        """Return the tickers that had a bar on or before a day."""
        return tuple(name for name in self.tickers if self.oldest.get(name, date.max) <= day)


@dataclass(frozen=True, slots=True)
class SessionWork:
    """What all sessions of a run have in common: home, model name, settings, stored tickers."""

    home: Path
    name: str
    settings: Settings
    stored: StoreState
    is_replay: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """The sessions whose daily run is due, oldest first; `left_out` counts those too long ago.

    `newest` is the newest final one by the calendars alone, `last` the last whose run is finished.
    """

    sessions: tuple[date, ...]
    newest: date | None
    last: date | None
    left_out: int = 0

    @property
    def is_waiting(self) -> bool:
        """Whether a session is final that no stored ticker has a bar of."""
        seen = max((*self.sessions, self.last or date.min))
        return self.newest is not None and seen < self.newest


def store_state(home: Path, tickers: Sequence[str] = ()) -> StoreState:
    """Read the state of these tickers, or of all; those not stored are left out."""
    wanted = normalise_tickers(tickers)
    try:
        with PriceStore.open_for_reading(home) as store:
            states = store.states(wanted)
    except UnknownNameError:
        states = []
    return StoreState(
        calendars={one.ticker: one.calendar for one in states},
        oldest={one.ticker: one.first for one in states if one.first},
        newest={one.ticker: one.last for one in states if one.last},
    )


def find_due(home: Path, name: str, stored: StoreState, as_of: date | None, catch_up: int) -> Due:
    """Find the due sessions: all since the last finished one, or the newest alone.

    A session whose run has started and not finished is due again, with those after it. At most
    the newest `catch_up` are due.
    """
    known = session_records(home, name)
    last = max((one.session for one in known if one.finished_at), default=None)
    newest = newest_final(stored.calendars.values(), as_of)
    if not stored.newest or newest is None:
        return Due(sessions=(), newest=newest, last=last)
    first = min((one.session for one in known if not one.finished_at), default=None)
    if last is not None:
        first = last + _ONE_DAY
    found = _with_bars(home, stored, first, as_of)
    if first is None:
        found = found[-1:]
    left_out = max(len(found) - catch_up, 0)
    return Due(sessions=tuple(found[left_out:]), newest=newest, last=last, left_out=left_out)


def lacking_bars(home: Path, name: str, stored: StoreState, due: Due) -> tuple[str, ...]:
    """Return the tickers that lacked the last session's bar, while no newer session is final."""
    if due.last is None or due.sessions or due.is_waiting:
        return ()
    (last,) = (one for one in session_records(home, name) if one.session == due.last)
    return tuple(one for one in last.summary.get("behind", ()) if one in stored.calendars)


def missed_sessions(home: Path, stored: StoreState, day: date) -> dict[str, int]:
    """Count, by ticker, the sessions until a day that it lacks the bars of.

    Tickers that have the day's bar, or no session on it, are left out.
    """
    calendars, known = stored.calendars, stored.known_by(day)
    names = [name for name in known if sessions.count_sessions(calendars[name], day, day)]
    with PriceStore.open_for_reading(home) as store:
        bars = store.all_bars(names, day, day - _LONGEST_HOLIDAY)
    last = bars.groupby("ticker")["session"].max().dt.date.to_dict()
    found = {}
    for name in names:
        since = last.get(name, day - _LONGEST_HOLIDAY)
        if since < day:
            found[name] = sessions.count_sessions(calendars[name], since + _ONE_DAY, day)
    return found


def newest_final(calendars: Collection[str], as_of: date | None = None) -> date | None:
    """Return the newest day, until `as_of`, whose sessions are all final; None if there is none."""
    today = clock.now().date() + _ONE_DAY  # it is tomorrow already in some time zones
    last = today if as_of is None else min(today, as_of)
    days = session_dates(calendars, last - _LONGEST_HOLIDAY, last)
    return next((day for day in reversed(days) if settled_at(calendars, day) <= clock.now()), None)


def session_dates(calendars: Collection[str], after: date, until: date) -> list[date]:
    """List the dates on which any of these calendars has a session, in (after, until]."""
    if after >= until:
        return []
    first = after + _ONE_DAY
    parts = [sessions.sessions_between(name, first, until) for name in sorted(set(calendars))]
    found: list[date] = np.unique(np.concatenate(parts)).tolist() if parts else []
    return found


def settled_at(calendars: Collection[str], day: date) -> datetime:
    """Return the time at which a day's sessions have closed and settled everywhere.

    Sessions of other days do not count; a day without any session ends at midnight UTC.
    """
    names = [name for name in set(calendars) if sessions.count_sessions(name, day, day)]
    closes = [sessions.close_of(name, day) for name in names]
    midnight = pd.Timestamp(day, tz="UTC").to_pydatetime() + _ONE_DAY
    return max(closes, default=midnight) + sessions.SETTLE


def model_age(manifest: Manifest, calendars: Collection[str], day: date) -> int:
    """Count the days with a session in any calendar since the last that training saw."""
    return len(session_dates(calendars, manifest.data.blocks.last, day))


def check_age(manifest: Manifest, calendars: Collection[str], day: date, most: int) -> int:
    """Return a model's age on a day; warn above `most` sessions, raise TooOldError above twice."""
    age = model_age(manifest, calendars, day)
    text = (
        f"version {manifest.version} was trained as of {manifest.data.blocks.last}, {age} sessions "
        f"before {day}; --max-model-age is {most}"
    )
    if age > 2 * most:
        raise TooOldError(
            f"{text}, and no forecast is made from twice as many. Train, or promote another: "
            "forecaster models promote"
        )
    if age > most:
        log.warning("%s; from twice as many no forecast is made", text)
    return age


def _with_bars(
    home: Path, stored: StoreState, first: date | None, as_of: date | None
) -> list[date]:
    """List final sessions with bars since a day; without one only the newest matters."""
    if first is None:
        newest = max(stored.newest.values())
        first = (newest if as_of is None else min(newest, as_of)) - _LONGEST_HOLIDAY
    found: set[date] = set()
    with PriceStore.open_for_reading(home) as store:
        bars = store.all_bars(stored.tickers, as_of, first)
    for ticker, rows in bars.groupby("ticker", sort=False):
        calendar = stored.calendars[str(ticker)]
        days = rows["session"].to_numpy("datetime64[D]")
        scheduled = sessions.sessions_between(calendar, first, clock.now().date() + _ONE_DAY)
        found |= set(np.intersect1d(days, scheduled).tolist())
    now, calendars = clock.now(), stored.calendars.values()
    return [day for day in sorted(found) if settled_at(calendars, day) <= now]
