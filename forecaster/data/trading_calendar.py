"""Trading calendars: every session from 1900 to 2100, by the name of a calendar.

The only module that uses exchange_calendars; `calendar_cache` keeps what it builds. Before its
records begin, after they end, and without any calendar the days of the exchange's week are
sessions. A name is a market identifier code (MIC) as exchange_calendars spells it, or a week:
`sun-thu@Asia/Qatar`, or after a change of the week `sun-thu/2022-01-03/mon-fri@Asia/Dubai`.
Corrections are a part of the name, so that none depends on anything else: `XBOM+20250201-20250314`
has one session more and one less than XBOM.

Shape letters: S sessions of a calendar.
"""

import re
import warnings
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from functools import cache, lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.data import calendar_cache
from forecaster.errors import UsageError

Days = NDArray[np.datetime64]

FIRST: Final = np.datetime64("1900-01-01", "D")
LAST: Final = np.datetime64("2100-12-31", "D")  # fixed: no answer depends on when it is asked
DAY: Final = np.timedelta64(1, "D")
_MIDNIGHT: Final = timedelta(hours=23, minutes=59)

ALWAYS_OPEN: Final = "24/7"
WEEKDAYS_AROUND_THE_CLOCK: Final = "24/5"
WEEKDAYS: Final = "weekdays"  # where no calendar is known, and no time zone
# The same week in the usual spelling, and the close after midnight.
_EVERY_WEEK: Final = {
    ALWAYS_OPEN: ("mon-sun", timedelta(days=1)),
    WEEKDAYS_AROUND_THE_CLOCK: ("mon-fri", timedelta(days=1)),
    WEEKDAYS: ("mon-fri", _MIDNIGHT),
}
_WEEK: Final = re.compile(
    r"[a-z]{3}-[a-z]{3}(/[0-9]{4}-[0-9]{2}-[0-9]{2}/[a-z]{3}-[a-z]{3})*(@[A-Za-z0-9_/+-]+)?"
)
_DAY_NAMES: Final = "mon tue wed thu fri sat sun".split()
_CORRECTION: Final = re.compile(r"([+-])([0-9]{8})")
# The weeks of exchanges that have not always traded from Monday to Friday.
_WEEKS: Final = {
    "XKRX": "mon-sat/1998-12-07/mon-fri",
    "XSAU": "sat-wed/2013-06-29/sun-thu",
    "XTAE": "sun-thu/2026-01-05/mon-fri",
}

