"""Tests of many forecasters, and the bootstrap of days."""

import numpy as np
import pytest

from forecaster.evaluation.multiple_comparisons import (
    block_length,
    day_weights,
    interval,
    model_confidence_set,
    superior_predictive_ability,
)


def losses(days=300, seed=0, **shifts):
    draw = np.random.default_rng(seed)
    common = draw.standard_normal(days) ** 2
    return {
        name: common + 0.3 * draw.standard_normal(days) + shift for name, shift in shifts.items()
    }


def test_the_best_of_several_beats_the_benchmark():
    daily = losses(zero=0.0, good=-0.2, bad=0.2)
    assert superior_predictive_ability(daily, "zero").p_value < 0.01
    assert superior_predictive_ability(daily, "good").p_value > 0.5
    found = model_confidence_set(daily)
    assert found.included == ("good",)
    assert found.p_values["good"] == 1.0 and found.p_values["bad"] < 0.1


def test_forecasters_that_are_alike_all_stay():
    daily = losses(a=0.0, b=0.001, c=0.0)
    assert model_confidence_set(daily).included == ("a", "b", "c")
    assert superior_predictive_ability(daily, "a").forecasters == 2


def test_equal_losses_have_equal_p_values():
    """Equal losses have no variance of their difference: arch alone would divide by it."""
    daily = losses(a=0.5, b=0.0)
    daily |= {"copy of a": daily["a"], "copy of b": daily["b"]}
    found = model_confidence_set(daily)
    assert found.included == ("b", "copy of b")
    assert found.p_values["a"] == found.p_values["copy of a"]
    assert superior_predictive_ability(daily, "b").forecasters == 2


@pytest.mark.parametrize(
    ("daily", "reason"),
    [
        ({"a": np.ones(300), "b": np.ones(300)}, "same losses"),
        ({"a": np.ones(1), "b": np.zeros(1)}, "1 days; at least 20"),
    ],
)
def test_degenerate_losses_give_a_reason(daily, reason):
    tested, kept = superior_predictive_ability(daily, "a"), model_confidence_set(daily)
    assert tested.p_value is None and reason in tested.reason
    assert kept.included == ("a", "b") and reason in kept.reason


@pytest.mark.slow
def test_spa_errs_about_one_time_in_twenty():
    p_values = [
        superior_predictive_ability(
            losses(150, seed, zero=0.0, a=0.0, b=0.0, c=0.0), "zero"
        ).p_value
        for seed in range(400)
    ]
    assert 0.02 < np.mean(np.array(p_values) < 0.05) < 0.09


@pytest.mark.slow
def test_the_confidence_set_contains_the_best_at_its_level():
    """All equal: each is the best; at 10 % the set may miss one of three somewhat more often."""
    missed = [
        "a" not in model_confidence_set(losses(150, seed, a=0.0, b=0.0, c=0.0)).included
        for seed in range(200)
    ]
    assert np.mean(missed) < 0.13


def test_weights_draw_every_day_equally_often_and_in_runs():
    weights = day_weights(100, 10, repeats=2000, seed=1)
    assert weights.shape == (2000, 100)
    assert (weights.sum(axis=1) == 100).all()
    np.testing.assert_allclose(weights.mean(axis=0), 1.0, atol=0.15)
    neighbours = np.corrcoef(weights[:, 10], weights[:, 11])[0, 1]
    assert neighbours > 0.6
    single = day_weights(100, 1, repeats=2000, seed=1)
    assert abs(np.corrcoef(single[:, 10], single[:, 11])[0, 1]) < 0.1


def test_the_interval_of_a_mean_covers_the_truth():
    """95 % of the intervals over autocorrelated days cover 0; without blocks far fewer would."""
    draw, covered = np.random.default_rng(0), {"blocks": 0, "single days": 0}
    for seed in range(150):
        noise = draw.standard_normal(450)
        for day in range(1, 450):
            noise[day] += 0.6 * noise[day - 1]
        sums = np.column_stack([noise[50:], np.ones(400)])
        for name, block in (("blocks", block_length(noise[50:])), ("single days", 1)):
            weights = day_weights(400, block, repeats=200, seed=seed)
            low, high = interval(sums, lambda s: s[..., 0] / s[..., 1], weights)
            covered[name] += low < 0 < high
    assert covered["blocks"] >= 128 and covered["single days"] < covered["blocks"] - 15


@pytest.mark.parametrize(
    "series", [np.ones(300), np.arange(5.0), np.ones((300, 2)), np.empty((300, 0))]
)
def test_series_without_movement_or_days_have_blocks_of_one(series):
    assert block_length(series) == 1


def test_a_score_that_most_repeats_do_not_define_has_no_interval():
    weights = day_weights(50, 1, repeats=100, seed=0)
    low, _ = interval(np.zeros((50, 2)), lambda s: np.full(s.shape[:-1], np.nan), weights)
    assert np.isnan(low)
