"""Trading calendars: which one a ticker follows, and every session from 1900 to 2100.

The only module that uses exchange_calendars. Before its records begin, after they end, and without
any calendar every weekday is a session. Calendars are identified by market identifier code (MIC) as
exchange_calendars spells it.

Shape letters: S sessions of a calendar.
"""

import re
import warnings
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import UsageError

Days = NDArray[np.datetime64]

FIRST: Final = np.datetime64("1900-01-01", "D")
LAST: Final = np.datetime64("2100-12-31", "D")  # fixed: no answer depends on when it is asked
DAY: Final = np.timedelta64(1, "D")
_MIDNIGHT: Final = timedelta(hours=23, minutes=59)

ALWAYS_OPEN: Final = "24/7"
WEEKDAYS_AROUND_THE_CLOCK: Final = "24/5"
WEEKDAYS: Final = "weekdays"  # our own name, where no calendar is known
DEFAULT: Final = "XNYS"
# Days of the week with a session, and the close after midnight UTC.
_EVERY_WEEK: Final = {
    ALWAYS_OPEN: ("1111111", timedelta(days=1)),
    WEEKDAYS_AROUND_THE_CLOCK: ("1111100", timedelta(days=1)),
    WEEKDAYS: ("1111100", _MIDNIGHT),
}

# Yahoo's suffixes, from yfinance's table of MICs, and the time zones of indices, by calendar. A
# second market of a country follows the first (XNSE -> XBOM, XSHE -> XSHG). Athens (AT), Bucharest
# (RO) and Tel Aviv (TA) are left out: exchange_calendars 4.13 cannot build them on pandas 3.
_EXCHANGES: Final = {
    "BVMF": ("SA", "America/Sao_Paulo"),
    "XAMS": ("AS", "Europe/Amsterdam"),
    "XASX": ("AX XA", "Australia/Melbourne Australia/Sydney"),
    "XBKK": ("BK", "Asia/Bangkok"),
    "XBOG": ("CL", "America/Bogota"),
    "XBOM": ("BO NS", "Asia/Calcutta Asia/Kolkata"),
    "XBRU": ("BR", "Europe/Brussels"),
    "XBUD": ("BD", "Europe/Budapest"),
    "XBUE": ("BA", "America/Argentina/Buenos_Aires America/Buenos_Aires"),
    "XCSE": ("CO", "Europe/Copenhagen"),
    "XDUB": ("IR", "Europe/Dublin"),
    "XDUS": ("DU", ""),
    "XETR": ("DE", "Europe/Berlin"),
    "XFRA": ("BE BM F HA MU", ""),
    "XHAM": ("HM", ""),
    "XHEL": ("HE", "Europe/Helsinki"),
    "XHKG": ("HK", "Asia/Hong_Kong"),
    "XICE": ("IC", "Atlantic/Reykjavik"),
    "XIDX": ("JK", "Asia/Jakarta"),
    "XIST": ("IS", "Europe/Istanbul"),
    "XJSE": ("JO", "Africa/Johannesburg"),
    "XKAR": ("", "Asia/Karachi"),
    "XKLS": ("KL", "Asia/Kuala_Lumpur"),
    "XKRX": ("KQ KS", "Asia/Seoul"),
    "XLIM": ("", "America/Lima"),
    "XLIS": ("LS", "Europe/Lisbon"),
    "XLIT": ("VS", "Europe/Vilnius"),
    "XLON": ("AQ IL L XC", "Europe/London"),
    "XMAD": ("MC", "Europe/Madrid"),
    "XMEX": ("MX", "America/Mexico_City"),
    "XMIL": ("MI TI", "Europe/Rome"),
    "XNYS": ("", "America/Chicago America/New_York"),
    "XNZE": ("NZ", "Pacific/Auckland"),
    "XOSL": ("OL", "Europe/Oslo"),
    "XPAR": ("NX PA", "Europe/Paris"),
    "XPHS": ("PS", "Asia/Manila"),
    "XPRA": ("PR", "Europe/Prague"),
    "XRIS": ("RG", "Europe/Riga"),
    "XSAU": ("SR", "Asia/Riyadh"),
    "XSES": ("SI", "Asia/Singapore"),
    "XSGO": ("SN", "America/Santiago"),
    "XSHG": ("SS SZ", "Asia/Shanghai"),
    "XSTO": ("ST", "Europe/Stockholm"),
    "XSTU": ("SG", ""),
    "XSWX": ("SW", "Europe/Zurich"),
    "XTAI": ("TW TWO", "Asia/Taipei"),
    "XTAL": ("TL", "Europe/Tallinn"),
    "XTKS": ("T", "Asia/Tokyo"),
    "XTSE": ("CN NE TO V", "America/Toronto"),
    "XWAR": ("WA", "Europe/Warsaw"),
    "XWBO": ("VI", "Europe/Vienna"),
}
_BY_SUFFIX: Final = {
    suffix: calendar
    for calendar, (suffixes, _) in _EXCHANGES.items()
    for suffix in suffixes.split()
}
_BY_TIMEZONE: Final = {
    zone: calendar for calendar, (_, zones) in _EXCHANGES.items() for zone in zones.split()
}
# BRK.B, a spelling that files use: a class of a US share, not an exchange.
_SHARE_CLASSES: Final = frozenset({"A", "B", "C", "U", "WS"})
# BTC-USD is a coin, BRK-B a share: only a currency after the hyphen makes a pair.
_CRYPTO_PAIR: Final = re.compile(
    r"[A-Z0-9]+-(AUD|BRL|BTC|CAD|CHF|CNY|ETH|EUR|GBP|INR|JPY|KRW|TRY|USD|USDC|USDT)"
)

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


