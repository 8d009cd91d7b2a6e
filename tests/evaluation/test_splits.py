from datetime import date

import numpy as np
import pytest

from forecaster.data.panel import build_panel
from forecaster.errors import DataError, UsageError
from forecaster.evaluation.splits import Split, split_by_time
from tests.data.histories import drawn


def days(count):
    """Days 1, 2, ... of the year 2000 and on, without gaps."""
    return np.arange(np.datetime64("2000-01-01"), np.datetime64("2000-01-01") + count)


def counts(found, split):
    """Distinct days in each block."""
    return [int(mask.sum()) for mask in split.masks(found)]


def test_a_row_belongs_to_the_block_of_its_outcome():
    """The row made on train_until's close is in select: its outcome is a day later."""
    panel = build_panel([drawn("AAPL", 40, seed=1)], ("return",), universe=None)
    split = Split(train_until=panel.days[27], validation_until=panel.days[33])
    fit, select, report = split.masks(panel.outcome_days)
    assert panel.days[fit].max() == panel.days[26]
    assert panel.days[select][[0, -1]].tolist() == panel.days[[27, 32]].tolist()
    assert panel.days[report][[0, -1]].tolist() == panel.days[[33, 38]].tolist()
    assert (fit.astype(int) + select + report).tolist() == [1] * 39 + [0]


@pytest.mark.parametrize(
    ("total", "expected"), [(20, [14, 3, 3]), (100, [70, 15, 15]), (1000, [700, 150, 150])]
)
def test_blocks_are_70_15_15(total, expected):
    """Exactly, where the days can be cut so."""
    assert counts(days(total), split_by_time(days(total))) == expected


def test_shares_are_of_distinct_days():
    """Ragged rows in any order do not move a border."""
    ragged = np.concatenate([days(100)[60:], days(100), days(100)[80:]])[::-1]
    assert split_by_time(ragged) == split_by_time(days(100))


def test_given_days_are_the_borders():
    """Both dates, the last day of each block."""
    split = split_by_time(
        days(100), train_until=date(2000, 1, 10), validation_until=date(2000, 1, 31)
    )
    assert counts(days(100), split) == [10, 21, 69]


def test_what_follows_fit_until_is_halved():
    """With only the first border given, select and report share the rest."""
    assert counts(days(100), split_by_time(days(100), train_until=date(2000, 1, 20))) == [
        20,
        40,
        40,
    ]


def test_what_precedes_select_until_is_shared_14_to_3():
    """With only the second border given, fit and select keep 70 to 15: of 34 days, 28 and 6."""
    split = split_by_time(days(100), validation_until=date(2000, 2, 3))
    assert counts(days(100), split) == [28, 6, 66]


def test_a_border_need_not_be_a_trading_day():
    """A date on which nothing traded ends the block with the day before it."""
    weekdays = days(100)[np.is_busday(days(100))]
    split = split_by_time(
        weekdays, train_until=date(2000, 1, 16), validation_until=date(2000, 2, 6)
    )
    assert counts(weekdays, split) == [10, 15, len(weekdays) - 25]


def test_blocks_out_of_order_are_a_usage_error():
    """Both dates and both options are named; exit code 2."""
    with pytest.raises(
        UsageError, match="--train-until 2000-02-01 is not before --validation-until"
    ):
        split_by_time(days(100), train_until=date(2000, 2, 1), validation_until=date(2000, 1, 1))
    with pytest.raises(UsageError, match="the fit block comes first"):
        Split(train_until=np.datetime64("2000-01-01"), validation_until=np.datetime64("2000-01-01"))


@pytest.mark.parametrize(
    ("borders", "block"),
    [
        ({"train_until": date(1999, 1, 1)}, "fit"),
        ({"train_until": date(1999, 1, 1), "validation_until": date(1999, 6, 1)}, "fit"),
        ({"train_until": date(2000, 1, 9), "validation_until": date(2001, 1, 1)}, "report"),
        ({"validation_until": date(2001, 1, 1)}, "report"),
        ({"train_until": date(2001, 1, 1), "validation_until": date(2001, 2, 1)}, "select"),
    ],
)
def test_an_empty_block_is_a_usage_error(borders, block):
    """It names the block and what the prices run from and to."""
    message = f"The {block} block holds no trading day.*2000-01-01..2000-04-09"
    with pytest.raises(UsageError, match=message):
        split_by_time(days(100), **borders)


@pytest.mark.parametrize("only", ["train_until", "validation_until"])
@pytest.mark.parametrize("year", [1999, 2001])
def test_one_border_outside_the_prices_is_a_usage_error(only, year):
    """Whichever side it lies on."""
    with pytest.raises(UsageError, match=r"--train-until|--validation-until"):
        split_by_time(days(100), **{only: date(year, 1, 1)})


def test_two_days_are_one_and_one():
    """The smallest rest that two blocks can share."""
    split = split_by_time(days(100), validation_until=date(2000, 1, 2))
    assert counts(days(100), split) == [1, 1, 98]


def test_a_short_history_is_a_data_error():
    """19 days are told with what is needed; exit code 65."""
    with pytest.raises(DataError, match=r"19 distinct trading days.*at least 20"):
        split_by_time(days(19))
