"""Live scores worked by hand; drift is flagged only if large and significant."""

import re

import numpy as np
import pandas as pd
import pytest

from forecaster.evaluation.live_scores import (
    ExpectedError,
    LiveSums,
    coverage_drift,
    error_drift,
    input_drift,
    inside,
    mean_error,
    pinball,
    scaled_errors,
)


def rows(**columns):
    there = {"name": "return", "session": pd.to_datetime(["2024-01-02", "2024-01-03"])}
    there |= {"forecast": 0.0, "persistence": 0.0, "q025": -2.0, "q10": -1.0, "q90": 1.0}
    there |= {"q975": 2.0, "actual": [0.5, -1.5], "moved": [False, True], "version": "v"}
    return pd.DataFrame({**there, **columns})


def live_scores(*tables, by=("name",)):
    sums = LiveSums(by)
    for table in tables:
        sums.add(table)
    return sums.table()


def test_scores_by_hand():
    """Errors .5 and -1.5; the 80 % interval holds one of two, the 95 % one both."""
    (found,) = live_scores(rows()).to_dict("records")
    assert (found["forecasts"], found["days"], found["moved"]) == (2, 2, 1)
    assert found["mse"] == pytest.approx((0.25 + 2.25) / 2)
    assert found["mae"] == pytest.approx(1.0)
    assert found["skill"] == pytest.approx(0.0)
    assert (found["coverage_80"], found["coverage_95"]) == (0.5, 1.0)


def test_the_quantile_loss_by_hand():
    """Outcome .5: above q025 and q10, below q90 and q975; each side weighs as its level says."""
    table = rows(actual=[0.5, 0.5])
    losses = [2 * 0.025 * 2.5, 2 * 0.1 * 1.5, 2 * 0.1 * 0.5, 2 * 0.025 * 1.5]
    assert pinball(table, np.array([0.5, 0.5])) == pytest.approx([np.mean(losses)] * 2)


def test_the_wrong_forecast_loses():
    """One that is always on the other side, against one that is right."""
    right = live_scores(rows(forecast=[0.5, -1.5])).iloc[0]
    wrong = live_scores(rows(forecast=[-0.5, 1.5])).iloc[0]
    assert right["skill"] == 1.0 and wrong["skill"] == pytest.approx(-3.0)


def test_an_interval_that_was_not_stated_holds_and_misses_nothing():
    table = rows(q10=[np.nan, -1.0])
    assert inside(table, "q10", "q90", np.array([0.5, -1.5])) == pytest.approx(
        [np.nan, 0.0], nan_ok=True
    )
    assert live_scores(table).iloc[0]["coverage_80"] == 0.0
    bare = live_scores(rows(q10=np.nan, q025=np.nan)).iloc[0]
    assert np.isnan([bare["coverage_80"], bare["coverage_95"], bare["pinball"]]).all()


def test_skill_over_a_persistence_without_error_is_undefined():
    assert np.isnan(live_scores(rows(persistence=[0.5, -1.5])).iloc[0]["skill"])


def test_parts_add_up_to_the_whole():
    """Days that two parts share count once, a part without intervals leaves coverage alone."""
    parts = [rows(), rows(actual=[0.25, 3.0]), rows(q10=np.nan, q025=np.nan)]
    whole = live_scores(pd.concat(parts, ignore_index=True))
    pd.testing.assert_frame_equal(live_scores(*parts), whole)
    assert whole["days"].item() == 2 and whole["coverage_80"].item() == 0.5


def test_groups_that_differ_in_one_column_are_pooled():
    """Not a group that is alone."""
    sums = LiveSums(("name", "version"))
    for name, version in (("a", "1"), ("a", "2"), ("b", "1")):
        sums.add(rows(name=name, version=version))
    (found,) = sums.pooled("version", "all").table().to_dict("records")
    assert (found["name"], found["version"], found["forecasts"], found["days"]) == (
        *("a", "all"),
        *(4, 2),
    )


DAYS = np.arange(63)
DRAW = np.random.default_rng(0)
NOISE = DRAW.normal(0.0, 0.05, 63)


def kept(mean: float) -> ExpectedError:
    found = mean_error(mean + NOISE - NOISE.mean(), DAYS)
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
def test_errors_much_larger_than_expected_are_flagged(live: float, flagged: bool):
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
        assert found.subject == "range" and "the 80% interval covered" in found.reason


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
