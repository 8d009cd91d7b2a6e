"""Histories for tests: made by hand or drawn, on the real sessions of a calendar."""

from datetime import date

import numpy as np
import pandas as pd

from forecaster.data.history import BAR_COLUMNS, PRICE_COLUMNS, History, Listing
from forecaster.data.sessions import sessions_between


def history(
    ticker="AAPL", *, first="2024-01-02", calendar="XNYS", basis="split-adjusted", **columns
):
    """Bars on the calendar's sessions from `first`; columns not given are 1, dividends 0."""
    days = len(next(iter(columns.values())))
    begin = date.fromisoformat(first)
    sessions = sessions_between(calendar, begin, date(begin.year + 3 + days // 260, 12, 31))[:days]
    flat = dict.fromkeys(BAR_COLUMNS[1:], np.ones(days)) | {"dividend": np.zeros(days)}
    values = {name: np.asarray(value, dtype=np.float64) for name, value in columns.items()}
    bars = pd.DataFrame({"session": sessions.astype("datetime64[s]")} | flat | values)
    listing = Listing(ticker=ticker, source="test", basis=basis, calendar=calendar)
    return History(listing=listing, bars=bars)


def drawn(ticker, days, seed, *, first="2024-01-02", calendar="XNYS", basis="split-adjusted"):
    """A random history with dividends, splits, days without range and days without volume."""
    draw = np.random.default_rng(seed)
    close = 50.0 * np.exp(np.cumsum(draw.normal(0.0, 0.02, days)))
    opening = close * np.exp(draw.normal(0.0, 0.01, days))
    wide = draw.uniform(0.001, 0.03, days) * (draw.random(days) > 0.1)
    return history(
        ticker,
        first=first,
        calendar=calendar,
        basis=basis,
        open=opening,
        high=np.maximum(opening, close) * (1.0 + wide),
        low=np.where(wide > 0, np.minimum(opening, close), np.maximum(opening, close)),
        close=close,
        volume=draw.integers(1, 10_000, days) * (draw.random(days) > 0.1),
        dividend=draw.choice([0.0, 0.5], days, p=[0.9, 0.1]),
        split=draw.choice([1.0, 2.0, 0.5], days, p=[0.9, 0.05, 0.05]),
    )


def walk(days, *, volatility=0.02, seed=0, tick=0.0, basis="split-adjusted"):
    """A random walk from 50 with ordinary ranges, without events."""
    draw = np.random.default_rng(seed)
    moves, nights, up, down = volatility * draw.standard_normal((4, days))
    close = 50.0 * np.exp(np.cumsum(moves) - np.linspace(0, moves.sum(), days))
    opening = close * np.exp(0.5 * nights)
    high = np.maximum(opening, close) * np.exp(0.5 * np.abs(up))
    low = np.minimum(opening, close) * np.exp(-0.5 * np.abs(down))
    prices = {"open": opening, "high": high, "low": low, "close": close}
    if tick:
        prices = {name: np.round(price / tick) * tick for name, price in prices.items()}
    return history("ACME", first="2014-01-02", basis=basis, **prices)


def scaled_rows(old, rows, factor):
    """The same bars, the prices of some rows times a factor."""
    bars = old.bars.copy()
    bars.loc[list(rows), list(PRICE_COLUMNS)] *= factor
    return with_bars(old, bars)


def with_bars(old, bars):
    """The same listing with other bars."""
    return History(listing=old.listing, bars=bars.reset_index(drop=True))


def traded(days, calendar="XNYS", ticker="ACME", source="files"):
    """A ticker that moved on some days, for rules that read only these."""
    listing = Listing(ticker=ticker, source=source, basis="as-traded", calendar=calendar)
    sessions = np.asarray(days, "datetime64[D]").astype("datetime64[s]")
    close = np.linspace(50.0, 60.0, len(sessions))
    bars = {"session": sessions} | dict.fromkeys(PRICE_COLUMNS, close)
    return History(
        listing=listing, bars=pd.DataFrame(bars | {"volume": 1e6, "dividend": 0.0, "split": 1.0})
    )
