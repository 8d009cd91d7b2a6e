"""Frames as people have them give the same histories as the plain long table."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from forecaster.data.loading import Bars, load_histories
from forecaster.errors import UsageError
from tests.synthetic import ragged_bars

LONG = ragged_bars({"AAA": 60, "BBB": 40})
ONE = LONG[LONG["ticker"] == "AAA"].drop(columns="ticker").reset_index(drop=True)
TITLES = {name: name.title() for name in ("open", "high", "low", "close", "volume")}
ZONE = "America/New_York"


def history(one: pd.DataFrame) -> pd.DataFrame:
    """As `yf.Ticker(...).history(auto_adjust=False)` returns it."""
    days = pd.DatetimeIndex(one["session"]).tz_localize(ZONE).rename("Date")
    events = {"dividend": "Dividends", "split": "Stock Splits"}
    frame = one.drop(columns="session").rename(columns=TITLES | events).set_index(days)
    return frame.assign(**{"Stock Splits": 0.0, "Adj Close": frame["Close"]})


def download(table: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    """As `yf.download(...)` returns it, its header in one of both orders."""
    wide = table.rename(columns=TITLES | {"session": "Date"}).pivot(
        index="Date", columns="ticker", values=list(TITLES.values())
    )
    wide.columns.names = ["Price", "Ticker"]
    return wide.reorder_levels(order, axis=1).sort_index(axis=1)


PANELS: dict[str, Callable[[], Bars]] = {
    "TitleCase": lambda: LONG.rename(columns=str.title),
    "index of dates": lambda: LONG.set_index("session"),
    "index of tickers and dates": lambda: LONG.set_index(["ticker", "session"]),
    "index of dates and tickers": lambda: LONG.set_index(["session", "ticker"]),
    "index without names": lambda: LONG.set_index(["ticker", "session"]).rename_axis([None, None]),
    "index of numbers": lambda: LONG.set_axis(range(7, 7 + len(LONG)), axis=0),
    "download, by field": lambda: download(LONG, ["Price", "Ticker"]),
    "download, by ticker": lambda: download(LONG, ["Ticker", "Price"]),
    "download, index reset": lambda: download(LONG, ["Price", "Ticker"]).reset_index(),
    "download of text": lambda: download(LONG, ["Price", "Ticker"]).set_axis(
        ["_".join(pair) for pair in download(LONG, ["Price", "Ticker"]).columns], axis=1
    ),
    "a frame for each": lambda: {name.lower(): one for name, one in LONG.groupby("ticker")},
}


def check(bars: Bars, tickers: tuple[str, ...] = (), of: pd.DataFrame = LONG) -> None:
    found = load_histories(bars, Path(), tickers, None)
    expected = load_histories(of, Path(), (), None)
    assert [one.listing for one in found] == [one.listing for one in expected]
    for one, other in zip(found, expected, strict=True):
        pd.testing.assert_frame_equal(one.bars, other.bars)


@pytest.mark.parametrize("make", PANELS.values(), ids=PANELS)
def test_several_tickers_in_any_shape_are_the_long_table(make: Callable[[], Bars]) -> None:
    check(make())


SINGLE: dict[str, Callable[[], pd.DataFrame]] = {
    "as it is": lambda: ONE,
    "history": lambda: history(ONE),
    "download of one": lambda: download(ONE.assign(ticker="AAA"), ["Price", "Ticker"]),
    "download of one level": lambda: ONE.rename(columns=TITLES).set_index("session"),
    "dates of a zone": lambda: ONE.assign(session=ONE["session"].dt.tz_localize(ZONE)),
    "dates in an index without a name": lambda: ONE.set_index(
        ONE["session"].dt.date.rename(None)
    ).drop(columns="session"),
}


@pytest.mark.parametrize("make", SINGLE.values(), ids=SINGLE)
def test_one_ticker_is_named_by_the_caller_or_by_its_frame(
    make: Callable[[], pd.DataFrame], logged_warnings: list[str]
) -> None:
    expected = ONE.assign(ticker="AAA")
    check(make(), ("AAA",), expected)
    check({"AAA": make()}, (), expected)


def test_a_column_that_nothing_reads_is_reported(logged_warnings: list[str]) -> None:
    load_histories(LONG.assign(sentiment=LONG["close"] / 7), Path(), (), None)
    assert logged_warnings == ["the table of bars: columns not used: sentiment"]


def test_closes_of_two_kinds_are_read_as_a_file_of_them_is(logged_warnings: list[str]) -> None:
    """It adds adjusted closes only where the others are not adjusted for dividends."""
    (found,) = load_histories({"AAA": history(ONE)}, Path(), (), None)
    assert found.listing.basis == "as-traded"
    only = history(ONE).drop(columns=["Close", "Adj Close"]).assign(Adj_Close=ONE["close"].array)
    with pytest.raises(UsageError, match=r"rename.*'Adj_Close': 'close'"):
        load_histories({"AAA": only}, Path(), (), None)


def test_adjusted_closes_whose_dividends_decide_nothing_are_asked_about() -> None:
    """As the importer asks; in pandas' words."""
    paid = history(ONE).drop(columns="Adj Close")
    paid.iloc[[20, 30, 40], paid.columns.get_loc("Dividends")] = 0.01
    with pytest.raises(UsageError, match=r"bars.assign\(basis='total-return' or 'split-adjusted'"):
        load_histories({"AAA": paid}, Path(), (), None)
    (found,) = load_histories({"AAA": paid.assign(basis="split-adjusted")}, Path(), (), None)
    assert found.listing.basis == "split-adjusted"
