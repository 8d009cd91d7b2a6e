"""The linear Student-t regression, compared with known truth and with scipy's fit."""

import numpy as np
import pytest
from scipy import optimize, stats

from forecaster.errors import DataError
from forecaster.evaluation.student_regression import (
    _Problem,
    _Rotation,
    fit_student_regression,
)


def problem(rows=8000, seed=0, df=5.0):
    """Returns of about a percent whose location and scale follow correlated inputs."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, 3))
    x[:, 1] = 0.95 * x[:, 0] + 0.3 * x[:, 1]
    loc, log_scale = 0.001 + 0.002 * x[:, 2], -4.5 + 0.4 * x[:, 0] - 0.2 * x[:, 1]
    return x, loc + np.exp(log_scale) * draw.standard_t(df, rows)


def test_it_finds_the_truth():
    """Standard errors are about a fiftieth here."""
    x, y = problem(40_000)
    found = fit_student_regression(x, x, y, np.ones(len(y), dtype=bool), ridge=1e-5)
    assert found.converged
    np.testing.assert_allclose(found.loc_weights, [0, 0, 0.002], atol=4e-4)
    np.testing.assert_allclose(found.scale_weights, [0.4, -0.2, 0], atol=0.04)
    assert found.scale_intercept == pytest.approx(-4.5, abs=0.03)
    assert found.df == pytest.approx(5.0, rel=0.1)


def test_the_gradient_is_the_slope_of_the_loss():
    x, y = problem(300)
    function = _Problem(y / y.std(), _Rotation.of(x[:, :2], 0.1), _Rotation.of(x, 0.1))
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
    assert found.loss == pytest.approx(-forecast.log_density(y).mean(), rel=1e-9)


def test_a_column_that_never_moves_or_repeats_another_changes_nothing():
    """No half day in the training rows; a lag given twice (whose weight a ridge would halve)."""
    x, y = problem(2000)
    fit = np.arange(len(y)) < 1500
    more = np.column_stack([x, np.where(fit, 1.0, 2.0), x[:, 0]])
    plain, padded = (fit_student_regression(v, v, y, fit, ridge=1e-5) for v in (x, more))
    np.testing.assert_allclose(
        plain.predict(x, x).scale, padded.predict(more, more).scale, rtol=1e-2
    )
    assert padded.scale_weights[3] == 0.0


def test_a_ridge_draws_the_scale_towards_its_mean():
    x, y = problem()
    every = np.ones(len(y), dtype=bool)
    free, held = (fit_student_regression(x, x, y, every, ridge=r) for r in (1e-5, 0.1))
    spread = [np.log(found.predict(x, x).scale).std() for found in (free, held)]
    assert 0.6 * spread[0] < spread[1] < 0.95 * spread[0]
    assert held.loss > free.loss


def test_outcomes_outside_the_fit_rows_are_not_read():
    x, y = problem(1000)
    fit = np.arange(len(y)) < 600
    spoilt = np.where(fit, y, 1e6)
    one, two = (fit_student_regression(x, x, v, fit) for v in (y, spoilt))
    np.testing.assert_array_equal(one.predict(x, x).scale, two.predict(x, x).scale)


def test_unknown_outcomes_and_inputs_are_left_out():
    x, y = problem(1000)
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
    x, y = problem(2000)
    every = np.ones(len(y), dtype=bool)
    away = x + np.array([3.0, -2.0, 5.0])
    plain, moved = (fit_student_regression(v, v, y, every) for v in (x, away))
    one, two = plain.predict(x, x), moved.predict(away, away)
    np.testing.assert_allclose(one.scale, two.scale, rtol=1e-3)
    np.testing.assert_allclose(one.loc, two.loc, atol=1e-5)
