"""Shrinkage: a forecast is believed as far as the select block bears it out."""

import numpy as np

from forecaster.evaluation.recalibration import shrinkage


def test_the_slope_by_hand():
    """Forecasts 1, 2, -1 with outcomes 1, 0, -1: (1 + 0 + 1) / (1 + 4 + 1) = 1/3."""
    forecast, outcome = np.array([[1.0], [2.0], [-1.0]]), np.array([[1.0], [0.0], [-1.0]])
    np.testing.assert_allclose(shrinkage(forecast, outcome), [1 / 3])


def test_it_never_reverses_nor_emboldens():
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
