"""Which trading calendar a ticker follows, by its spelling or the time zone of its exchange.

Tables and spellings only; `trading_calendar` has the sessions.
"""

import re
from typing import Final

from forecaster.data.trading_calendar import ALWAYS_OPEN, WEEKDAYS, WEEKDAYS_AROUND_THE_CLOCK

DEFAULT: Final = "XNYS"
# By calendar: suffixes of Yahoo, Stooq, EODHD and Reuters, time zones, and indices. A second
# market of a country follows the first (XNSE -> XBOM, XSHE -> XSHG).
_EXCHANGES: Final = {
    "ASEX": ("AT", "Europe/Athens", "ATG GD"),
    "BVMF": ("SA", "America/Sao_Paulo", "BVP BVSP IBOV IBX50"),
    "CMES": ("CBT CEC CME CMX NYB NYM", "", ""),
    "XAMS": ("AS", "Europe/Amsterdam", "AEX AMX"),
    "XASX": ("AU AX XA", "Australia/Melbourne Australia/Sydney", "AFLI AORD AXJO AXKO XJO"),
    "XBEL": ("", "Europe/Belgrade", "BELEX15"),
    "XBKK": ("BK", "Asia/Bangkok", "SET SET50"),
    "XBOG": ("CL", "America/Bogota", "COLCAP"),
    "XBOM": (
        "BO BSE NS NSE",
        "Asia/Calcutta Asia/Kolkata",
        "BSESN CNXIT CRSLDX INDIAVIX NIFTY NSEBANK NSEI NSMIDCP SENSEX SNX",
    ),
    "XBRU": ("BR", "Europe/Brussels", "BEL20 BFX"),
    "XBSE": ("RO", "Europe/Bucharest", "BET BETI"),
    "XBUD": ("BD HU", "Europe/Budapest", "BUX"),
    "XBUE": ("BA", "America/Argentina/Buenos_Aires America/Buenos_Aires", "MERV MRV"),
    "XCSE": ("CO", "Europe/Copenhagen", "OMXC20 OMXC25"),
    "XCYS": ("CY", "Asia/Nicosia", ""),
    "XDUB": ("IR", "Europe/Dublin", "ISEQ"),
    "XDUS": ("DU", "", ""),
    "XETR": ("DE XETRA", "Europe/Berlin", "DAX GDAXI GDAXIP MDAX MDAXI SDAXI TECDAX"),
    "XFRA": ("BE BM F HA MU", "", ""),
    "XHAM": ("HM", "", ""),
    "XHEL": ("HE", "Europe/Helsinki", "HEX OMXH25 OMXHPI"),
    "XHKG": ("HK", "Asia/Hong_Kong", "HSCC HSCE HSCEI HSI HSTECH"),
    "XICE": ("IC", "Atlantic/Reykjavik", "ICEX OMXI10"),
    "XIDX": ("JK", "Asia/Jakarta", "JCI JKSE"),
    "XIST": ("IS", "Europe/Istanbul", "XU030 XU100"),
    "XJSE": ("JO", "Africa/Johannesburg", "J200 J203 JN0U"),
    "XKAR": ("KA", "Asia/Karachi", "KSE KSE100"),
    "XKLS": ("KL", "Asia/Kuala_Lumpur", "KLCI KLSE"),
    "XKRX": ("KO KQ KS", "Asia/Seoul", "KOSDAQ KOSPI KQ11 KS11 KS200"),
    "XLIM": ("LM", "America/Lima", "SPBLPGPT"),
    "XLIS": ("LS", "Europe/Lisbon", "PSI20"),
    "XLIT": ("VS", "Europe/Vilnius", "OMXV"),
    "XLON": ("AQ IL L LSE UK XC", "Europe/London", "FTAI FTAS FTLC FTMC FTSE NMX UKX"),
    "XMAD": ("MC", "Europe/Madrid", "IBEX"),
    "XMEX": ("MX", "America/Mexico_City", "IPC MXX"),
    "XMIL": ("MI TI", "Europe/Rome", "FTSEMIB FTMIB ITLMS"),
    "XMOS": ("MCX ME", "Europe/Moscow", "IMOEX MOEX RTSI"),
    # The suffixes are classes, warrants, units, rights and markets of US shares.
    "XNYS": (
        "A B C D K N O OB OQ P PK R RT U UN US W WI WS WT AMEX NASDAQ NYSE",
        "America/Chicago America/New_York",
        "COMP DJA DJI DJIA DJT DJU FVX GSPC INX IRX IXIC MID NDQ NDX NYA OEX RUA RUI RUT SOX SP500 "
        "SP500TR SPX TNX TYX VIX VXN W5000 XAX",
    ),
    "XNZE": ("NZ", "Pacific/Auckland", "NZ50"),
    "XOSL": ("OL", "Europe/Oslo", "OBX OSEAX OSEBX"),
    # STOXX computes its European indices on the days of Euronext.
    "XPAR": ("NX PA", "Europe/Paris", "CAC CAC40 FCHI PX1 SBF120 STOXX STOXX50 STOXX50E SX5E"),
    "XPHS": ("PS", "Asia/Manila", "PSEI"),
    "XPRA": ("PR", "Europe/Prague", "PX"),
    "XRIS": ("RG", "Europe/Riga", "OMXR"),
    "XSAU": ("SR", "Asia/Riyadh", "TASI"),
    "XSES": ("SI", "Asia/Singapore", "STI"),
    "XSGO": ("SN", "America/Santiago", "IPSA"),
    "XSHG": ("SHE SHG SS SZ", "Asia/Shanghai", "CSI300 SHC SSEC"),
    "XSTO": ("ST", "Europe/Stockholm", "OMX OMXS30 OMXSPI"),
    "XSTU": ("SG", "", ""),
    "XSWX": ("SW", "Europe/Zurich", "SMI SPI SSMI"),
    "XTAE": ("TA", "Asia/Jerusalem Asia/Tel_Aviv", "TA125 TA35"),
    "XTAI": ("TW TWO", "Asia/Taipei", "TWII TWOII TWSE"),
    "XTAL": ("TL", "Europe/Tallinn", "OMXT"),
    "XTKS": ("JP T", "Asia/Tokyo", "N225 NI225 NKX TOPX TPX"),
    "XTSE": ("CN NE TO V", "America/Toronto", "GSPTSE SPTSX TSX TX60"),
    "XWAR": ("WA", "Europe/Warsaw", "WIG WIG20"),
    "XWBO": ("VI", "Europe/Vienna", "ATX"),
    # No calendar is known: the days of the week on which they trade, in their time zone.
    "mon-fri@Africa/Casablanca": ("CS", "Africa/Casablanca", "MASI"),
    "mon-fri@Africa/Lagos": ("LG", "Africa/Lagos", ""),
    "mon-fri@Africa/Nairobi": ("NR", "Africa/Nairobi", ""),
    "mon-fri@Asia/Colombo": ("CM", "Asia/Colombo", "CSE"),
    "mon-fri@Asia/Ho_Chi_Minh": ("VN", "Asia/Ho_Chi_Minh Asia/Saigon", "VNINDEX"),
    "sun-thu@Africa/Cairo": ("CA", "Africa/Cairo", "CASE30 EGX30"),
    "sun-thu@Asia/Amman": ("AM", "Asia/Amman", "AMGNRLX"),
    "sun-thu@Asia/Bahrain": ("BH", "Asia/Bahrain", ""),
    "sun-thu@Asia/Dhaka": ("DH", "Asia/Dhaka", "DSEX"),
    "sun-thu@Asia/Kuwait": ("KW", "Asia/Kuwait", "BKP"),
    "sun-thu@Asia/Muscat": ("OM", "Asia/Muscat", "MSI"),
    "sun-thu@Asia/Qatar": ("QA", "Asia/Qatar", "GNRI"),
    # Dubai and Abu Dhabi moved their weekend in 2022.
    "sun-thu/2022-01-03/mon-fri@Asia/Dubai": ("AD AE", "Asia/Dubai", "ADI DFMGI"),
}
_BY_SUFFIX, _BY_TIMEZONE, _BY_INDEX = (
    {word: calendar for calendar, words in _EXCHANGES.items() for word in words[place].split()}
    for place in range(3)
)
_CURRENCIES: Final = (
    "AUD|BRL|CAD|CHF|CNH|CNY|CZK|DKK|EUR|GBP|HKD|HUF|IDR|ILS|INR|JPY|KRW|MXN|NOK|NZD|PLN|RUB|SEK|"
    "SGD|THB|TRY|USD|ZAR"
)
_STABLE: Final = "BUSD|DAI|FDUSD|TUSD|USDC|USDT"
_COINS: Final = (
    "AAVE|ADA|ALGO|ATOM|AVAX|BCH|BNB|BTC|DASH|DOGE|DOT|EOS|ETC|ETH|FIL|LINK|LTC|MATIC|NEAR|PEPE|"
    "POL|SHIB|SOL|SUI|TON|TRX|UNI|XBT|XLM|XMR|XRP|XTZ|ZEC"
)
# In this order; BTC-USD is a coin, BRK-B and BAC-PL are shares.
_SPELLINGS: Final = tuple(
    (re.compile(pattern), calendar)
    for pattern, calendar in (
        (r".+=X", WEEKDAYS_AROUND_THE_CLOCK),
        (r".+=F", "CMES"),
        (r".+\.CC", ALWAYS_OPEN),
        (r".+\.FOREX", WEEKDAYS_AROUND_THE_CLOCK),
        (rf"[A-Z0-9]+-({_CURRENCIES}|{_STABLE}|BTC|ETH)", ALWAYS_OPEN),
        (rf"[A-Z0-9]{{2,}}({_STABLE.replace('DAI|', '')})", ALWAYS_OPEN),
        (rf"({_COINS})({_CURRENCIES}|{_STABLE}|BTC|ETH|BNB)", ALWAYS_OPEN),
        (rf"({_CURRENCIES}|XAG|XAU|XPD|XPT)({_CURRENCIES})", WEEKDAYS_AROUND_THE_CLOCK),
        # A future by month and year: ESZ24, CLF25.NYM.
        (r"[A-Z0-9]{1,3}[FGHJKMNQUVXZ][0-9]{1,2}", "CMES"),
        # Preferred shares in the spellings of files: BAC.PR.L, BAC.PRL.
        (r".+\.(PR?\.[A-Z]|PR[A-Z])", DEFAULT),
    )
)


