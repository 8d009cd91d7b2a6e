"""False alarms and power of the rules of data validation.

Usage: python -m benchmarks.data_rules [--prices FILE_OR_DIR ...] [--bars 2000000]

Without --prices: alarms per rule on simulated series (GARCH(1,1) with Student-t innovations, a
split every 1,000 bars and a dividend every 63 on record) at several volatilities, and the share of
planted faults that is found.  With --prices: alarms on series without faults, for the half of the
tickers that thresholds were chosen on and for the other half.  A file is one of `data export`, or
what `data import` reads.  With n bars and no alarm, the 95 % upper bound of the rate is 3 / n.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from forecaster.data.checks import RULES, check_history
from forecaster.data.history import BAR_COLUMNS, Basis, History, Listing
from forecaster.data.series import Daily
from forecaster.data.sessions import sessions_between

ERRORS: Final = frozenset(rule.name for rule in RULES if rule.severity == "error")
VOLATILITIES: Final = (0.01, 0.02, 0.04, 0.10)
RATIOS: Final = (2.0, 3.0, 1.5, 4.0, 1.25, 5.0, 1.05, 10.0, 0.1, 0.05)
DAYS: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """A simulated series: its daily volatility, tail (degrees of freedom) and price step."""

    volatility: float
    tail: float = 4.0
    tick: float = 0.0
    basis: Basis = "split-adjusted"
    with_events: bool = True


def volatilities(walk: Walk, days: int, draw: np.random.Generator) -> Daily:
    """Draw the volatility of each day (D,): GARCH(1,1) with Student's t."""
    mixing = np.sqrt((walk.tail - 2.0) / draw.chisquare(walk.tail, days))
    shock = np.square(mixing * draw.standard_normal(days))
    variance, each = 1.0, np.empty(days)
    for day in range(days):
        each[day] = variance
        variance = 0.03 + variance * (0.08 * shock[day] + 0.89)
    return walk.volatility * np.sqrt(each) * mixing


def simulate(walk: Walk, seed: int, days: int = DAYS) -> History:
    """Simulate bars: Brownian motion overnight and by day, with high and low of its bridge."""
    draw = np.random.default_rng(seed)
    size = volatilities(walk, days, draw)
    overnight, day = np.sqrt([[0.3], [0.7]]) * size * draw.standard_normal((2, days))
    close = np.cumsum(overnight + day)
    opening, span = close - day, 0.7 * size**2
    reach = np.sqrt(day**2 - 2 * span * np.log(draw.uniform(size=(2, days))))
    prices = 20.0 * np.exp(
        np.column_stack(
            [opening, close - day / 2 + reach[0] / 2, close - day / 2 - reach[1] / 2, close]
        )
    )
    if walk.tick:
        prices = np.maximum(np.round(prices / walk.tick), 1.0) * walk.tick
    return with_events(walk, prices, draw)


def with_events(walk: Walk, prices: np.ndarray, draw: np.random.Generator) -> History:
    """Add a split every 1,000 bars and a dividend every 63 to simulated prices (D, 4)."""
    days = len(prices)
    split, dividend = np.ones(days), np.zeros(days)
    if walk.with_events:
        split[500::1000] = draw.choice(RATIOS, len(split[500::1000]))
        dividend[62::63] = np.round(0.01 * prices[62::63, 3], 6)
    paid = np.cumprod(np.r_[1.0, 1.0 - dividend[1:] / (prices[:-1, 3])])
    scale = paid if walk.basis == "split-adjusted" else paid / np.cumprod(split)
    dividend = dividend * scale
    sessions = sessions_between(
        "XNYS", pd.Timestamp("1990-01-02").date(), pd.Timestamp("2040-01-01").date()
    )
    columns = [*(prices * scale[:, None]).T, np.full(days, 1e6), dividend, split]
    bars = pd.DataFrame(dict(zip(BAR_COLUMNS[1:], columns, strict=True)))
    bars.insert(0, "session", sessions[:days].astype("datetime64[s]"))
    listing = Listing(ticker="SIM", source="simulated", basis=walk.basis, calendar="XNYS")
    return History(listing=listing, bars=bars)


def alarms(histories: Iterator[History]) -> tuple[int, Counter[str]]:
    """Count bars and the bars that each rule finds."""
    bars, found = 0, Counter[str]()
    for history in histories:
        bars += len(history.bars)
        found.update(one.rule for one in check_history(history))
    return bars, found
