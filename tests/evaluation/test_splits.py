from datetime import date

import numpy as np
import pytest

from forecaster.data.panel import build_panel
from forecaster.errors import DataError, UsageError
from forecaster.evaluation.splits import Fold, Split, Walk, split_by_time, walk_folds
from tests.data.histories import drawn


def days(count):
    """Days 1, 2, ... of the year 2000 and on, without gaps."""
    return np.arange(np.datetime64("2000-01-01"), np.datetime64("2000-01-01") + count)


def counts(found, split):
    """Distinct days of each part."""
    return [int(mask.sum()) for mask in split.masks(found)]


def test_a_row_belongs_to_the_days_of_its_outcome():
    """The row made on train_until's close is a validation row: its outcome is a day later."""
    panel = build_panel([drawn("AAPL", 40, seed=1)], ("return",), universe=None)
    split = Split(train_until=panel.days[27], validation_until=panel.days[33])
    train, validation, test = split.masks(panel.outcome_days)
    assert panel.days[train].max() == panel.days[26]
    assert panel.days[validation][[0, -1]].tolist() == panel.days[[27, 32]].tolist()
    assert panel.days[test][[0, -1]].tolist() == panel.days[[33, 38]].tolist()
    assert (train.astype(int) + validation + test).tolist() == [1] * 39 + [0]


@pytest.mark.parametrize(
    ("total", "expected"), [(20, [14, 3, 3]), (100, [70, 15, 15]), (1000, [700, 150, 150])]
)
def test_parts_are_70_15_15(total, expected):
    """Exactly, where the days can be cut so."""
    assert counts(days(total), split_by_time(days(total))) == expected


def test_shares_are_of_distinct_days():
    """Ragged rows in any order do not move a border."""
    ragged = np.concatenate([days(100)[60:], days(100), days(100)[80:]])[::-1]
    assert split_by_time(ragged) == split_by_time(days(100))


def test_given_days_are_the_borders():
    """Both dates, the last day of each part."""
    split = split_by_time(
        days(100), train_until=date(2000, 1, 10), validation_until=date(2000, 1, 31)
    )
    assert counts(days(100), split) == [10, 21, 69]


def test_what_follows_train_until_is_halved():
    """With only the first border given, validation and test share the rest."""
    assert counts(days(100), split_by_time(days(100), train_until=date(2000, 1, 20))) == [
        20,
        40,
        40,
    ]


def test_what_precedes_validation_until_is_shared_14_to_3():
    """With only the second border given, the rest is cut 70 to 15: of 34 days, 28 and 6."""
    split = split_by_time(days(100), validation_until=date(2000, 2, 3))
    assert counts(days(100), split) == [28, 6, 66]


def test_a_border_need_not_be_a_trading_day():
    """A date on which nothing traded ends the part with the day before it."""
    weekdays = days(100)[np.is_busday(days(100))]
    split = split_by_time(
        weekdays, train_until=date(2000, 1, 16), validation_until=date(2000, 2, 6)
    )
    assert counts(weekdays, split) == [10, 15, len(weekdays) - 25]


def test_days_out_of_order_are_a_usage_error():
    """With both dates and both options; exit code 2."""
    with pytest.raises(
        UsageError, match="--train-until 2000-02-01 is not before --validation-until"
    ):
        split_by_time(days(100), train_until=date(2000, 2, 1), validation_until=date(2000, 1, 1))
    with pytest.raises(UsageError, match="training days come first"):
        Split(train_until=np.datetime64("2000-01-01"), validation_until=np.datetime64("2000-01-01"))


