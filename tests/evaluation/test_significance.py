"""Equal accuracy: days are what counts, however many tickers share them."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.tsa.stattools import diebold_mariano_test

from forecaster.evaluation.significance import (
    Comparison,
    adjust,
    compare,
    compare_losses,
    daily,
    diebold_mariano,
    holm,
    verdict,
)


def table(errors: dict[str, np.ndarray], tickers: int = 1) -> pd.DataFrame:
    """Lay out forecasts of an outcome of 0 with these daily errors, the same for every ticker."""
    parts = []
    for name, values in errors.items():
        for number in range(tickers):
            days = pd.date_range("2020-01-01", periods=len(values))
            parts.append(
                pd.DataFrame(
                    {
                        "ticker": f"T{number}",
                        "session": days,
                        "target": "return",
                        "forecaster": name,
                        "forecast": values,
                        "actual": 0.0,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def draws(days: int, seed: int = 0) -> dict[str, np.ndarray]:
    own, benchmark = np.random.default_rng(seed).standard_normal((2, days))
    return {"own": own, "rival": benchmark}


def test_the_difference_by_hand():
    """Squared errors 1, 4 against 4, 4: mean 2.5 against 4, that is 37.5 % less."""
    found = compare(table({"own": [1.0, 2.0], "rival": [2.0, -2.0]}), "return", "own", "rival")
    assert found.difference == pytest.approx(-0.375)
    assert found.days == 2


def test_twins_cannot_be_told_apart():
    same = np.array([1.0, 2.0, 3.0])
    found = compare(table({"own": same, "rival": same}), "return", "own", "rival")
    assert np.isnan(found.p_value) and found.verdict == "not distinguishable"


def test_twenty_tickers_with_one_shock_are_one_observation_a_day():
    """Counting them as twenty would make any p-value tiny."""
    errors = draws(200)
    one = compare(table(errors), "return", "own", "rival")
    twenty = compare(table(errors, tickers=20), "return", "own", "rival")
    assert twenty.p_value == pytest.approx(one.p_value)
    assert twenty.difference == pytest.approx(one.difference)


def test_days_weigh_by_their_forecasts_so_that_the_sign_is_that_of_the_pooled_scores():
    crowded = table({"own": [1.0, 0.0], "rival": [0.0, 1.2]})
    more = crowded[crowded["session"] == crowded["session"].min()].assign(ticker="T1")
    both = pd.concat([crowded, more], ignore_index=True)
    assert compare(crowded, "return", "own", "rival").difference < 0
    assert compare(both, "return", "own", "rival").difference > 0


def test_it_agrees_with_statsmodels_own_test_where_both_apply():
    """Same differences, a variance with the same lags; small-sample factors differ a little."""
    errors = draws(400, seed=3)
    found = compare(table(errors), "return", "own", "rival")
    zero = np.zeros(400)
    theirs = diebold_mariano_test(
        zero, errors["own"], errors["rival"], lags=int(4 * 4 ** (2 / 9)), criterion="mse"
    )
    assert found.p_value == pytest.approx(float(theirs.pvalue), rel=0.05)


def test_autocorrelated_differences_count_for_less():
    """A difference that persists for weeks gives fewer independent looks than its days."""
    generator = np.random.default_rng(1)
    slow = np.convolve(generator.standard_normal(430), np.ones(30) / 30, mode="valid")[:400]
    errors = {"own": 1.0 - 0.3 * slow - 0.02, "rival": np.ones(400)}
    gap = errors["own"] ** 2 - 1.0
    naive = stats.ttest_1samp(gap, 0.0).pvalue
    assert compare(table(errors), "return", "own", "rival").p_value > 2 * naive


def test_under_no_difference_it_errs_about_one_time_in_twenty():
    rejected = [
        compare(table(draws(150, seed)), "return", "own", "rival").verdict != "not distinguishable"
        for seed in range(200)
    ]
    assert 0.01 <= np.mean(rejected) <= 0.12


def test_verdicts():
    errors = draws(300)
    better = compare(table({**errors, "own": errors["rival"] * 0.7}), "return", "own", "rival")
    worse = compare(table({**errors, "own": errors["rival"] * 1.3}), "return", "own", "rival")
    assert (better.verdict, worse.verdict) == ("better", "worse")


@pytest.mark.parametrize(
    ("difference", "p_value", "days", "sentence"),
    [
        (-0.0668, 0.00026, 755, "lstm is better than har: MSE -6.68%, p = 0.00026 over 755 days"),
        (0.03, 0.049, 1500, "lstm is worse than har: MSE +3.00%, p = 0.049 over 1,500 days"),
        (
            -0.03,
            0.05,
            755,
            "lstm is not distinguishable from har: MSE -3.00%, p = 0.05 over 755 days",
        ),
        (-0.5, np.nan, 1, "lstm against har: MSE -50.00% over 1 day, too few to tell"),
        (0.0, np.nan, 1, "lstm makes the same forecasts as har"),
        (0.0, np.nan, 755, "lstm makes the same forecasts as har"),
    ],
)
def test_the_verdict_in_words(difference, p_value, days, sentence):
    """Five per cent itself is chance; a single day tells nothing, unless nothing differs."""
    found = Comparison(
        target="range",
        forecaster="lstm",
        benchmark="har",
        difference=difference,
        p_value=p_value,
        days=days,
    )
    assert found.sentence == sentence


def test_a_single_day_has_a_difference_and_no_probability():
    found = compare(table({"own": [1.0], "rival": [2.0]}), "return", "own", "rival")
    assert found.sentence == "own against rival: MSE -75.00% over 1 day, too few to tell"


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
def test_equal_forecasters_are_told_apart_one_time_in_twenty(days, memory):
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
        found = compare_losses(
            gap, gap * 0, days, target="r", forecaster="a", benchmark="b", unit="x"
        )
        p_values.append(found.p_value)
    assert 0.02 < np.mean(np.array(p_values) < 0.05) < 0.09


def test_holm_by_hand():
    """Sorted .01, .03, .04 of three: .03, then .06, then the largest so far; NaN is none."""
    np.testing.assert_allclose(
        holm(np.array([0.04, np.nan, 0.01, 0.03])), [0.06, np.nan, 0.03, 0.06]
    )
    assert np.isnan(holm(np.array([np.nan]))).all()


def test_a_difference_found_among_many_is_not_one():
    """One p of .03 alone is one; the best of three such comparisons is not."""
    made = [
        Comparison(
            target="r", forecaster="a", benchmark=str(n), difference=-0.1, p_value=p, days=99
        )
        for n, p in enumerate([0.03, 0.5, 0.9])
    ]
    assert made[0].verdict == "better"
    first = adjust(made)[0]
    assert first.verdict == "not distinguishable"
    assert first.sentence == (
        "a is not distinguishable from 0: MSE -10.00%, p = 0.09 over 99 days, after 3 comparisons"
    )


def test_log_scores_differ_in_nats():
    """A loss without a natural zero has no percentage."""
    draw = np.random.default_rng(0)
    own, other = draw.standard_normal((2, 300)) * 0.1
    (found,) = verdict(
        own - 0.05,
        {"garch": other},
        np.arange(300),
        target="return",
        forecaster="lstm",
        loss="log score",
        unit="nats",
    )
    assert found.verdict == "better"
    assert found.sentence.startswith("lstm is better than garch: log score -0.0")
    assert " nats, p = " in found.sentence and "after 1 comparison" in found.sentence


def test_forecasts_without_a_loss_are_left_out():
    own, other = np.array([1.0, np.nan, 3.0]), np.array([2.0, 2.0, np.nan])
    found = compare_losses(own, other, np.arange(3), target="r", forecaster="a", benchmark="b")
    assert (found.days, found.difference) == (1, -0.5)
    none = compare_losses(
        own * np.nan, other, np.arange(3), target="r", forecaster="a", benchmark="b"
    )
    assert none.days == 0 and np.isnan(none.p_value)
