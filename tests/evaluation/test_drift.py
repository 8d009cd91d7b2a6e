"""Drift: flagged where it is large and sure, silent where it is either alone."""

import re

import numpy as np
import pytest

from forecaster.evaluation.live_scores import (
    Promise,
    coverage_drift,
    error_drift,
    input_drift,
    promise,
    scaled_errors,
)

DAYS = np.arange(63)
DRAW = np.random.default_rng(0)
NOISE = DRAW.normal(0.0, 0.05, 63)


def kept(mean: float) -> Promise:
    found = promise(mean + NOISE - NOISE.mean(), DAYS)
    assert found is not None
    return found


def test_errors_are_measured_in_widths_of_the_interval():
    found = scaled_errors(
        np.array([2.0, 1.0, np.nan, 1.0]),
        np.array([0.0, 2.0, 0.0, 0.0]),
        np.array([-2.0, -1.0, -1.0, 1.0]),
        np.array([2.0, 1.0, 1.0, 1.0]),
    )
    np.testing.assert_array_equal(found, [0.5, 0.5, np.nan, np.nan])


@pytest.mark.parametrize(("live", "flagged"), [(0.4, False), (0.43, False), (0.5, True)])
def test_errors_much_larger_than_promised_are_flagged(live: float, flagged: bool):
    found = error_drift("return", live + NOISE, DAYS, kept(0.4))
    assert (found is not None) is flagged
    if found:
        assert found.kind == "error" and found.value == pytest.approx(1.25, rel=0.02)
        assert "return: errors over 63 days are 1.2" in found.reason


def test_smaller_errors_are_no_drift():
    assert error_drift("return", 0.2 + NOISE, DAYS, kept(0.4)) is None


def test_large_but_uncertain_is_no_drift():
    """Half as much again, from days that differ by more than that."""
    wild = np.where(DAYS % 9 == 0, 3.0, 0.3)
    assert wild.mean() > 1.4 * 0.4
    assert error_drift("return", wild, DAYS, kept(0.4)) is None


def test_ten_tickers_of_a_day_count_once():
    errors = np.where(DAYS % 9 == 0, 3.0, 0.3)
    assert error_drift("return", np.repeat(errors, 10), np.repeat(DAYS, 10), kept(0.4)) is None


def test_under_a_month_says_nothing():
    few = slice(0, 20)
    assert error_drift("return", np.full(20, 9.0), DAYS[few], kept(0.4)) is None
    assert coverage_drift("return", np.zeros(20), DAYS[few], 0.8) is None


@pytest.mark.parametrize(("share", "flagged"), [(0.8, False), (0.7, False), (0.5, True)])
def test_intervals_that_hold_too_little_are_flagged(share: float, flagged: bool):
    inside = np.diff(np.floor(np.arange(64) * share + 1e-9))
    found = coverage_drift("range", inside, DAYS, 0.8)
    assert (found is not None) is flagged
    if found:
        assert found.subject == "range" and "the 80% interval held" in found.reason


def test_intervals_that_hold_too_much_are_flagged():
    found = coverage_drift("range", np.ones(630), np.repeat(DAYS, 10), 0.8)
    assert found is not None and found.value == 1.0


def test_inputs_that_left_the_fit_days_are_named_furthest_first():
    inputs = DRAW.normal(0.0, 1.0, (63, 3)) * [1.0, 2.0, 1.0] + [0.0, 10.0, 4.0]
    found = input_drift(("a", "b", "c"), inputs, np.zeros(3), np.array([1.0, 2.0, 1.0]))
    assert found is not None and found.subject == "b"
    assert re.search(r": b \([45]\.\d\), c \([34]\.\d\)$", found.reason)
    assert "a (" not in found.reason


def test_an_input_that_never_moved_or_is_missing_is_no_drift():
    inputs = np.column_stack([np.full(63, 7.0), np.full(63, np.nan)])
    assert input_drift(("a", "b"), inputs, np.zeros(2), np.array([0.0, 1.0])) is None