def calendar_for(ticker: str, exchange_timezone: str = "") -> str:
    """Return the calendar whose sessions a ticker's bars follow; `weekdays` where none is known.

    Args:
        ticker: Yahoo's spelling, upper case: `AAPL`, `VOD.L`, `^N225`, `BTC-USD`, `EURUSD=X`.
        exchange_timezone: IANA name; read for indices only, which carry no suffix.
    """
    if ticker.startswith("^"):
        return _BY_TIMEZONE.get(exchange_timezone or "America/New_York", WEEKDAYS)
    if ticker.endswith("=X"):
        return WEEKDAYS_AROUND_THE_CLOCK
    if ticker.endswith("=F"):
        return "CMES"
    if _CRYPTO_PAIR.fullmatch(ticker):
        return ALWAYS_OPEN
    _, dot, suffix = ticker.rpartition(".")
    if not dot or suffix in _SHARE_CLASSES:
        return DEFAULT
    return _BY_SUFFIX.get(suffix, WEEKDAYS)


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
    if calendar in _EVERY_WEEK:
        return _every_week(*_EVERY_WEEK[calendar])
    import exchange_calendars

    # The library's own use of pandas is deprecated in places, which does not concern a user.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            kind = type(exchange_calendars.get_calendar(calendar))
            bounds = [kind.bound_min() or FIRST, kind.bound_max() or LAST]
            start, end = np.array(bounds, "datetime64[D]").clip(FIRST, LAST)
            known = kind(start=str(start), end=str(end))
        except (ValueError, NotImplementedError, exchange_calendars.errors.CalendarError) as error:
            raise UsageError(
                f"{calendar}: no calendar of this name can be built; use a market code "
                f"such as XNYS or XLON, or {WEEKDAYS!r}, '24/5' or '24/7'."
            ) from error
        sessions = known.sessions.to_numpy().astype("datetime64[D]")
        closes = known.closes_nanos.astype("datetime64[ns]").astype("datetime64[s]")
        half_days = np.isin(sessions, known.early_closes.to_numpy().astype("datetime64[D]"))
        surprises = _surprises(calendar, known, sessions)
    plain = _every_week(known.weekmask, _MIDNIGHT)
    before, after = plain.sessions < start, plain.sessions > end
    return TradingCalendar(
        sessions=np.concatenate([plain.sessions[before], sessions, plain.sessions[after]]),
        closes=np.concatenate([plain.closes[before], closes, plain.closes[after]]),
        half_days=np.concatenate([plain.half_days[before], half_days, plain.half_days[after]]),
        surprises=surprises,
        weekmask=known.weekmask,
        timezone=str(known.tz),
    )


def calendar_name(calendar: str) -> str:
    """Resolve an alias of a calendar: `NYSE` is `XNYS`.

    Raises:
        UsageError: no calendar has this name.
    """
    if calendar in _EVERY_WEEK:
        return calendar
    import exchange_calendars

    name: str = exchange_calendars.aliases_to_names().get(calendar, calendar)
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
