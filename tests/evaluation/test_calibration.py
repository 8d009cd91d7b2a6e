"""Recalibration on validation days: shrinkage and conformal quantiles of scores."""

import numpy as np
import pytest

from forecaster.evaluation.calibration import (
    recalibrated,
    score_quantiles,
    scores_by_series,
    scores_of,
    shrinkage,
)
from forecaster.evaluation.distributions import Point, StudentT

LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)


def test_score_quantiles_by_hand() -> None:
    """Scores 1..99: the 2.5th is rounded outwards to 2 and 98, the tenth is 10 and 90."""
    found = score_quantiles(np.arange(99, 0, -1).astype(float), LEVELS)
    assert found == [2.0, 10.0, 50.0, 90.0, 98.0]
    assert score_quantiles(np.arange(38.0), LEVELS) is None
    assert score_quantiles(np.arange(39.0), LEVELS) is not None


def test_a_series_with_few_days_takes_the_pooled_numbers() -> None:
    scores = np.concatenate([np.zeros(100), np.ones(99), [np.nan]])
    series = np.repeat([0, 1], 100)
    found = scores_by_series(scores, series, ("AAA", "BBB"), LEVELS)
    assert found.keys() == {"", "AAA"}
    assert found["AAA"] == [0.0] * 5


def test_a_number_takes_the_residuals_and_a_distribution_the_places() -> None:
    ones = np.ones(3)
    assert scores_of(Point(ones), np.array([0.0, 1.0, 3.0])).tolist() == [-1.0, 0.0, 2.0]
    pit = scores_of(StudentT(ones, ones, 5 * ones), np.array([-1e9, 1.0, 1e9]))
    np.testing.assert_allclose(pit, [0.0, 0.5, 1.0], atol=1e-9)


@pytest.mark.parametrize("kind", ["number", "too narrow", "too wide"])
def test_intervals_hold_their_share_of_days_to_come(kind: str) -> None:
    """Scales misstated threefold, or not stated at all: 80 and 95 % within a point."""
    draw = np.random.default_rng(0)
    scale = np.exp(0.5 * draw.standard_normal(40_000))
    outcome, zeros = draw.standard_t(5, 40_000) * scale, np.zeros(40_000)
    factor = {"too narrow": 1 / 3, "too wide": 3.0}.get(kind, 1.0)
    raw = Point(zeros) if kind == "number" else StudentT(zeros, scale * factor, zeros + 5)
    names, past = np.array(["AAA"] * 40_000), np.arange(40_000) < 20_000
    scores = scores_of(raw, outcome)[past]
    numbers = scores_by_series(scores, np.zeros(20_000, dtype=int), ("AAA",), LEVELS)
    later = recalibrated(raw.take(~past), names[~past], numbers, LEVELS)
    for coverage in (0.8, 0.95):
        low, high = later.interval(coverage).T
        inside = (outcome[~past] > low) & (outcome[~past] < high)
        assert inside.mean() == pytest.approx(coverage, abs=0.01)
    if kind != "number":
        widths = np.diff(later.interval(0.8))[:, 0] / scale[~past]
        assert np.ptp(widths) < 1e-6 * widths.mean()


def test_a_row_of_a_series_without_numbers_has_no_interval() -> None:
    found = recalibrated(Point(np.zeros(1)), np.array(["NEW"]), {}, LEVELS)
    assert np.isnan(found.values).all()


def test_the_shrinkage_slope_by_hand():
    """Forecasts 1, 2, -1 with outcomes 1, 0, -1: (1 + 0 + 1) / (1 + 4 + 1) = 1/3."""
    forecast, outcome = np.array([[1.0], [2.0], [-1.0]]), np.array([[1.0], [0.0], [-1.0]])
    np.testing.assert_allclose(shrinkage(forecast, outcome), [1 / 3])


def test_the_factor_is_clipped_to_0_and_1():
    """Opposite outcomes give 0, twice the forecast gives 1."""
    forecast = np.array([[1.0, 1.0], [-2.0, -2.0]])
    assert shrinkage(forecast, forecast * [-1.0, 2.0]).tolist() == [0.0, 1.0]


def test_unknown_days_do_not_count():
    """NaN on either side leaves the pair out; a target without any pair gets 0."""
    forecast = np.array([[1.0, np.nan], [5.0, np.nan], [np.nan, 1.0]])
    outcome = np.array([[0.5, 1.0], [np.nan, 1.0], [9.0, np.nan]])
    assert shrinkage(forecast, outcome).tolist() == [0.5, 0.0]


def test_noise_is_not_believed_and_signal_is():
    """2,000 days: pure noise keeps under a tenth, a forecast with the right scale nearly all."""
    generator = np.random.default_rng(0)
    signal, noise = generator.standard_normal((2, 2000))
    factors = shrinkage(np.column_stack([noise, signal]), np.column_stack([signal, signal + noise]))
    assert factors[0] < 0.1 and factors[1] > 0.9
