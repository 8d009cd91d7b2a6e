"""Histories compared with their calendar: gaps found, described and cut, off-calendar bars."""

from dataclasses import replace

import numpy as np
import pytest

from forecaster.data.calendar_gaps import (
    MAX_MISSED_SESSIONS,
    describe_gaps,
    describe_off_calendar,
    gaps,
    segments,
)
from tests.data.histories import history, with_bars


def without(*lost, days=40, **listing):
    """Forty bars of 2024 less those at the places given."""
    whole = history(close=np.arange(1.0, days + 1), **listing)
    return with_bars(whole, whole.bars.drop(index=list(lost)))


def on(one, calendar):
    """The same bars, on another calendar."""
    return replace(one, listing=replace(one.listing, calendar=calendar))


@pytest.mark.parametrize(
    ("lost", "found"),
    [
        ([], []),
        (range(10, 10 + MAX_MISSED_SESSIONS), []),
        (range(10, 11 + MAX_MISSED_SESSIONS), [10]),
        ([*range(10, 20), *range(25, 35)], [10, 15]),
    ],
)
def test_a_gap_is_more_than_five_missed_sessions(lost, found):
    """Five may be missing, as they may after the last bar of a forecast."""
    assert gaps(without(*lost)).tolist() == found


def test_holidays_and_closures_are_no_gaps():
    """After 11 September 2001 New York was shut for four sessions, and for a weekend."""
    assert len(gaps(history(first="2001-08-01", close=np.ones(100)))) == 0


def test_the_calendar_counts_the_sessions():
    """5 to 10 January 2024 are six days of a coin and four of a share."""
    coin = without(*range(3, 9), calendar="24/7")
    assert gaps(coin).tolist() == [3]
    assert len(gaps(on(coin, "weekdays"))) == 0


def test_segments_have_all_bars_in_order():
    parts = segments(without(*range(10, 20), *range(25, 35)))
    assert [part.bars["close"].tolist() for part in parts] == [
        [*map(float, range(1, 11))],
        [*map(float, range(21, 26))],
        [*map(float, range(36, 41))],
    ]
    assert {part.listing.ticker for part in parts} == {"AAPL"}


def test_a_gap_is_described_with_its_days():
    """Bars 11 to 20 of 2024: 2024-01-17 to 2024-01-30, ten sessions."""
    one = without(*range(10, 20))
    sentence = describe_gaps(one, gaps(one))
    assert sentence.startswith(
        "AAPL: no bars from 2024-01-17 to 2024-01-30 (10 sessions of XNYS); "
    )


def test_several_gaps_are_described_by_the_longest():
    one = without(*range(5, 12), *range(20, 30))
    sentence = describe_gaps(one, gaps(one))
    assert "2 gaps, the longest: no bars from 2024-01-31 to 2024-02-13 (10 sessions" in sentence


def test_bars_on_no_session_are_counted():
    """A coin's year on New York's calendar: every weekend and holiday is off the calendar."""
    coin = history("BTC", calendar="24/7", close=np.ones(14))
    assert describe_off_calendar(coin) == ""
    sentence = describe_off_calendar(on(coin, "XNYS"))
    # 2 to 15 January 2024: four weekend days and Martin Luther King's.
    assert "BTC: 5 of 14 bars are on no session of XNYS (first 2024-01-06)" in sentence
    assert "such as 24/7: --calendar NAME" in sentence


def test_off_calendar_bars_on_weekdays_only_suggest_another_exchange():
    """London trades on Washington's birthday, and never on a weekend."""
    london = history("VOD", calendar="XLON", first="2024-02-12", close=np.ones(8))
    sentence = describe_off_calendar(on(london, "XNYS"))
    assert "1 of 8 bars" in sentence and "such as XLON" in sentence