def calendar_for(ticker: str, exchange_timezone: str = "") -> str:
    """Return the calendar whose sessions a ticker's bars follow; `weekdays` where none is known.

    Args:
        ticker: upper case: `AAPL`, `VOD.L`, `^N225`, `BTC-USD`, `EURUSD=X`, `BTCUSDT`, `AAPL.US`.
        exchange_timezone: IANA name; read for indices and suffixes that no table has.
    """
    if ticker.startswith("^") or ticker.endswith(".INDX"):
        return _index_calendar(ticker.removeprefix("^").removesuffix(".INDX"), exchange_timezone)
    for pattern, calendar in _SPELLINGS:
        if pattern.fullmatch(ticker):
            return calendar
    _, dot, suffix = ticker.rpartition(".")
    if not dot:
        return DEFAULT
    return _BY_SUFFIX.get(suffix) or _BY_TIMEZONE.get(exchange_timezone, WEEKDAYS)


def is_index(ticker: str) -> bool:
    """Whether a ticker is an index, which cannot be traded: `^GSPC`, `GDAXI.INDX`, the sample's."""
    return ticker.startswith("^") or ticker.endswith(".INDX") or ticker in ("NASDAQ", "SP500")


def is_unknown_index(ticker: str) -> bool:
    """Whether a ticker is an index of which the tables know no exchange."""
    return ticker.startswith("^") and not _known_index(ticker[1:])


def main_calendars() -> list[str]:
    """List the calendars of the main exchange of each country, those with most indices first."""
    main = set(_BY_TIMEZONE.values())
    return sorted(main, key=lambda calendar: (-len(_EXCHANGES[calendar][2]), calendar))


def _index_calendar(index: str, exchange_timezone: str) -> str:
    known = _known_index(index)
    if known:
        return known
    return _BY_TIMEZONE.get(exchange_timezone, WEEKDAYS) if exchange_timezone else DEFAULT


def _known_index(index: str) -> str:
    name, _, suffix = index.partition(".")
    return _BY_INDEX.get(name, "") or _BY_SUFFIX.get(suffix, "")
