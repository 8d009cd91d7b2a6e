"""Invented prices with the one thing that real ones have: volatility that comes in clusters."""

from datetime import date

import numpy as np
import pandas as pd

from forecaster.data.sessions import sessions_between


def bars_of(
    ticker: str, days: int, *, seed: int = 0, first: date = date(2010, 1, 4)
) -> pd.DataFrame:
    """Make a long table of one ticker on NYSE sessions, `days` rows, always the same for a seed.

    Log volatility follows an AR(1), returns are unpredictable, the range follows the volatility.
    """
    generator = np.random.default_rng([seed, *ticker.encode()])
    sessions = sessions_between("XNYS", first, date(2030, 1, 1))[:days]
    noise = generator.standard_normal((4, days))
    volatility = np.empty(days)
    level = 0.0
    for day in range(days):
        level = 0.95 * level + 0.3 * noise[0, day]
        volatility[day] = 0.012 * np.exp(level)
    close = 50.0 * np.exp(np.cumsum(volatility * noise[1]))
    opening = np.r_[50.0, close[:-1]] * np.exp(0.2 * volatility * noise[2])
    horizon = np.abs(volatility * noise[3]) * 0.5 + 0.3 * volatility
    return pd.DataFrame(
        {
            "ticker": ticker,
            "session": sessions.astype("datetime64[s]"),
            "open": opening,
            "high": np.maximum(opening, close) * np.exp(horizon),
            "low": np.minimum(opening, close) * np.exp(-horizon),
            "close": close,
            "volume": np.round(1e6 * np.exp(0.5 * noise[0])),
            "dividend": 0.0,
            "split": 1.0,
        }
    )


def ragged_bars(lengths: dict[str, int], *, seed: int = 0) -> pd.DataFrame:
    """Make a panel whose tickers start at different times and end on the same day."""
    longest = max(lengths.values())
    parts = [bars_of(name, longest, seed=seed).tail(days) for name, days in lengths.items()]
    return pd.concat(parts, ignore_index=True)
