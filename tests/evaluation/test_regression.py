"""Regressions by hand, and the Student-t regression beside known truth and scipy's fit."""

import numpy as np
import pytest
from scipy import optimize, stats
from sklearn.linear_model import Ridge

from forecaster.errors import DataError
from forecaster.evaluation import regression
from forecaster.evaluation.regression import (
    MIN_ROWS_PER_SERIES,
    _Problem,
    _Rotation,
    better_on_validation,
    boosted_trees,
    fit_student_regression,
    least_squares,
    per_series,
    ridge,
    ridge_weights,
    train_mean,
)

nan = np.nan


def problem(rows=60, seed=0):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, 3))
    y = x @ [1.0, -2.0, 0.5] + 3.0 + draw.normal(size=rows)
    y[::7] = nan
    return x, y, np.arange(rows) < rows // 2


def linear(x, y, train):
    """Least squares by ridge with no penalty to speak of."""
    rows = train & np.isfinite(y)
    return Ridge(alpha=1e-6 * rows.sum()).fit(x[rows], y[rows]).predict(x)


@pytest.mark.parametrize("at_once", [7, 29, 30])
def test_sums_in_parts_equal_those_of_all_rows(monkeypatch, at_once):
    """No row is lost or counted twice at a border, in fits and in forecasts."""
    x, y, train = problem()
    rows, x = np.isfinite(y), np.where(x > 1.5, nan, x)
    filled = np.nan_to_num(x)

    def numbers():
        student = fit_student_regression(filled, filled, y, rows)
        weights, intercept = ridge_weights(filled[rows], y[rows], 1.0)
        return [
            *(ridge(x, y, train, ~train), weights, intercept, student.loc_intercept),
            *(student.loc_weights, student.scale_weights, student.df),
        ]

    whole = numbers()
    monkeypatch.setattr(regression, "ROWS_AT_ONCE", at_once)
    for one, other in zip(whole, numbers(), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-6, atol=1e-8)


def test_ridge_weights_are_those_of_scikit_learn():
    x, y, _ = problem()
    rows = np.isfinite(y)
    expected = Ridge(alpha=2.5, solver="cholesky").fit(x[rows], y[rows])
    weights, intercept = ridge_weights(x[rows].astype(np.float32), y[rows], 2.5)
    np.testing.assert_allclose(weights, expected.coef_, atol=1e-6)
    assert intercept == pytest.approx(expected.intercept_, abs=1e-6)


def test_the_mean_of_fit_rows_by_hand():
    """(1 + 3) / 2 on every row; missing outcomes are skipped, later ones not read."""
    y = np.array([1.0, nan, 3.0, 100.0])
    train = np.array([True, True, True, False])
    assert train_mean(y, train).tolist() == [2.0] * 4


def test_least_squares_by_hand():
    """Through (0, 1) and (1, 3): 2x + 1 on every row."""
    x = np.array([[0.0], [1.0], [5.0]])
    found = least_squares(x, np.array([1.0, 3.0, 0.0]), np.array([True, True, False]))
    np.testing.assert_allclose(found, [1.0, 3.0, 11.0], atol=1e-12)


def test_least_squares_equals_numpy():
    """The intercept is a column of ones; rows without outcome are left out."""
    x, y, train = problem()
    rows = train & np.isfinite(y)
    ones = np.column_stack([np.ones(len(x)), x])
    expected = ones @ np.linalg.lstsq(ones[rows], y[rows], rcond=None)[0]
    np.testing.assert_allclose(least_squares(x, y, train), expected, atol=1e-10)


def test_least_squares_survives_a_regressor_that_never_moves():
    """No half day in the train block: the column gets no weight, and the rest is the same."""
    x, y, train = problem()
    still = np.where(train, 0.0, 1.0)[:, None]
    found = least_squares(np.hstack([x, still]), y, train)
    np.testing.assert_allclose(found, least_squares(x, y, train), atol=1e-10)


@pytest.mark.parametrize(
    "fitter",
    [least_squares, lambda x, y, train: train_mean(y, train)],
    ids=["least squares", "mean"],
)
def test_outcomes_after_the_training_days_change_no_forecast(fitter):
    """Corrupt them all: every forecast stays, bit for bit."""
    x, y, train = problem()
    corrupted = np.where(train, y, 1e6)
    np.testing.assert_array_equal(fitter(x, y, train), fitter(x, corrupted, train))


def test_each_series_has_its_own_fit_from_a_year_on():
    """252 known outcomes are enough, 251 keep the pooled train."""
    lengths = [MIN_ROWS_PER_SERIES, MIN_ROWS_PER_SERIES - 1]
    series = np.repeat([0, 1], lengths)
    x, y, _ = problem(len(series))
    y = np.where(np.isnan(y), 0.0, y) + 5.0 * series
    train = np.ones(len(series), dtype=bool)
    found = per_series(least_squares, x, y, train, series)
    long, short = series == 0, series == 1
    np.testing.assert_array_equal(found[short], least_squares(x, y, train)[short])
    np.testing.assert_array_equal(found[long], least_squares(x[long], y[long], train[long]))
    assert not np.allclose(found[long], least_squares(x, y, train)[long])


