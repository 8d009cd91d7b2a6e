"""Bars that follow another calendar; weeks learned from a ticker's own days."""

from datetime import date

import numpy as np
import pytest

from forecaster.data.calendar_fit import (
    contradiction,
    describe_guess,
    describe_off_calendar,
    with_fitting_calendar,
    with_learned_week,
)
from forecaster.data.intervals import regular_interval
from forecaster.data.sessions import sessions_between
from tests.data.histories import traded, with_bars

YEARS = date(2018, 1, 2), date(2023, 12, 29)
NYSE = sessions_between("XNYS", *YEARS)


CONTRADICTIONS = [
    pytest.param(
        *("XTKS", "XNYS", "XTKS", "Tokyo's days under an unknown name"),
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


@pytest.mark.slow
def test_a_source_offers_no_import():
    days = sessions_between("XTKS", *YEARS)
    assert "--calendar" not in contradiction(traded(days, source="yahoo"))


def test_trading_on_holidays_contradicts_the_default_without_a_missing_session():
    days = sessions_between("weekdays", *YEARS)
    assert "(55 bars on no session, 0 sessions without a bar)" in contradiction(traded(days))
    assert with_fitting_calendar(traded(days)).listing.calendar == "weekdays"
    assert contradiction(traded(days, "XLON")) == "", "a suffix is no guess"


def test_days_that_only_repeat_the_bar_before_choose_no_calendar():
    """A vendor that fills holidays, or weekends too, forward."""
    bars = traded(NYSE).bars
    for freq, guess in (("B", "XNYS"), ("D", "XNYS"), ("D", "mon-fri@Asia/Qatar")):
        filled = bars.set_index("session").asfreq(freq).ffill().reset_index()
        one = with_bars(traded(NYSE, guess), filled)
        assert with_fitting_calendar(one).listing.calendar == guess
        assert with_learned_week(one).listing.calendar == guess


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
    assert "XNYS is a guess" in describe_guess(traded(NYSE, ticker="^NOWHERE"))
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
