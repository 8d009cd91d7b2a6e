"""Intervals keep their promise under drift, and know nothing of tomorrow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.errors import DataError
from forecaster.evaluation.conformal import (
    Adaptive,
    adaptive_conformal,
    uncalibrated_intervals,
)
from forecaster.evaluation.distributions import Point, StudentT

DAY0 = np.datetime64("2020-01-01")


def overconfident(days=1500, tickers=3, seed=0, drift=1.0):
    """Forecasts that state half the true scale, which drifts by a factor over the days."""
    draw = np.random.default_rng(seed)
    day, series = np.tile(np.arange(days), tickers), np.repeat(np.arange(tickers), days)
    stated = 0.01 * np.exp(0.3 * draw.standard_normal(len(day)))
    true = 2.0 * stated * drift ** (day / days) * (1.0 + 0.3 * series)
    y = true * draw.standard_normal(len(day))
    raw = StudentT(np.zeros(len(day)), stated, np.full(len(day), np.inf))
    return raw, y, series, DAY0 + day


def adapted(raw, y, series, made, **options):
    return adaptive_conformal(raw, y, series, made, made + 1, Adaptive(**options))


@pytest.mark.parametrize(("coverage", "slack"), [(0.8, 0.015), (0.95, 0.014)])
@pytest.mark.parametrize("drift", [1.0, 3.0, 0.3])
def test_every_series_is_covered_under_drift(coverage, slack, drift):
    """Raw intervals hold half of what they promise, or the drift runs away with them."""
    raw, y, series, made = overconfident(drift=drift)
    later = made >= DAY0 + 300
    inside = adapted(raw, y, series, made).inside(y, coverage)
    assert uncalibrated_intervals(raw).inside(y, coverage)[later].mean() < coverage - 0.08
    for number in range(3):
        assert inside[later & (series == number)].mean() == pytest.approx(coverage, abs=slack)


@given(cut=st.integers(1, 240), seed=st.integers(0, 50), delay=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_no_outcome_moves_an_interval_made_before_it_was_known(cut, seed, delay):
    """Blank or corrupt everything known after a day: no interval made until then changes."""
    raw, y, series, made = overconfident(days=250, seed=seed)
    known = made + delay
    late = known > DAY0 + cut
    for spoilt in (np.where(late, np.nan, y), np.where(late, 1e3 * y, y)):
        one, two = (
            adaptive_conformal(raw, v, series, made, known, Adaptive(window=60, least=20))
            for v in (y, spoilt)
        )
        for coverage in (0.8, 0.95):
            before = made <= DAY0 + cut
            np.testing.assert_array_equal(
                one.bounds[coverage][before], two.bounds[coverage][before]
            )


def test_the_newest_outcome_is_used():
    """Known on the day of the forecast, it moves it: the test above must not pass by deafness."""
    raw, y, series, made = overconfident(days=250)
    spoilt = np.where(made == DAY0 + 100, 50.0 * np.abs(y), y)
    one, two = (adapted(raw, v, series, made, window=60, least=20) for v in (y, spoilt))
    next_day = made == DAY0 + 101
    assert (one.bounds[0.95][next_day, 1] < two.bounds[0.95][next_day, 1]).all()


def test_the_order_of_rows_changes_nothing():
    raw, y, series, made = overconfident(days=250)
    shuffled = np.random.default_rng(0).permutation(len(y))
    plain = adapted(raw, y, series, made).bounds[0.8]
    mixed = adapted(raw.take(shuffled), y[shuffled], series[shuffled], made[shuffled]).bounds[0.8]
    np.testing.assert_array_equal(plain[shuffled], mixed)


def test_the_rank_by_hand():
    """Of scores 1..20 either side, (n + 1) a = 41 * .1 = 4.1: the fourth from each end."""
    days = np.arange(41)
    y = np.r_[np.arange(-20.0, 0.0), np.arange(1.0, 21.0), np.nan]
    raw = Point(np.zeros(41))
    found = adapted(raw, y, np.zeros(41, int), DAY0 + days, window=40, least=40, rate=0.0)
    assert found.bounds[0.8][-1].tolist() == [-17.0, 17.0]
    assert found.bounds[0.95][-1].tolist() == [-20.0, 20.0]


def test_a_miss_widens_and_hits_narrow():
    """After a miss above, the level falls by .05 * .9, and with a hit it rises by .05 * .1."""
    scores = np.r_[np.linspace(-1.0, 1.0, 100), 5.0, np.linspace(-0.7, 0.7, 100), np.nan]
    raw, days = Point(np.zeros(len(scores))), DAY0 + np.arange(len(scores))
    options = {"window": 100, "least": 100}
    zero = np.zeros(len(scores), int)
    fast = adapted(raw, scores, zero, days, rate=0.158, **options).bounds[0.8]
    still = adapted(raw, scores, zero, days, rate=0.0, **options).bounds[0.8]
    assert fast[100].tolist() == still[100].tolist()
    assert fast[101, 1] > still[101, 1] and fast[150, 0] > still[150, 0]


def test_a_young_series_borrows_from_all_and_the_first_days_stand_raw():
    raw, y, series, made = overconfident(days=400, tickers=3)
    young = (series == 2) & (made < DAY0 + 350)
    keep = np.flatnonzero(~young)
    found = adapted(raw.take(keep), y[keep], series[keep], made[keep])
    width = np.ptp(found.bounds[0.8], axis=1) / np.ptp(raw.take(keep).interval(0.8), axis=1)
    first_days, borrowed = made[keep] < DAY0 + 40, series[keep] == 2
    np.testing.assert_allclose(width[first_days], 1.0)
    assert (width[borrowed] > 1.5).all()


def test_the_wider_interval_holds_the_narrower():
    raw, y, series, made = overconfident(days=400)
    bounds = adapted(raw, y, series, made, rate=0.1).bounds
    assert (bounds[0.95][:, 0] <= bounds[0.8][:, 0]).all()
    assert (bounds[0.95][:, 1] >= bounds[0.8][:, 1]).all()


def test_a_row_without_forecast_has_no_interval_and_teaches_nothing():
    raw, y, series, made = overconfident(days=250)
    blank = np.arange(len(y)) % 50 == 7
    loc = np.where(blank, np.nan, 0.0)
    holed = StudentT(loc, raw.scale + loc, raw.df + loc)
    kept = np.flatnonzero(~blank)
    whole = adapted(holed, y, series, made)
    clean = adapted(raw.take(kept), y[kept], series[kept], made[kept])
    assert np.isnan(whole.bounds[0.8][blank]).all()
    np.testing.assert_array_equal(whole.bounds[0.8][kept], clean.bounds[0.8])


def test_an_outcome_known_before_its_forecast_is_refused():
    raw, y, series, made = overconfident(days=250)
    with pytest.raises(DataError, match="an outcome comes after"):
        adaptive_conformal(raw, y, series, made, made)
