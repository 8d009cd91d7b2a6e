"""The directions of forecasts: their test by hand and by simulation, and the backtest by hand."""

import numpy as np
import pytest
from scipy import stats

from forecaster.evaluation.direction import backtest, directional_accuracy_test


def sides(right_up, wrong_up, wrong_down, right_down):
    """Forecasts and outcomes with these counts of (forecast, realised) directions."""
    counts = [right_up, wrong_up, wrong_down, right_down]
    return np.repeat([1.0, 1.0, -1.0, -1.0], counts), np.repeat([1.0, -1.0, 1.0, -1.0], counts)


def pesaran_timmermann(forecast, outcome):
    """p-value of the test of one series: Pesaran and Timmermann (1992), eqs. 3-6."""
    rises, forecast_rises = outcome > 0, forecast > 0
    n, a, b = len(rises), rises.mean(), forecast_rises.mean()
    chance = a * b + (1 - a) * (1 - b)
    variance = chance * (1 - chance) / n - (
        (2 * a - 1) ** 2 * b * (1 - b) / n
        + (2 * b - 1) ** 2 * a * (1 - a) / n
        + 4 * a * b * (1 - a) * (1 - b) / n**2
    )
    return stats.norm.sf((np.mean(rises == forecast_rises) - chance) / np.sqrt(variance))


@pytest.mark.parametrize(
    ("counts", "accuracy", "by_chance"),
    [((15, 5, 5, 15), 0.75, 0.5), ((30, 10, 5, 5), 0.7, 0.7 * 0.8 + 0.3 * 0.2)],
)
def test_the_accuracy_by_hand(counts, accuracy, by_chance):
    """30 of 40 correct where 20 are chance; 35 of 50 where 31 are. Days are shuffled."""
    order = np.random.default_rng(0).permutation(sum(counts))
    forecast, outcome = (values[order] for values in sides(*counts))
    found = directional_accuracy_test(forecast, outcome, np.arange(sum(counts)))
    assert found.accuracy == pytest.approx(accuracy)
    assert found.expected_by_chance == pytest.approx(by_chance)
    assert found.p_value == pytest.approx(stats.norm.sf(found.statistic))


def test_a_mostly_right_optimist_is_no_forecaster():
    """Up on 19 of 20 days in a bull market: 60 % correct, all of it chance."""
    draw = np.random.default_rng(0)
    outcome = np.where(draw.random(2000) < 0.62, 1.0, -1.0)
    forecast = np.where(draw.random(2000) < 0.95, 1.0, -1.0)
    found = directional_accuracy_test(forecast, outcome, np.arange(2000))
    assert found.accuracy > 0.58 and found.p_value > 0.05


def test_independent_directions_are_forecast_rises_skill_one_time_in_twenty():
    draw = np.random.default_rng(1)
    rejected = []
    for _ in range(1500):
        outcome, forecast = draw.standard_normal((2, 200)) + np.array([[0.2], [0.4]])
        found = directional_accuracy_test(forecast, outcome, np.repeat(np.arange(100), 2))
        rejected.append(found.p_value < 0.05)
    assert 0.03 < np.mean(rejected) < 0.075


def test_tickers_that_move_together_are_one_observation_a_day():
    """One direction for all of twenty tickers: the plain test would see skill, this does not."""
    draw = np.random.default_rng(2)
    plain, clustered = [], []
    for _ in range(300):
        outcome = np.repeat(draw.standard_normal(100), 20) + 0.3 * draw.standard_normal(2000)
        forecast = np.repeat(draw.standard_normal(100), 20)
        days = np.repeat(np.arange(100), 20)
        plain.append(pesaran_timmermann(forecast, outcome) < 0.05)
        clustered.append(directional_accuracy_test(forecast, outcome, days).p_value < 0.05)
    assert np.mean(plain) > 0.25 and np.mean(clustered) < 0.09


def test_skill_is_seen_as_by_the_plain_test():
    draw = np.random.default_rng(3)
    outcome, days = draw.standard_normal(1000), np.arange(1000)
    forecast = outcome + 3.0 * draw.standard_normal(1000)
    assert pesaran_timmermann(forecast, outcome) < 1e-3
    assert directional_accuracy_test(forecast, outcome, days).p_value < 1e-3
    assert directional_accuracy_test(-forecast, outcome, days).p_value > 0.99


