"""Bars that are not daily, or follow another calendar; weeks learned from a ticker's own days."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from forecaster.data.calendar_fit import (
    contradiction,
    describe_guess,
    describe_off_calendar,
    regular_interval,
    with_learned_week,
)
from forecaster.data.history import History, Listing
from forecaster.data.sessions import sessions_between

YEARS = date(2018, 1, 2), date(2023, 12, 29)
NYSE = sessions_between("XNYS", *YEARS)


def traded(days, calendar="XNYS", ticker="ACME", source="files"):
    """A ticker's bars on some days; the rules of this module read nothing else."""
    listing = Listing(ticker=ticker, source=source, basis="as-traded", calendar=calendar)
    sessions = np.asarray(days, "datetime64[D]").astype("datetime64[s]")
    return History(listing=listing, bars=pd.DataFrame({"session": sessions}))


def weekday(days):
    return (days.astype(np.int64) + 3) % 7


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


CONTRADICTIONS = [
    pytest.param(
        *("XTKS", "XNYS", "XTKS", "Tokyo's days under a name that nobody knows"),
        marks=pytest.mark.slow,  # 5 s: some calendars are built
    ),
    ("XLON", "XNYS", "XLON", "London's"),
    ("XNYS", "XLON", "XNYS", "New York's days, declared London's"),
    ("24/7", "XNYS", "24/7", "a coin"),
    ("sun-thu", "XNYS", "sun-thu", "a market of the Gulf"),
    ("weekdays", "24/7", "weekdays", "a coin whose weekends are lacking"),
    ("mon-sat", "weekdays", "mon-sat", "a market with Saturdays"),
]


@pytest.mark.parametrize(("of", "declared", "proposed", "why"), CONTRADICTIONS)
def test_the_days_of_a_file_propose_their_calendar(of, declared, proposed, why):
    days = sessions_between(of, date(2022, 1, 3), date(2023, 12, 29))
    sentence = contradiction(traded(days, declared))
    assert f"contradict calendar {declared} " in sentence, why
    assert f"; {proposed} fits best (0 bars on no session, 0 sessions" in sentence, why
    assert sentence.endswith(f"Import with --calendar {proposed}"), why
    assert regular_interval(traded(days, declared)) is None, why


def test_the_counts_of_a_contradiction_are_exact():
    """Martin Luther King's day and Washington's are sessions in London, its bank holidays none."""
    days = sessions_between("XLON", date(2023, 1, 1), date(2023, 12, 31))
    sentence = contradiction(traded(days))
    closed = np.setdiff1d(days, sessions_between("XNYS", date(2023, 1, 1), date(2023, 12, 31)))
    assert (
        f"({len(closed)} bars on no session, " in sentence and f"first on {closed[0]};" in sentence
    )


def test_a_source_offers_no_import():
    days = sessions_between("XTKS", *YEARS)
    assert "--calendar" not in contradiction(traded(days, source="yahoo"))


def test_bars_on_holidays_alone_are_not_another_calendar():
    """A vendor that fills holidays forward still has every session."""
    days = sessions_between("weekdays", *YEARS)
    assert contradiction(traded(days)) == ""


@pytest.mark.slow  # 10 s: all calendars are compared
def test_days_that_no_calendar_explains_are_named_as_such():
    days = np.arange("2022-01-01", "2023-01-01", 3, dtype="datetime64[D]")
    assert "no known calendar fits them much better" in contradiction(traded(days))
    thin = np.random.default_rng(5).random(len(NYSE)) < 0.5
    holidays = np.setdiff1d(sessions_between("weekdays", *YEARS), NYSE)[:20]
    assert contradiction(traded(np.union1d(NYSE[thin], holidays))) == ""


