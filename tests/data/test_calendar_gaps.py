"""Histories against their calendar: holes found, told and cut, stray bars counted."""

from dataclasses import replace

import numpy as np
import pytest

from forecaster.data.calendar_gaps import (
    MOST_MISSED,
    describe_holes,
    describe_strays,
    holes,
    pieces,
)
from tests.data.histories import history, with_bars


def holed(*lost, days=40, **listing):
    """Forty bars of 2024 less those at the places given."""
    whole = history(close=np.arange(1.0, days + 1), **listing)
    return with_bars(whole, whole.bars.drop(index=list(lost)))


def on(one, calendar):
    """The same bars, held against another calendar."""
    return replace(one, listing=replace(one.listing, calendar=calendar))


@pytest.mark.parametrize(
    ("lost", "found"),
    [
        ([], []),
        (range(10, 10 + MOST_MISSED), []),
        (range(10, 11 + MOST_MISSED), [10]),
        ([*range(10, 20), *range(25, 35)], [10, 15]),
    ],
)
def test_a_hole_is_more_than_five_missed_sessions(lost, found):
    """Five may be missing, as they may after the last bar of a forecast."""
    assert holes(holed(*lost)).tolist() == found


def test_holidays_and_closures_are_no_holes():
    """After 11 September 2001 New York was shut for four sessions, and for a weekend."""
    assert len(holes(history(first="2001-08-01", close=np.ones(100)))) == 0


def test_the_calendar_counts_the_sessions():
    """5 to 10 January 2024 are six days of a coin and four of a share."""
    coin = holed(*range(3, 9), calendar="24/7")
    assert holes(coin).tolist() == [3]
    assert len(holes(on(coin, "weekdays"))) == 0


def test_pieces_hold_all_bars_in_order():
    parts = pieces(holed(*range(10, 20), *range(25, 35)))
    assert [part.bars["close"].tolist() for part in parts] == [
        [*map(float, range(1, 11))],
        [*map(float, range(21, 26))],
        [*map(float, range(36, 41))],
    ]
    assert {part.listing.ticker for part in parts} == {"AAPL"}


def test_a_hole_is_told_with_its_days():
    """Bars 11 to 20 of 2024: 2024-01-17 to 2024-01-30, ten sessions."""
    one = holed(*range(10, 20))
    told = describe_holes(one, holes(one))
    assert told.startswith("AAPL: no bars from 2024-01-17 to 2024-01-30 (10 sessions of XNYS); ")


def test_several_holes_are_told_by_the_longest():
    one = holed(*range(5, 12), *range(20, 30))
    told = describe_holes(one, holes(one))
    assert "2 holes, the longest: no bars from 2024-01-31 to 2024-02-13 (10 sessions" in told


def test_bars_on_no_session_are_counted():
    """A coin's year on New York's calendar: every weekend and holiday is a stray."""
    coin = history("BTC", calendar="24/7", close=np.ones(14))
    assert describe_strays(coin) == ""
    told = describe_strays(on(coin, "XNYS"))
    # 2 to 15 January 2024: four weekend days and Martin Luther King's.
    assert "BTC: 5 of 14 bars are on no session of XNYS (first 2024-01-06)" in told
    assert "such as 24/7: --calendar NAME" in told


def test_strays_on_weekdays_only_suggest_another_exchange():
    """London trades on Washington's birthday, and never on a weekend."""
    london = history("VOD", calendar="XLON", first="2024-02-12", close=np.ones(8))
    told = describe_strays(on(london, "XNYS"))
    assert "1 of 8 bars" in told and "such as XLON" in told
