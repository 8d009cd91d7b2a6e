"""Bars that are not daily, and gaps that are no pattern."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from forecaster.data.calendar_fit import contradiction
from forecaster.data.intervals import regular_interval
from forecaster.data.intervals import weekday_of as weekday
from forecaster.data.sessions import sessions_between
from tests.data.histories import traded

YEARS = date(2018, 1, 2), date(2023, 12, 29)
NYSE = sessions_between("XNYS", *YEARS)


def every(days, unit):
    """The last day of each month, quarter, half-year or year."""
    index = pd.DatetimeIndex(days.astype("datetime64[s]"))
    return index.to_series().groupby(index.to_period(unit)).last().to_numpy()


FIRST_OF_MONTH = np.arange("2005-01", "2024-01", dtype="datetime64[M]").astype("datetime64[D]")
INTERVALS = {
    "weekly, each Friday": (NYSE[weekday(NYSE) == 4], "weekly bars"),
    "weekly, each Monday, holidays too": (np.arange(NYSE[3], NYSE[-1], 7), "weekly bars"),
    "four of them": (NYSE[weekday(NYSE) == 2][10:14], "weekly bars"),
    "six weeks of them": (NYSE[weekday(NYSE) == 2][:7], "weekly bars"),
    "Mondays, Wednesdays and Fridays": (
        NYSE[np.isin(weekday(NYSE), (0, 2, 4))],
        "no bars on Tuesdays and Thursdays",
    ),
    "every seventh session": (NYSE[::7], "bars on 1 of every 7 sessions"),
    "every fifteenth": (NYSE[::15], "bars on 1 of every 15 sessions"),
    "two-monthly": (every(NYSE, "M")[::2], "two-monthly bars"),
    "two-weekly": (NYSE[weekday(NYSE) == 2][::2], "two-weekly bars"),
    "monthly, the last session": (every(NYSE, "M"), "monthly bars"),
    "monthly, the first day": (FIRST_OF_MONTH, "monthly bars"),
    "quarterly": (every(NYSE, "Q"), "quarterly bars"),
    "yearly": (every(sessions_between("XNYS", date(2000, 1, 3), YEARS[1]), "Y"), "yearly bars"),
    "every other session": (NYSE[::2], "bars on 1 of every 2 sessions"),
    "two of three": (NYSE[np.arange(len(NYSE)) % 3 > 0], "bars on 2 of every 3 sessions"),
    "no Mondays": (NYSE[weekday(NYSE) != 0], "no bars on Mondays"),
    "no Fridays": (NYSE[weekday(NYSE) != 4], "no bars on Fridays"),
    "Tuesdays and Thursdays": (
        NYSE[np.isin(weekday(NYSE), (1, 3))],
        "no bars on Mondays and Wednesdays and Fridays",
    ),
    "weekly at first, daily later": (np.r_[NYSE[4:700:5], NYSE[700:]], "weekly bars"),
    "daily at first, without Mondays later": (
        NYSE[(weekday(NYSE) != 0) | (NYSE < np.datetime64("2021-01-01"))],
        "no bars on Mondays",
    ),
}


@pytest.mark.parametrize("shape", INTERVALS)
def test_another_interval_is_found_and_named(shape):
    days, name = INTERVALS[shape]
    found = regular_interval(traded(days))
    assert found is not None and found[1] == name


def test_another_interval_is_found_where_it_begins():
    """The first weeks have a holiday each, so that their spacing is not yet alike."""
    days = np.r_[NYSE[:700], NYSE[700::5]]
    row, name = regular_interval(traded(days))
    assert name == "weekly bars" and 690 <= row <= 720


def test_weekly_bars_of_a_coin():
    days = np.arange("2020-01-06", "2024-01-01", 7, dtype="datetime64[D]")
    assert regular_interval(traded(days, "24/7"))[1] == "weekly bars"


@pytest.mark.slow  # 4 s: Seoul's calendar
def test_saturdays_of_seoul_that_a_source_never_had_are_no_pattern():
    """They were sessions until 1998, of which no record is complete."""
    days = sessions_between("XKRX", date(1997, 1, 3), date(1999, 12, 28))
    assert regular_interval(traded(days[weekday(days) != 5], "XKRX")) is None


@pytest.mark.parametrize("share", [0.03, 0.1, 0.2, 0.3, 0.5, 0.8, 0.97])
def test_sessions_that_are_missing_at_random_are_gaps(share):
    """A thin stock trades on some days; its gaps are no interval."""
    random = np.random.default_rng(7)
    days = sessions_between("XNYS", date(2000, 1, 3), YEARS[1])
    for _ in range(5):
        thin = traded(days[random.random(len(days)) < share])
        assert regular_interval(thin) is None and contradiction(thin) == ""


@pytest.mark.parametrize(
    "days",
    [
        np.r_[NYSE[:400], NYSE[700:]],
        np.r_[NYSE[:1], NYSE[500:]],
        np.concatenate([NYSE[begin : begin + 40] for begin in range(0, 1400, 47)]),
        NYSE[:4],
        NYSE,
    ],
    ids=["a halt", "a ragged start", "many halts", "four bars", "complete"],
)
def test_real_gaps_stay_gaps(days):
    assert regular_interval(traded(days)) is None and contradiction(traded(days)) == ""
