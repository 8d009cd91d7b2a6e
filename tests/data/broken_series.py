"""The shapes of faults that real sources had, each with its corrected version, on invented prices.

The real series are those of yfinance's own tests; `python -m tests.check_series DIR`
applies the rules to a folder of them.
"""

from tests.data.histories import history

CALM = [50.0, 50.6, 50.1, 51.0, 50.4, 49.9, 50.7, 51.3, 50.8, 51.5, 51.1, 50.5]
DAYS = len(CALM)


def priced(close, ticker="ACME", *, basis="split-adjusted", **columns):
    """Bars that open at their close and reach half a percent to both sides."""
    ranged = {"high": [1.005 * c for c in close], "low": [0.995 * c for c in close]}
    bars = {"open": close, **ranged, "close": close} | columns
    return history(ticker, basis=basis, **bars)


def splits(row, ratio):
    """No split but on one row."""
    return [ratio if day == row else 1.0 for day in range(DAYS)]


def scaled(rows, factor):
    """Calm closes, those of some rows times a factor."""
    return [factor * close if row in rows else close for row, close in enumerate(CALM)]


FLAT = {"open": [14.55] * DAYS, "high": [14.55] * DAYS, "low": [14.55] * DAYS}
PENCE = [0.1455 if row < 3 or row > 7 else 14.55 for row in range(DAYS)]

CLEAN = {
    "calm": priced(CALM),
    "split of 5, closes adjusted": priced(CALM, split=splits(8, 5.0)),
    "split of 5, closes as traded": priced(
        scaled(range(8), 5.0), split=splits(8, 5.0), basis="as-traded"
    ),
    "consolidation with a special dividend": priced(
        scaled(range(8), 2.2), split=splits(8, 0.4714), dividend=[0] * 8 + [59.0] + [0] * 3
    ),
    "one price for weeks": priced([14.55] * DAYS, **FLAT),
    "one price for weeks, in floats": priced(
        [14.5500001907349, 14.5500004291534] * (DAYS // 2), **FLAT
    ),
    "a merger": priced(scaled(range(6), 1 / 15.4)),
    "a crash": priced(scaled(range(6, DAYS), 0.45)),
    "a wild day and half the way back": priced(
        scaled([6], 2.35)[:7] + scaled(range(DAYS), 1.3)[7:]
    ),
}

BROKEN = {
    # as Shin-Etsu 2023: closes before the day ahead of the split are not adjusted
    "split not applied in time": (
        "split-slip",
        7,
        priced(scaled(range(7), 5.0), split=splits(8, 5.0)),
    ),
    "split not applied at all": (
        "split-slip",
        8,
        priced(scaled(range(8), 5.0), split=splits(8, 5.0)),
    ),
    "split applied twice": ("split-slip", 8, priced(scaled(range(8), 0.2), split=splits(8, 5.0))),
    "split reported, closes adjusted, taken for traded": (
        "split-slip",
        8,
        priced(CALM, split=splits(8, 5.0), basis="as-traded"),
    ),
    # as Capricorn 2023: one day some sessions before the consolidation
    "split applied to one other day": (
        "split-slip",
        3,
        priced(scaled([3], 0.4714), split=splits(8, 0.4714)),
    ),
    # as Afentra 2022: pounds among pence, at both ends, of a share that is not traded
    "pounds among pence": (
        "unit-slip",
        3,
        priced(PENCE, open=PENCE, high=PENCE, low=PENCE),
    ),
    "one close in pounds": ("unit-slip", 5, priced(scaled([5], 0.01))),
    "one low in pounds": ("wrong-cell", 5, priced(CALM, low=[0.99 * c for c in scaled([5], 0.01)])),
    "one day at twice the price": ("spike", 4, priced(scaled([4], 2.1))),
    "the newest day halved": ("fresh-jump", DAYS - 1, priced(scaled([DAYS - 1], 0.5))),
    "one day a tenth": ("unit-slip", 4, priced(scaled([4], 0.1))),
}
