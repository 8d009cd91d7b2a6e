"""Closes are held against the splits of their own file."""

import numpy as np
import pytest

from forecaster.data.basis import describe_basis
from tests.data.histories import history

ADJUSTED = [10.0, 10.1, 10.2, 10.1, 10.0]
TRADED = [40.0, 40.4, 10.2, 10.1, 10.0]
FOUR = [1, 1, 4, 1, 1]


@pytest.mark.parametrize(
    ("close", "split", "basis"),
    [
        (ADJUSTED, FOUR, "split-adjusted"),
        (TRADED, FOUR, "as-traded"),
        (TRADED[::-1], [1, 1, 1, 0.25, 1], "as-traded"),  # four old shares become one
        (ADJUSTED, np.ones(5), "as-traded"),
        (ADJUSTED, [1, 1, 1.1, 1, 1], "as-traded"),  # too small to tell
        (ADJUSTED, [4, 1, 1, 1, 1], "as-traded"),  # nothing to compare the first day with
        ([40, 10, 9.9, 9.8, 9.7], [1, 4, 1, 4, 1], "as-traded"),  # one missed of two
    ],
)
def test_closes_that_agree_with_their_splits_are_not_reported(close, split, basis):
    assert describe_basis(history(close=close, split=split, basis=basis)) == ""


@pytest.mark.parametrize(
    ("close", "basis", "words"),
    [
        (ADJUSTED, "as-traded", "leave no jump in the close (first 2024-01-04), yet"),
        (TRADED, "split-adjusted", "are a jump of the close (first 2024-01-04), yet"),
    ],
)
def test_closes_on_the_other_basis_are_reported(close, basis, words):
    """A split 4:1 read on the wrong basis is a day of plus or minus 139 %."""
    sentence = describe_basis(history(close=close, split=FOUR, basis=basis))
    assert sentence.startswith("AAPL: 1 of 1 splits")
    assert words in sentence and sentence.endswith(basis)
