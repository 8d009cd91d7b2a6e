"""Tickers of every spelling, and the calendars that they follow."""

import pytest

from forecaster.data.calendar_names import calendar_for, is_index

TICKERS = [
    ("AAPL", "", "XNYS", "no suffix is New York"),
    ("BRK-B", "", "XNYS", "a hyphen before a class, not before a currency"),
    ("BRK.B", "", "XNYS", "the same class in the spelling of files"),
    ("VOD.L", "", "XLON", "London"),
    ("SAP.DE", "", "XETR", "Xetra"),
    ("7203.T", "", "XTKS", "Tokyo"),
    ("RELIANCE.NS", "", "XBOM", "the National exchange keeps Bombay's days"),
    ("M&M.NS", "", "XBOM", "an ampersand"),
    ("ENI.MI", "", "XMIL", "Milan, MTAA in Yahoo's table"),
    ("000001.SZ", "", "XSHG", "Shenzhen keeps Shanghai's days"),
    ("^GSPC", "America/New_York", "XNYS", "an index has no suffix, its time zone does"),
    ("^GSPC", "", "XNYS", "an index from a file has no time zone"),
    ("^N225", "Asia/Tokyo", "XTKS", "Tokyo's index"),
    ("^FTSE", "Europe/London", "XLON", "London's index"),
    ("^GDAXI", "Europe/Berlin", "XETR", "Frankfurt's index"),
    ("^HSI", "Asia/Hong_Kong", "XHKG", "Hong Kong's index"),
    ("^TA125.TA", "Asia/Jerusalem", "XTAE", "Tel Aviv's index has a suffix, too"),
    ("BTC-USD", "UTC", "24/7", "a coin never closes"),
    ("ETH-EUR", "UTC", "24/7", "a coin in euro"),
    ("EURUSD=X", "Europe/London", "24/5", "currencies rest on weekends"),
    ("ES=F", "America/New_York", "CMES", "a future"),
    ("^N225", "", "XTKS", "the same from a file, which has no time zone"),
    ("^GDAXI", "", "XETR", "Frankfurt's index from a file"),
    ("^STOXX50E", "Europe/Zurich", "XPAR", "computed in Zurich, on the days of Euronext"),
    ("^BSESN", "", "XBOM", "Bombay's index"),
    ("^NSEI", "", "XBOM", "India's national exchange"),
    ("^AXJO", "", "XASX", "Sydney's index"),
    ("^KS11", "", "XKRX", "Seoul's index"),
    ("^TWII", "", "XTAI", "Taipei's index"),
    ("^BVSP", "", "BVMF", "Sao Paulo's index"),
    ("^MXX", "", "XMEX", "Mexico's index"),
    ("^GSPTSE", "", "XTSE", "Toronto's index"),
    ("^SSMI", "", "XSWX", "Zurich's index"),
    ("^FCHI", "", "XPAR", "Paris's index"),
    ("^NOWHERE", "", "XNYS", "an unknown index from a file: a guess"),
    ("^NOWHERE", "Asia/Qatar", "sun-thu@Asia/Qatar", "an unknown index, whose zone is known"),
    ("GSPC.INDX", "", "XNYS", "EODHD's indices"),
    ("QNBK.QA", "", "sun-thu@Asia/Qatar", "Doha: its week"),
    ("EMAAR.AE", "", "sun-thu/2022-01-03/mon-fri@Asia/Dubai", "Dubai moved its weekend"),
    ("OPAP.AT", "", "ASEX", "Athens"),
    ("TLV.RO", "", "XBSE", "Bucharest"),
    ("TEVA.TA", "", "XTAE", "Tel Aviv"),
    ("ABC.ZZ", "", "weekdays", "an unknown suffix"),
    ("ABC.ZZ", "Asia/Kuwait", "sun-thu@Asia/Kuwait", "the same, whose zone the source knows"),
    ("AAPL.US", "", "XNYS", "Stooq and EODHD"),
    ("BRK.B.US", "", "XNYS", "a class, there"),
    ("SAP.XETRA", "", "XETR", "EODHD's Xetra"),
    ("IBM.N", "", "XNYS", "Reuters"),
    ("BAC-PL", "", "XNYS", "a preferred share at Yahoo"),
    ("BAC.PR.L", "", "XNYS", "the same in files: not London"),
    ("BAC.PRA", "", "XNYS", "the same, shorter"),
    ("CEZ.PR", "", "XPRA", "Prague"),
    ("ACME.WS", "", "XNYS", "a warrant"),
    ("ACME-WT", "", "XNYS", "a warrant at Yahoo"),
    ("ACME.U", "", "XNYS", "a unit"),
    ("BTCUSDT", "", "24/7", "a pair without a hyphen"),
    ("ETHUSD", "", "24/7", "a coin in dollars"),
    ("SOLEUR", "", "24/7", "a coin in euro"),
    ("ETHBTC", "", "24/7", "a coin in coins"),
    ("WIFUSDT", "", "24/7", "any word in a stable coin"),
    ("BTC-USDC", "", "24/7", "a stable coin"),
    ("EURUSD", "", "24/5", "currencies without the suffix"),
    ("XAUUSD", "", "24/5", "gold"),
    ("ESZ24", "", "CMES", "a future by month and year"),
    ("CLF25.NYM", "", "CMES", "the same at Yahoo"),
    ("MUSD", "", "XNYS", "no coin, no currency"),
]


@pytest.mark.parametrize(("ticker", "zone", "calendar", "why"), TICKERS)
def test_a_ticker_names_its_calendar(ticker, zone, calendar, why):
    assert calendar_for(ticker, zone) == calendar, why


@pytest.mark.parametrize(
    ("ticker", "found"),
    [("^GSPC", True), ("GDAXI.INDX", True), ("SP500", True), ("AAPL", False), ("COMP", False)],
)
def test_an_index_is_known_by_its_spelling(ticker: str, found: bool) -> None:
    """COMP is the NASDAQ Composite in some files and a share on NYSE."""
    assert is_index(ticker) is found