OLD, NEW = "sun-thu", "mon-fri"
LEARNED = [
    ("a coin of an unknown suffix", [("24/7", "2022-01-03", "2023-12-31")], "24/7"),
    ("sun-thu", [(OLD, "2022-01-03", "2023-12-31")], "sun-thu"),
    ("sat-wed", [("sat-wed", "2010-01-02", "2012-12-31")], "sat-wed"),
    (
        "a move of the weekend",
        [(OLD, "2018-01-01", "2021-12-31"), (NEW, "2022-01-01", "2023-12-31")],
        "sun-thu/2022-01-01/mon-fri",
    ),
    (
        "a move of two months ago",
        [(OLD, "2018-01-01", "2023-10-31"), (NEW, "2023-11-06", "2023-12-31")],
        "sun-thu/2023-11-04/mon-fri",
    ),
    (
        "two moves",
        [
            ("sat-wed", "2010-01-01", "2013-06-28"),
            (OLD, "2013-06-29", "2021-12-31"),
            (NEW, "2022-01-01", "2023-12-31"),
        ],
        "sat-wed/2013-06-29/sun-thu/2022-01-01/mon-fri",
    ),
]


@pytest.mark.parametrize(("why", "parts", "learned"), LEARNED)
def test_a_week_is_learned_from_the_days(why, parts, learned):
    """A tenth of the days is lacking, as holidays are."""
    random = np.random.default_rng(3)
    days = [
        sessions_between(week, date.fromisoformat(first), date.fromisoformat(last))
        for week, first, last in parts
    ]
    days = np.concatenate(days)
    days = days[random.random(len(days)) > 0.1]
    assert with_learned_week(traded(days, "weekdays")).listing.calendar == learned, why
    zoned = with_learned_week(traded(days, "sat-thu@Asia/Qatar")).listing.calendar
    assert zoned == (learned if learned == "24/7" else f"{learned}@Asia/Qatar"), why


def test_a_few_odd_days_change_no_week():
    days = sessions_between("sun-thu", *YEARS)
    odd = np.union1d(days, np.array(["2020-05-08", "2021-05-07"], dtype="datetime64[D]"))
    calendar = "sun-thu@Asia/Kuwait"
    assert with_learned_week(traded(odd, calendar)).listing.calendar == calendar


def test_a_known_calendar_is_not_learned():
    days = sessions_between("sun-thu", *YEARS)
    assert with_learned_week(traded(days, "XNYS")).listing.calendar == "XNYS"
    assert with_learned_week(traded(days, "24/7")).listing.calendar == "24/7"


def test_a_guess_is_named_as_one():
    assert "every day of the week sun-thu@Asia/Qatar" in describe_guess(
        traded(NYSE, "sun-thu@Asia/Qatar")
    )
    assert "XNYS is a guess" in describe_guess(traded(NYSE, ticker="^NOBODY"))
    assert describe_guess(traded(NYSE, ticker="^SPX")) == ""
    assert describe_guess(traded(NYSE)) == ""


def test_bars_on_no_session_are_counted_and_a_week_that_fits_is_offered():
    """2 to 15 January 2024: four weekend days and Martin Luther King's."""
    coin = np.arange("2024-01-02", "2024-01-16", dtype="datetime64[D]")
    assert describe_off_calendar(traded(coin, "24/7")) == ""
    assert describe_off_calendar(traded(coin)) == (
        "ACME: 5 of 14 bars are on no session of XNYS (first 2024-01-06). 24/7 fits best (0 bars "
        "on no session, 0 sessions without a bar); set it if that is right: --calendar 24/7."
    )
    filled = sessions_between("sun-thu", date(2023, 1, 1), date(2023, 12, 31))
    assert describe_off_calendar(traded(filled, "XTAE")).endswith("--calendar sun-thu.")


def test_a_few_bars_on_no_session_offer_no_calendar():
    odd = np.union1d(NYSE, np.array(["2020-01-04"], dtype="datetime64[D]"))
    assert describe_off_calendar(traded(odd, "XNYS")).endswith("set that: --calendar NAME.")