@pytest.mark.parametrize(
    ("borders", "part"),
    [
        ({"train_until": date(1999, 1, 1)}, "training"),
        ({"train_until": date(1999, 1, 1), "validation_until": date(1999, 6, 1)}, "training"),
        ({"train_until": date(2000, 1, 9), "validation_until": date(2001, 1, 1)}, "test"),
        ({"validation_until": date(2001, 1, 1)}, "test"),
        ({"train_until": date(2001, 1, 1), "validation_until": date(2001, 2, 1)}, "validation"),
    ],
)
def test_an_empty_part_is_a_usage_error(borders, part):
    """With the part and the days of the prices."""
    message = f"No {part} day with .*2000-01-01 to 2000-04-09"
    with pytest.raises(UsageError, match=message):
        split_by_time(days(100), **borders)


@pytest.mark.parametrize("only", ["train_until", "validation_until"])
@pytest.mark.parametrize("year", [1999, 2001])
def test_one_border_outside_the_prices_is_a_usage_error(only, year):
    """Whichever side it lies on."""
    with pytest.raises(UsageError, match=r"--train-until|--validation-until"):
        split_by_time(days(100), **{only: date(year, 1, 1)})


def test_two_days_are_one_and_one():
    """The smallest rest that two parts can share."""
    split = split_by_time(days(100), validation_until=date(2000, 1, 2))
    assert counts(days(100), split) == [1, 1, 98]


def test_a_short_history_is_a_data_error():
    """With the number needed; exit code 65."""
    with pytest.raises(DataError, match=r"19 distinct trading days.*at least 20"):
        split_by_time(days(19))


DAYS = np.arange("2020-01-01", "2020-04-10", dtype="datetime64[D]")  # 100 days
SPLIT = Split(train_until=DAYS[59], validation_until=DAYS[79])


def spans(fold: Fold) -> tuple[int, int, int]:
    """How many training, validation and test days a fold has."""
    return tuple(int(mask.sum()) for mask in fold.masks(DAYS))


def test_without_refit_there_is_one_fold_with_the_given_split() -> None:
    (fold,) = walk_folds(DAYS, SPLIT)
    assert (fold.split, fold.until, fold.train_from) == (SPLIT, DAYS[-1], None)
    assert spans(fold) == (60, 20, 20)


def test_expanding_folds_keep_the_share_of_validation_days() -> None:
    """Of 80 days a quarter validates, so of 88 days 22 and of 96 days 24."""
    folds = walk_folds(DAYS, SPLIT, Walk(refit_every=8))
    assert [spans(fold) for fold in folds] == [(60, 20, 8), (66, 22, 8), (72, 24, 4)]


def test_rolling_folds_train_on_as_many_days_each() -> None:
    folds = walk_folds(DAYS, SPLIT, Walk(refit_every=8, train_days=30))
    assert [spans(fold) for fold in folds] == [(30, 20, 8), (30, 20, 8), (30, 20, 4)]
    assert folds[1].train_from == DAYS[88 - 20 - 30]


@pytest.mark.parametrize("every", [1, 7, 20, 1000])
def test_each_test_day_is_forecast_once_by_a_fold_that_ends_before_it(every: int) -> None:
    shuffled = np.random.default_rng(0).permutation(np.repeat(DAYS, 3))
    folds = walk_folds(np.append(shuffled, np.datetime64("NaT")), SPLIT, Walk(refit_every=every))
    served = np.sum([fold.masks(DAYS)[2] for fold in folds], axis=0)
    np.testing.assert_array_equal(served, DAYS > SPLIT.validation_until)
    for fold in folds:
        first = DAYS[fold.masks(DAYS)[2]][0]
        assert fold.split.train_until < fold.split.validation_until < first
        assert first - fold.split.validation_until == np.timedelta64(1, "D")


def test_no_test_day_leaves_one_empty_fold() -> None:
    (fold,) = walk_folds(DAYS[:80], SPLIT, Walk(refit_every=5))
    assert not fold.masks(DAYS[:80])[2].any()


def test_a_rolling_window_longer_than_the_past_is_refused() -> None:
    with pytest.raises(DataError, match=r"rolling:61 needs 61 trading days .* there are 60"):
        walk_folds(DAYS, SPLIT, Walk(refit_every=8, train_days=61))
