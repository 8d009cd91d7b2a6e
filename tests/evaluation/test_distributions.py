"""Every kind of forecast distribution, compared with numbers by hand and with integration."""

from itertools import pairwise

import numpy as np
import pytest
import scoringrules
from scipy import integrate, stats

from forecaster.errors import DataError
from forecaster.evaluation.distributions import Point, StudentT, normal, student_scale
from forecaster.evaluation.mixture import mixture
from forecaster.evaluation.quantiles import Quantiles, Samples

inf, nan = np.inf, np.nan
LEVELS = np.array([0.025, 0.1, 0.5, 0.9, 0.975])


def student(loc=(0.1, -0.2, 0.0), scale=(1.0, 0.5, 2.0), df=(3.0, 8.0, inf)):
    return StudentT(np.array(loc), np.array(scale), np.array(df))


def quantiles():
    return Quantiles(LEVELS, np.array([[-2.0, -1.0, 0.1, 1.2, 2.5], [-5.0, -1.0, 0.0, 0.5, 0.6]]))


def samples():
    return Samples(np.array([3.0, -1.0, 0.5, 2.0, 7.0]), np.array([0, 1, 0]), np.array([5, 4, 3]))


KINDS = {
    "student": student(),
    "quantiles": quantiles(),
    "mixture": mixture([student(), student(loc=(0.5, 0.3, -1.0), df=(4.0, 5.0, 30.0))]),
}
EVERY = {**KINDS, "samples": samples(), "point": Point(np.array([1.0, -2.0]))}
WITHOUT_STEPS = pytest.mark.parametrize("kind", KINDS)


def integrated_crps(forecast, row, y):
    """The definition itself."""
    one = forecast.take(np.array([row]))
    below = integrate.quad(lambda x: one.cdf(x)[0] ** 2, -inf, min(y, -8.0), limit=200)[0]
    above = integrate.quad(lambda x: (1 - one.cdf(x)[0]) ** 2, max(y, 8.0), inf, limit=200)[0]
    knots = sorted({-8.0, 8.0, y, *np.linspace(-6, 6, 25), *one.quantile(LEVELS)[0]})
    for left, right in pairwise(knots):
        if min(y, -8.0) <= left and right <= max(y, 8.0):
            step = 1.0 if left >= y else 0.0
            below += integrate.quad(
                lambda x, step=step: (one.cdf(x)[0] - step) ** 2, left, right, epsabs=1e-10
            )[0]
    return below + above


@pytest.mark.parametrize("y", [-9.0, -1.5, 0.05, 2.0, 12.0])
@WITHOUT_STEPS
def test_the_crps_is_the_integral_that_defines_it(kind, y):
    """In both tails too, where a piece with the wrong sign would not show in the middle."""
    forecast = KINDS[kind]
    found = forecast.crps(np.full(len(forecast), y))
    expected = [integrated_crps(forecast, row, y) for row in range(len(forecast))]
    np.testing.assert_allclose(found, expected, rtol=2e-5)


@WITHOUT_STEPS
def test_quantile_undoes_cdf(kind):
    forecast = KINDS[kind]
    levels = np.array([0.001, 0.02, 0.1, 0.3, 0.5, 0.77, 0.975, 0.999])
    values = forecast.quantile(levels)
    assert values.shape == (len(forecast), len(levels))
    for column, level in enumerate(levels):
        np.testing.assert_allclose(forecast.cdf(values[:, column]), level, atol=1e-9)


@WITHOUT_STEPS
def test_the_density_is_the_slope_of_the_cdf(kind):
    forecast = KINDS[kind]
    for y in (-7.0, -1.5, 0.2, 0.55, 9.0):
        at = np.full(len(forecast), y)
        slope = (forecast.cdf(at + 1e-5) - forecast.cdf(at - 1e-5)) / 2e-5
        np.testing.assert_allclose(np.exp(forecast.log_density(at)), slope, rtol=2e-4, atol=1e-12)


def integrated_quantiles(forecast, low, high):
    """Gauss-Legendre between two levels; towards 0 and 1 by a power that tames the tail."""
    nodes, weights = np.polynomial.legendre.leggauss(80)
    share, weights = (nodes + 1) / 2, weights / 2
    width = high - low
    if low == 0.0 or high == 1.0:
        weights = weights * 3 * share**2
        share = share**3 if low == 0.0 else 1 - share**3
    return width * (forecast.quantile(low + width * share) @ weights)