@pytest.mark.parametrize(
    ("forecast", "outcome", "reason"),
    [
        (np.ones(50), np.tile([1.0, -1.0], 25), "always forecasts the same direction"),
        (np.tile([1.0, -1.0], 25), np.ones(50), "outcome always has the same direction"),
        (np.zeros(50), np.ones(50), "0 forecasts with a direction"),
        (np.full(50, np.nan), np.ones(50), "0 forecasts with a direction"),
    ],
)
def test_without_directions_it_is_undefined_with_a_reason(forecast, outcome, reason):
    found = directional_accuracy_test(forecast, outcome, np.arange(50))
    assert found.p_value is None and found.statistic is None
    assert reason in found.reason
    one_day = directional_accuracy_test(*sides(9, 9, 9, 9), np.zeros(36))
    assert "1 days" in one_day.reason


nan = np.nan
DAYS = np.array([1, 1, 2, 2, 3, 3])
SERIES = np.array([0, 1, 0, 1, 0, 1])
RETURNS = np.log1p(np.array([0.02, -0.01, 0.04, 0.02, -0.10, 0.02]))


def test_the_book_by_hand():
    """Half a book each: (+, -), (+, flat), (-, flat); 10 bp on 1, .5, 1 and the last .5."""
    forecast = np.array([0.01, -0.01, 0.01, 0.0, -0.01, 0.0])
    found = backtest(forecast, RETURNS, SERIES, DAYS, cost_bps=10.0, least_days=2)
    np.testing.assert_allclose(
        found.daily_returns, [0.01 + 0.005 - 0.001, 0.02 - 0.0005, 0.05 - 0.0010 - 0.0005]
    )
    assert found.turnover == pytest.approx((1.0 + 0.5 + 1.5) / 3)
    assert found.cost == pytest.approx(0.003)
    assert found.invested == pytest.approx((1.0 + 0.5 + 0.5) / 3)
    assert found.maximum_drawdown == 0.0
    assert found.annualised_return == pytest.approx(found.daily_returns.mean() * 252)
    assert found.sharpe_ratio == pytest.approx(
        found.daily_returns.mean() / found.daily_returns.std(ddof=1) * np.sqrt(252)
    )


def test_buying_and_holding_costs_two_sides():
    found = backtest(np.ones(6), RETURNS, SERIES, DAYS, cost_bps=10.0, least_days=2)
    assert found.cost == pytest.approx(0.002)
    np.testing.assert_allclose(found.daily_returns, [0.005 - 0.001, 0.03, -0.04 - 0.001])
    assert found.maximum_drawdown == pytest.approx(0.041)


def test_a_day_with_one_ticker_puts_the_book_in_it():
    forecast = np.array([1.0, 1.0, 1.0, nan, 1.0, 1.0])
    found = backtest(forecast, RETURNS, SERIES, DAYS, cost_bps=0.0, least_days=2)
    assert found.daily_returns[1] == pytest.approx(0.04)
    assert found.turnover == pytest.approx((1.0 + 1.0 + 1.0 + 1.0) / 3)


@pytest.mark.parametrize(
    ("forecast", "reason"),
    [
        (np.full(6, nan), "0 days; at least 2 are needed"),
        (np.zeros(6), "no position is ever taken"),
        (np.where(DAYS == 1, 1.0, nan), "1 days; at least 2"),
    ],
)
def test_what_is_undefined_has_a_reason(forecast, reason):
    found = backtest(forecast, RETURNS, SERIES, DAYS, least_days=2)
    assert found.sharpe_ratio is None and reason in found.reason


@pytest.mark.parametrize(("days", "is_computed"), [(9, False), (62, False), (63, True)])
def test_a_backtest_of_less_than_a_quarter_is_none(days, is_computed):
    moves = np.where(np.arange(days) % 2, 0.01, -0.02)
    found = backtest(np.ones(days), moves, np.zeros(days, int), np.arange(days))
    assert (found.annualised_return is not None) == is_computed
    assert (found.maximum_drawdown is not None) == is_computed
    assert found.reason == ("" if is_computed else f"{days} days; at least 63 are needed")
