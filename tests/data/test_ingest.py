"""The one road into the store: what is news, what has changed, and what is refused."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecaster.data import checks
from forecaster.data.checks import Rule
from forecaster.data.history import BAR_COLUMNS, Listing
from forecaster.data.ingest import describe_change, keep_known
from forecaster.data.series import Hit, Series
from forecaster.data.sources.yahoo import YahooSource
from forecaster.data.store import PriceStore
from forecaster.errors import DataError, PartialFailure, UnknownNameError
from forecaster.pipeline.data import check_prices
from forecaster.pipeline.data_import import import_files
from forecaster.pipeline.fetch import fetch
from forecaster.pipeline.quarantine import drop, quarantine_table, release
from tests.pipeline.test_fetch import Shelf, held
from tests.synthetic import bars_of
from tests.yahoo import faults
from tests.yahoo.server import LoopbackYahoo

PRICES = ["open", "high", "low", "close"]


def scaled(ticker: str, days: int, rows: slice, factor: float) -> pd.DataFrame:
    """Bars of a ticker, the prices of some rows times a factor."""
    table = bars_of(ticker, days)
    table.loc[table.index[rows], PRICES] *= factor
    return table


def revision(home: Path, ticker: str) -> int:
    with PriceStore.open_for_reading(home) as store:
        return store.revision(ticker).number


def test_a_quarantined_ticker_stays_as_stored_and_the_others_continue(tmp_path: Path) -> None:
    shelf = Shelf({"AAA": bars_of("AAA", 90), "BBB": bars_of("BBB", 90)})
    fetch(["AAA", "BBB"], home=tmp_path, source=shelf)
    shelf.tables = {"AAA": scaled("AAA", 100, slice(95, None), 0.01), "BBB": bars_of("BBB", 100)}
    report = fetch(home=tmp_path, source=shelf)
    with pytest.raises(PartialFailure) as raised:
        report.raise_failures()
    assert raised.value.exit_code == 3
    assert "AAA: quarantined, kept as stored" in str(report.failures["AAA"])
    assert (len(held(tmp_path, "AAA")), len(held(tmp_path, "BBB"))) == (90, 100)
    assert revision(tmp_path, "AAA") == 1
    (row,) = quarantine_table(home=tmp_path).itertuples()
    assert (row.ticker, row.rule, row.state) == ("AAA", "unit-slip", "held")
    with pytest.raises(DataError, match="1 errors in AAA"):
        check_prices(home=tmp_path).raise_errors()


def test_a_single_quarantined_ticker_exits_65(tmp_path: Path) -> None:
    report = fetch("AAA", home=tmp_path, source=Shelf({"AAA": scaled("AAA", 90, slice(40), 0.01)}))
    with pytest.raises(DataError) as raised:
        report.raise_failures()
    assert raised.value.exit_code == 65


def test_what_the_source_corrects_is_fetched_and_leaves_quarantine(tmp_path: Path) -> None:
    shelf = Shelf({"AAA": scaled("AAA", 90, slice(89, None), 3.0)})
    assert "fresh-jump" in str(fetch("AAA", home=tmp_path, source=shelf).failures["AAA"])
    shelf.tables["AAA"] = bars_of("AAA", 91)
    assert not fetch("AAA", home=tmp_path, source=shelf).failures
    assert len(held(tmp_path, "AAA")) == 91 and quarantine_table(home=tmp_path).empty


def test_an_answer_that_is_refused_is_held_until_the_source_has_none_or_another(
    tmp_path: Path,
) -> None:
    """Another security is a doubt; a ticker that is gone is not: it has no bars to hold."""
    shelf = Shelf({"AAA": bars_of("AAA", 90)}, marks={"currency": "GBP"})
    fetch("AAA", home=tmp_path, source=shelf)
    for gone in (False, True):
        shelf.marks = {"currency": "GBp"}
        assert fetch("AAA", home=tmp_path, source=shelf).failures
        assert quarantine_table(home=tmp_path)["rule"].tolist() == ["refused"]
        shelf.marks = {"currency": "GBP"}
        if gone:
            shelf.errors["AAA"] = UnknownNameError("AAA: no such ticker.")
        fetch("AAA", home=tmp_path, source=shelf)
        assert quarantine_table(home=tmp_path).empty


def test_closes_of_a_source_that_are_adjusted_for_dividends_are_quarantined(
    tmp_path: Path,
) -> None:
    """What a file is asked about; a fetch has no one to ask."""
    right, adjusted = (bars_of("AAA", 500) for _ in range(2))
    ex_dates = right.index[40::60]
    for row in ex_dates:
        right.loc[row:, PRICES] *= 0.94
    for table in (right, adjusted):
        table.loc[ex_dates, "dividend"] = 0.06 / 0.94 * table.loc[ex_dates, "close"]
    shelf = Shelf({"AAA": right, "BBB": adjusted})
    report = fetch(["AAA", "BBB"], home=tmp_path, source=shelf)
    assert list(report.failures) == ["BBB"]
    assert "basis: the closes do not fall on 8 ex-dates" in str(report.failures["BBB"])
    release("BBB", home=tmp_path)
    assert not fetch("BBB", home=tmp_path, source=shelf).failures


@pytest.mark.parametrize(("factor", "waiting"), [(0.65, 3), (0.5, 10)])
def test_the_days_of_waiting_are_stored_with_the_jump_that_they_confirm(
    tmp_path: Path, factor: float, waiting: int
) -> None:
    """They are fetched again on the day on which the last of them confirms it."""
    served = bars_of("AAA", 120)
    served[PRICES] = 50 * (served[PRICES] / 50) ** 0.25  # calm enough for a jump to be one
    shelf = Shelf({"AAA": served.head(90)})
    fetch("AAA", home=tmp_path, source=shelf)
    before, close = served["close"].iloc[89], served["close"].iloc[90]
    served.loc[served.index[90:], PRICES] *= factor * before / close
    for later in range(1, waiting + 1):
        shelf.tables["AAA"] = served.head(90 + later)
        assert "fresh-jump" in str(fetch("AAA", home=tmp_path, source=shelf).failures["AAA"])
    shelf.tables["AAA"] = served.head(91 + waiting)
    assert not fetch("AAA", home=tmp_path, source=shelf).failures
    expected = served.head(91 + waiting)[list(BAR_COLUMNS)]
    pd.testing.assert_frame_equal(held(tmp_path, "AAA"), expected)
    assert quarantine_table(home=tmp_path).empty


@pytest.mark.parametrize("late", [False, True], ids=["at once", "a day late"])
def test_a_split_that_yahoo_applies_late_waits_for_it(tmp_path: Path, late: bool) -> None:
    """A day with the split served and old closes not yet rescaled changes nothing."""
    before = bars_of("AAA", 90)
    after = scaled("AAA", 95, slice(92), 0.25)
    after.loc[after.index[92:], PRICES] *= 0.25
    after.loc[after.index[92], "split"] = 4.0
    shelf = Shelf({"AAA": before})
    fetch("AAA", home=tmp_path, source=shelf)
    if late:
        unscaled = after.copy()
        unscaled.loc[unscaled.index[:92], PRICES] *= 4.0
        shelf.tables["AAA"] = unscaled
        assert "split-slip" in str(fetch("AAA", home=tmp_path, source=shelf).failures["AAA"])
        assert held(tmp_path, "AAA")["close"].tolist() == before["close"].tolist()
    shelf.tables["AAA"] = after
    assert not fetch("AAA", home=tmp_path, source=shelf).failures
    assert held(tmp_path, "AAA")["close"].tolist() == after["close"].tolist()
    assert revision(tmp_path, "AAA") == 2 and quarantine_table(home=tmp_path).empty


def test_a_row_that_cannot_be_is_left_out_until_it_comes_right(tmp_path: Path) -> None:
    good = bars_of("AAA", 90)
    shelf = Shelf({"AAA": good.copy()})
    shelf.tables["AAA"].loc[shelf.tables["AAA"].index[85], "close"] = np.nan
    assert not fetch("AAA", home=tmp_path, source=shelf).failures
    assert len(held(tmp_path, "AAA")) == 89
    assert quarantine_table(home=tmp_path)["rule"].tolist() == ["missing-value"]
    assert fetch("AAA", home=tmp_path, source=shelf).table["rows_changed"].tolist() == [0]
    shelf.tables["AAA"] = good
    fetch("AAA", home=tmp_path, source=shelf)
    assert len(held(tmp_path, "AAA")) == 90 and quarantine_table(home=tmp_path).empty


def test_decisions_hold_for_the_fetches_that_follow(tmp_path: Path) -> None:
    shelf = Shelf({"AAA": scaled("AAA", 90, slice(85, 86), 3.0)})
    assert fetch("AAA", home=tmp_path, source=shelf).failures
    day = shelf.tables["AAA"]["session"].iloc[85].date()
    release("AAA", home=tmp_path)
    assert not fetch("AAA", home=tmp_path, source=shelf).failures
    assert len(held(tmp_path, "AAA")) == 90
    drop("AAA", [day], home=tmp_path)
    for _ in range(2):
        report = fetch("AAA", home=tmp_path, source=shelf)
        assert not report.failures and report.table["rows_changed"].tolist() == [0]
    assert day not in held(tmp_path, "AAA")["session"].dt.date.tolist()


def test_an_import_leaves_a_quarantined_ticker_out_and_stores_the_others(tmp_path: Path) -> None:
    both = pd.concat([scaled("AAA", 90, slice(40), 0.01), bars_of("BBB", 90)])
    both.to_csv(tmp_path / "prices.csv", index=False)
    report = import_files(tmp_path / "prices.csv", home=tmp_path)
    assert list(report.failures) == ["AAA"] and report.table["days"].tolist() == [90, 0]
    with pytest.raises(PartialFailure):
        report.raise_failures()
    with PriceStore.open_for_reading(tmp_path) as store:
        assert store.tickers() == ["BBB"]
    release("AAA", home=tmp_path)
    assert not import_files(tmp_path / "prices.csv", home=tmp_path).failures
    assert len(held(tmp_path, "AAA")) == 90


def test_a_day_that_is_nowhere_cannot_be_dropped(tmp_path: Path) -> None:
    fetch("AAA", home=tmp_path, source=Shelf({"AAA": bars_of("AAA", 90)}))
    with pytest.raises(Exception, match="nothing of 2001-01-01"):
        drop("AAA", [date(2001, 1, 1)], home=tmp_path)


@pytest.mark.parametrize("new", [1, 5])
def test_a_rule_that_is_added_is_applied_to_an_ordinary_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: int
) -> None:
    """There is one road into the store: no faster one that knows only some rules."""
    shelf = Shelf({name: bars_of(name, 90) for name in ("AAA", "BBB")})
    fetch(["AAA", "BBB"], home=tmp_path, source=shelf)
    limit = bars_of("AAA", 90 + new)["close"].iloc[-1]

    def closes_at_limit(series: Series) -> list[Hit]:
        rows = np.flatnonzero(series.close == limit)
        return [Hit(int(row), "closes at the limit") for row in rows]

    added = Rule(name="limit", severity="error", find=closes_at_limit)
    monkeypatch.setattr(checks, "RULES", (*checks.RULES, added))
    shelf.tables = {name: bars_of(name, 90 + new) for name in ("AAA", "BBB")}
    report = fetch(home=tmp_path, source=shelf)
    assert list(report.failures) == ["AAA"]
    assert "limit: closes at the limit" in str(report.failures["AAA"])
    assert report.table["days"].tolist() == [90, 90 + new]
    assert quarantine_table(home=tmp_path)["rule"].tolist() == ["limit"]


def in_pounds(result: dict[str, Any]) -> None:
    """Serve some days inside a chart in pounds, as Yahoo does for London."""
    if len(result.get("timestamp", ())) > 100:
        quote = result["indicators"]["quote"][0]
        for name in PRICES:
            quote[name][50:60] = [price / 100 for price in quote[name][50:60]]


def test_what_yahoo_itself_serves_is_checked_by_the_rules(
    yahoo: LoopbackYahoo, source: YahooSource, tmp_path: Path
) -> None:
    """The real client: a null row is left out, a unit slip stops its ticker, the rest go on."""
    yahoo.always("MSFT", faults.null_row(200))
    yahoo.always("VOD", faults.edited(in_pounds))
    report = fetch(["AAPL", "MSFT", "VOD"], home=tmp_path, source=source)
    assert list(report.failures) == ["VOD"] and "unit-slip" in str(report.failures["VOD"])
    assert len(held(tmp_path, "MSFT")) == len(held(tmp_path, "AAPL")) - 1
    table = quarantine_table(home=tmp_path)
    assert set(zip(table["ticker"], table["rule"], strict=True)) == {
        ("MSFT", "missing-value"),
        ("VOD", "unit-slip"),
    }
    yahoo.always("VOD", faults.fine)
    assert not fetch(["VOD"], home=tmp_path, source=source).failures
    assert quarantine_table(home=tmp_path)["ticker"].tolist() == ["MSFT"]


APPLE = Listing(
    ticker="AAPL",
    source="yahoo",
    basis="split-adjusted",
    calendar="XNYS",
    name="Apple Inc.",
    exchange="NMS",
    currency="USD",
    first_trade=date(1980, 12, 12),
)
UNKNOWN = replace(APPLE, name="", exchange="", currency="", first_trade=None)


@pytest.mark.parametrize(
    ("mark", "value", "words"),
    [
        ("name", "Pear Inc.", "name was Apple Inc., is Pear Inc."),
        ("exchange", "NYQ", "exchange was NMS, is NYQ"),
        ("currency", "USd", "currency was USD, is USd"),
        (
            "first_trade",
            date(2022, 6, 9),
            "first trade date was 1980-12-12, is 2022-06-09",
        ),
    ],
)
def test_each_mark_that_changes_is_described(mark: str, value: object, words: str) -> None:
    assert describe_change(APPLE, replace(APPLE, **{mark: value})) == words


def test_several_changes_are_described_together() -> None:
    other = replace(APPLE, currency="EUR", exchange="GER")
    assert describe_change(APPLE, other) == "exchange was NMS, is GER; currency was USD, is EUR"


@pytest.mark.parametrize("name", ["APPLE INC", "Apple, Inc."])
def test_a_name_may_change_its_case_and_punctuation(name: str) -> None:
    assert describe_change(APPLE, replace(APPLE, name=name)) == ""


def test_a_missing_mark_is_no_change_and_is_kept() -> None:
    assert describe_change(APPLE, UNKNOWN) == describe_change(UNKNOWN, APPLE) == ""
    assert keep_known(APPLE, UNKNOWN) == keep_known(UNKNOWN, APPLE) == APPLE


def test_a_new_mark_replaces_the_stored_one() -> None:
    renamed = replace(APPLE, name="APPLE INC")
    assert keep_known(APPLE, renamed) == renamed
