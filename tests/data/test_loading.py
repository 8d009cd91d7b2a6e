"""Histories from the store or a table: the same bars, cut at the same day."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from forecaster import clock
from forecaster.data.loading import load_histories, load_known
from forecaster.errors import DataError, UnknownNameError, UsageError
from forecaster.pipeline.data import load_bars
from forecaster.pipeline.data_import import import_files
from tests.synthetic import bars_of, ragged_bars

BARS = ragged_bars({"AAA": 60, "BBB": 40})
CUT = BARS["session"].unique()[30].date()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    BARS.to_csv(tmp_path / "bars.csv", index=False)
    import_files([tmp_path / "bars.csv"], home=tmp_path)
    return tmp_path


@pytest.mark.parametrize("source", ["store", "table"])
def test_nothing_after_until_is_read(home: Path, source: str) -> None:
    bars = None if source == "store" else BARS
    for history in load_histories(bars, home, (), CUT):
        assert history.bars["session"].iloc[-1] == pd.Timestamp(CUT)


def test_store_and_table_give_the_same_histories(home: Path) -> None:
    pairs = zip(
        load_histories(None, home, (), None), load_histories(BARS, home, (), None), strict=True
    )
    for stored, given in pairs:
        assert stored.listing.ticker == given.listing.ticker
        pd.testing.assert_frame_equal(stored.bars, given.bars)


def test_the_long_table_comes_back_as_it_went_in(home: Path) -> None:
    found = load_bars(home=home)
    columns = [name for name in BARS.columns if name in found.columns]
    pd.testing.assert_frame_equal(found[columns], BARS[columns], check_dtype=False)
    assert found["basis"].unique().tolist() == ["as-traded"]


def test_shuffled_rows_of_a_table_are_sorted_with_a_warning(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shuffled = BARS.sample(frac=1.0, random_state=0)
    (found,) = load_histories(shuffled, home, ["AAA"], None)
    (whole,) = load_histories(BARS, home, ["AAA"], None)
    pd.testing.assert_frame_equal(found.bars, whole.bars)
    assert "AAA: rows are out of order; sorted by date" in caplog.text


def test_only_the_tickers_asked_for_are_read(home: Path) -> None:
    assert [h.listing.ticker for h in load_histories(None, home, ["bbb"], None)] == ["BBB"]
    with pytest.raises(UnknownNameError, match="ZZZ"):
        load_histories(BARS, home, ["ZZZ"], None)


TABLES = [
    (
        "no column",
        lambda t: t.drop(columns=["open", "close"]),
        UsageError,
        "no column for open, close among .* Name each: bars.rename",
    ),
    ("twice", lambda t: pd.concat([t, t[["close"]]], axis=1), UsageError, "two columns of one"),
    ("no rows", lambda t: t.head(0), DataError, "has no rows"),
    ("basis", lambda t: t.assign(basis="adjusted"), DataError, "column basis: 'adjusted'; split-"),
    ("calendar", lambda t: t.assign(calendar="X"), DataError, "column calendar: 'X'; a market"),
    ("text", lambda t: t.assign(close="ten"), DataError, "AAA: iloc 0, column close: 'ten'"),
    ("no price", lambda t: t.assign(close=float("nan")), DataError, "close nan; a value is needed"),
    ("dates", lambda t: t.assign(session="soon"), DataError, "column session: 'soon'; a date"),
    ("no date", lambda t: t.assign(session=pd.NaT), DataError, "column session: 'NaT'; a date"),
    ("one ticker", lambda t: t.assign(ticker=["AAA"] * 29 + [None]), DataError, "is not a ticker"),
    ("ticker", lambda t: t.assign(ticker="../x"), DataError, "'../x' is not a ticker"),
    ("old", lambda t: t.assign(session=t["session"] - pd.Timedelta("50000D")), DataError, "1900"),
    ("new", lambda t: t.assign(session=t["session"] + pd.Timedelta("36500D")), DataError, "future"),
    (
        "no ticker",
        lambda t: t.drop(columns="ticker"),
        UsageError,
        "assign.ticker='SYM'., or {'SYM'",
    ),
    ("two names", lambda t: t.assign(day=t["session"]), UsageError, r"leave one out: bars.drop"),
    (
        "events",
        lambda t: t.assign(bonus=5.0),
        UsageError,
        "bonus may hold splits .* Use bars.drop",
    ),
    ("days", lambda t: t.assign(session="01/02/2024"), UsageError, "two readings|pd.to_datetime"),
    ("a list", lambda t: [t], UsageError, "bars is a list; a pandas DataFrame"),
    ("dict", lambda t: t.to_dict(), UsageError, "bars is a dict; a pandas DataFrame"),
    ("none", lambda t: {}, UsageError, "has no ticker"),
]


@pytest.mark.parametrize(
    ("change", "error", "words"), [one[1:] for one in TABLES], ids=[one[0] for one in TABLES]
)
def test_a_table_that_cannot_be_is_refused_by_our_errors(
    home: Path, change: Callable[[pd.DataFrame], object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        load_histories(change(bars_of("AAA", 30)), home, (), None)  # type: ignore[arg-type]


SESSIONS = {
    "New York's midnights": lambda s: s.dt.tz_localize("America/New_York"),
    "the same in UTC": lambda s: s.dt.tz_localize("America/New_York").dt.tz_convert("UTC"),
    "dates that got a zone": lambda s: s.dt.tz_localize("UTC"),
    "text": lambda s: s.dt.strftime("%Y-%m-%d"),
    "dates": lambda s: s.dt.date,
    "nanoseconds": lambda s: s.astype("datetime64[ns]"),
}


@pytest.mark.parametrize("write", SESSIONS.values(), ids=SESSIONS)
def test_sessions_of_a_table_in_any_form_are_dates(
    home: Path, write: Callable[["pd.Series"], "pd.Series"]
) -> None:
    table = bars_of("AAA", 200)
    (found,) = load_histories(table.assign(session=write(table["session"])), home, (), None)
    pd.testing.assert_series_equal(found.bars["session"], table["session"])


def test_the_calendar_of_a_table_is_that_of_its_ticker(home: Path) -> None:
    (coin,) = load_histories(bars_of("BTC-USD", 30), home, (), None)
    assert coin.listing.calendar == "24/7"
    (named,) = load_histories(bars_of("BTC-USD", 30).assign(calendar="NYSE"), home, (), None)
    assert named.listing.calendar == "XNYS"


def test_calendars_of_a_table_that_are_guesses_are_warned_of(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not where the table says itself which they are."""
    days = pd.date_range("2024-01-02", periods=12)
    coin, qatari = bars_of("BTC", 12).assign(session=days), bars_of("QNBK.QA", 12)
    load_histories(pd.concat([coin, qatari]), home, (), None)
    assert "BTC: 3 of 12 bars are on no session of XNYS" in caplog.text
    assert "QNBK.QA: no calendar is known" in caplog.text
    caplog.clear()
    load_histories(qatari.assign(calendar="weekdays"), home, (), None)
    assert caplog.text == ""


