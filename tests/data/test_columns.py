"""Columns by hand: returns, ranges, trailing means, and the exchange's schedule."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forecaster.data.columns import (
    CALENDAR_INPUTS,
    TRAILING_DAYS,
    SharedDays,
    log_dollar_volume,
    log_range,
    log_total_return,
    market_columns,
    own_columns,
    scheduled_inputs,
    trailing_mean,
)
from forecaster.errors import DataError, UsageError
from tests.data.histories import drawn, history, with_bars

# Five days: 2 paid on the third; each share becomes four on the fifth.
AS_TRADED = {
    "open": np.array([100.0, 101.0, 107.0, 108.0, 27.5]),
    "close": np.array([100.0, 110.0, 108.0, 112.0, 29.4]),
    "volume": np.array([10.0, 20.0, 30.0, 40.0, 200.0]),
    "dividend": np.array([0.0, 0.0, 2.0, 0.0, 0.0]),
    "split": np.array([1.0, 1.0, 1.0, 1.0, 4.0]),
}
# 110/100, (108 + 2)/110, 112/108, 4 * 29.4/112
FACTORS = np.array([np.nan, 1.1, 1.0, 28 / 27, 1.05])


def test_as_traded_returns_by_hand():
    bars = AS_TRADED
    found = log_total_return(bars["close"], bars["dividend"], bars["split"], "as-traded")
    np.testing.assert_allclose(np.exp(found), FACTORS, rtol=1e-14)


def test_split_adjusted_returns_by_hand():
    # Before the split every price and dividend is a quarter: 27.5/25, (27 + 0.5)/27.5, 28/27,
    # 29.4/28. The split itself is reported, but is in the prices already.
    close = np.array([25.0, 27.5, 27.0, 28.0, 29.4])
    dividend = np.array([0.0, 0.0, 0.5, 0.0, 0.0])
    found = log_total_return(close, dividend, AS_TRADED["split"], "split-adjusted")
    np.testing.assert_allclose(np.exp(found), FACTORS, rtol=1e-14)


def test_total_return_closes_contain_their_dividends_by_hand():
    # Before the ex-date each price is 27/27.5 of the split-adjusted one.
    close = np.array([25.0 * 27.0 / 27.5, 27.0, 27.0, 28.0, 29.4])
    dividend = np.array([0.0, 0.0, 0.5, 0.0, 0.0])
    found = log_total_return(close, dividend, AS_TRADED["split"], "total-return")
    np.testing.assert_allclose(np.exp(found)[1:], [27.5 / 25.0, 1.0, 28 / 27, 29.4 / 28])


def test_a_dividend_and_a_split_on_one_day_by_hand():
    # One share of 100 became two of 45, with 3 paid on each: 2 * (45 + 3) / 100 = 0.96.
    found = log_total_return(
        np.array([100.0, 45.0]), np.array([0.0, 3.0]), np.array([1.0, 2.0]), "as-traded"
    )
    assert np.exp(found[1]) == pytest.approx(0.96, rel=1e-14)


def test_the_first_day_has_no_return():
    one = np.array([1.0])
    found = log_total_return(one, one - 1, one, "as-traded")
    assert found.shape == (1,)
    assert np.isnan(found[0])
    empty = np.array([])
    assert log_total_return(empty, empty, empty, "as-traded").shape == (0,)


def test_an_unknown_basis_is_refused():
    one = np.array([1.0])
    with pytest.raises(UsageError, match="'adjusted' is not known"):
        log_total_return(one, one, one, "adjusted")  # type: ignore[arg-type]


def test_intraday_and_overnight_add_up_on_an_ex_date_and_a_split_too():
    found = own_columns(history(basis="as-traded", **AS_TRADED))
    closed = found["overnight"]
    # Ex-date: the total is (108 + 2)/110 = 1, the day 108/107, so the rest 107/108.
    assert np.exp(closed[2]) == pytest.approx(107 / 108, rel=1e-14)
    # Split: 4 * 27.5 / 112.
    assert np.exp(closed[4]) == pytest.approx(110 / 112, rel=1e-14)
    np.testing.assert_allclose((closed + found["intraday"])[1:], found["log_return"][1:])


def test_range_by_hand_and_missing_where_flat():
    # log(e^2/1) = 2; log 2.
    found = log_range(np.array([np.exp(2.0), 5.0]), np.array([1.0, 5.0]))
    assert found[0] == pytest.approx(np.log(2.0), rel=1e-14)
    assert np.isnan(found[1])


def test_dollar_volume_by_hand_and_missing_where_nothing_traded():
    found = log_dollar_volume(np.array([2.0, 2.0, 2.0]), np.array([50.0, 0.0, np.nan]))
    assert found[0] == pytest.approx(np.log(100.0), rel=1e-14)
    assert np.isnan(found[1:]).all()


def _column(low: float, high: float) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, 12, elements=st.floats(low, high))


@given(
    close=_column(1, 1e4),
    dividend=_column(0, 5),
    low=_column(0.5, 1),
    volume=_column(1, 1e9),
    split=arrays(np.float64, 12, elements=st.sampled_from([0.05, 0.5, 1.0, 1.0, 1.0, 1.5, 2.0])),
)
def test_adjusting_for_splits_changes_no_value(close, dividend, low, volume, split):
    """Both bases of one history give equal returns, range and dollar volume."""
    # Shares of the last day that one share of day t has become: the splits after day t.
    later = np.append(np.cumprod(split[::-1])[::-1][1:], 1.0)
    np.testing.assert_allclose(
        log_total_return(close, dividend, split, "as-traded"),
        log_total_return(close / later, dividend / later, split, "split-adjusted"),
        atol=1e-12,
    )
    np.testing.assert_allclose(
        log_range(close, close * low - 0.01),
        log_range(close / later, (close * low - 0.01) / later),
        atol=1e-9,
    )
    np.testing.assert_allclose(
        log_dollar_volume(close, volume),
        log_dollar_volume(close / later, volume * later),
        atol=1e-12,
    )


@given(close=_column(1, 1e4), cut=st.integers(1, 11), later_split=st.floats(0.01, 100))
def test_a_later_split_changes_no_earlier_return(close, cut, later_split):
    """Returns up to a day are equal, bit for bit, whatever comes after it."""
    dividend, split = np.zeros(12), np.ones(12)
    before = log_total_return(close, dividend, split, "as-traded")[:cut]
    split[cut:] = later_split
    after = log_total_return(close, dividend, split, "as-traded")[:cut]
    np.testing.assert_array_equal(before, after)


@given(
    growth=arrays(np.float64, 12, elements=st.floats(-0.3, 0.3)),
    paid=arrays(np.float64, 12, elements=st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.3])),
    split=arrays(np.float64, 12, elements=st.sampled_from([0.05, 0.5, 1.0, 1.0, 1.0, 1.5, 2.0])),
)
def test_what_a_holder_earns_does_not_depend_on_how_it_is_paid_out(growth, paid, split):
    """One economic path: returns are its growth, whatever is paid or split, on either basis."""
    worth = np.empty(12)  # of one share, dividend included, as traded
    close = np.empty(12)
    before = 100.0
    for day in range(12):
        worth[day] = before * np.exp(growth[day]) / split[day]
        close[day] = before = worth[day] * (1 - paid[day])
    dividend = worth - close
    later = np.append(np.cumprod(split[::-1])[::-1][1:], 1.0)
    plain = 100.0 * np.exp(np.cumsum(growth))
    nothing = np.zeros(12)
    for found in (
        log_total_return(close, dividend, split, "as-traded"),
        log_total_return(close / later, dividend / later, split, "split-adjusted"),
        log_total_return(plain, nothing, nothing + 1, "as-traded"),
        log_total_return(plain, nothing, nothing + 1, "split-adjusted"),
    ):
        np.testing.assert_allclose(found[1:], growth[1:], atol=1e-12)


@given(
    close=_column(1, 1e4),
    cut=st.integers(1, 11),
    later_dividend=st.floats(0, 100),
    later_split=st.sampled_from([0.25, 2.0, 4.0]),
)
def test_what_comes_later_changes_no_earlier_return(close, cut, later_dividend, later_split):
    """Bit for bit: a dividend rewrites no close, a split all of them by a power of two."""
    dividend, split = np.zeros(12), np.ones(12)
    before = log_total_return(close, dividend, split, "split-adjusted")[:cut]
    split[cut], dividend[cut] = later_split, later_dividend
    rescaled = np.where(np.arange(12) < cut, close / later_split, close)
    after = log_total_return(rescaled, dividend, split, "split-adjusted")[:cut]
    np.testing.assert_array_equal(before, after)


def test_trailing_mean_by_hand():
    """Three days: 1, (1+2)/2, (1+2+6)/3, (2+6+4)/3."""
    found = trailing_mean(np.array([1.0, 2.0, 6.0, 4.0]), 3)
    assert found == pytest.approx([1.0, 1.5, 3.0, 4.0])


def test_trailing_mean_skips_missing_days():
    """A missing day counts nowhere: nothing, 1, 1, 3, and nothing again."""
    nan = np.nan
    found = trailing_mean(np.array([nan, 1.0, nan, 3.0, nan, nan]), 2)
    np.testing.assert_array_equal(found, [nan, 1.0, 1.0, 3.0, 3.0, nan])


def test_features_by_hand():
    """Three days: a return of 10 %, half of it overnight; then 2 paid on a share."""
    features = own_columns(
        history(
            open=[100.0, 105.0, 110.0],
            high=[100.0 * np.e, 120.0, 130.0],
            low=[100.0, 120.0, 130.0 / np.exp(np.exp(2.0))],
            close=[100.0, 110.0, 108.0],
            volume=[1.0, 0.0, 100.0],
            dividend=[0.0, 0.0, 2.0],
        )
    )
    expected = {
        "log_return": [np.nan, np.log(1.1), np.log(110 / 110)],
        "overnight": [np.nan, np.log(105 / 100), np.log(110 / 108)],
        "intraday": [0.0, np.log(110 / 105), np.log(108 / 110)],
        "log_range": [0.0, np.nan, 2.0],
        "log_volume": [np.log(100.0), np.nan, np.log(10800.0)],
        "range_deviation": [0.0, np.nan, 1.0],
        "volume_deviation": [0.0, np.nan, np.log(108.0) / 2],
        "range_missing": [0.0, 1.0, 0.0],
        "volume_missing": [0.0, 1.0, 0.0],
    }
    assert list(expected) == list(features)
    for name, values in expected.items():
        np.testing.assert_allclose(features[name], values, atol=1e-14, err_msg=name)


def test_the_basis_of_the_listing_decides_what_a_split_does():
    """One share of 100 becomes two of 55: +10 % as traded, -45 % if adjusted already."""
    bars = {"close": [100.0, 55.0], "split": [1.0, 2.0]}
    traded = own_columns(history(basis="as-traded", **bars))
    adjusted = own_columns(history(basis="split-adjusted", **bars))
    assert traded["log_return"][1] == pytest.approx(np.log(1.1))
    assert adjusted["log_return"][1] == pytest.approx(np.log(0.55))


def test_deviations_look_back_22_days():
    """Ranges of 0, then 22 days of 1: on the 22nd of these the 0 is outside the mean."""
    log_range = np.ones(TRAILING_DAYS + 1)
    log_range[0] = 0.0
    found = own_columns(history(high=np.exp(np.exp(log_range))))["range_deviation"]
    assert TRAILING_DAYS == 22
    assert found[TRAILING_DAYS - 1] == pytest.approx(1 / 22)
    assert found[TRAILING_DAYS] == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("day", [1, 22, 40, 59])
def test_a_day_reads_no_later_bar(day):
    """Rows up to a day are equal, bit for bit, whatever comes after it."""
    whole = drawn("AAPL", 60, seed=1, basis="as-traded")
    before = own_columns(with_bars(whole, whole.bars[:day]))
    for name, values in own_columns(whole).items():
        np.testing.assert_array_equal(before[name], values[:day])


def _inputs(calendar: str, *days: str) -> list[dict[str, float]]:
    values = scheduled_inputs(calendar, np.array(days, dtype="datetime64[D]"))
    assert values.shape == (len(days), len(CALENDAR_INPUTS))
    return [dict(zip(CALENDAR_INPUTS, row, strict=True)) for row in values.tolist()]


# day, weekday of the next session, gap days, and the flags that are set
SCHEDULE = [
    ("XNYS", "2024-06-10", "tue", 0, set(), "an ordinary Monday"),
    ("XNYS", "2024-06-07", "mon", 2, set(), "a weekend is no holiday gap"),
    ("XNYS", "2024-03-27", "thu", 0, {"month_end", "holiday_before"}, "before Good Friday"),
    ("XNYS", "2024-03-28", "mon", 3, {"holiday_gap"}, "over Good Friday and Easter"),
    ("XNYS", "2023-06-30", "mon", 2, {"half_day", "holiday_before"}, "July 3rd closes early"),
    ("XNYS", "2023-07-03", "wed", 1, {"holiday_gap"}, "over the Fourth, a Tuesday"),
    ("XNYS", "2026-11-24", "wed", 0, {"holiday_before"}, "Thanksgiving follows the next"),
    ("XNYS", "2026-11-25", "fri", 1, {"holiday_gap", "half_day"}, "over Thanksgiving"),
    ("XNYS", "2024-12-30", "tue", 0, {"month_end", "holiday_before"}, "year end"),
    ("XNYS", "2024-05-30", "fri", 0, {"month_end"}, "a month ends on a Friday"),
    ("XNYS", "2024-06-20", "fri", 0, {"option_expiry"}, "third Friday"),
    ("XNYS", "2024-06-13", "fri", 0, set(), "second Friday"),
    ("XNYS", "2008-03-19", "thu", 0, {"option_expiry", "holiday_before"}, "third is Good Friday"),
    ("XNYS", "2008-03-20", "mon", 3, {"holiday_gap"}, "no expiry on Good Friday itself"),
    ("XNYS", "2001-09-10", "tue", 0, set(), "not known of the 11th"),
    ("XNYS", "2001-09-11", "wed", 0, set(), "a bar on a day that became none"),
    ("XNYS", "2012-10-26", "mon", 2, set(), "Sandy was not scheduled"),
    ("XNYS", "2012-10-25", "fri", 0, set(), "nor that it would follow the weekend"),
    ("XNYS", "1968-12-24", "thu", 1, {"holiday_gap"}, "Christmas, in the crisis' list too"),
    ("XNYS", "2024-06-08", "mon", 1, set(), "a bar on a Saturday"),
    ("XNYS", "2024-07-04", "fri", 0, set(), "a bar on a holiday"),
    ("XTKS", "2020-09-30", "thu", 0, set(), "Tokyo's trading system failed on the day"),
    ("XTKS", "2024-05-02", "tue", 4, {"holiday_gap"}, "Golden Week is known in advance"),
    ("XHKG", "2024-09-05", "fri", 0, set(), "typhoon Yagi struck on the day"),
    ("XHKG", "2024-02-09", "wed", 4, {"holiday_gap"}, "lunar new year is known in advance"),
    ("XSAU", "2024-06-06", "", 2, set(), "Riyadh: Sunday follows Thursday as always"),
    ("24/7", "2024-06-14", "", 0, set(), "the next day is a Saturday"),
    ("24/5", "2024-06-14", "mon", 2, set(), "currencies rest on weekends"),
]


@pytest.mark.parametrize(("calendar", "day", "weekday", "gap", "flags", "why"), SCHEDULE)
def test_scheduled_inputs(calendar, day, weekday, gap, flags, why):
    (found,) = _inputs(calendar, day)
    expected = dict.fromkeys(CALENDAR_INPUTS, 0.0) | {"gap_days": float(gap)}
    expected |= {f"next_{weekday}": 1.0} if weekday else {}
    expected |= dict.fromkeys(flags, 1.0)
    assert found == expected, why


def test_scheduled_inputs_do_not_depend_on_the_other_days():
    days = np.arange("2012-10-20", "2012-11-05", dtype="datetime64[D]")
    together = scheduled_inputs("XNYS", days)
    backwards = scheduled_inputs("XNYS", days[::-1])
    alone = scheduled_inputs("XNYS", days[6:7])
    np.testing.assert_array_equal(together, backwards[::-1])
    np.testing.assert_array_equal(together[6:7], alone)


def test_scheduled_inputs_take_any_unit_and_no_days_at_all():
    seconds = np.array(["2024-06-10"], dtype="datetime64[s]")
    np.testing.assert_array_equal(
        scheduled_inputs("XNYS", seconds),
        scheduled_inputs("XNYS", seconds.astype("datetime64[D]")),
    )
    assert scheduled_inputs("XNYS", seconds[:0]).shape == (0, len(CALENDAR_INPUTS))


@pytest.mark.parametrize("day", ["1899-12-31", "2107-01-03", "NaT"])
def test_days_that_no_calendar_knows_are_refused(day):
    with pytest.raises(DataError, match=r"days from 1900 to 2100"):
        scheduled_inputs("XNYS", np.array([day], dtype="datetime64[D]"))


def test_a_shared_column_has_each_row_the_number_of_its_exchange_and_day():
    """Two series of New York around one of London, whose days have other numbers."""
    days = np.array(
        [*("2024-01-02", "2024-01-03"), *("2024-01-03", "2024-01-05"), *("2024-01-03",)],
        dtype="datetime64[D]",
    )
    shared = SharedDays.of(["XNYS", "XLON", "XNYS"], days, np.array([0, 2, 4, 5]))
    assert {name: len(part) for name, part in shared.days.items()} == {"XNYS": 2, "XLON": 2}
    tables = [np.array([[1.0], [2.0]]), np.array([[30.0], [50.0]])]
    column = shared.columns(["number"], tables)["number"]
    assert np.asarray(column).tolist() == [1.0, 2.0, 30.0, 50.0, 2.0]
    assert column[1:3].tolist() == column.take(np.array([1, 2])).astype(int).tolist() == [2, 30]
    assert len(column) == 5 and len(column.take(np.array([4]))) == 1


def test_an_exchange_without_means_has_no_market():
    shared = SharedDays.of(["XNYS"], np.array(["2024-01-02"], "datetime64[D]"), np.array([0, 1]))
    assert all(np.isnan(column[:]).all() for column in market_columns({}, shared).values())