@pytest.mark.parametrize("what", ["unknown outcome", "not fitted"])
def test_the_year_counts_fit_rows_with_an_outcome(what):
    """One outcome missing, or one day in another block, and the year is not full."""
    series = np.repeat([0, 1], 300)
    x, y, _ = problem(600)
    y = np.where(np.isnan(y), 0.0, y)
    train = np.tile(np.arange(300) < 252, 2)
    own = per_series(least_squares, x, y, train, series)
    if what == "unknown outcome":
        y[10] = nan
    else:
        train[10] = False
    found = per_series(least_squares, x, y, train, series)
    first = series == 0
    np.testing.assert_array_equal(found[first], least_squares(x, y, train)[first])
    assert not np.allclose(found[first], own[first])


def test_the_better_candidate_by_hand():
    """Squared errors of 1 and 4 on the validation row; the test row speaks for the other."""
    y, validation = np.array([0.0, 0.0, nan]), np.array([True, False, True])
    near, far = np.array([1.0, 9.0, 9.0]), np.array([2.0, 0.0, 0.0])
    name, forecast = better_on_validation({"far": far, "near": near}, y, validation)
    assert name == "near"
    assert forecast is near


@pytest.mark.parametrize("test", [0.0, 1e9, nan])
def test_test_rows_never_choose(test):
    """Whatever the test outcomes are, the choice and its forecasts are the same."""
    x, y, train = problem()
    validation = ~train & (np.arange(60) < 45)
    y[45:] = test
    candidates = {"fitted": least_squares(x, y, train), "mean": train_mean(y, train)}
    assert better_on_validation(candidates, y, validation)[0] == "fitted"


def test_ridge_takes_the_penalty_that_the_select_rows_prefer():
    """Noise on forty inputs: heavy shrinkage; a plain line: none."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(300, 40))
    train, validation = np.arange(300) < 100, (np.arange(300) >= 100) & (np.arange(300) < 200)
    noise = draw.normal(size=300)
    assert np.std(ridge(x, noise, train, validation)[200:]) < 0.5 * np.std(
        linear(x, noise, train)[200:]
    )
    line = x @ np.arange(40.0)
    np.testing.assert_allclose(ridge(x, line, train, validation), line, atol=0.05)


def test_ridge_survives_collinear_inputs_and_fills_missing_ones_with_the_training_mean():
    """A copy of a column and the sum of two change no forecast; their weights do not explode."""
    x, y, train = problem(200)
    validation = ~train
    expected = ridge(x, y, train, validation)
    collinear = np.column_stack([x, x[:, 0], x[:, 0] + x[:, 1], np.ones(len(x))])
    np.testing.assert_allclose(ridge(collinear, y, train, validation), expected, atol=0.05)
    filled = x.copy()
    x[150, 1] = nan
    filled[150, 1] = x[train & np.isfinite(y), 1].mean()
    found, wanted = (ridge(given, y, train, validation)[150] for given in (x, filled))
    np.testing.assert_allclose(found, wanted)


def test_trees_learn_what_no_line_can():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(2000, 2))
    y = np.sign(x[:, 0] * x[:, 1]) + 0.1 * draw.normal(size=2000)
    train, validation = np.arange(2000) < 1000, (np.arange(2000) >= 1000) & (np.arange(2000) < 1500)
    test = np.arange(2000) >= 1500
    found = boosted_trees(x, y, train, validation)
    assert np.mean((found - y)[test] ** 2) < 0.2
    assert np.mean((linear(x, y, train) - y)[test] ** 2) > 0.8
    np.testing.assert_array_equal(found, boosted_trees(x, y, train, validation))


def test_trees_of_noise_are_the_mean():
    """The validation rows stop it before it has learnt what is not there."""
    x = np.random.default_rng(1).normal(size=(600, 5))
    y = np.where(np.arange(600) < 300, x[:, 0], -x[:, 0])
    train, validation = np.arange(600) < 300, np.arange(600) >= 300
    np.testing.assert_array_equal(boosted_trees(x, y, train, validation), train_mean(y, train))


@pytest.mark.parametrize("fitter", [ridge, boosted_trees])
def test_test_outcomes_change_no_forecast_of_ridge_or_trees(fitter):
    """They are neither learnt from nor do they choose."""
    x, y, train = problem(200)
    validation = ~train & (np.arange(200) < 150)
    spoilt = np.where(np.arange(200) < 150, y, 1e6)
    np.testing.assert_array_equal(
        fitter(x, y, train, validation), fitter(x, spoilt, train, validation)
    )


def student_problem(rows=8000, seed=0, df=5.0):
    """Returns of about a percent whose location and scale follow correlated inputs."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, 3))
    x[:, 1] = 0.95 * x[:, 0] + 0.3 * x[:, 1]
    loc, log_scale = 0.001 + 0.002 * x[:, 2], -4.5 + 0.4 * x[:, 0] - 0.2 * x[:, 1]
    return x, loc + np.exp(log_scale) * draw.standard_t(df, rows)


