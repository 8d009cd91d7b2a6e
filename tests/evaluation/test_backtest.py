"""A book of two tickers, worked by hand."""

import numpy as np
import pytest

from forecaster.evaluation.backtest import backtest

nan = np.nan
DAYS = np.array([1, 1, 2, 2, 3, 3])
SERIES = np.array([0, 1, 0, 1, 0, 1])
RETURNS = np.log1p(np.array([0.02, -0.01, 0.04, 0.02, -0.10, 0.02]))


def test_the_book_by_hand():
    """Half a book each: (+, -), (+, flat), (-, flat); 10 bp on 1, .5, 1 and the last .5."""
    forecast = np.array([0.01, -0.01, 0.01, 0.0, -0.01, 0.0])
    found = backtest(forecast, RETURNS, SERIES, DAYS, cost_bps=10.0)
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
    found = backtest(np.ones(6), RETURNS, SERIES, DAYS, cost_bps=10.0)
    assert found.cost == pytest.approx(0.002)
    np.testing.assert_allclose(found.daily_returns, [0.005 - 0.001, 0.03, -0.04 - 0.001])
    assert found.maximum_drawdown == pytest.approx(0.041)


def test_a_day_with_one_ticker_puts_the_book_in_it():
    forecast = np.array([1.0, 1.0, 1.0, nan, 1.0, 1.0])
    found = backtest(forecast, RETURNS, SERIES, DAYS, cost_bps=0.0)
    assert found.daily_returns[1] == pytest.approx(0.04)
    assert found.turnover == pytest.approx((1.0 + 1.0 + 1.0 + 1.0) / 3)


@pytest.mark.parametrize(
    ("forecast", "reason"),
    [
        (np.full(6, nan), "no forecast with a known outcome"),
        (np.zeros(6), "no position is ever taken"),
        (np.where(DAYS == 1, 1.0, nan), "a single day"),
    ],
)
def test_what_is_undefined_has_a_reason(forecast, reason):
    found = backtest(forecast, RETURNS, SERIES, DAYS)
    assert found.sharpe_ratio is None and reason in found.reason
