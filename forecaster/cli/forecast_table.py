"""Forecasts on a terminal: a row per ticker, the columns that fit the width."""

import math
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

WIDEST = 100
GAP = "  "
MINUS = "\N{MINUS SIGN}"
# Of a target's forecast by its bound of the interval: the numbers of a column.
Bounds = tuple[float, float, float]


def shown_width() -> int:
    """Return the width of the terminal, at most `WIDEST`; that where stdout is none."""
    if not sys.stdout.isatty():
        return WIDEST
    return min(shutil.get_terminal_size((WIDEST, 24)).columns, WIDEST)


def forecast_lines(rows: Sequence[Mapping[str, Any]], width: int) -> list[str]:
    """Return a header, a row per ticker, and a caption of what the width leaves out.

    Args:
        rows: forecasts (`PREDICTION_COLUMNS`), as they are recorded.
        width: columns of text at most.
    """
    by_ticker: dict[tuple[str, datetime], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        by_ticker.setdefault((row["ticker"], row["session"]), {})[row["target"]] = row
    columns = {
        name: [make(found) for found in by_ticker.values()]
        for name, make in _columns(list(dict.fromkeys(row["target"] for row in rows))).items()
    }
    table = {
        "ticker": [ticker for ticker, _ in by_ticker],
        "session": [f"{session:%Y-%m-%d}" for _, session in by_ticker],
        **{name: cells for name, cells in columns.items() if any(cells)},
    }
    kept, left, used = list[str](), list[str](), -len(GAP)
    for name, cells in table.items():
        needed = len(GAP) + max(map(len, [name, *cells]))
        # What has no room leaves none for what is less important either.
        fits = not left and (used + needed <= width or not kept)
        (kept if fits else left).append(name)
        used += needed if fits else 0
    lines = _aligned({name: table[name] for name in kept})
    caption = f"Left out: {', '.join(left)} (--wide, --json, --out)." if left else ""
    return [*lines, *textwrap.wrap(caption, width)]


def _columns(
    targets: Sequence[str],
) -> dict[str, Callable[[Mapping[str, Mapping[str, Any]]], str]]:
    """Return what makes each column's cell of a ticker's forecasts, the most important first."""

    def cell(target: str, write: Callable[[Mapping[str, Any]], str]) -> Callable[..., str]:
        return lambda found: write(found[target]) if target in found else ""

    known = {
        "range": {"range (80 %)": _range},
        "return": {"return (80 %)": _return, "prob_up": _rise, "price (80 %)": _price},
        "volume": {"volume (80 %)": _volume},
    }
    order = [*(t for t in ("range", "return", "volume") if t in targets)]
    order[:1] = [*order[:1], *(t for t in targets if t not in known)]
    found = {
        name: cell(target, write)
        for target in order
        for name, write in known.get(target, {f"{target} (80 %)": _own}).items()
    }
    if "return" in targets:
        found["return 95 %"] = cell("return", _return_95)
    return found


def _aligned(columns: Mapping[str, Sequence[str]]) -> list[str]:
    widths = [max(map(len, [name, *cells])) for name, cells in columns.items()]
    rows = [tuple(columns), *zip(*columns.values(), strict=True)]
    return [
        GAP.join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _bounds(row: Mapping[str, Any], change: Callable[[float], float]) -> Bounds:
    forecast, low, high = (change(float(row[name])) for name in ("forecast", "q10", "q90"))
    return forecast, low, high


def _range(row: Mapping[str, Any]) -> str:
    forecast, low, high = _bounds(row, lambda value: 100 * math.exp(value))
    return f"{_share(forecast)} %{_between(_share(low), _share(high), ' %', '–')}"


def _return(row: Mapping[str, Any]) -> str:
    forecast, low, high = _bounds(row, lambda value: 100 * math.expm1(value))
    return f"{_signed(forecast)} %{_between(_signed(low), _signed(high), ' %', ' to ')}"


def _return_95(row: Mapping[str, Any]) -> str:
    low, high = (100 * math.expm1(float(row[name])) for name in ("q025", "q975"))
    return "" if math.isnan(low) else f"{_signed(low)} to {_signed(high)} %"


def _rise(row: Mapping[str, Any]) -> str:
    return "" if math.isnan(row["prob_up"]) else f"{100 * row['prob_up']:.0f} %"


def _price(row: Mapping[str, Any]) -> str:
    digits = price_digits(float(row["last_close"]))
    prices = [float(row[f"price_{name}"]) for name in ("forecast", "q10", "q90")]
    forecast, low, high = (f"{price:,.{digits}f}" for price in prices)
    return f"{forecast}{_between(low, high, '', '–')}"


def _volume(row: Mapping[str, Any]) -> str:
    forecast, low, high = (_large(value) for value in _bounds(row, math.exp))
    return f"{forecast}{_between(low, high, '', '–')}"


def _own(row: Mapping[str, Any]) -> str:
    forecast, low, high = (f"{value:.4g}" for value in _bounds(row, math.exp))
    return f"{forecast}{_between(low, high, '', '–')}"


def _between(low: str, high: str, unit: str, joined: str) -> str:
    return "" if "nan" in low + high else f" ({low}{joined}{high}{unit})"


def _share(value: float) -> str:
    return f"{value:.1f}" if value >= 0.95 else f"{value:.2f}"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", MINUS)


def _large(value: float) -> str:
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if value >= 0.9995 * size:  # not 1e+03 of the next smaller
            return f"{value / size:.3g}{letter}"
    return f"{value:,.0f}"


def price_digits(price: float) -> int:
    """Return the decimals that a ticker's prices need: 2, or more as for EURUSD at 1.1523."""
    for digits in range(2, 7):
        if abs(round(price, digits) - price) <= 1e-5 * abs(price):
            return digits
    return 6
