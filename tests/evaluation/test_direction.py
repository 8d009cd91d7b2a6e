"""Sides: the published statistic by hand, and days as observations in a panel."""

import numpy as np
import pytest

from forecaster.evaluation.direction import panel_direction, pesaran_timmermann


def sides(right_up, wrong_up, wrong_down, right_down):
    """Forecasts and outcomes with these counts of (called, realised) sides."""
    counts = [right_up, wrong_up, wrong_down, right_down]
    return np.repeat([1.0, 1.0, -1.0, -1.0], counts), np.repeat([1.0, -1.0, 1.0, -1.0], counts)


def test_the_statistic_by_hand():
    """30 of 40 right where 20 are chance: .25 / sqrt(.25/40 - 4/16/1600) = 3.2026."""
    found = pesaran_timmermann(*sides(15, 5, 5, 15))
    assert (found.right, found.by_chance) == (0.75, 0.5)
    assert found.statistic == pytest.approx(0.25 / np.sqrt(0.00625 - 0.00015625))
    assert found.p_value == pytest.approx(0.000681, rel=1e-2)


def test_the_statistic_by_hand_where_sides_are_uneven():
    """With a = .7 and b = .8 of 50: P* = .62, V(P) = .2356/50, V(P*) by its three terms."""
    found = pesaran_timmermann(*sides(30, 10, 5, 5))
    variance = 0.2356 / 50 - (
        0.16 * 0.16 / 50 + 0.36 * 0.21 / 50 + 4 * 0.7 * 0.8 * 0.3 * 0.2 / 2500
    )
    assert found.right == pytest.approx(0.7)
    assert found.statistic == pytest.approx((0.7 - 0.62) / np.sqrt(variance))


def test_a_mostly_right_optimist_is_no_forecaster():
    """Up on 19 of 20 days in a bull market: 60 % right, all of it chance."""
    draw = np.random.default_rng(0)
    outcome = np.where(draw.random(2000) < 0.62, 1.0, -1.0)
    forecast = np.where(draw.random(2000) < 0.95, 1.0, -1.0)
    found = pesaran_timmermann(forecast, outcome)
    assert found.right > 0.58 and found.p_value > 0.05


@pytest.mark.parametrize("test", ["single", "panel"])
def test_independent_sides_are_called_skill_one_time_in_twenty(test):
    draw = np.random.default_rng(1)
    rejected = []
    for _ in range(1500):
        outcome, forecast = draw.standard_normal((2, 200)) + np.array([[0.2], [0.4]])
        if test == "single":
            found = pesaran_timmermann(forecast, outcome)
        else:
            found = panel_direction(forecast, outcome, np.repeat(np.arange(100), 2))
        rejected.append(found.p_value < 0.05)
    assert 0.03 < np.mean(rejected) < 0.075


def test_tickers_that_move_together_are_one_observation_a_day():
    """One call for all of twenty tickers: the plain test would cry skill, the panel's does not."""
    draw = np.random.default_rng(2)
    plain, clustered = [], []
    for _ in range(300):
        outcome = np.repeat(draw.standard_normal(100), 20) + 0.3 * draw.standard_normal(2000)
        forecast = np.repeat(draw.standard_normal(100), 20)
        plain.append(pesaran_timmermann(forecast, outcome).p_value < 0.05)
        clustered.append(
            panel_direction(forecast, outcome, np.repeat(np.arange(100), 20)).p_value < 0.05
        )
    assert np.mean(plain) > 0.25 and np.mean(clustered) < 0.09


def test_skill_is_seen_by_both():
    draw = np.random.default_rng(3)
    outcome = draw.standard_normal(1000)
    forecast = outcome + 3.0 * draw.standard_normal(1000)
    assert pesaran_timmermann(forecast, outcome).p_value < 1e-3
    assert panel_direction(forecast, outcome, np.arange(1000)).p_value < 1e-3
    assert panel_direction(-forecast, outcome, np.arange(1000)).p_value > 0.99


@pytest.mark.parametrize(
    ("forecast", "outcome", "reason"),
    [
        (np.ones(50), np.tile([1.0, -1.0], 25), "always takes the same side"),
        (np.tile([1.0, -1.0], 25), np.ones(50), "outcome always has the same side"),
        (np.zeros(50), np.ones(50), "0 forecasts with a side"),
        (np.full(50, np.nan), np.ones(50), "0 forecasts with a side"),
    ],
)
def test_what_takes_no_side_is_undefined_with_a_reason(forecast, outcome, reason):
    for found in (
        pesaran_timmermann(forecast, outcome),
        panel_direction(forecast, outcome, np.arange(50)),
    ):
        assert found.p_value is None and found.statistic is None
        assert reason in found.reason
    one_day = panel_direction(*sides(9, 9, 9, 9), np.zeros(36))
    assert "1 days" in one_day.reason