def test_an_unfinished_bar_of_a_table_is_left_out(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is when it comes from a source: half past four in New York is not settled."""
    table = bars_of("AAA", 30)
    last = table["session"].iloc[-1]
    monkeypatch.setattr(
        clock, "now", lambda: datetime(last.year, last.month, last.day, 21, 30, tzinfo=UTC)
    )
    (found,) = load_histories(table, home, (), None)
    assert found.bars["session"].iloc[-1] == table["session"].iloc[-2]


def test_a_ticker_may_be_given_by_itself(home: Path) -> None:
    assert [h.listing.ticker for h in load_histories(None, home, "aaa", None)] == ["AAA"]
    assert load_bars("BBB", home=home)["ticker"].unique().tolist() == ["BBB"]
    with pytest.raises(UsageError, match="7 is not a ticker"):
        load_histories(None, home, [7], None)  # type: ignore[list-item]


def test_a_ticker_without_a_bar_so_early_is_named(home: Path) -> None:
    first = BARS.loc[BARS["ticker"] == "BBB", "session"].iloc[0].date()
    before = date.fromordinal(first.toordinal() - 1)
    assert [h.listing.ticker for h in load_histories(None, home, (), before)] == ["AAA"]
    with pytest.raises(DataError, match="BBB: no bar on or before"):
        load_histories(None, home, ["BBB"], before)


@pytest.mark.parametrize("from_store", [True, False])
def test_of_some_tickers_those_that_are_known_are_loaded(home: Path, from_store: bool) -> None:
    """Neither one that is not there nor one that has no bar yet is an error."""
    bars = None if from_store else BARS
    (aaa, bbb) = load_known(bars, home, ["ZZZ", "BBB", "AAA"], None)
    assert (aaa.listing.ticker, bbb.listing.ticker) == ("AAA", "BBB")
    before = bbb.bars["session"].iloc[0].date() - timedelta(days=1)
    assert [one.listing.ticker for one in load_known(bars, home, ["AAA", "BBB"], before)] == ["AAA"]
    assert load_known(bars, home, ["ZZZ"], None) == []
