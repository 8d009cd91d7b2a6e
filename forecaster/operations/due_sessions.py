"""How old a model is, in sessions: from some age on warned of, from twice as old refused."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster import clock
from forecaster.data import sessions
from forecaster.data.history import normalise_tickers
from forecaster.data.store import PriceStore
from forecaster.errors import SourceDownError, TooOldError, TryLaterError, UnknownNameError
from forecaster.registry.manifest import Manifest
from forecaster.registry.run_history import session_records

log = logging.getLogger(__name__)

SOURCE_FAILS = (SourceDownError, TryLaterError)
_ONE_DAY = timedelta(days=1)
_SKEW = timedelta(hours=1)
_LONGEST_HOLIDAY = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreState:
    """What the store has of the tickers of a night: their calendars, oldest and newest bars.

    These are by ticker; `fetched_at` is when the newest prices came.
    """

    calendars: dict[str, str]
    oldest: dict[str, date]
    newest: dict[str, date]
    fetched_at: datetime | None

    @property
    def tickers(self) -> tuple[str, ...]:
        """All of them, in alphabetical order."""
        return tuple(sorted(self.calendars))

    def known_by(self, day: date) -> tuple[str, ...]:
        """Name the tickers that had a bar on or before a day."""
        return tuple(name for name in self.tickers if self.oldest.get(name, date.max) <= day)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """The nights to do, oldest first.

    `newest` is the newest final night by the calendars alone, `last` the last that was done;
    `left_out` counts nights too long ago.
    """

    sessions: tuple[date, ...]
    newest: date | None
    last: date | None
    left_out: int = 0

    @property
    def is_waiting(self) -> bool:
        """Whether a session is final of which no bar has come yet."""
        seen = max((*self.sessions, *([self.last] if self.last else [])), default=None)
        return self.newest is not None and (seen is None or seen < self.newest)


def held(home: Path, tickers: Sequence[str] = ()) -> StoreState:
    """Read what is stored of these tickers, or of all; those not stored yet are left out."""
    wanted = normalise_tickers(tickers)
    try:
        with PriceStore.open_for_reading(home) as store:
            names = [name for name in store.tickers() if not wanted or name in wanted]
            spans = {name: store.span(name) for name in names}
            calendars = {name: store.listing(name).calendar for name in names}
            fetched = [store.fetched_at(name) for name in names]
    except UnknownNameError:
        return StoreState(calendars={}, oldest={}, newest={}, fetched_at=None)
    return StoreState(
        calendars=calendars,
        oldest={name: span.first for name, span in spans.items() if span},
        newest={name: span.last for name, span in spans.items() if span},
        fetched_at=max(fetched, default=None),
    )


def asked(tickers: Sequence[str]) -> list[str]:
    """Return tickers as they are stored.

    Raises:
        UsageError: a malformed one.
    """
    return list(normalise_tickers(tickers))


def comes_from(home: Path, source: str) -> bool:
    """Tell whether anything stored comes from a source, or nothing is stored yet."""
    try:
        with PriceStore.open_for_reading(home) as store:
            return bool(store.tickers(source)) or not store.tickers()
    except UnknownNameError:
        return True


def refuse_clock_set_back(stored: StoreState) -> None:
    """Refuse to work by a clock that is behind the prices: it would take old bars for new.

    Raises:
        TryLaterError: it is.
    """
    now = clock.now()
    if stored.fetched_at is not None and now < stored.fetched_at - _SKEW:
        raise TryLaterError(
            f"The clock says {now:%Y-%m-%d %H:%M} UTC, but prices were fetched at "
            f"{stored.fetched_at:%Y-%m-%d %H:%M}; set it. Nothing was done."
        )


def newest_final(calendars: Collection[str], as_of: date | None = None) -> date | None:
    """Tell the newest night whose sessions are all final; None where there is no calendar.

    Args:
        calendars: by name.
        as_of: as if this were the last day known; None for now.
    """
    today = clock.now().date() + _ONE_DAY  # it is tomorrow already in some places
    last = today if as_of is None else min(today, as_of)
    found = final_only(calendars, session_dates(calendars, last - _LONGEST_HOLIDAY, last))
    return found[-1] if found else None


def final_only(calendars: Collection[str], days: Sequence[date]) -> list[date]:
    """Keep the nights on which every exchange that was open has closed and settled."""
    now = clock.now()
    return [day for day in days if evening(calendars, day) <= now]


def due(home: Path, name: str, stored: StoreState, as_of: date | None, catch_up: int) -> Due:
    """Tell the nights to do: all since the last one that was done, or the newest alone.

    A night that was begun and not finished is done again, and those after it.

    Args:
        home: the workspace.
        name: whose nights.
        stored: the tickers.
        as_of: as if this were the last day known; None for now.
        catch_up: nights at most, the newest.
    """
    known = session_records(home, name)
    finished = [one.session for one in known if one.finished_at]
    begun = [one.session for one in known if not one.finished_at]
    last = max(finished, default=None)
    newest = newest_final(stored.calendars.values(), as_of)
    if not stored.newest or newest is None:
        return Due(sessions=(), newest=newest, last=last)
    first = min(begun, default=None)
    if last is not None:
        first = last + _ONE_DAY
    found = _with_bars(home, stored, first, as_of)
    if first is None:
        found = found[-1:]
    left_out = max(len(found) - catch_up, 0)
    return Due(sessions=tuple(found[left_out:]), newest=newest, last=last, left_out=left_out)


def silent_for(home: Path, stored: StoreState, day: date) -> dict[str, int]:
    """Count, by ticker, the sessions until a night of which there is no bar since the last one.

    Tickers that have a bar of the night, or no session on it, are left out.
    """
    names = [
        name
        for name in stored.known_by(day)
        if sessions.count_sessions(stored.calendars[name], day, day)
    ]
    with PriceStore.open_for_reading(home) as store:
        bars = store.all_bars(names, day, day - _LONGEST_HOLIDAY)
    last = bars.groupby("ticker")["session"].max().dt.date.to_dict()
    found = {}
    for name in names:
        since = last.get(name, day - _LONGEST_HOLIDAY)
        if since < day:
            found[name] = sessions.count_sessions(stored.calendars[name], since + _ONE_DAY, day)
    return found


def _with_bars(
    home: Path, stored: StoreState, first: date | None, as_of: date | None
) -> list[date]:
    """List final sessions with bars, from a day on; without one only the newest matters."""
    found: set[date] = set()
    since = first or _newest_known(stored, as_of) - _LONGEST_HOLIDAY
    with PriceStore.open_for_reading(home) as store:
        bars = store.all_bars(stored.tickers, as_of, since)
    for ticker, rows in bars.groupby("ticker", sort=False):
        calendar = stored.calendars[str(ticker)]
        days = rows["session"].to_numpy("datetime64[D]")
        scheduled = sessions.sessions_between(calendar, since, clock.now().date() + _ONE_DAY)
        found |= set(np.intersect1d(days, scheduled).tolist())
    return final_only(stored.calendars.values(), sorted(found))


def _newest_known(stored: StoreState, as_of: date | None) -> date:
    newest = max(stored.newest.values())
    return newest if as_of is None else min(newest, as_of)


def session_dates(calendars: Collection[str], after: date, until: date) -> list[date]:
    """List the dates on which any of these calendars has a session, after one day until another."""
    if after >= until:
        return []
    parts = [
        sessions.sessions_between(name, after + _ONE_DAY, until) for name in sorted(set(calendars))
    ]
    found: list[date] = np.unique(np.concatenate(parts)).tolist() if parts else []
    return found


def evening(calendars: Collection[str], day: date) -> datetime:
    """Return the instant at which a day's sessions have closed and settled everywhere.

    Sessions of other days do not count; a day without any session ends at its midnight in UTC.
    """
    closes = [
        sessions.close_of(name, day)
        for name in set(calendars)
        if sessions.count_sessions(name, day, day)
    ]
    midnight = pd.Timestamp(day, tz="UTC").to_pydatetime() + _ONE_DAY
    return max(closes, default=midnight) + sessions.SETTLE


def model_age(manifest: Manifest, calendars: Collection[str], day: date) -> int:
    """Count the days with a session in any of the calendars since the last that training saw."""
    return len(session_dates(calendars, manifest.data.blocks.last, day))


def accepted_age(manifest: Manifest, calendars: Collection[str], day: date, most: int) -> int:
    """Tell a model's age on the day that it forecasts from, warning where it is above `most`.

    Raises:
        TooOldError: it is above twice as many sessions.
    """
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
