"""Trading calendars: every session of an exchange from 1900 to 2100, as cached arrays.

The only module that uses exchange_calendars. Where it has no answer (before its records
begin, after they end, no calendar at all) every weekday is a session.

Shape letters: S sessions of a calendar.
"""

import warnings
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forecaster.data.exchanges import (
    ALWAYS_OPEN,
    SURPRISE_CLOSURES,
    SURPRISING_ADHOC_HOLIDAYS,
    WEEKDAYS,
    WEEKDAYS_AROUND_THE_CLOCK,
)
from forecaster.errors import UsageError

Days = NDArray[np.datetime64]

FIRST: Final = np.datetime64("1900-01-01", "D")
# Fixed, so that an answer never depends on the day on which it was asked.
LAST: Final = np.datetime64("2100-12-31", "D")
DAY: Final = np.timedelta64(1, "D")
_MONDAY_TO_FRIDAY: Final = "1111100"
_MIDNIGHT: Final = timedelta(hours=23, minutes=59)


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingCalendar:
    """All sessions (S,) of a calendar, with their closes in UTC and early closes.

    `surprises` are days that were scheduled as sessions, on which the exchange then stayed closed.
    """

    sessions: Days
    closes: Days
    half_days: NDArray[np.bool_]
    surprises: Days
    weekmask: str
    timezone: str


@lru_cache(maxsize=128)
def trading_calendar(calendar: str) -> TradingCalendar:
    """Load a calendar, with weekdays before its records begin and after they end."""
    if calendar == ALWAYS_OPEN:
        return _every_week("1111111", timedelta(days=1))
    if calendar == WEEKDAYS_AROUND_THE_CLOCK:
        return _every_week(_MONDAY_TO_FRIDAY, timedelta(days=1))
    if calendar == WEEKDAYS:
        return _every_week(_MONDAY_TO_FRIDAY, _MIDNIGHT)
    return _extend(_from_library(calendar))


def calendar_name(calendar: str) -> str:
    """Resolve an alias of a calendar: `NYSE` is `XNYS`.

    Raises:
        UsageError: no calendar has this name.
    """
    if calendar in (ALWAYS_OPEN, WEEKDAYS_AROUND_THE_CLOCK, WEEKDAYS):
        return calendar
    import exchange_calendars

    try:
        name: str = exchange_calendars.resolve_alias(calendar)
    except exchange_calendars.errors.CalendarError as error:
        raise _unknown(calendar) from error
    trading_calendar(name)
    return name


def _every_week(weekmask: str, close: timedelta) -> TradingCalendar:
    days = np.arange(FIRST, LAST + DAY)
    sessions = days[np.is_busday(days, weekmask=weekmask)]
    closes = (sessions.astype("datetime64[s]") + np.timedelta64(close)).astype("datetime64[s]")
    return TradingCalendar(
        sessions=sessions,
        closes=closes,
        half_days=np.zeros(len(sessions), dtype=np.bool_),
        surprises=np.array([], dtype="datetime64[D]"),
        weekmask=weekmask,
        timezone="UTC",
    )


def _load(calendar: str) -> tuple[Any, Days]:
    """Build the library's calendar over all its records; return their bounds too."""
    import exchange_calendars

    try:
        kind = type(exchange_calendars.get_calendar(calendar))
        bounds = np.array([kind.bound_min() or FIRST, kind.bound_max() or LAST], "datetime64[D]")
        bounds = bounds.clip(FIRST, LAST)
        return kind(start=str(bounds[0]), end=str(bounds[1])), bounds
    except (ValueError, NotImplementedError, exchange_calendars.errors.CalendarError) as error:
        raise _unknown(calendar) from error


def _unknown(calendar: str) -> UsageError:
    return UsageError(
        f"{calendar}: no calendar of this name can be built; use a market code "
        f"such as XNYS or XLON, or {WEEKDAYS!r}, '24/5' or '24/7'."
    )


def _from_library(calendar: str) -> tuple[TradingCalendar, Days]:
    # The library's own use of pandas is deprecated in places, which does not concern a user.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known, bounds = _load(calendar)
        sessions = known.sessions.to_numpy().astype("datetime64[D]")
        table = TradingCalendar(
            sessions=sessions,
            closes=known.closes_nanos.astype("datetime64[ns]").astype("datetime64[s]"),
            half_days=np.isin(sessions, known.early_closes.to_numpy().astype("datetime64[D]")),
            surprises=_surprises(calendar, known, sessions),
            weekmask=known.weekmask,
            timezone=str(known.tz),
        )
    return table, bounds


def _surprises(calendar: str, known: Any, sessions: Days) -> Days:
    """List the closures that were not known the day before."""
    closures = np.array(SURPRISE_CLOSURES.get(calendar, ()), dtype="datetime64[D]")
    if calendar not in SURPRISING_ADHOC_HOLIDAYS:
        return closures
    adhoc = np.array(known.adhoc_holidays, dtype="datetime64[D]")
    planned = known.regular_holidays.holidays(FIRST, LAST).to_numpy().astype("datetime64[D]")
    # Christmas 1968 is in both lists: it fell on a Wednesday of the paperwork crisis.
    closures = np.setdiff1d(adhoc, np.union1d(planned, sessions))
    return closures[np.is_busday(closures, weekmask=known.weekmask)]


def _extend(known: tuple[TradingCalendar, Days]) -> TradingCalendar:
    """Add plain weeks before and after the days that a calendar has records of."""
    table, (start, end) = known
    plain = _every_week(table.weekmask, _MIDNIGHT)
    before, after = plain.sessions < start, plain.sessions > end
    return TradingCalendar(
        sessions=np.concatenate([plain.sessions[before], table.sessions, plain.sessions[after]]),
        closes=np.concatenate([plain.closes[before], table.closes, plain.closes[after]]),
        half_days=np.concatenate(
            [plain.half_days[before], table.half_days, plain.half_days[after]]
        ),
        surprises=table.surprises,
        weekmask=table.weekmask,
        timezone=table.timezone,
    )
