from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.data.segments import window_ends, window_rows

LENGTHS = st.lists(st.integers(0, 12), min_size=1, max_size=6)


def offsets_of(lengths):
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def test_by_hand():
    """Series of 4 and 3 days, lookback 3: rows 2 and 3, and row 6."""
    ends = window_ends(offsets_of([4, 3]), 3, np.ones(7, dtype=bool))
    assert ends.tolist() == [2, 3, 6]
    assert window_rows(ends, 3).tolist() == [[0, 1, 4], [1, 2, 5], [2, 3, 6]]


def test_eligible_rows_only():
    """A row that may not end a window ends none; earlier rows may still be inside one."""
    eligible = np.array([True, True, False, True])
    assert window_ends(offsets_of([4]), 2, eligible).tolist() == [1, 3]


def test_lookback_of_one_is_the_rows_themselves():
    """Every eligible row is its own window."""
    eligible = np.array([True, False, True])
    ends = window_ends(offsets_of([1, 2]), 1, eligible)
    assert ends.tolist() == [0, 2]
    assert window_rows(ends, 1).tolist() == [[0, 2]]


def test_too_short_series_give_none():
    """No window is an empty array of row numbers, not an error here."""
    ends = window_ends(offsets_of([3, 0, 2]), 4, np.ones(5, dtype=bool))
    assert ends.shape == (0,)
    assert ends.dtype == np.int64
    assert window_rows(ends, 4).shape == (4, 0)


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 6), st.randoms(use_true_random=False))
def test_windows_never_cross_series_and_none_is_missed(lengths, lookback, random):
    """Exactly the runs of `lookback` days inside one series that end on an eligible row."""
    offsets = offsets_of(lengths)
    eligible = np.array([random.random() < 0.7 for _ in range(offsets[-1])], dtype=bool)
    expected = [
        list(range(last - lookback + 1, last + 1))
        for begin, stop in pairwise(offsets)
        for last in range(begin + lookback - 1, stop)
        if eligible[last]
    ]
    ends = window_ends(offsets, lookback, eligible)
    assert window_rows(ends, lookback).T.tolist() == expected


@pytest.mark.parametrize(
    ("offsets", "lookback", "message"),
    [([0, 5], 0, "lookback is 0"), ([0, 4], 2, "from 0 to 4"), ([1, 5], 2, "from 1 to 5")],
)
def test_contradicting_arguments_are_refused(offsets, lookback, message):
    """A wrong panel is not sliced into plausible windows."""
    with pytest.raises(ValueError, match=message):
        window_ends(np.array(offsets), lookback, np.ones(5, dtype=bool))
