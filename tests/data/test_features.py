import numpy as np
import pytest

from forecaster.data.features import OWN_FEATURES, TRAILING_DAYS, own_features, trailing_mean
from tests.data.histories import drawn, history, with_bars


def column(features, name):
    return features[:, OWN_FEATURES.index(name)]


def test_trailing_mean_by_hand():
    """Three days: 1, (1+2)/2, (1+2+6)/3, (2+6+4)/3."""
    found = trailing_mean(np.array([1.0, 2.0, 6.0, 4.0]), 3)
    assert found == pytest.approx([1.0, 1.5, 3.0, 4.0])


def test_trailing_mean_skips_missing_days():
    """A missing day lends its place to no other: nothing, 1, 1, 3, and nothing again."""
    nan = np.nan
    found = trailing_mean(np.array([nan, 1.0, nan, 3.0, nan, nan]), 2)
    np.testing.assert_array_equal(found, [nan, 1.0, 1.0, 3.0, 3.0, nan])


def test_features_by_hand():
    """Three days: a return of 10 %, half of it overnight; then 2 paid on a share."""
    features = own_features(
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
    assert tuple(expected) == OWN_FEATURES
    for name, values in expected.items():
        np.testing.assert_allclose(column(features, name), values, atol=1e-14, err_msg=name)


def test_the_basis_of_the_listing_decides_what_a_split_does():
    """One share of 100 becomes two of 55: +10 % as traded, -45 % if the prices tell it already."""
    bars = {"close": [100.0, 55.0], "split": [1.0, 2.0]}
    traded = own_features(history(basis="as-traded", **bars))
    adjusted = own_features(history(basis="split-adjusted", **bars))
    assert column(traded, "log_return")[1] == pytest.approx(np.log(1.1))
    assert column(adjusted, "log_return")[1] == pytest.approx(np.log(0.55))


def test_deviations_look_back_22_days():
    """Ranges of 0, then 22 days of 1: on the 22nd of these the mean has forgotten the 0."""
    log_range = np.ones(TRAILING_DAYS + 1)
    log_range[0] = 0.0
    found = column(own_features(history(high=np.exp(np.exp(log_range)))), "range_deviation")
    assert TRAILING_DAYS == 22
    assert found[TRAILING_DAYS - 1] == pytest.approx(1 / 22)
    assert found[TRAILING_DAYS] == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("day", [1, 22, 40, 59])
def test_a_day_reads_no_later_bar(day):
    """Rows up to a day are equal, bit for bit, whatever comes after it."""
    whole = drawn("AAPL", 60, seed=1, basis="as-traded")
    before = own_features(with_bars(whole, whole.bars[:day]))
    np.testing.assert_array_equal(before, own_features(whole)[:day])
