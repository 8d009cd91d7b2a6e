import numpy as np
import pytest

from forecaster.evaluation.baselines import (
    MIN_ROWS_PER_SERIES,
    better_on_select,
    least_squares,
    per_series,
    train_mean,
)

nan = np.nan


def problem(rows=60, seed=0):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, 3))
    y = x @ [1.0, -2.0, 0.5] + 3.0 + draw.normal(size=rows)
    y[::7] = nan
    return x, y, np.arange(rows) < rows // 2


def test_the_mean_of_fit_rows_by_hand():
    """(1 + 3) / 2 on every row; missing outcomes are skipped, later ones not read."""
    y = np.array([1.0, nan, 3.0, 100.0])
    fit = np.array([True, True, True, False])
    assert train_mean(y, fit).tolist() == [2.0] * 4


def test_least_squares_by_hand():
    """Through (0, 1) and (1, 3): 2x + 1 on every row."""
    x = np.array([[0.0], [1.0], [5.0]])
    found = least_squares(x, np.array([1.0, 3.0, 0.0]), np.array([True, True, False]))
    np.testing.assert_allclose(found, [1.0, 3.0, 11.0], atol=1e-12)


def test_least_squares_equals_numpy():
    """The intercept is a column of ones; rows without outcome are left out."""
    x, y, fit = problem()
    rows = fit & np.isfinite(y)
    ones = np.column_stack([np.ones(len(x)), x])
    expected = ones @ np.linalg.lstsq(ones[rows], y[rows], rcond=None)[0]
    np.testing.assert_allclose(least_squares(x, y, fit), expected, atol=1e-10)


def test_least_squares_survives_a_regressor_that_never_moves():
    """No half day in the fit block: the column gets no weight, and the rest is the same."""
    x, y, fit = problem()
    still = np.where(fit, 0.0, 1.0)[:, None]
    found = least_squares(np.hstack([x, still]), y, fit)
    np.testing.assert_allclose(found, least_squares(x, y, fit), atol=1e-10)


@pytest.mark.parametrize(
    "fitter", [least_squares, lambda x, y, fit: train_mean(y, fit)], ids=["least squares", "mean"]
)
def test_outcomes_after_the_fit_block_change_no_baseline(fitter):
    """Corrupt them all: every forecast stays, bit for bit."""
    x, y, fit = problem()
    corrupted = np.where(fit, y, 1e6)
    np.testing.assert_array_equal(fitter(x, y, fit), fitter(x, corrupted, fit))


def test_each_series_has_its_own_fit_from_a_year_on():
    """252 known outcomes are enough, 251 keep the pooled fit."""
    lengths = [MIN_ROWS_PER_SERIES, MIN_ROWS_PER_SERIES - 1]
    series = np.repeat([0, 1], lengths)
    x, y, _ = problem(len(series))
    y = np.where(np.isnan(y), 0.0, y) + 5.0 * series
    fit = np.ones(len(series), dtype=bool)
    found = per_series(least_squares, x, y, fit, series)
    long, short = series == 0, series == 1
    np.testing.assert_array_equal(found[short], least_squares(x, y, fit)[short])
    np.testing.assert_array_equal(found[long], least_squares(x[long], y[long], fit[long]))
    assert not np.allclose(found[long], least_squares(x, y, fit)[long])


@pytest.mark.parametrize("what", ["unknown outcome", "not fitted"])
def test_the_year_counts_fit_rows_with_an_outcome(what):
    """One outcome missing, or one day in another block, and the year is not full."""
    series = np.repeat([0, 1], 300)
    x, y, _ = problem(600)
    y = np.where(np.isnan(y), 0.0, y)
    fit = np.tile(np.arange(300) < 252, 2)
    own = per_series(least_squares, x, y, fit, series)
    if what == "unknown outcome":
        y[10] = nan
    else:
        fit[10] = False
    found = per_series(least_squares, x, y, fit, series)
    first = series == 0
    np.testing.assert_array_equal(found[first], least_squares(x, y, fit)[first])
    assert not np.allclose(found[first], own[first])


def test_the_better_candidate_by_hand():
    """Squared errors of 1 and 4 on the select row; the report row speaks for the other."""
    y, select = np.array([0.0, 0.0, nan]), np.array([True, False, True])
    near, far = np.array([1.0, 9.0, 9.0]), np.array([2.0, 0.0, 0.0])
    name, forecast = better_on_select({"far": far, "near": near}, y, select)
    assert name == "near"
    assert forecast is near


@pytest.mark.parametrize("report", [0.0, 1e9, nan])
def test_report_rows_never_choose(report):
    """Whatever the report outcomes are, the choice and its forecasts are the same."""
    x, y, fit = problem()
    select = ~fit & (np.arange(60) < 45)
    y[45:] = report
    candidates = {"fitted": least_squares(x, y, fit), "mean": train_mean(y, fit)}
    assert better_on_select(candidates, y, select)[0] == "fitted"