def test_it_finds_the_truth():
    """Standard errors are about a fiftieth here."""
    x, y = student_problem(40_000)
    found = fit_student_regression(x, x, y, np.ones(len(y), dtype=bool), ridge=1e-5)
    assert found.converged
    np.testing.assert_allclose(found.loc_weights, [0, 0, 0.002], atol=4e-4)
    np.testing.assert_allclose(found.scale_weights, [0.4, -0.2, 0], atol=0.04)
    assert found.scale_intercept == pytest.approx(-4.5, abs=0.03)
    assert found.df == pytest.approx(5.0, rel=0.1)


def test_the_gradient_is_the_slope_of_the_loss():
    x, y = student_problem(300)
    rows = np.arange(len(y))
    rotated = [_Rotation.of(part, rows, 0.1) for part in (x[:, :2], x)]
    function = _Problem([y / y.std()], *rotated)
    at = np.random.default_rng(1).normal(size=8) * 0.3
    slope = optimize.approx_fprime(at, lambda v: function(v)[0], 1e-6)
    np.testing.assert_allclose(function(at)[1], slope, atol=2e-5)


def test_without_inputs_it_is_scipys_own_fit():
    y = 0.01 * stats.t(4).rvs(3000, random_state=0) + 0.002
    nothing = np.empty((len(y), 0))
    found = fit_student_regression(nothing, nothing, y, np.ones(len(y), dtype=bool))
    df, loc, scale = stats.t.fit(y * 100)
    forecast = found.predict(nothing, nothing)
    assert found.df == pytest.approx(df, rel=1e-2)
    np.testing.assert_allclose(forecast.loc, loc / 100, atol=2e-5)
    np.testing.assert_allclose(forecast.scale, scale / 100, rtol=2e-3)


def test_a_column_that_never_moves_or_repeats_another_changes_nothing():
    """No half day in the training rows; a lag given twice (whose weight a ridge would halve)."""
    x, y = student_problem(2000)
    fit = np.arange(len(y)) < 1500
    more = np.column_stack([x, np.where(fit, 1.0, 2.0), x[:, 0]])
    plain, padded = (fit_student_regression(v, v, y, fit, ridge=1e-5) for v in (x, more))
    np.testing.assert_allclose(
        plain.predict(x, x).scale, padded.predict(more, more).scale, rtol=1e-2
    )
    assert padded.scale_weights[3] == 0.0


def test_a_ridge_draws_the_scale_towards_its_mean():
    x, y = student_problem()
    every = np.ones(len(y), dtype=bool)
    free, held = (fit_student_regression(x, x, y, every, ridge=r) for r in (1e-5, 0.1))
    spread = [np.log(found.predict(x, x).scale).std() for found in (free, held)]
    assert 0.6 * spread[0] < spread[1] < 0.95 * spread[0]
    losses = [-found.predict(x, x).log_density(y).mean() for found in (free, held)]
    assert losses[1] > losses[0]


def test_outcomes_outside_the_fit_rows_are_not_read():
    x, y = student_problem(1000)
    fit = np.arange(len(y)) < 600
    spoilt = np.where(fit, y, 1e6)
    one, two = (fit_student_regression(x, x, v, fit) for v in (y, spoilt))
    np.testing.assert_array_equal(one.predict(x, x).scale, two.predict(x, x).scale)


def test_unknown_outcomes_and_inputs_are_left_out():
    x, y = student_problem(1000)
    x[5, 1], y[7] = np.nan, np.nan
    every = np.ones(len(y), dtype=bool)
    kept = np.delete(np.arange(len(y)), [5, 7])
    found = fit_student_regression(x, x, y, every)
    clean = fit_student_regression(x[kept], x[kept], y[kept], every[kept])
    np.testing.assert_array_equal(found.scale_weights, clean.scale_weights)
    forecast = found.predict(x, x)
    assert np.isnan([forecast.loc[5], forecast.scale[5], forecast.df[5]]).all()
    assert np.isfinite(forecast.loc[7])


@pytest.mark.parametrize(
    ("y", "words"),
    [(np.zeros(500), "constant has no scale"), (np.arange(10.0), "10 training rows")],
)
def test_what_cannot_be_fitted_is_refused(y, words):
    x = np.random.default_rng(0).normal(size=(len(y), 3))
    with pytest.raises(DataError, match=words):
        fit_student_regression(x, x, y, np.ones(len(y), dtype=bool))


def test_inputs_far_from_zero_give_the_same_forecasts():
    """Their means go into both intercepts."""
    x, y = student_problem(2000)
    every = np.ones(len(y), dtype=bool)
    away = x + np.array([3.0, -2.0, 5.0])
    plain, moved = (fit_student_regression(v, v, y, every) for v in (x, away))
    one, two = plain.predict(x, x), moved.predict(away, away)
    np.testing.assert_allclose(one.scale, two.scale, rtol=1e-3)
    np.testing.assert_allclose(one.loc, two.loc, atol=1e-5)
