import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forecaster.data.returns import (
    intraday,
    log_dollar_volume,
    log_range,
    log_total_return,
    overnight,
)
from forecaster.errors import UsageError

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
    bars = AS_TRADED
    total = log_total_return(bars["close"], bars["dividend"], bars["split"], "as-traded")
    closed = overnight(total, bars["open"], bars["close"])
    # Ex-date: the total is (108 + 2)/110 = 1, the day 108/107, so the rest 107/108.
    assert np.exp(closed[2]) == pytest.approx(107 / 108, rel=1e-14)
    # Split: 4 * 27.5 / 112.
    assert np.exp(closed[4]) == pytest.approx(110 / 112, rel=1e-14)
    np.testing.assert_allclose((closed + intraday(bars["open"], bars["close"]))[1:], total[1:])


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
