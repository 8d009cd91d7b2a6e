"""Numbers as people write them, and what their columns show of the decimal mark."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.data.sources.numbers import (
    MarkCounts,
    is_missing,
    parse_numbers,
    parse_splits,
    plain_numbers,
)

PRICES = ("open", "high", "low", "close")


def _parse(text: str, mark: str = "point", *, units: bool = False) -> tuple[float, bool]:
    (value,), (unreadable,) = parse_numbers(pd.Series([text], dtype=str), mark, units=units)
    return float(value), bool(unreadable)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.45M", 1_450_000),
        ("932.66K", 932_660),
        ("0.00144B", 1_440_000),
        ("1,234K", 1_234_000),
        ("2.5T", 2.5e12),
        ("1.45 Mio.", 1_450_000),
        ("3 mn", 3_000_000),
        ("12.5 lakh", 1_250_000),
        ("1.2Cr", 12_000_000),
        ("144.19\u4e07", 1_441_900),
        ("1.442e+06", 1_442_000),
    ],
)
def test_volumes_may_have_units(text: str, value: float) -> None:
    """In a price a unit is no number."""
    assert _parse(text, units=True) == (value, False)
    if text[-1].isalpha():
        assert np.isnan(_parse(text)[0]) and _parse(text)[1]


@pytest.mark.parametrize(
    ("text", "mark", "value"),
    [
        ("1,23,45,678", "point", 12_345_678),
        ("1,23,456.70", "point", 123_456.7),
        ("1.23.456,70", "comma", 123_456.7),
        ("1'234.5", "point", 1234.5),
        ("1\u2019234.50", "point", 1234.5),
        ("1 234 567", "point", 1_234_567),
        ("1\u00a0234,5", "comma", 1234.5),
        ("1\u202f234,5", "comma", 1234.5),
        ("1\u2009234.5", "point", 1234.5),
        ("1.234.567", "comma", 1_234_567),
        ("$77.18", "point", 77.18),
        ("77,18 \u20ac", "comma", 77.18),
        ("USD 77.18", "point", 77.18),
        ("Rs. 77.18", "point", 77.18),
        ("+5", "point", 5),
        ("\u22125.5", "point", -5.5),
        (".5", "point", 0.5),
    ],
)
def test_thousands_and_currencies_of_many_countries(text: str, mark: str, value: float) -> None:
    assert _parse(text, mark) == (value, False)


@pytest.mark.parametrize(
    "text",
    ["1,1", "0,123", "1234,567", "12,34", "=1+1", "inf", "TRUE", "1_000", "0x10", "1.2.3", "5 %"],
)
def test_other_text_is_no_number(text: str) -> None:
    value, unreadable = _parse(text)
    assert np.isnan(value) and unreadable


@pytest.mark.parametrize(
    "text",
    " |-|--|\u2014|.|...|N/A|n.a.|N/D|#N/A|#N/A N/A|#VALUE!|null|NaN|None|k. A.|nil|".split("|"),
)
def test_words_for_a_missing_value(text: str) -> None:
    assert is_missing(text)
    assert np.isnan(_parse(text)[0]) and not _parse(text)[1]


@pytest.mark.parametrize(
    ("text", "ratio"),
    [
        ("7:1", 7.0),
        ("7/1", 7.0),
        ("7-for-1", 7.0),
        ("7 for 1", 7.0),
        ("3 to 2", 1.5),
        ("1:20", 0.05),
        ("4:1 Stock Splits", 4.0),
        ("0.142857", 0.142857),
        ("0", 0.0),
    ],
)
def test_splits_may_be_ratios(text: str, ratio: float) -> None:
    (value,), (unreadable,) = parse_splits(pd.Series([text], dtype=str), "point")
    assert value == ratio and not unreadable


@pytest.mark.parametrize("text", ["1:0", "a:b", "7:", "2024-01"])
def test_other_ratios_are_none(text: str) -> None:
    (value,), (unreadable,) = parse_splits(pd.Series([text], dtype=str), "point")
    assert (np.isnan(value) and unreadable) or value == 2024.0


def _decide(**columns: list[str]) -> tuple[str, tuple[str, str] | None]:
    counts = MarkCounts()
    for name, cells in columns.items():
        text = pd.Series(cells, dtype=str)
        counts.add(name, text, np.isfinite(plain_numbers(text, "point")))
    return counts.decide(PRICES)


CLEAR = [
    ({"close": ["77.18", "1,077.50"], "volume": ["1,441,919"]}, "point"),
    ({"close": ["77,18", "1.077,50"], "volume": ["1.441.919"]}, "comma"),
    ({"close": ["77.18"], "volume": ["1,442"]}, "point"),
    ({"close": ["2.658"], "volume": ["148.25K"]}, "point"),
    ({"close": ["2,658"], "volume": ["148,25K"]}, "comma"),
    ({"close": ["2.658"], "volume": ["1.441.919"]}, "comma"),
    ({"close": ["27,889"], "volume": ["1,441,919"]}, "point"),
    ({"close": ["1,23,456"], "volume": ["1,234"]}, "point"),
    ({"close": ["0,658", "2,658"]}, "comma"),
    ({"close": ["1'234,50"]}, "comma"),
    ({"close": ["1234.567"]}, "point"),
    ({"close": ["77"], "volume": ["1,442"]}, "point"),
    ({"close": ["77"], "volume": ["1.442"]}, "comma"),
    ({"close": ["77"], "volume": ["144192"]}, "point"),
    ({"close": ["2,658"] * 300 + ["2,7"]}, "comma"),
    ({"close": ["77.18"] * 300 + ["77,2"]}, "point"),
    ({"close": ["1,012", "1,004", "998", "985", "991", "988", "999"]}, "point"),
    ({"close": ["1.012", "1.004", "998", "985", "991", "988", "999"]}, "comma"),
    ({"close": ["1,012", "998", "985", "991", "988", "999"], "split": ["1.0"]}, "point"),
]


@pytest.mark.parametrize(("columns", "mark"), CLEAR)
def test_all_columns_show_the_decimal_mark(columns: dict[str, list[str]], mark: str) -> None:
    assert _decide(**columns) == (mark, None)


DOUBTFUL = [
    ({"close": ["2,658", "2,462"]}, ("close", "either,")),
    ({"close": ["16.030", "16.106"]}, ("close", "either.")),
    ({"close": ["30,126"], "volume": ["1441919"]}, ("close", "either,")),
    ({"close": ["2,658"], "volume": ["148.25K"]}, ("close", "either,")),
    ({"close": ["2,658"], "split": ["1.0"]}, ("close", "either,")),
    ({"close": ["2,658"], "dividend": ["0.25"]}, ("close", "either,")),
    ({"open": ["2,7"], "close": ["2.658"]}, ("close", "either.")),
    ({"close": ["77,18"], "volume": ["1,442"]}, ("volume", "either,")),
    ({"close": ["77.18"], "volume": ["1.442"]}, ("volume", "either.")),
    ({"close": ["77.18"], "volume": ["1.441.919"]}, None),
    ({"close": ["2,658"] * 1000 + ["2.7"]}, ("close", "either,")),
    ({"close": ["2,658"] * 1000 + ["658"]}, ("close", "either,")),
    ({"close": ["2,658"] * 1000 + ["2"] * 9}, ("close", "either,")),
    ({"open": ["2,658"] * 9, "close": ["1,012"] * 9 + ["998"] * 9}, ("open", "either,")),
]


@pytest.mark.parametrize(("columns", "example"), DOUBTFUL)
def test_no_field_decides_against_the_prices(
    columns: dict[str, list[str]], example: tuple[str, str] | None
) -> None:
    """Nor one cell, nor prices against volumes."""
    _, found = _decide(**columns)
    assert found is not None and example in (None, found)


@given(
    st.lists(st.floats(0.01, 99_999), min_size=30, max_size=60),
    st.sampled_from([".", ","]),
    st.sampled_from(["", "'", " ", "\u202f", "other"]),
    st.integers(1, 4),
)
def test_prices_of_any_country_are_read_back(
    values: list[float], point: str, group: str, digits: int
) -> None:
    """Python's grouping is the oracle; with three digits the mark may be asked for."""
    group = {".": ",", ",": "."}[point] if group == "other" else group
    marks = str.maketrans({".": point, ",": group})
    cells = [f"{value:,.{digits}f}".translate(marks) for value in values]
    mark, doubt = _decide(close=cells)
    if doubt is not None:
        assert digits == 3
        return
    found, unreadable = parse_numbers(pd.Series(cells, dtype=str), mark)
    assert not unreadable.any()
    np.testing.assert_array_equal(found, [float(f"{value:.{digits}f}") for value in values])
