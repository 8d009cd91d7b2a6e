"""A row per ticker, as wide as the terminal."""

import math
from datetime import datetime
from typing import Any

import pytest

from forecaster.cli.forecast_table import forecast_lines, price_digits


def row(target: str, *values: float, ticker: str = "AAA", close: float = 100.0) -> dict[str, Any]:
    """A forecast with the ends of its 80 and 95 % intervals, as they are recorded."""
    names = ("forecast", "q10", "q90", "q025", "q975")
    found: dict[str, Any] = dict(zip(names, values, strict=True))
    prices = {f"price_{name}": close * math.exp(found[name]) for name in names}
    found |= prices if target == "return" else dict.fromkeys(prices, math.nan)
    session = datetime(2024, 1, 5)
    return found | {"ticker": ticker, "session": session, "target": target, "last_close": close,
                    "prob_up": 0.56}  # fmt: skip


RETURN = row("return", 0.001, -0.012, 0.013, -0.025, 0.026)
RANGE = row("range", *(math.log(share) for share in (0.038, 0.022, 0.07, 0.009, 0.1)))
VOLUME = row("volume", *(math.log(size) for size in (2.5e9, 1e9, 4e9, 5e8, 8e9)))


def test_all_targets_of_a_ticker_are_one_row_range_first() -> None:
    header, only, *left = forecast_lines([RETURN, RANGE], 200)
    assert header.startswith("ticker  session     range (80 %)       return (80 %)")
    assert "3.8 % (2.2–7.0 %)" in only
    assert "+0.1 % (\N{MINUS SIGN}1.2 to +1.3 %)" in only
    assert "100.10 (98.81–101.31)" in only
    assert only.endswith("\N{MINUS SIGN}2.5 to +2.6 %") and left == []


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100])
def test_no_line_is_wider_than_the_terminal_and_the_caption_names_the_rest(width: int) -> None:
    rows = [{**one, "ticker": name} for name in ("A", "BBBBBB.L") for one in (RETURN, RANGE)]
    lines = forecast_lines([*rows, {**VOLUME, "ticker": "A"}], width)
    assert all(len(line) <= width for line in lines)
    text = " ".join(lines)
    names = ("session", "range (80 %)", "return (80 %)", "price (80 %)", "volume (80 %)")
    assert all(name in text for name in names) and "--wide" in text


def test_columns_left_out_are_the_less_important_ones() -> None:
    """A narrow column never takes the place of a wide one before it."""
    lines = forecast_lines([RETURN, RANGE], 50)
    assert "range (80 %)" in lines[0] and "prob_up" not in lines[0]
    assert "return (80 %)" in " ".join(lines[2:])


def test_what_a_ticker_lacks_is_empty() -> None:
    bare = row("range", math.log(0.02), *[math.nan] * 4, ticker="BBB")
    lines = forecast_lines([RETURN, RANGE, bare, {**VOLUME, "ticker": "BBB"}], 200)
    assert lines[2].split() == ["BBB", "2024-01-05", "2.0", "%", "2.5B", "(1B–4B)"]


def test_a_column_of_ones_own_is_shown_in_its_unit() -> None:
    own = row("rv5", *(math.log(value) for value in (0.00012, 0.0001, 0.0002, 0.0001, 0.0003)))
    assert "0.00012 (0.0001–0.0002)" in forecast_lines([own], 100)[1]


@pytest.mark.parametrize(
    ("price", "digits"), [(189.949997, 2), (1.1523, 4), (6635.279785, 2), (0.0123, 4), (5.0, 2)]
)
def test_prices_have_the_decimals_of_the_tickers_own(price: float, digits: int) -> None:
    assert price_digits(price) == digits
