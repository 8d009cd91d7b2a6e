"""Which tables are bars, and which row is reported where one is not."""

import hashlib
import re
import struct

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.data.history import (
    BAR_COLUMNS,
    fingerprint,
    flaws,
    normalise_ticker,
    normalise_tickers,
    validate_bars,
)
from forecaster.errors import DataError, UsageError
from tests.data.histories import drawn, with_bars


def _bars(days: int = 5) -> pd.DataFrame:
    close = np.arange(10.0, 10.0 + days)
    return pd.DataFrame(
        {
            "session": pd.date_range("2024-01-01", periods=days).as_unit("s"),
            "open": close,
            "high": close + 1,
            "low": close - 1,
            "close": close,
            "volume": 100.0,
            "dividend": 0.0,
            "split": 1.0,
        }
    )


def test_good_bars_come_back_as_they_are():
    bars = _bars()
    bars.loc[2, "volume"] = 0.0
    bars.loc[3, ["dividend", "split"]] = [0.5, 0.1]
    assert validate_bars("AAPL", bars) is bars
    assert tuple(bars.columns) == BAR_COLUMNS


VALUES = [
    ("close", np.nan, "close nan; a value is needed"),
    ("open", np.inf, "open inf; a finite number above 0"),
    ("close", 1e308, "close 1e\\+308; a finite number above 0"),
    ("low", -np.inf, "low -inf; a finite number above 0"),
    ("low", 0.0, "low 0.0; a finite number above 0"),
    ("close", -3.0, "close -3.0; a finite number above 0"),
    ("volume", -1.0, "volume -1.0; a finite number not below 0"),
    ("volume", np.nan, "volume nan; a value is needed"),
    ("dividend", -0.5, "dividend -0.5; a finite number not below 0"),
    ("dividend", np.nan, "dividend nan; a value is needed"),
    ("split", 0.0, "split 0.0; a finite number above 0"),
    ("split", np.inf, "split inf; a finite number above 0"),
]


@pytest.mark.parametrize(("column", "value", "message"), VALUES)
def test_a_value_that_cannot_be_is_refused_with_its_day(column, value, message):
    bars = _bars()
    bars.loc[3, column] = value
    with pytest.raises(DataError, match=rf"^AAPL: the bar of 2024-01-04 has {message}"):
        validate_bars("AAPL", bars)


def test_the_first_of_several_is_reported_and_all_are_counted():
    bars = _bars()
    bars.loc[[1, 2, 4], "close"] = -1.0
    with pytest.raises(
        DataError, match=r"2024-01-02 has close -1.0.*\(3 such\)\. Correct"
    ) as caught:
        validate_bars("AAPL", bars)
    assert "\n" not in str(caught.value)


def test_repeated_and_unsorted_sessions_are_refused():
    repeated = _bars()
    repeated.loc[2, "session"] = repeated.loc[1, "session"]
    with pytest.raises(DataError, match=r"2024-01-02.*one bar per session is needed \(1 such\)"):
        validate_bars("AAPL", repeated)
    swapped = _bars().iloc[[0, 2, 1, 3, 4]].reset_index(drop=True)
    with pytest.raises(DataError, match=r"2024-01-02.*sessions from old to new"):
        validate_bars("AAPL", swapped)


def test_a_missing_session_and_a_time_of_day_are_refused():
    missing = _bars()
    missing.loc[2, "session"] = pd.NaT
    with pytest.raises(DataError, match=r"row 2 has session NaT; a value is needed"):
        validate_bars("AAPL", missing)
    timed = _bars()
    timed.loc[2, "session"] += pd.Timedelta(hours=5)
    with pytest.raises(DataError, match=r"05:00:00; a date without time of day"):
        validate_bars("AAPL", timed)


# close 13, open 13: 0.1 % is 0.013
@pytest.mark.parametrize(("column", "good", "bad"), [("high", 12.99, 12.98), ("low", 13.01, 13.02)])
def test_an_impossible_bar_is_refused_beyond_a_tolerance(column, good, bad):
    bars = _bars()
    bars.loc[3, column] = good
    validate_bars("AAPL", bars)
    bars.loc[3, column] = bad
    with pytest.raises(DataError, match=rf"2024-01-04 has open 13.0.*a {column} not .*\(1 such\)"):
        validate_bars("AAPL", bars)


@pytest.mark.parametrize(("opened", "closed"), [(10.0, 14.0), (14.0, 10.0)])
def test_high_and_low_are_compared_with_both_open_and_close(opened, closed):
    bars = _bars()
    bars.loc[3, ["open", "close", "high", "low"]] = [opened, closed, 14.0, 10.0]
    validate_bars("AAPL", bars)
    for column in ("high", "low"):
        with pytest.raises(DataError, match=rf"a {column} not"):
            validate_bars(
                "AAPL", bars.assign(**{column: bars[column].where(bars.index != 3, 12.0)})
            )