# Exchanges whose ad hoc holidays, in exchange_calendars, are attacks, storms and funerals.
# In Asian calendars that list has the lunar holidays, which are known in advance.
SURPRISING_ADHOC_HOLIDAYS: Final = frozenset({"XNYS", "XTSE"})
# Storms, snow, and Tokyo's failed trading system, among otherwise planned ad hoc holidays.
SURPRISE_CLOSURES: Final = {
    "XDUB": "2018-03-02",
    "XHKG": "1992-07-22 1993-09-17 1999-09-16 2001-07-06 2001-07-25 2008-08-06 2008-08-22 "
    "2011-09-29 2013-08-14 2016-08-02 2016-10-21 2017-08-23 2020-10-13 2021-10-13 2023-07-17 "
    "2024-09-06",
    "XTAI": "2002-09-06 2004-08-24 2004-08-25 2004-10-25 2005-07-18 2005-08-05 2007-09-18 "
    "2008-07-28 2008-09-29 2009-08-07 2012-08-02 2013-08-21 2014-07-23 2015-07-10 2015-09-29 "
    "2016-07-08 2016-09-27 2016-09-28 2019-08-09 2019-09-30 2023-08-03 2024-07-24 2024-07-25 "
    "2024-10-02 2024-10-03",
    "XTKS": "2020-10-01",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingCalendar:
    """All sessions (S,) of a calendar, with their closes in UTC and early closes.

    `surprises` are days that were scheduled as sessions, on which the exchange then stayed closed;
    `unscheduled` are sessions that the calendar did not know in advance. `week` has every day of
    the ordinary week, holidays included. Holidays are known from `first_known` to `last_known`.
    """

    sessions: Days
    closes: Days
    half_days: NDArray[np.bool_]
    surprises: Days
    unscheduled: Days
    week: Days
    timezone: str
    first_known: np.datetime64 = FIRST
    last_known: np.datetime64 = LAST


@lru_cache(maxsize=256)
def trading_calendar(calendar: str) -> TradingCalendar:
    """Load a calendar, with its corrections.

    Raises:
        UsageError: no calendar has this name.
    """
    name, opened, closed = split_name(calendar)
    if opened or closed:
        return _corrected(trading_calendar(name), opened, closed)
    return every_week(name) if is_week(name) else _cached_exchange(name)


def is_week(calendar: str) -> bool:
    """Whether a calendar is days of the week alone, without holidays."""
    return calendar in _EVERY_WEEK or _WEEK.fullmatch(calendar) is not None


def is_guess(calendar: str) -> bool:
    """Whether a calendar stands for one that is not known."""
    known = (ALWAYS_OPEN, WEEKDAYS_AROUND_THE_CLOCK)
    return is_week(base_name(calendar)) and base_name(calendar) not in known


def corrected_name(calendar: str, opened: Collection[date], closed: Collection[date]) -> str:
    """Return the name of a calendar with sessions added and removed."""
    signed = [(day, "+") for day in opened] + [(day, "-") for day in closed]
    return calendar + "".join(f"{sign}{day:%Y%m%d}" for day, sign in sorted(signed))


def base_name(calendar: str) -> str:
    """Return the name of a calendar without its corrections."""
    found = _CORRECTION.search(calendar)
    return calendar[: found.start()] if found else calendar


def split_name(calendar: str) -> tuple[str, list[date], list[date]]:
    """Return the name without corrections, the sessions added, and those removed."""
    name = base_name(calendar)
    signed = _CORRECTION.findall(calendar[len(name) :])
    if len(signed) * 9 != len(calendar) - len(name):
        raise _unknown(calendar)
    try:
        days = [(sign, date.fromisoformat(day)) for sign, day in signed]
    except ValueError as error:
        raise _unknown(calendar) from error
    opened, closed = ([day for sign, day in days if sign == wanted] for wanted in "+-")
    return name, opened, closed


def calendar_name(calendar: str) -> str:
    """Resolve an alias of a calendar: `NYSE` is `XNYS`.

    Raises:
        UsageError: no calendar has this name.
    """
    if not is_week(calendar):
        import exchange_calendars

        calendar = exchange_calendars.aliases_to_names().get(calendar, calendar)
    trading_calendar(calendar)
    return calendar


def exchange_names() -> list[str]:
    """List the calendars of all exchanges."""
    return sorted(_factories())


def ordinary_week(exchange: str) -> Days:
    """List the days of an exchange's week, holidays included; its calendar is not built."""
    return trading_calendar(_WEEKS.get(exchange, WEEKDAYS)).week


def every_week(calendar: str) -> TradingCalendar:
    """Build the calendar of a week, or of several that follow each other."""
    week, close = _EVERY_WEEK.get(calendar, (calendar, _MIDNIGHT))
    parts, _, zone = week.partition("@")
    first, *changes = parts.split("/")
    days = np.arange(FIRST, LAST + DAY)
    try:
        is_open = np.is_busday(days, weekmask=_mask(first))
        for since, mask in zip(changes[::2], changes[1::2], strict=True):
            later = days >= np.datetime64(since, "D")
            is_open[later] = np.is_busday(days[later], weekmask=_mask(mask))
        sessions = days[is_open]
        closes = (sessions.astype("datetime64[s]") + np.timedelta64(close)).astype("datetime64[s]")
        if zone:
            closes = _in_utc(closes, ZoneInfo(zone))
    except (ValueError, KeyError, OSError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise _unknown(calendar) from error
    return TradingCalendar(
        sessions=sessions,
        closes=closes,
        half_days=np.zeros(len(sessions), dtype=np.bool_),
        surprises=np.array([], dtype="datetime64[D]"),
        unscheduled=np.array([], dtype="datetime64[D]"),
        week=sessions,
        timezone=zone or "UTC",
    )


def _mask(week: str) -> list[bool]:
    """Return the days of a week such as `sun-thu`, Monday first."""
    first, last = (_DAY_NAMES.index(day) for day in week.split("-"))
    return [(day - first) % 7 <= (last - first) % 7 for day in range(7)]


def _in_utc(local: Days, zone: ZoneInfo) -> Days:
    standard = np.zeros(len(local), dtype=np.bool_)
    aware = pd.DatetimeIndex(local).tz_localize(
        zone, ambiguous=standard, nonexistent="shift_forward"
    )
    return aware.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[s]")


@cache
def _factories() -> dict[str, type]:
    """Return the classes of exchange_calendars by name.

    Its public functions build a calendar of twenty years first. pandas 3 asks an offset for
    `_add_datetime`, which 4.13 still calls `_apply`: Orthodox and Jewish holidays are lost.
    """
    from exchange_calendars import calendar_utils, tase_holidays
    from exchange_calendars.pandas_extensions import offsets

    for kind in [*vars(offsets).values(), *vars(tase_holidays).values()]:
        if isinstance(kind, type) and "_apply" in vars(kind):
            kind._add_datetime = kind._apply  # type: ignore[attr-defined]
    known: dict[str, type] = calendar_utils._default_calendar_factories
    return {name: _with_plain_days(kind) for name, kind in known.items() if name not in _EVERY_WEEK}


def _with_plain_days(kind: Any) -> type:
    """Return a class whose changes of the week, if it has any, pandas 3 applies."""
    if not hasattr(kind, "special_weekmasks") or "day" not in vars(kind):
        return kind  # type: ignore[no-any-return]

    def day(self: Any) -> pd.offsets.CustomBusinessDay:
        days = np.arange(FIRST, LAST + DAY)
        closed = ~np.is_busday(days, weekmask=self.weekmask)
        for begin, end, mask in self.special_weekmasks:
            bounds = [FIRST if begin is None else begin, LAST if end is None else end]
            inside = (days >= np.datetime64(bounds[0])) & (days <= np.datetime64(bounds[1]))
            closed[inside] = ~np.is_busday(days[inside], weekmask=mask)
        return pd.offsets.CustomBusinessDay(
            holidays=[*self.adhoc_holidays, *pd.DatetimeIndex(days[closed])],
            calendar=self.regular_holidays,
            weekmask="1111111",
        )

    return type(kind.__name__, (kind,), {"day": property(day)})


def _cached_exchange(calendar: str) -> TradingCalendar:
    """Read the calendar of an exchange from the cache, or build and keep it."""
    if (values := calendar_cache.read(calendar)) is not None:
        return TradingCalendar(**{**values, "timezone": str(values["timezone"])})
    built = _exchange(calendar)
    calendar_cache.write(calendar, {one.name: getattr(built, one.name) for one in fields(built)})
    return built


def _exchange(calendar: str) -> TradingCalendar:
    """Build the calendar of an exchange, with its week before its records begin and after."""
    import exchange_calendars

    name = exchange_calendars.aliases_to_names().get(calendar, calendar)
    # The library's own use of pandas is deprecated in places, which does not concern a user.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            kind: Any = _factories()[name]
            bounds = [kind.bound_min() or FIRST, kind.bound_max() or LAST]
            start, end = np.array(bounds, "datetime64[D]").clip(FIRST, LAST)
            known = kind(start=str(start), end=str(end))
        except (KeyError, ValueError, NotImplementedError) as error:
            raise _unknown(calendar) from error
        sessions = known.sessions.to_numpy().astype("datetime64[D]")
        closes = known.closes_nanos.astype("datetime64[ns]").astype("datetime64[s]")
        half_days = np.isin(sessions, known.early_closes.to_numpy().astype("datetime64[D]"))
        surprises = _surprises(calendar, known, sessions)
    plain = trading_calendar(_WEEKS.get(name, WEEKDAYS))
    before, after = plain.sessions < start, plain.sessions > end
    return TradingCalendar(
        sessions=np.concatenate([plain.sessions[before], sessions, plain.sessions[after]]),
        closes=np.concatenate([plain.closes[before], closes, plain.closes[after]]),
        half_days=np.concatenate([plain.half_days[before], half_days, plain.half_days[after]]),
        surprises=surprises,
        unscheduled=plain.unscheduled,
        week=plain.week,
        timezone=str(known.tz),
        first_known=start,
        last_known=end,
    )


def _corrected(table: TradingCalendar, opened: list[date], closed: list[date]) -> TradingCalendar:
    """Add and remove sessions; an added one closes when the session before it does."""
    added = np.setdiff1d(np.array(opened, dtype="datetime64[D]"), table.sessions)
    removed = np.intersect1d(np.array(closed, dtype="datetime64[D]"), table.sessions)
    before = np.searchsorted(table.sessions, added) - 1
    closes = table.closes[before] + (added - table.sessions[before])
    sessions = np.concatenate([table.sessions, added])
    order = np.argsort(sessions)
    order = order[~np.isin(sessions[order], removed)]
    half_days = np.concatenate([table.half_days, np.zeros(len(added), dtype=np.bool_)])
    return replace(
        table,
        sessions=sessions[order],
        closes=np.concatenate([table.closes, closes])[order],
        half_days=half_days[order],
        surprises=np.union1d(table.surprises, removed),
        unscheduled=np.union1d(table.unscheduled, added),
    )


def _unknown(calendar: str) -> UsageError:
    return UsageError(
        f"{calendar}: no calendar of this name can be built; use a market code such as XNYS or "
        f"XLON, a week such as sun-thu or mon-fri@Europe/Athens, {WEEKDAYS!r}, '24/5' or '24/7'."
    )


def _surprises(calendar: str, known: Any, sessions: Days) -> Days:
    """List the closures that were not known the day before."""
    closures = np.array(SURPRISE_CLOSURES.get(calendar, "").split(), dtype="datetime64[D]")
    if calendar not in SURPRISING_ADHOC_HOLIDAYS:
        return closures
    adhoc = np.array(known.adhoc_holidays, dtype="datetime64[D]")
    planned = known.regular_holidays.holidays(FIRST, LAST).to_numpy().astype("datetime64[D]")
    # Christmas 1968 is in both lists: it fell on a Wednesday of the paperwork crisis.
    closures = np.setdiff1d(adhoc, np.union1d(planned, sessions))
    return closures[np.is_busday(closures, weekmask=known.weekmask)]
