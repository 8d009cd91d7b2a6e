import numpy as np
import pytest

from forecaster.evaluation.intervals import MIN_RESIDUALS, bounds_by_series, residual_bounds


@pytest.mark.parametrize(
    ("count", "coverage", "expected"),
    [
        (99, 0.8, (10, 90)),  # 100 * 0.1 and 100 * 0.9
        (9, 0.8, (1, 9)),  # the smallest sample with tails of a tenth
        (19, 0.9, (1, 19)),
        (39, 0.95, (1, 39)),
        (100, 0.8, (10, 91)),  # 10.1 down, 90.9 up
        (104, 0.8, (10, 95)),  # 10.5 down, 94.5 up
        (3, 0.5, (1, 3)),
    ],
)
def test_bounds_by_hand(count, coverage, expected):
    """Residuals 1..n, shuffled: the rank is the value."""
    residuals = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))
    assert residual_bounds(residuals, coverage) == expected


@pytest.mark.parametrize(("count", "coverage"), [(8, 0.8), (18, 0.9), (0, 0.8)])
def test_too_few_residuals_give_no_bounds(count, coverage):
    """A tail of a tenth needs nine; nothing is made up for it."""
    assert residual_bounds(np.arange(float(count)), coverage) is None


@pytest.mark.parametrize("count", [9, 99, 500])
def test_the_promise_is_kept_on_new_days(count):
    """Of a uniform outcome the interval holds its own width: 80 % on average, and never less."""
    draw = np.random.default_rng(1)
    bounds = [residual_bounds(draw.random(count), 0.8) for _ in range(4000)]
    width = np.mean([high - low for low, high in bounds])
    assert 0.8 - 0.004 < width < 0.8 + 2 / (count + 1) + 0.004


def test_skewed_residuals_give_a_skewed_interval():
    """Each tail holds its tenth: exponential residuals have quantiles 0.105 and 2.303."""
    residuals = np.random.default_rng(2).exponential(size=20_000)
    assert residual_bounds(residuals, 0.8) == pytest.approx((0.1054, 2.3026), abs=0.06)


def test_long_series_have_their_own_bounds_and_the_others_the_pooled():
    """100 known residuals are enough, 99 are not; unknown ones are left out."""
    calm, wild = np.linspace(-1, 1, MIN_RESIDUALS), np.linspace(-9, 9, MIN_RESIDUALS - 1)
    residuals = np.concatenate([calm, wild, [np.nan]])
    series = np.repeat([0, 1], 100)
    found = bounds_by_series(residuals, series, ("CALM", "WILD"), 0.8)
    assert set(found) == {"", "CALM"}
    assert found["CALM"] == residual_bounds(calm, 0.8)
    assert found[""] == residual_bounds(residuals[:-1], 0.8)


def test_bounds_follow_the_order_of_names():
    """Numbers, not order of appearance, say whose a residual is."""
    residuals = np.repeat([1.0, 2.0], 150)
    found = bounds_by_series(residuals, np.repeat([1, 0], 150), ("A", "B"), 0.8)
    assert found["A"] == (2.0, 2.0)
    assert found["B"] == (1.0, 1.0)


def test_too_few_residuals_in_all_give_no_entry():
    """Neither own nor pooled bounds."""
    assert bounds_by_series(np.arange(5.0), np.zeros(5, dtype=int), ("A",), 0.8) == {}