@pytest.mark.parametrize(
    "wrong",
    [
        _bars().drop(columns="split"),
        _bars().assign(adjusted=1),
        _bars()[list(reversed(BAR_COLUMNS))],
        _bars().astype({"volume": "int64"}),
        _bars().astype({"close": "float32"}),
        _bars().astype({"close": "str"}),
        _bars().astype({"session": "datetime64[ns]"}),
    ],
    ids=["missing", "extra", "reversed", "int", "float32", "text", "ns"],
)
def test_a_table_of_another_shape_is_refused(wrong):
    with pytest.raises(DataError, match=r"AAPL: the table has columns .* in this order"):
        validate_bars("AAPL", wrong)


def test_no_bars_at_all_are_refused():
    with pytest.raises(DataError, match="AAPL: no bars at all"):
        validate_bars("AAPL", _bars(0))


def test_the_index_of_the_table_does_not_matter():
    bars = _bars().set_index(pd.Index([7, 7, 7, 7, 7]))
    validate_bars("AAPL", bars)
    bars["close"] = [10.0, -1.0, 12.0, 13.0, 14.0]
    with pytest.raises(DataError, match=r"2024-01-02 has close -1\.0"):
        validate_bars("AAPL", bars)


def test_every_row_that_cannot_be_a_bar_is_listed_with_its_first_rule():
    """A bar without a close is no impossible bar; one that is both is listed once."""
    bars = _bars(6)
    bars.loc[1, "close"] = np.nan
    bars.loc[2, ["low", "volume"]] = [-1.0, np.inf]
    bars.loc[4, "high"] = 1.0
    found = [(flaw.row, flaw.rule) for flaw in flaws(bars)]
    assert found == [(1, "missing-value"), (2, "impossible-value"), (4, "impossible-bar")]
    assert flaws(bars)[0].reason == "close nan; a value is needed"
    assert "high 1.0, low" in flaws(bars)[2].reason


SPOILS = [np.nan, np.inf, -np.inf, 0.0, -1.0, 1e13, 1e19, 12.0, 9.0]
SPOILT_DAYS = [
    pd.NaT,
    *map(pd.Timestamp, ("1899-12-29", "2024-01-02", "2024-01-09", "2024-01-03 09:30")),
]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from(BAR_COLUMNS[1:]), st.sampled_from(SPOILS)),
        max_size=2,
    ),
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from(SPOILT_DAYS)), max_size=1),
)
def test_a_table_is_refused_exactly_where_a_row_is_flawed(values, days):
    """`validate_bars` reports the first of the rows that `flaws` lists, by the same rule."""
    bars = _bars()
    for row, column, value in values:
        bars.loc[row, column] = value
    for row, day in days:
        bars.loc[row, "session"] = day
    found = flaws(bars)
    assert [flaw.row for flaw in found] == sorted({flaw.row for flaw in found})
    if not found:
        assert validate_bars("AAPL", bars) is bars
        return
    with pytest.raises(DataError, match=re.escape(found[0].reason)):
        validate_bars("AAPL", bars)


def test_bars_without_a_flaw_have_none():
    assert flaws(_bars()) == [] and flaws(_bars(0)) == []


AAPL, MSFT = drawn("AAPL", 5, seed=1), drawn("MSFT", 4, seed=2)


def changed(history, column, row, value):
    bars = history.bars.copy()
    bars.loc[row, column] = value
    return with_bars(history, bars)


def test_the_order_of_fetching_changes_nothing():
    """Tickers are hashed in alphabetical order."""
    assert fingerprint([AAPL, MSFT]) == fingerprint([MSFT, AAPL])
    assert len(fingerprint([AAPL])) == 64


@pytest.mark.parametrize("column", BAR_COLUMNS[1:])
@pytest.mark.parametrize("row", [0, 4])
def test_one_changed_bit_changes_the_hash(column, row):
    """The last bit of any number of any column."""
    value = np.nextafter(AAPL.bars.loc[row, column], np.inf)
    assert fingerprint([changed(AAPL, column, row, value)]) != fingerprint([AAPL])


def test_a_moved_day_changes_the_hash():
    """The same prices a day later are other prices."""
    later = AAPL.bars.loc[4, "session"] + np.timedelta64(1, "D")
    assert fingerprint([changed(AAPL, "session", 4, later)]) != fingerprint([AAPL])


