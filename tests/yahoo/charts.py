"""Charts in the JSON of Yahoo's v8 service, with invented prices.

A ticker's prices are a random walk seeded by its name over the real sessions of New
York, so that the same day has the same price in every answer and on every machine.
"""

import math
import warnings
import zlib
from bisect import bisect_right
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import exchange_calendars
import numpy as np
import pandas as pd

FIRST = "2015-01-02"
_LAST = "2030-12-31"

# Ex-dates and amounts, split-adjusted as Yahoo's are; a split is so many new for so many old.
DIVIDENDS = {"AAPL": {date(2020, 8, 7): 0.205, date(2024, 2, 9): 0.24, date(2024, 5, 10): 0.25}}
SPLITS = {
    "AAPL": {date(2020, 8, 31): (4.0, 1.0)},
    "SPLIT": {date(2024, 5, 6): (2.0, 1.0)},
}
# From which day on prices are so many times what they would have been: after bad earnings.
JUMPS = {"JUMP": (date(2024, 4, 25), 0.65)}


@dataclass(frozen=True, slots=True)
class _Market:
    zone: str = "America/New_York"
    opens: time = time(9, 30)
    exchange: str = "NMS"
    currency: str = "USD"


_MARKETS = {
    ".T": _Market("Asia/Tokyo", time(9), "JPX", "JPY"),
    "-USD": _Market("UTC", time(0), "CCC", "USD"),
}


@dataclass(frozen=True, slots=True)
class Series:
    """One ticker's whole history; `stamps` are the opens of its sessions."""

    days: tuple[date, ...]
    stamps: np.ndarray
    quotes: dict[str, np.ndarray]


@cache
def sessions() -> tuple[date, ...]:
    """Load the calendar; once, before threads start: filters on warnings are not per thread."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.Pandas4Warning)
        calendar = exchange_calendars.get_calendar("XNYS", start=FIRST)
    return tuple(day.date() for day in calendar.sessions_in_range(FIRST, _newest()))


def _newest() -> str:
    return min(datetime.now(ZoneInfo("America/New_York")).date().isoformat(), _LAST)


def market(ticker: str) -> _Market:
    return next((m for end, m in _MARKETS.items() if ticker.endswith(end)), _Market())


@cache
def series(
    ticker: str, opened: frozenset[date] = frozenset(), closed: frozenset[date] = frozenset()
) -> Series:
    """Invent a history: one draw per day and column, so that days to come change nothing.

    `opened` are days on which the exchange was open against its calendar, `closed` the reverse.
    """
    days = tuple(sorted({*sessions(), *opened} - closed))
    draws = np.random.default_rng(zlib.crc32(ticker.encode())).standard_normal((len(days), 4))
    close = 100.0 * np.exp(np.cumsum(0.01 * draws[:, 0]))
    begins, factor = JUMPS.get(ticker, (days[0], 1.0))
    close[[day >= begins for day in days]] *= factor
    opens = close * np.exp(0.003 * draws[:, 1])
    spread = 0.002 + 0.002 * np.abs(draws[:, 2])
    where = market(ticker)
    zone = ZoneInfo(where.zone)
    stamps = [int(datetime.combine(day, where.opens, zone).timestamp()) for day in days]
    quotes = {
        "open": opens,
        "high": np.maximum(opens, close) * (1 + spread),
        "low": np.minimum(opens, close) * (1 - spread),
        "close": close,
        "volume": np.round(1e6 * np.exp(0.3 * draws[:, 3])),
    }
    return Series(days, np.array(stamps), quotes)


def chart(
    ticker: str,
    first: int | None = None,
    last: int | None = None,
    newest: date | None = None,
    changed: tuple[frozenset[date], frozenset[date]] = (frozenset(), frozenset()),
) -> dict[str, Any]:
    """Answer for the sessions whose stamp s has first <= s < last; None for the newest day.

    Of days after `newest` nothing is known, nor that there will be a split. `changed` are the days
    opened and closed against the calendar.
    """
    known = series(ticker, *changed)
    there = len(known.days) if newest is None else bisect_right(known.days, newest)
    stamps = known.stamps[:there]
    if first is None or last is None:
        rows = np.array([there - 1])
    else:
        rows = np.flatnonzero((stamps >= first) & (stamps < last))
    result: dict[str, Any] = {"meta": _meta(ticker, stamps), "indicators": {"quote": [{}]}}
    if rows.size:
        scale = _still_to_split(ticker, newest)
        scales = {name: 1 / scale if name == "volume" else scale for name in known.quotes}
        quote = {name: (known.quotes[name][rows] * scales[name]).tolist() for name in scales}
        result["timestamp"] = known.stamps[rows].tolist()
        result["indicators"] = {"quote": [quote], "adjclose": [{"adjclose": list(quote["close"])}]}
        events = _events(ticker, {known.days[row]: int(known.stamps[row]) for row in rows})
        if events:
            result["events"] = events
    return {"chart": {"result": [result], "error": None}}


def _still_to_split(ticker: str, newest: date | None) -> float:
    """Return what prices will be divided by: the splits after the newest day."""
    later = [ratio for day, ratio in SPLITS.get(ticker, {}).items() if newest and day > newest]
    return math.prod(new / old for new, old in later)


def _events(ticker: str, stamps: dict[date, int]) -> dict[str, Any]:
    dividends = {
        str(stamps[day]): {"amount": amount, "date": stamps[day]}
        for day, amount in DIVIDENDS.get(ticker, {}).items()
        if day in stamps
    }
    splits = {
        str(stamps[day]): {"date": stamps[day], "numerator": new, "denominator": old}
        for day, (new, old) in SPLITS.get(ticker, {}).items()
        if day in stamps
    }
    named = {"dividends": dividends, "splits": splits}
    return {name: events for name, events in named.items() if events}


def _meta(ticker: str, stamps: np.ndarray) -> dict[str, Any]:
    where = market(ticker)
    newest = int(stamps[-1])
    hours = {"timezone": "LCL", "gmtoffset": 0, "start": newest, "end": newest + 23_400}
    return {
        "symbol": ticker,
        "currency": where.currency,
        "exchangeName": where.exchange,
        "instrumentType": "EQUITY",
        "firstTradeDate": int(stamps[0]),
        "regularMarketTime": newest + 23_400,
        "exchangeTimezoneName": where.zone,
        "longName": f"{ticker} Incorporated",
        "shortName": ticker,
        "priceHint": 2,
        "currentTradingPeriod": {"pre": hours, "regular": hours, "post": hours},
        "dataGranularity": "1d",
        "validRanges": ["1d", "5d", "1mo", "1y", "max"],
    }
