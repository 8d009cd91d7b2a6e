"""Tables of exchanges: the calendar of a ticker, surprise closures.

Text in, text out: no calendar library, no network. Calendars are identified by market
identifier code (MIC) as exchange_calendars spells it.
"""

import re
from typing import Final

ALWAYS_OPEN: Final = "24/7"
WEEKDAYS_AROUND_THE_CLOCK: Final = "24/5"
# Our own name for an exchange of which no calendar is known.
WEEKDAYS: Final = "weekdays"
DEFAULT: Final = "XNYS"

# Yahoo's suffixes, from yfinance's table of MICs, those whose calendar exchange_calendars
# has; a second market of a country follows the first (XNSE -> XBOM, XSHE -> XSHG).  Athens
# (AT), Bucharest (RO) and Tel Aviv (TA) are left out: exchange_calendars 4.13 cannot build
# them on pandas 3.
_BY_SUFFIX: Final = {
    "AQ": "XLON",
    "AS": "XAMS",
    "AX": "XASX",
    "BA": "XBUE",
    "BD": "XBUD",
    "BE": "XFRA",
    "BK": "XBKK",
    "BM": "XFRA",
    "BO": "XBOM",
    "BR": "XBRU",
    "CL": "XBOG",
    "CN": "XTSE",
    "CO": "XCSE",
    "DE": "XETR",
    "DU": "XDUS",
    "F": "XFRA",
    "HA": "XFRA",
    "HE": "XHEL",
    "HK": "XHKG",
    "HM": "XHAM",
    "IC": "XICE",
    "IL": "XLON",
    "IR": "XDUB",
    "IS": "XIST",
    "JK": "XIDX",
    "JO": "XJSE",
    "KL": "XKLS",
    "KQ": "XKRX",
    "KS": "XKRX",
    "L": "XLON",
    "LS": "XLIS",
    "MC": "XMAD",
    "MI": "XMIL",
    "MU": "XFRA",
    "MX": "XMEX",
    "NE": "XTSE",
    "NS": "XBOM",
    "NX": "XPAR",
    "NZ": "XNZE",
    "OL": "XOSL",
    "PA": "XPAR",
    "PR": "XPRA",
    "PS": "XPHS",
    "RG": "XRIS",
    "SA": "BVMF",
    "SG": "XSTU",
    "SI": "XSES",
    "SN": "XSGO",
    "SR": "XSAU",
    "SS": "XSHG",
    "ST": "XSTO",
    "SW": "XSWX",
    "SZ": "XSHG",
    "T": "XTKS",
    "TI": "XMIL",
    "TL": "XTAL",
    "TO": "XTSE",
    "TW": "XTAI",
    "TWO": "XTAI",
    "V": "XTSE",
    "VI": "XWBO",
    "VS": "XLIT",
    "WA": "XWAR",
    "XA": "XASX",
    "XC": "XLON",
}
# BRK.B, a spelling that files use: a class of a US share, not an exchange.
_SHARE_CLASSES: Final = frozenset({"A", "B", "C", "U", "WS"})