def test_ticker_basis_and_membership_change_the_hash():
    """Another name, another meaning of the close, one ticker less, one day less."""
    bars = AAPL.bars
    hashes = {
        fingerprint(histories)
        for histories in (
            [AAPL],
            [drawn("AAPK", 5, seed=1)],
            [drawn("AAPL", 5, seed=1, basis="as-traded")],
            [AAPL, MSFT],
            [with_bars(AAPL, bars[:4])],
        )
    }
    assert len(hashes) == 5


def test_the_sign_of_zero_and_the_type_of_columns_change_nothing():
    """Equal bars have equal hashes, however they were stored."""
    bars = AAPL.bars.assign(dividend=0.0)
    minus = bars.assign(dividend=-0.0)
    typed = bars.assign(session=bars["session"].astype("datetime64[ns]"), split=1)
    expected = fingerprint([with_bars(AAPL, bars.assign(split=1.0))])
    assert fingerprint([with_bars(AAPL, minus.assign(split=1.0))]) == expected
    assert fingerprint([with_bars(AAPL, typed)]) == expected


def test_swapped_histories_change_the_hash():
    """The bars of one ticker under the name of the other."""
    swapped = [with_bars(AAPL, MSFT.bars), with_bars(MSFT, AAPL.bars)]
    assert fingerprint(swapped) != fingerprint([AAPL, MSFT])


def test_the_hash_by_hand():
    """Name, basis and length, days since 1970, then the bars; stored versions depend on it."""
    bars = AAPL.bars[:2].assign(
        open=1.0, high=2.0, low=0.5, close=1.5, volume=[10.0, 20.0], dividend=0.0, split=1.0
    )
    days, numbers = (19724, 19725), (1, 2, 0.5, 1.5, 10, 0, 1, 1, 2, 0.5, 1.5, 20, 0, 1)
    content = struct.pack("<2q14d", *days, *numbers)
    expected = hashlib.sha256(b"AAPL split-adjusted 2\n" + content).hexdigest()
    assert fingerprint([with_bars(AAPL, bars)]) == expected


@pytest.mark.parametrize(
    ("typed", "ticker"),
    [
        ("AAPL", "AAPL"),
        ("aapl", "AAPL"),
        ("brk-b", "BRK-B"),
        ("^GSPC", "^GSPC"),
        ("EURUSD=X", "EURUSD=X"),
        ("M&M.NS", "M&M.NS"),
        ("7203.t", "7203.T"),
        ("btc-usd", "BTC-USD"),
        ("CON", "CON"),  # a device on Windows, but a ticker to us: it never becomes a file name
        ("A" * 20, "A" * 20),
    ],
)
def test_well_formed_tickers_come_back_in_upper_case(typed: str, ticker: str) -> None:
    """Every spelling that Yahoo uses is accepted."""
    assert normalise_ticker(typed) == ticker


@pytest.mark.parametrize(
    "typed",
    [
        "",
        " ",
        "AAPL ",
        "AAPL\n",
        "AA PL",
        "../../x",
        "/etc/passwd",
        "A/B",
        "a\0b",
        "%2e%2e",
        "-AAPL",
        "--help",
        ".",
        "=X",
        "&A",
        "A?x=1",
        "A#b",
        "A^" + "B" * 19,
        "АAPL",  # Cyrillic capital A  # noqa: RUF001
        "ıbm",  # dotless i, upper-cased to a plain I  # noqa: RUF001
        "ſpy",  # long s, upper-cased to a plain S  # noqa: RUF001
        "groß",  # upper-cased to GROSS
        "K",  # the Kelvin sign  # noqa: RUF001
        "ＡAPL",  # full-width A  # noqa: RUF001
        "１2",  # a full-width digit  # noqa: RUF001
        "A" * 10_000,
    ],
)
def test_everything_else_is_refused_in_one_short_line(typed: str) -> None:
    """Fault 43: paths, options, look-alikes and floods end in exit 2 before any request."""
    with pytest.raises(UsageError) as refused:
        normalise_ticker(typed)
    message = str(refused.value)
    assert refused.value.exit_code == 2
    assert message.isascii() and message.isprintable() and len(message) < 250
    assert "is not a ticker" in message


def test_a_text_by_itself_is_one_ticker() -> None:
    assert normalise_tickers("aapl") == ["AAPL"]
    assert normalise_tickers(("aapl", "MSFT")) == ["AAPL", "MSFT"]


def test_what_is_no_text_is_no_ticker() -> None:
    with pytest.raises(UsageError, match="7 is not a ticker"):
        normalise_tickers([7])  # type: ignore[list-item]
