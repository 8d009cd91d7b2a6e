"""Equal accuracy: days are what counts, however many tickers share them."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.tsa.stattools import diebold_mariano_test

from forecaster.evaluation.significance import (
    Comparison,
    adjust,
    block_length,
    compare_losses,
    daily,
    day_weights,
    diebold_mariano,
    holm,
    interval,
    model_confidence_set,
    superior_predictive_ability,
)


def compared(errors: dict[str, np.ndarray], tickers: int = 1) -> Comparison:
    """Compare "own" with "other" by daily errors, the same for every ticker."""
    own, other = (np.tile(np.square(errors[name]), tickers) for name in ("own", "other"))
    days = np.tile(np.arange(len(errors["own"])), tickers)
    found = compare_losses(own, other, days)
    return Comparison(target="return", forecaster="own", benchmark="other", **found._asdict())


def draws(days: int, seed: int = 0) -> dict[str, np.ndarray]:
    own, benchmark = np.random.default_rng(seed).standard_normal((2, days))
    return {"own": own, "other": benchmark}


def test_the_difference_by_hand():
    """Squared errors 1, 4 against 4, 4: mean 2.5 against 4, that is 37.5 % less."""
    found = compared({"own": [1.0, 2.0], "other": [2.0, -2.0]})
    assert found.difference == pytest.approx(-0.375)
    assert found.days == 2


def test_equal_forecasts_have_no_significant_difference():
    same = np.array([1.0, 2.0, 3.0])
    found = compared({"own": same, "other": same})
    assert np.isnan(found.p_value) and found.conclusion == "no significant difference"


def test_the_confidence_interval_excludes_zero_exactly_where_the_test_rejects():
    """The same error and degrees of freedom: p = 0.05 is an interval that ends at zero."""
    for seed in range(40):
        errors = draws(200, seed) | {"own": draws(200, seed)["own"] * 0.9}
        found = compared(errors)
        assert found.low < found.difference < found.high
        assert (found.p_value < 0.05) == (not found.low <= 0.0 <= found.high)
    assert np.isnan(compared(draws(10)).low)


def test_twenty_tickers_with_one_shock_are_one_observation_a_day():
    """Counting them as twenty would make any p-value tiny."""
    errors = draws(200)
    one = compared(errors)
    twenty = compared(errors, tickers=20)
    assert twenty.p_value == pytest.approx(one.p_value)
    assert twenty.difference == pytest.approx(one.difference)


def test_days_weigh_by_their_forecasts_so_that_the_sign_is_that_of_the_pooled_scores():
    own, other = np.array([1.0, 0.0, 1.0]), np.array([0.0, 1.44, 0.0])
    assert compare_losses(own[:2], other[:2], np.array([1, 2])).difference < 0
    assert compare_losses(own, other, np.array([1, 2, 1])).difference > 0


def test_it_agrees_with_statsmodels_own_test_where_both_apply():
    """Same differences, a variance with the same lags; small-sample factors differ a little."""
    errors = draws(400, seed=3)
    found = compared(errors)
    zero = np.zeros(400)
    theirs = diebold_mariano_test(
        zero, errors["own"], errors["other"], lags=int(4 * 4 ** (2 / 9)), criterion="mse"
    )
    assert found.p_value == pytest.approx(float(theirs.pvalue), rel=0.05)


def test_autocorrelated_differences_count_for_less():
    """A difference that persists for weeks gives fewer independent observations than its days."""
    generator = np.random.default_rng(1)
    slow = np.convolve(generator.standard_normal(430), np.ones(30) / 30, mode="valid")[:400]
    errors = {"own": 1.0 - 0.3 * slow - 0.02, "other": np.ones(400)}
    gap = errors["own"] ** 2 - 1.0
    naive = stats.ttest_1samp(gap, 0.0).pvalue
    assert compared(errors).p_value > 2 * naive


def test_under_no_difference_it_errs_about_one_time_in_twenty():
    rejected = [
        compared(draws(150, seed)).conclusion != "no significant difference" for seed in range(200)
    ]
    assert 0.01 <= np.mean(rejected) <= 0.12


def test_conclusions():
    errors = draws(300)
    better = compared({**errors, "own": errors["other"] * 0.7})
    worse = compared({**errors, "own": errors["other"] * 1.3})
    assert (better.conclusion, worse.conclusion) == ("better", "worse")


@pytest.mark.parametrize(
    ("difference", "p_value", "conclusion"),
    [
        (-0.0668, 0.00026, "better"),
        (0.03, 0.049, "worse"),
        (-0.03, 0.05, "no significant difference"),
        (-0.5, np.nan, "no significant difference"),
    ],
)
def test_five_per_cent_itself_is_chance(difference, p_value, conclusion):
    found = Comparison(
        target="range",
        forecaster="lstm",
        benchmark="har",
        difference=difference,
        p_value=p_value,
        days=755,
    )
    assert found.conclusion == conclusion


def test_a_single_day_has_a_difference_and_no_p_value():
    found = compared({"own": [1.0], "other": [2.0]})
    assert (found.difference, found.days) == (-0.75, 1) and np.isnan(found.p_value)


def test_daily_sums_by_hand():
    """Day 1 has 3 of 4 forecasts: it counts for three quarters of the pooled mean."""
    found = daily(np.array([1.0, 2.0, 3.0, 10.0]), np.array([1, 1, 1, 2]))
    assert found.tolist() == [3.0, 5.0]
    assert found.mean() == np.mean([1.0, 2.0, 3.0, 10.0])


def test_the_small_sample_factor_by_hand():
    """Four lags of 200 days: h = 5, and t shrinks by sqrt((201 - 10 + 20 / 200) / 200)."""
    gap = np.random.default_rng(5).standard_normal(200) + 0.1
    lags, deviation = 4, gap - gap.mean()
    variance = np.mean(deviation**2) + 2 * sum(
        (1 - lag / 5) * np.sum(deviation[lag:] * deviation[:-lag]) / 200
        for lag in range(1, lags + 1)
    )
    t = gap.mean() / np.sqrt(variance / 200) * np.sqrt((201 - 10 + 0.1) / 200)
    assert diebold_mariano(gap) == pytest.approx(2 * stats.t(199).sf(abs(t)))


@pytest.mark.parametrize("days", [30, 250])
@pytest.mark.parametrize("memory", [0.0, 0.3])
def test_equal_forecasters_differ_one_time_in_twenty(days, memory):
    """Also over thirty days, and where differences last: 4,000 draws, standard error .003."""
    draw = np.random.default_rng(days)
    gaps = draw.standard_normal((4000, days + 50))
    for day in range(1, days + 50):
        gaps[:, day] += memory * gaps[:, day - 1]
    rejected = np.mean([diebold_mariano(gap) < 0.05 for gap in gaps[:, 50:]])
    assert 0.025 < rejected < (0.09 if memory else 0.075)


def test_twenty_tickers_with_a_shock_in_common_err_no_more_often():
    """Counted one by one they would reject nearly always."""
    draw = np.random.default_rng(0)
    days = np.repeat(np.arange(100), 20)
    p_values = []
    for _ in range(400):
        gap = np.repeat(draw.standard_normal(100), 20) + 0.3 * draw.standard_normal(2000)
        found = compare_losses(gap, gap * 0, days, relative=False)
        p_values.append(found.p_value)
    assert 0.02 < np.mean(np.array(p_values) < 0.05) < 0.09


def test_holm_by_hand():
    """Sorted .01, .03, .04 of three: .03, then .06, then the largest so far; NaN is none."""
    np.testing.assert_allclose(
        holm(np.array([0.04, np.nan, 0.01, 0.03])), [0.06, np.nan, 0.03, 0.06]
    )
    assert np.isnan(holm(np.array([np.nan]))).all()


def test_a_difference_found_among_many_is_chance():
    """One p of .03 alone is one; the best of three such comparisons is not."""
    made = [
        Comparison(
            target="r", forecaster="a", benchmark=str(n), difference=-0.1, p_value=p, days=99
        )
        for n, p in enumerate([0.03, 0.5, 0.9])
    ]
    assert made[0].conclusion == "better"
    first = adjust(made)[0]
    assert first.conclusion == "no significant difference"
    assert (first.adjusted_p_value, first.tests) == (pytest.approx(0.09), 3)
    twice = adjust(made, questions=2)[0]
    assert (twice.adjusted_p_value, twice.tests) == (pytest.approx(0.18), 6)


def test_log_losses_differ_in_nats():
    """A loss without a natural zero has no percentage."""
    draw = np.random.default_rng(0)
    own, other = draw.standard_normal((2, 300)) * 0.1
    found = compare_losses(own - 0.05, other, np.arange(300), relative=False)
    assert found.difference == pytest.approx(np.mean(own - 0.05 - other))
    assert found.p_value < 0.05


def test_forecasts_without_a_loss_are_left_out():
    own, other = np.array([1.0, np.nan, 3.0]), np.array([2.0, 2.0, np.nan])
    found = compare_losses(own, other, np.arange(3))
    assert (found.days, found.difference) == (1, -0.5)
    none = compare_losses(own * np.nan, other, np.arange(3))
    assert none.days == 0 and np.isnan(none.p_value)


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
