import numpy as np
import pytest
from sklearn.linear_model import Ridge

from forecaster.evaluation.benchmark_models import (
    MIN_ROWS_PER_SERIES,
    better_on_validation,
    boosted_trees,
    least_squares,
    per_series,
    ridge,
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
