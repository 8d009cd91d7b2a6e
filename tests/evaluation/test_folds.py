"""Folds of report days: every block before the days it serves, no day lost or taken twice."""

import numpy as np
import pytest

from forecaster.errors import DataError
from forecaster.evaluation.splits import Fold, Split, walk_folds

DAYS = np.arange("2020-01-01", "2020-04-10", dtype="datetime64[D]")  # 100 days
SPLIT = Split(train_until=DAYS[59], validation_until=DAYS[79])


def spans(fold: Fold) -> tuple[int, int, int]:
    """How many fit, select and report days a fold has."""
    masks = fold.fit(DAYS), fold.select(DAYS), fold.report(DAYS)
    return tuple(int(mask.sum()) for mask in masks)


def test_without_refit_there_is_one_fold_with_the_blocks_given() -> None:
    (fold,) = walk_folds(DAYS, SPLIT)
    assert (fold.split, fold.until, fold.train_from) == (SPLIT, DAYS[-1], None)
    assert spans(fold) == (60, 20, 20)


def test_expanding_folds_keep_the_share_of_the_select_block() -> None:
    """Of 80 days a quarter selects, so of 88 days 22 and of 96 days 24."""
    folds = walk_folds(DAYS, SPLIT, refit_every=8)
    assert [spans(fold) for fold in folds] == [(60, 20, 8), (66, 22, 8), (72, 24, 4)]


def test_rolling_folds_fit_as_many_days_each() -> None:
    folds = walk_folds(DAYS, SPLIT, refit_every=8, train_days=30)
    assert [spans(fold) for fold in folds] == [(30, 20, 8), (30, 20, 8), (30, 20, 4)]
    assert folds[1].train_from == DAYS[88 - 20 - 30]


@pytest.mark.parametrize("every", [1, 7, 20, 1000])
def test_each_report_day_is_served_once_by_blocks_that_end_before_it(every: int) -> None:
    shuffled = np.random.default_rng(0).permutation(np.repeat(DAYS, 3))
    folds = walk_folds(np.append(shuffled, np.datetime64("NaT")), SPLIT, refit_every=every)
    served = np.sum([fold.report(DAYS) for fold in folds], axis=0)
    np.testing.assert_array_equal(served, DAYS > SPLIT.validation_until)
    for fold in folds:
        first = DAYS[fold.report(DAYS)][0]
        assert fold.split.train_until < fold.split.validation_until < first
        assert first - fold.split.validation_until == np.timedelta64(1, "D")


def test_no_report_day_leaves_one_empty_fold() -> None:
    (fold,) = walk_folds(DAYS[:80], SPLIT, refit_every=5)
    assert not fold.report(DAYS[:80]).any()


def test_a_rolling_window_longer_than_the_past_is_refused() -> None:
    with pytest.raises(DataError, match=r"rolling:61 needs 61 trading days .* there are 60"):
        walk_folds(DAYS, SPLIT, refit_every=8, train_days=61)