_INDEX_BY_TIMEZONE: Final = {
    "": DEFAULT,
    "Africa/Johannesburg": "XJSE",
    "America/Argentina/Buenos_Aires": "XBUE",
    "America/Bogota": "XBOG",
    "America/Buenos_Aires": "XBUE",
    "America/Chicago": "XNYS",
    "America/Lima": "XLIM",
    "America/Mexico_City": "XMEX",
    "America/New_York": "XNYS",
    "America/Santiago": "XSGO",
    "America/Sao_Paulo": "BVMF",
    "America/Toronto": "XTSE",
    "Asia/Bangkok": "XBKK",
    "Asia/Calcutta": "XBOM",
    "Asia/Hong_Kong": "XHKG",
    "Asia/Jakarta": "XIDX",
    "Asia/Karachi": "XKAR",
    "Asia/Kolkata": "XBOM",
    "Asia/Kuala_Lumpur": "XKLS",
    "Asia/Manila": "XPHS",
    "Asia/Riyadh": "XSAU",
    "Asia/Seoul": "XKRX",
    "Asia/Shanghai": "XSHG",
    "Asia/Singapore": "XSES",
    "Asia/Taipei": "XTAI",
    "Asia/Tokyo": "XTKS",
    "Atlantic/Reykjavik": "XICE",
    "Australia/Melbourne": "XASX",
    "Australia/Sydney": "XASX",
    "Europe/Amsterdam": "XAMS",
    "Europe/Berlin": "XETR",
    "Europe/Brussels": "XBRU",
    "Europe/Budapest": "XBUD",
    "Europe/Copenhagen": "XCSE",
    "Europe/Dublin": "XDUB",
    "Europe/Helsinki": "XHEL",
    "Europe/Istanbul": "XIST",
    "Europe/Lisbon": "XLIS",
    "Europe/London": "XLON",
    "Europe/Madrid": "XMAD",
    "Europe/Oslo": "XOSL",
    "Europe/Paris": "XPAR",
    "Europe/Prague": "XPRA",
    "Europe/Riga": "XRIS",
    "Europe/Rome": "XMIL",
    "Europe/Stockholm": "XSTO",
    "Europe/Tallinn": "XTAL",
    "Europe/Vienna": "XWBO",
    "Europe/Vilnius": "XLIT",
    "Europe/Warsaw": "XWAR",
    "Europe/Zurich": "XSWX",
    "Pacific/Auckland": "XNZE",
}
# BTC-USD is a coin, BRK-B a share: only a currency after the hyphen makes a pair.
_CRYPTO_PAIR: Final = re.compile(
    r"[A-Z0-9]+-(AUD|BRL|BTC|CAD|CHF|CNY|ETH|EUR|GBP|INR|JPY|KRW|TRY|USD|USDC|USDT)"
)

# Exchanges whose ad hoc holidays, in exchange_calendars, are attacks, storms and funerals.
# In Asian calendars that list has the lunar holidays, which are known in advance.
SURPRISING_ADHOC_HOLIDAYS: Final = frozenset({"XNYS", "XTSE"})
# Storms, snow, and Tokyo's failed trading system, among otherwise planned ad hoc holidays.
SURPRISE_CLOSURES: Final = {
    "XDUB": ("2018-03-02",),
    "XHKG": (
        *("1992-07-22", "1993-09-17", "1999-09-16", "2001-07-06", "2001-07-25"),
        *("2008-08-06", "2008-08-22", "2011-09-29", "2013-08-14", "2016-08-02"),
        *("2016-10-21", "2017-08-23", "2020-10-13", "2021-10-13", "2023-07-17", "2024-09-06"),
    ),
    "XTAI": (
        *("2002-09-06", "2004-08-24", "2004-08-25", "2004-10-25", "2005-07-18", "2005-08-05"),
        *("2007-09-18", "2008-07-28", "2008-09-29", "2009-08-07", "2012-08-02", "2013-08-21"),
        *("2014-07-23", "2015-07-10", "2015-09-29", "2016-07-08", "2016-09-27", "2016-09-28"),
        *("2019-08-09", "2019-09-30", "2023-08-03", "2024-07-24", "2024-07-25"),
        *("2024-10-02", "2024-10-03"),
    ),
    "XTKS": ("2020-10-01",),
}


def calendar_for(ticker: str, exchange_timezone: str = "") -> str:
    """Return the calendar whose sessions a ticker's bars follow.

    Args:
        ticker: Yahoo's spelling, upper case: `AAPL`, `VOD.L`, `^N225`, `BTC-USD`, `EURUSD=X`.
        exchange_timezone: IANA name; read for indices only, which carry no suffix.

    Returns:
        A name for the functions of `sessions.py`; `weekdays` where no calendar is known, of
        which the caller must warn.
    """
    if ticker.startswith("^"):
        return _INDEX_BY_TIMEZONE.get(exchange_timezone, WEEKDAYS)
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