@WITHOUT_STEPS
def test_the_mean_is_the_integral_of_the_quantiles(kind):
    forecast = KINDS[kind]
    edges = [0.0, *LEVELS, 1.0]
    parts = [integrated_quantiles(forecast, low, high) for low, high in pairwise(edges)]
    np.testing.assert_allclose(forecast.mean(), sum(parts), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", EVERY)
def test_some_rows_are_those_rows(kind):
    forecast = EVERY[kind]
    y = np.linspace(-1.0, 1.0, len(forecast))
    some = forecast.take(np.arange(len(forecast)) == 1)
    assert len(some) == 1
    np.testing.assert_allclose(some.crps(y[1:2]), forecast.crps(y)[1:2], rtol=1e-7)
    np.testing.assert_allclose(some.mean(), forecast.mean()[1:2], rtol=1e-12)
    np.testing.assert_allclose(some.quantile(LEVELS), forecast.quantile(LEVELS)[1:2], rtol=1e-9)


def test_a_t_with_infinite_freedom_is_the_normal():
    y, loc, deviation = np.array([0.3, -40.0]), np.zeros(2), np.array([1.0, 0.5])
    forecast, true = normal(loc, deviation), stats.norm(loc, deviation)
    np.testing.assert_allclose(forecast.log_density(y), true.logpdf(y))
    np.testing.assert_allclose(forecast.cdf(y), true.cdf(y))
    np.testing.assert_allclose(forecast.quantile(LEVELS)[1], 0.5 * stats.norm.ppf(LEVELS))


def test_the_log_density_is_that_of_scoringrules():
    forecast = student(df=(3.0, 8.0, 5.5))
    y = np.array([0.4, -1.0, 3.0])
    theirs = -scoringrules.logs_t(y, forecast.df, forecast.loc, forecast.scale)
    np.testing.assert_allclose(forecast.log_density(y), theirs)


def test_the_crps_is_that_of_scoringrules():
    """In the tails, where terms cancel, and with nearly normal tails."""
    y, df = np.array([0.4, -30.0, 3.0, 1e4]), np.array([1.5, 8.0, 5e5, 3.0])
    forecast = StudentT(np.array([0.1, -0.2, 0.0, 2.0]), np.array([1.0, 0.5, 2.0, 1.0]), df)
    theirs = scoringrules.crps_t(y, df, forecast.loc, forecast.scale)
    np.testing.assert_allclose(forecast.crps(y), theirs, rtol=1e-9)
    exact = normal(forecast.loc, forecast.scale)
    theirs = scoringrules.crps_normal(y, forecast.loc, forecast.scale)
    np.testing.assert_allclose(exact.crps(y), theirs, rtol=1e-12)
    some = samples()
    theirs = [scoringrules.crps_ensemble(0.7, some.pool[a:b]) for a, b in ((0, 5), (1, 4), (0, 3))]
    np.testing.assert_allclose(some.crps(np.full(3, 0.7)), theirs)


def test_the_scale_is_not_the_standard_deviation():
    """With 4 degrees of freedom the variance is twice the squared scale."""
    assert student_scale(np.array([1.0]), np.array([4.0]))[0] == pytest.approx(np.sqrt(0.5))
    assert student_scale(np.array([1.5]), np.array([inf]))[0] == 1.5


def test_a_point_by_hand():
    """One at 1, one at -2: the CRPS is the absolute error, the cdf a step at the value."""
    point = Point(np.array([1.0, -2.0]))
    np.testing.assert_array_equal(point.crps(np.array([3.0, -2.5])), [2.0, 0.5])
    np.testing.assert_array_equal(point.cdf(1.0), [1.0, 1.0])
    np.testing.assert_array_equal(point.probability_above(0.0), [1.0, 0.0])
    assert np.isnan(point.log_density(np.zeros(2))).all()


def test_samples_by_hand():
    """Runs {3,-1,.5,2,7}, {-1,.5,2} and {3,-1,.5}, out of one pool."""
    forecast = samples()
    np.testing.assert_allclose(forecast.mean(), [2.3, 0.5, 2.5 / 3])
    np.testing.assert_allclose(forecast.cdf(0.5), [2 / 5, 2 / 3, 2 / 3])
    np.testing.assert_allclose(forecast.quantile([0.5])[:, 0], [2.0, 0.5, 0.5])
    # E|X - y| - E|X - X'| / 2 of {-1, .5, 2} at 1: (2 + .5 + 1) / 3 - (1.5 + 1.5 + 3) / 9.
    assert forecast.crps(np.ones(3))[1] == pytest.approx(3.5 / 3 - 6.0 / 9.0)


def test_samples_in_batches_are_the_same(monkeypatch):
    pool, stops = np.random.default_rng(0).standard_normal(300), np.arange(40, 300)
    forecast = Samples(pool, stops - 40, stops)
    whole = forecast.crps(np.zeros(len(stops)))
    monkeypatch.setattr("forecaster.evaluation.quantiles.BATCH_VALUES", 100)
    np.testing.assert_allclose(forecast.crps(np.zeros(len(stops))), whole)


def test_quantiles_out_of_order_are_sorted():
    crossed = Quantiles(np.array([0.1, 0.5, 0.9]), np.array([[0.2, -0.1, 1.0]]))
    assert crossed.quantile([0.1, 0.5])[0].tolist() == [-0.1, 0.2]


def test_quantiles_all_alike_are_a_point():
    """No width, no density, no crash: the CRPS is the absolute error."""
    flat = Quantiles(LEVELS, np.zeros((2, 5)))
    y = np.array([1.5, -1.0])
    np.testing.assert_allclose(flat.crps(y), [1.5, 1.0])
    np.testing.assert_array_equal(flat.cdf(y), [1.0, 0.0])
    assert np.isnan(flat.log_density(y)).all()


def test_an_ensemble_of_points_or_quantiles_is_its_average():
    assert mixture([Point(np.array([1.0])), Point(np.array([2.0]))]).mean().tolist() == [1.5]
    wide = Quantiles(LEVELS, quantiles().values * 3.0)
    merged = mixture([quantiles(), wide])
    np.testing.assert_allclose(merged.quantile(LEVELS), quantiles().values * 2.0, atol=1e-15)


def test_a_mixture_beats_its_members_mean_score():
    """Both scores are convex: the average forecast loses less than the average loss."""
    members, y = [student(), student(loc=(1.0, 1.0, 1.0))], np.array([0.0, 0.5, -1.0])
    together = mixture(members)
    assert (together.crps(y) < np.mean([m.crps(y) for m in members], axis=0)).all()
    assert (together.log_density(y) > np.mean([m.log_density(y) for m in members], axis=0)).all()


@pytest.mark.parametrize("kind", ["student", "quantiles", "samples", "point", "mixture"])
def test_a_row_without_forecast_is_nan_and_silent(kind):
    """Rows before a baseline's first fit; its neighbours answer as ever."""
    values = np.array([nan, 0.0])
    blank = StudentT(values, values + 1.0, values + 5.0)
    forecast = {
        "student": blank,
        "mixture": mixture([blank, StudentT(values + 1.0, values + 1.0, values + 5.0)]),
        "quantiles": Quantiles(LEVELS, values[:, None] + LEVELS),
        "samples": Samples(np.arange(4.0), np.array([0, 0]), np.array([0, 3])),
        "point": Point(values),
    }[kind]
    y = np.array([0.5, 0.5])
    for answer in (forecast.mean(), forecast.cdf(y), forecast.crps(y), forecast.quantile([0.3])):
        assert np.isnan(np.atleast_1d(answer[0])).all()
        assert np.isfinite(np.atleast_1d(answer[1])).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: student(scale=(1.0, 0.0, 1.0)), "lowest scale is 0"),
        (lambda: student(df=(3.0, 1.0, 4.0)), "lowest df is 1"),
        (lambda: student(loc=(1.0,)), "1 locations, 3 scales"),
        (lambda: Quantiles(np.array([0.5, 0.5]), np.zeros((1, 2))), "rising strictly"),
        (lambda: Quantiles(np.array([0.0, 0.5]), np.zeros((1, 2))), "rising strictly"),
        (lambda: mixture([]), "0 members"),
        (lambda: mixture([student(), quantiles()]), "one kind"),
        (lambda: mixture([samples(), samples()]), "no average"),
    ],
)
def test_what_is_no_distribution_is_refused(make, words):
    with pytest.raises(DataError, match=words):
        make()
