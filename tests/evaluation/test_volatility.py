"""The classical distributions: right where the truth is GARCH, guarded where a fit explodes."""

import numpy as np
import pytest

from forecaster.evaluation import volatility
from forecaster.evaluation.volatility import (
    ewma_deviation,
    ewma_normal,
    ewma_student,
    garch,
    historical_simulation,
    refit_days,
)

nan = np.nan
DAY0 = np.datetime64("2010-01-01")


def clustered(days=1500, seed=0, a=0.08, b=0.9, df=6.0):
    """Returns of a GARCH(1,1) with Student-t shocks, and their true standard deviations."""
    draw = np.random.default_rng(seed)
    shocks = draw.standard_t(df, days) * np.sqrt((df - 2) / df)
    variance, returns, deviations = 1e-4, np.empty(days), np.empty(days + 1)
    for day in range(days):
        deviations[day] = np.sqrt(variance)
        returns[day] = deviations[day] * shocks[day]
        variance = 1e-4 * (1 - a - b) + a * returns[day] ** 2 + b * variance
    deviations[days] = np.sqrt(variance)
    return returns, deviations[1:]


def panel(lengths=(1500, 800), seed=0):
    """Series of unequal length that end on the same day."""
    parts = [clustered(n, seed + k)[0] for k, n in enumerate(lengths)]
    days = [DAY0 + np.arange(max(lengths) - n, max(lengths)) for n in lengths]
    return np.concatenate(parts), np.repeat(np.arange(len(lengths)), lengths), np.concatenate(days)


@pytest.mark.parametrize("kind", ["garch", "egarch"])
def test_it_finds_the_volatility_that_made_the_returns(kind):
    returns, truth = clustered(2500)
    days, series = DAY0 + np.arange(2500), np.zeros(2500, int)
    refits = refit_days(days, DAY0 + 1250)
    found = garch(returns, series, days, refits, kind=kind)
    scored = days >= DAY0 + 1250
    student = found.predictive.take(scored)
    deviation = student.scale * np.sqrt(student.df / (student.df - 2))
    assert np.corrcoef(np.log(deviation), np.log(truth[scored]))[0, 1] > 0.85
    assert np.mean(deviation / truth[scored]) == pytest.approx(1.0, abs=0.06)
    assert np.median(student.df) == pytest.approx(6.0, abs=2.0)
    assert (found.fits, found.failed, found.replaced) == (5, 0, 0)
    assert np.isnan(found.predictive.loc[~scored]).all()


@pytest.mark.parametrize("kind", ["garch", "egarch"])
def test_the_future_changes_no_forecast(kind):
    """Neither a fit, nor the filter, nor the guards look ahead; a re-fit's own day is not read."""
    returns, series, days = panel()
    refits = refit_days(days, DAY0 + 900, every=300)
    cut = DAY0 + 1200
    spoilt = np.where(days > cut, 20.0 * returns + 0.1, returns)
    one, two = (garch(v, series, days, refits, kind=kind).predictive for v in (returns, spoilt))
    before = (days >= DAY0 + 900) & (days <= cut)
    np.testing.assert_array_equal(one.scale[before], two.scale[before])
    np.testing.assert_array_equal(one.df[before], two.df[before])
    assert (one.scale[days > cut] != two.scale[days > cut]).any()
    on_the_day = np.where(days == cut, returns + 0.03, returns)
    third = garch(on_the_day, series, days, refits, kind=kind).predictive
    np.testing.assert_array_equal(third.df[days == cut], one.df[days == cut])


def test_a_fit_that_explodes_is_replaced_by_the_last_good_one(monkeypatch):
    """Then by the exponentially weighted variance, and both are counted."""
    returns, series, days = panel(lengths=(1500,))
    refits = refit_days(days, DAY0 + 600, every=300)
    clean = garch(returns, series, days, refits)
    fit, calls = volatility._Series._fit, []

    def failing(self, stop):
        calls.append(stop)
        return None if len(calls) == bad else fit(self, stop)

    monkeypatch.setattr(volatility._Series, "_fit", failing)
    bad = 2
    second = garch(returns, series, days, refits)
    assert (second.fits, second.failed, second.replaced) == (3, 1, 0)
    assert second.predictive.df[950] == clean.predictive.df[650] != clean.predictive.df[950]
    calls.clear()
    bad = 1
    first = garch(returns, series, days, refits)
    assert (first.failed, first.replaced) == (1, 300)
    assert np.isinf(first.predictive.df[600:900]).all()
    np.testing.assert_array_equal(
        first.predictive.scale[600:900], ewma_deviation(returns, series)[600:900]
    )


