import numpy as np
import pytest

from forecaster.data import scaling
from forecaster.data.scaling import CLIP, Scaler
from forecaster.errors import DataError

nan = np.nan
# On the first three rows: mean 2 and 10, standard deviation sqrt(8/3) and sqrt(200/3).
VALUES = np.array([[0.0, 10.0], [2.0, 20.0], [4.0, 0.0], [1e9, nan]])
TRAIN = np.array([True, True, True, False])


def test_mean_and_spread_by_hand():
    """Of the training rows alone, the spread divided by n."""
    scaler = Scaler.fit(VALUES, TRAIN)
    assert scaler.mean == pytest.approx([2.0, 10.0])
    assert scaler.scale == pytest.approx([np.sqrt(8 / 3), np.sqrt(200 / 3)])


@pytest.mark.parametrize("other", [0.0, -1e12, nan, np.inf])
def test_other_rows_change_nothing(other):
    """Only training rows are read."""
    changed = VALUES.copy()
    changed[~TRAIN] = other
    before, after = Scaler.fit(VALUES, TRAIN), Scaler.fit(changed, TRAIN)
    np.testing.assert_array_equal(before.mean, after.mean)
    np.testing.assert_array_equal(before.scale, after.scale)


def test_missing_values_are_skipped_by_the_fit_and_become_the_mean():
    """Mean of 1 and 3, standard deviation 1; missing is 0 afterwards."""
    values = np.array([[1.0], [nan], [3.0]])
    scaler = Scaler.fit(values, np.ones(3, dtype=bool))
    assert scaler.apply(values).tolist() == [[-1.0], [0.0], [1.0]]


def test_rows_are_scaled_in_parts_as_all_at_once(monkeypatch):
    """Five rows, two at once."""
    values = np.vstack([VALUES, VALUES[:1]])
    scaler = Scaler.fit(VALUES, TRAIN)
    whole = scaler.apply(values)
    monkeypatch.setattr(scaling, "ROWS_AT_ONCE", 2)
    np.testing.assert_array_equal(scaler.apply(values), whole)


@pytest.mark.parametrize("value", [0.0, 0.1, 25.0])
def test_a_constant_column_is_moved_and_not_blown_up(value):
    """Its spread is rounding, not a scale: all zeros on training days, the difference elsewhere."""
    column = np.full((1000, 1), value)
    scaler = Scaler.fit(column, np.ones(1000, dtype=bool))
    assert scaler.scale.tolist() == [1.0]
    np.testing.assert_allclose(scaler.apply(column), 0.0, atol=1e-12)
    assert scaler.apply(column[:1] + 2.0)[0, 0] == pytest.approx(2.0)


def test_wild_inputs_are_clipped_and_targets_are_not():
    """Six spreads for an input, infinities too; an outcome stays what it was."""
    scaler = Scaler(mean=np.array([1.0]), scale=np.array([2.0]))
    wild = np.array([[1.0 + 2.0 * 100], [1.0 - 2.0 * 100], [np.inf], [-np.inf]])
    assert scaler.apply(wild)[:, 0].tolist() == [CLIP, -CLIP, CLIP, -CLIP]
    assert scaler.apply_target(wild[:2])[:, 0].tolist() == [100.0, -100.0]
    assert scaler.apply(wild[:1], clip=3.0).tolist() == [[3.0]]


def test_missing_targets_stay_missing():
    """A missing outcome must never be trained on as the mean."""
    scaler = Scaler(mean=np.array([1.0]), scale=np.array([2.0]))
    assert np.isnan(scaler.apply_target(np.array([[nan]]))).all()


def test_no_training_day_at_all_is_refused():
    """The error has a remedy."""
    with pytest.raises(DataError, match=r"set --train-until later"):
        Scaler.fit(VALUES, np.zeros(4, dtype=bool))


def test_a_column_without_a_value_on_training_days_keeps_its_units():
    """An exchange rate has no volume; that must not stop the training."""
    values = np.array([[np.nan, 1.0], [np.nan, 3.0], [5.0, 9.0]])
    scaler = Scaler.fit(values, np.array([True, True, False]))
    assert (scaler.mean.tolist(), scaler.scale.tolist()) == ([0.0, 2.0], [1.0, 1.0])
    assert scaler.apply(values).tolist() == [[0.0, -1.0], [0.0, 1.0], [5.0, 6.0]]
