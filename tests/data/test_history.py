import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandera.errors import SchemaErrors

from forecaster.data.history import BAR_COLUMNS, _is_sound, _schema, flaws, validate_bars
from forecaster.errors import DataError


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


def test_the_first_of_several_is_named_and_all_are_counted():
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
def test_high_and_low_are_held_against_both_open_and_close(opened, closed):
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
        _bars().assign(adjusted=1.0),
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


def test_every_row_that_cannot_be_is_told_by_its_first_rule():
    """A bar without a close is no impossible bar; one that is both is told once."""
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
def test_the_fast_look_and_the_schema_agree(values, days):
    """`flaws` asks the schema only where the fast look is not content; it must miss nothing."""
    bars = _bars()
    for row, column, value in values:
        bars.loc[row, column] = value
    for row, day in days:
        bars.loc[row, "session"] = day
    try:
        _schema().validate(bars, lazy=True)
        assert _is_sound(bars)
    except SchemaErrors:
        assert not _is_sound(bars)


def test_bars_without_a_flaw_are_told_so_without_pandera(monkeypatch):
    """The nightly run checks thousands of tickers; the schema is asked only for the report."""
    monkeypatch.setattr("forecaster.data.history._failures", None)
    assert flaws(_bars()) == [] and flaws(_bars(0)) == []
    validate_bars("AAPL", _bars())