def test_an_implausible_forecast_is_replaced(monkeypatch):
    """A variance a thousand times the year's, from a fit that looked sound."""
    returns, series, days = panel(lengths=(900,))
    filtered = volatility._Series._filter
    monkeypatch.setattr(
        volatility._Series,
        "_filter",
        lambda self, *a: np.where(np.arange(300) == 7, 1e9, filtered(self, *a)),
    )
    found = garch(returns, series, days, refit_days(days, DAY0 + 600, every=400))
    assert found.replaced == 1 and np.isinf(found.predictive.df[607])
    assert np.isfinite(found.predictive.df[[606, 608]]).all()


def test_short_constant_and_holed_series_are_forecast_all_the_same():
    """A young ticker and one that never moves borrow no one's days and cost no one theirs."""
    returns = np.concatenate([clustered(900)[0], clustered(100, 1)[0], np.zeros(900)])
    series = np.repeat([0, 1, 2], [900, 100, 900])
    span = np.arange(900)
    days = DAY0 + np.concatenate([span, span[800:], span])
    returns[850] = nan
    found = garch(returns, series, days, refit_days(days, DAY0 + 600))
    young = (series == 1) & (days >= DAY0 + 800 + 22)
    assert np.isinf(found.predictive.df[young]).all()
    assert np.isfinite(found.predictive.scale[young]).all()
    assert np.isnan(found.predictive.scale[series == 2]).all()
    assert found.predictive.scale[850] == found.predictive.scale[849]
    assert np.isfinite(found.predictive.scale[(series == 0) & (days >= DAY0 + 600)]).all()


def test_no_refit_date_no_forecast():
    returns, series, days = panel(lengths=(300,))
    found = garch(returns, series, days, refit_days(days, DAY0 + 999))
    assert found.fits == 0 and np.isnan(found.predictive.scale).all()


def test_refits_by_hand():
    days = np.tile(DAY0 + np.arange(10), 2)
    found = refit_days(days, DAY0 + 3, every=3)
    assert (found - DAY0).astype(int).tolist() == [3, 6, 9]


def test_exponential_weights_by_hand():
    """Begun at the mean square 4 of 22 days: .94 * 4 + .06 * 100 = 9.76; a hole changes nothing."""
    returns = np.r_[nan, np.full(22, 2.0), 10.0, nan, np.full(22, 1.0)]
    series = np.r_[np.zeros(25, int), np.ones(22, int)]
    found = ewma_deviation(returns, series)
    assert np.isnan(found[:22]).all() and found[22] == 2.0
    assert found[23] == pytest.approx(np.sqrt(9.76)) and found[24] == found[23]
    assert np.isnan(found[25:46]).all() and found[46] == 1.0


def test_fitted_tails_beat_the_normal():
    returns, _ = clustered(3000, df=4.0)
    y, series = np.r_[returns[1:], nan], np.zeros(3000, int)
    fit, scored = np.arange(3000) < 1500, np.arange(3000) >= 1500
    scored &= np.isfinite(y)
    student = ewma_student(returns, series, y, fit)
    plain = ewma_normal(returns, series)
    gain = student.log_density(y)[scored] - plain.log_density(y)[scored]
    assert gain.mean() > 0.02
    spoilt = ewma_student(returns, series, np.where(fit, y, 9.0), fit)
    np.testing.assert_array_equal(student.scale, spoilt.scale)


def test_a_ticker_that_never_moves_has_no_exponential_forecast():
    assert np.isnan(ewma_normal(np.zeros(50), np.zeros(50, int)).scale).all()


def test_historical_simulation_by_hand():
    """The last three of the series' own returns; a hole is skipped, the neighbour not borrowed."""
    returns = np.array([nan, 1.0, 2.0, nan, 3.0, 4.0, 50.0, 60.0, 70.0])
    series = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1])
    found = historical_simulation(returns, series, window=3)
    expected = [nan, nan, nan, nan, 2.0, 3.0, nan, nan, 60.0]
    np.testing.assert_array_equal(found.mean(), expected)
    assert found.quantile([0.0, 1.0])[5].tolist() == [2.0, 4.0]
