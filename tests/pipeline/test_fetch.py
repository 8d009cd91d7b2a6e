"""Fetching: what is missing and nothing else, ticker by ticker, whatever the source does."""

import errno
import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from forecaster import clock
from forecaster.data.history import BAR_COLUMNS, History, Listing
from forecaster.data.ingest import OVERLAP
from forecaster.data.price_database import store_path
from forecaster.data.sessions import sessions_between
from forecaster.data.sources import SOURCES, SourceEntry, check_source, describe_sources
from forecaster.data.sources.yahoo import YahooSource
from forecaster.data.store import PriceStore
from forecaster.errors import (
    BugError,
    DataError,
    ForecasterError,
    PartialFailure,
    SettingsError,
    SourceDownError,
    StorageError,
    TickerBugError,
    TryLaterError,
    UnknownNameError,
    UsageError,
)
from forecaster.operations.run_log import log_path
from forecaster.pipeline.fetch import MOST_DOWN, fetch
from forecaster.settings import FetchSettings
from tests.synthetic import bars_of
from tests.yahoo.server import LoopbackYahoo


@dataclass
class Shelf:
    """A source that serves its tables, and records what it was asked."""

    tables: dict[str, pd.DataFrame]
    errors: dict[str, ForecasterError] = field(default_factory=dict)
    asked: list[tuple[str, date | None, date | None]] = field(default_factory=list)
    name: str = "shelf"
    calendar: str = "XNYS"
    marks: dict[str, object] = field(default_factory=dict)

    def tickers(self) -> tuple[str, ...]:
        """Serve without bound."""
        return ()

    def history(self, ticker: str, start: date | None, end: date | None) -> History:
        """Serve a table, or raise an error."""
        self.asked.append((ticker, start, end))
        if ticker in self.errors:
            raise self.errors[ticker]
        bars = self.tables[ticker][list(BAR_COLUMNS)]
        first, last = pd.Timestamp(start or "1900-01-01"), pd.Timestamp(end or "2100-01-01")
        bars = bars[(bars["session"] >= first) & (bars["session"] <= last)].reset_index(drop=True)
        listing = Listing(
            ticker=ticker,
            source=self.name,
            basis="split-adjusted",
            calendar=self.calendar,
            **self.marks,
        )
        return History(listing=listing, bars=bars)


def held(home: Path, ticker: str) -> pd.DataFrame:
    with PriceStore.open_for_reading(home) as store:
        return store.bars(ticker)


def reasons(home: Path, ticker: str = "AAA") -> list[str]:
    """Why each revision of a ticker was raised, the first left out."""
    with PriceStore.open_for_reading(home) as store:
        first, *later = store.revisions(ticker)
    assert first.reason == "first stored"
    return [revision.reason for revision in later]


def moved(table: pd.DataFrame, row: int | slice, **factors: float) -> pd.DataFrame:
    """The table with columns of one row, or of several, multiplied."""
    table = table.copy()
    for name, factor in factors.items():
        table.loc[row, name] *= factor
    return table


def test_a_second_fetch_asks_only_for_the_overlap_and_changes_nothing(tmp_path: Path) -> None:
    shelf = Shelf({"AAA": bars_of("AAA", 100)})
    first = fetch(["aaa"], home=tmp_path, source=shelf).table
    again = fetch(["AAA"], home=tmp_path, source=shelf).table
    assert first["rows_changed"].tolist() == [100] and again["rows_changed"].tolist() == [0]
    last = bars_of("AAA", 100)["session"].iloc[-1].date()
    assert shelf.asked[0][1] is None
    assert shelf.asked[1][1] == last - pd.Timedelta(days=14).to_pytimedelta()
    assert len(shelf.asked) == 2


def test_new_bars_are_appended(tmp_path: Path) -> None:
    shelf = Shelf({"AAA": bars_of("AAA", 100).head(95)})
    fetch(["AAA"], home=tmp_path, source=shelf)
    shelf.tables["AAA"] = bars_of("AAA", 100)
    assert fetch(["AAA"], home=tmp_path, source=shelf).table["rows_changed"].tolist() == [5]
    assert len(held(tmp_path, "AAA")) == 100


def test_a_split_fetches_the_whole_rescaled_past(tmp_path: Path) -> None:
    """Appending to a past on the old scale would look like a crash of 75 %."""
    before = bars_of("AAA", 100)
    shelf = Shelf({"AAA": before.head(99)})
    fetch(["AAA"], home=tmp_path, source=shelf)
    after = before.copy()
    after[["open", "high", "low", "close"]] /= 4.0
    after.loc[99, "split"] = 4.0
    shelf.tables["AAA"] = after
    fetch(["AAA"], home=tmp_path, source=shelf)
    stored = held(tmp_path, "AAA")
    pd.testing.assert_series_equal(stored["close"], after["close"], check_names=False)
    assert stored["close"].pct_change().abs().max() < 0.5
    first, last = (before["session"].iloc[row].date() for row in (0, 98))
    assert shelf.asked[1:] == [("AAA", last - OVERLAP, None), ("AAA", first, None)]
    (reason,) = reasons(tmp_path)
    assert reason.startswith(f"11 of 11 days differ (first {last - OVERLAP}: close 51.7006")


@pytest.mark.parametrize("factor", [1 + 9e-5, 1 - 9e-5])
def test_jitter_writes_nothing(tmp_path: Path, factor: float) -> None:
    """Identical calls differ by less than 1e-4 in prices, by half a percent in volume."""
    table = bars_of("AAA", 100)
    shelf = Shelf({"AAA": table})
    fetch(["AAA"], home=tmp_path, source=shelf)
    before = store_path(tmp_path).read_bytes()
    prices = dict.fromkeys(["open", "high", "low", "close"], factor)
    shelf.tables["AAA"] = moved(table, slice(0, 99), **prices, volume=1.004)
    assert fetch(["AAA"], home=tmp_path, source=shelf).table["rows_changed"].tolist() == [0]
    assert store_path(tmp_path).read_bytes() == before
    assert len(shelf.asked) == 2


def test_a_corrected_bar_is_replaced_without_fetching_all(tmp_path: Path) -> None:
    """An open or a volume rescales nothing, but the past is another revision."""
    table = bars_of("AAA", 100)
    shelf = Shelf({"AAA": table.head(99)})
    fetch(["AAA"], home=tmp_path, source=shelf)
    shelf.tables["AAA"] = moved(table, 97, volume=1.2)
    assert fetch(["AAA"], home=tmp_path, source=shelf).table["rows_changed"].tolist() == [2]
    assert held(tmp_path, "AAA")["volume"].equals(shelf.tables["AAA"]["volume"])
    assert len(shelf.asked) == 2
    assert reasons(tmp_path) == ["1 bars on or before 2010-05-25 replaced or added"]


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("dividend", 0.5, "a late dividend of 2010-05-24: 0 stored, 0.5 served"),
        ("split", 2.0, "1 of 11 days differ (first 2010-05-24: close 46.8212"),
    ],
)
def test_a_late_dividend_or_split_fetches_all_once(
    tmp_path: Path, column: str, value: float, words: str
) -> None:
    """One full re-fetch, one revision, with the reason; the next fetch is quiet again."""
    table = bars_of("AAA", 100)
    shelf = Shelf({"AAA": table})
    fetch(["AAA"], home=tmp_path, source=shelf)
    shelf.tables["AAA"] = table.copy()
    shelf.tables["AAA"].loc[97, column] = value
    for _ in range(2):
        fetch(["AAA"], home=tmp_path, source=shelf)
    assert held(tmp_path, "AAA").loc[97, column] == value
    assert [start for _, start, _ in shelf.asked[1:]] == [
        date(2010, 5, 12),
        date(2010, 1, 4),
        date(2010, 5, 12),
    ]
    (reason,) = reasons(tmp_path)
    assert reason.startswith(words)


def test_a_dividend_of_a_new_day_changes_no_past(tmp_path: Path) -> None:
    """Closes are not adjusted for dividends: nothing is to be fetched again."""
    table = bars_of("AAA", 100)
    table.loc[99, "dividend"] = 0.5
    shelf = Shelf({"AAA": table.head(99)})
    fetch(["AAA"], home=tmp_path, source=shelf)
    shelf.tables["AAA"] = table
    assert fetch(["AAA"], home=tmp_path, source=shelf).table["rows_changed"].tolist() == [1]
    assert len(shelf.asked) == 2 and reasons(tmp_path) == []


def test_a_day_that_a_rescaled_past_lacks_keeps_the_store_as_it_was(tmp_path: Path) -> None:
    """On its old scale it would be a crash of 75 % and a rise of 300 %."""
    table = bars_of("AAA", 100)
    shelf = Shelf({"AAA": table})
    fetch(["AAA"], home=tmp_path, source=shelf)
    kept = held(tmp_path, "AAA")
    prices = dict.fromkeys(["open", "high", "low", "close"], 0.25)
    shelf.tables["AAA"] = moved(table, slice(0, 99), **prices).drop(index=40)
    report = fetch(["AAA"], home=tmp_path, source=shelf)
    with pytest.raises(DataError, match=r"lacks 1 of the 100 stored days \(first 2010-03-03\)"):
        report.raise_failures()
    pd.testing.assert_frame_equal(held(tmp_path, "AAA"), kept)
    assert reasons(tmp_path) == []


def test_a_day_that_a_corrected_past_lacks_stays_stored(tmp_path: Path) -> None:
    """One close corrected rescales nothing: the day left out still goes with the others."""
    table = bars_of("AAA", 100)
    shelf = Shelf({"AAA": table})
    fetch(["AAA"], home=tmp_path, source=shelf)
    shelf.tables["AAA"] = moved(table, 98, close=1.001, high=1.001).drop(index=40)
    assert fetch(["AAA"], home=tmp_path, source=shelf).table["rows_changed"].tolist() == [1]
    assert held(tmp_path, "AAA")["close"].tolist() == [
        *table["close"][:98],
        table["close"][98] * 1.001,
        table["close"][99],
    ]


def test_an_older_start_asks_for_what_is_missing_only(tmp_path: Path) -> None:
    """From the first missing session on; and no more than the overlap once it is there."""
    table = bars_of("AAA", 100)
    shelf = Shelf({"AAA": table}, marks={"first_trade": date(2010, 1, 4)})
    days = [day.date() for day in table["session"]]
    fetch(["AAA"], home=tmp_path, source=shelf, start=days[50])
    for start in (days[20], days[20], date(1990, 1, 1), date(1990, 1, 1)):
        fetch(["AAA"], home=tmp_path, source=shelf, start=start, end=days[99])
    overlap = days[99] - OVERLAP
    assert [start for _, start, _ in shelf.asked] == [days[50], days[20], days[0]]
    assert len(held(tmp_path, "AAA")) == 100
    fetch(["AAA"], home=tmp_path, source=shelf, start=date(1990, 1, 1))
    assert shelf.asked[-1] == ("AAA", overlap, None)


def test_an_older_piece_is_never_joined_unseen(tmp_path: Path) -> None:
    """A span that ends before the stored bars reaches into them, or scales would mix."""
    table = bars_of("AAA", 100)
    shelf = Shelf({"AAA": table})
    days = [day.date() for day in table["session"]]
    fetch(["AAA"], home=tmp_path, source=shelf, start=days[50])
    shelf.tables["AAA"] = moved(table, slice(0, 99), open=0.5, high=0.5, low=0.5, close=0.5)
    fetch(["AAA"], home=tmp_path, source=shelf, start=days[0], end=days[20])
    assert held(tmp_path, "AAA")["close"].tolist() == shelf.tables["AAA"]["close"].tolist()
    assert shelf.asked[1:] == [("AAA", days[0], days[99])]


@pytest.mark.parametrize(
    ("mark", "value"),
    [
        ("name", "Zenith Ltd"),
        ("exchange", "NYQ"),
        ("currency", "GBP"),
        ("first_trade", date(2009, 7, 1)),
    ],
)
def test_another_identity_stops_its_ticker_and_no_other(
    tmp_path: Path, mark: str, value: object
) -> None:
    marks = {"name": "Aaa plc", "exchange": "LSE", "currency": "GBp"}
    shelf = Shelf({"AAA": bars_of("AAA", 90)}, marks={**marks, "first_trade": date(2009, 6, 1)})
    fetch(["AAA"], home=tmp_path, source=shelf)
    shelf.tables = {"AAA": bars_of("AAA", 100), "BBB": bars_of("BBB", 30)}
    shelf.marks[mark] = value
    report = fetch(["AAA", "BBB"], home=tmp_path, source=shelf)
    assert report.table["rows_changed"].tolist() == [0, 30]
    assert f"is {value}. Nothing was stored" in str(report.failures["AAA"])
    with pytest.raises(PartialFailure):
        report.raise_failures()
    report = fetch(["AAA"], home=tmp_path, source=shelf, accept_identity=True)
    assert not report.failures and len(held(tmp_path, "AAA")) == 100
    (reason,) = reasons(tmp_path)
    assert reason.startswith("identity accepted: ") and reason.endswith(f"is {value}")
    assert not fetch(["AAA"], home=tmp_path, source=shelf).failures


def test_an_identity_is_accepted_by_name_only(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name the tickers"):
        fetch(home=tmp_path, source=Shelf({}), accept_identity=True)


def test_marks_that_were_not_known_are_learnt_and_then_kept(tmp_path: Path) -> None:
    """As in a store of an earlier release; the source may also leave one out for a day."""
    shelf = Shelf({"AAA": bars_of("AAA", 30)})
    fetch(["AAA"], home=tmp_path, source=shelf)
    for marks in ({"currency": "GBp", "first_trade": date(2009, 6, 1)}, {}):
        shelf.marks = marks
        assert not fetch(["AAA"], home=tmp_path, source=shelf).failures
    with PriceStore.open_for_reading(tmp_path) as store:
        listing = store.listing("AAA")
    assert (listing.currency, listing.first_trade) == ("GBp", date(2009, 6, 1))
    assert reasons(tmp_path) == []


def test_a_clock_set_back_writes_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf({"AAA": bars_of("AAA", 30)})
    fetch(["AAA"], home=tmp_path, source=shelf)
    before = store_path(tmp_path).read_bytes()
    monkeypatch.setattr(clock, "now", lambda: datetime(2010, 2, 1, 23, tzinfo=UTC))
    shelf.tables["AAA"] = moved(shelf.tables["AAA"], 0, open=1.0001)
    with pytest.raises(TryLaterError, match="The clock says 2010-02-01 23:00 UTC"):
        fetch(["AAA"], home=tmp_path, source=shelf)
    assert len(shelf.asked) == 1 and store_path(tmp_path).read_bytes() == before


def test_a_session_that_closes_while_the_source_is_asked_is_not_final(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer may have left before; waiting out a rate limit takes minutes."""
    ticks = iter([datetime(2026, 3, 6, 21, 59, tzinfo=UTC)])
    monkeypatch.setattr(clock, "now", lambda: next(ticks, datetime(2026, 3, 6, 22, 1, tzinfo=UTC)))
    table = bars_of("AAA", 300, first=date(2025, 1, 2))
    shelf = Shelf({"AAA": table[table["session"] <= "2026-03-06"]})
    fetch(["AAA"], home=tmp_path, source=shelf)
    assert held(tmp_path, "AAA")["session"].iloc[-1] == pd.Timestamp("2026-03-05")


def test_a_rescaled_past_that_got_shorter_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    shelf = Shelf({"AAA": bars_of("AAA", 100)})
    fetch(["AAA"], home=tmp_path, source=shelf)
    kept = held(tmp_path, "AAA")
    shorter = bars_of("AAA", 100).tail(50)
    shelf.tables["AAA"] = shorter.assign(close=shorter["close"] * 0.999)
    report = fetch(["AAA"], home=tmp_path, source=shelf)
    with pytest.raises(DataError, match=r"lacks 50 of the 100 stored days .*kept as stored"):
        report.raise_failures()
    pd.testing.assert_frame_equal(held(tmp_path, "AAA"), kept)


def test_fewer_days_than_stored_never_shrink_the_store(tmp_path: Path) -> None:
    shelf = Shelf({"AAA": bars_of("AAA", 100)})
    fetch(["AAA"], home=tmp_path, source=shelf)
    shelf.tables["AAA"] = bars_of("AAA", 100).head(98)
    fetch(["AAA"], home=tmp_path, source=shelf)
    assert len(held(tmp_path, "AAA")) == 100


@pytest.mark.parametrize(
    ("instant", "last"),
    [
        ("2026-03-06T20:59:00+00:00", "2026-03-05"),  # a minute before New York closes
        ("2026-03-06T21:30:00+00:00", "2026-03-05"),  # closed, but not settled
        ("2026-03-06T22:00:00+00:00", "2026-03-06"),  # an hour after the close
        ("2026-03-09T20:30:00+00:00", "2026-03-06"),  # summer time began: closed at 20:00 UTC
        ("2026-03-09T21:00:00+00:00", "2026-03-09"),
    ],
)
def test_an_unfinished_bar_is_never_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instant: str, last: str
) -> None:
    monkeypatch.setattr(clock, "now", lambda: datetime.fromisoformat(instant))
    table = bars_of("AAA", 300, first=date(2025, 1, 2))
    shelf = Shelf({"AAA": table[table["session"] <= pd.Timestamp(instant[:10])]})
    fetch(["AAA"], home=tmp_path, source=shelf)
    assert held(tmp_path, "AAA")["session"].iloc[-1] == pd.Timestamp(last)


def test_a_bar_of_the_future_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: datetime(2010, 3, 1, 23, tzinfo=UTC))
    report = fetch(["AAA"], home=tmp_path, source=Shelf({"AAA": bars_of("AAA", 100)}))
    assert "future" in str(report.failures["AAA"])


def test_one_bad_ticker_does_not_stop_the_others(tmp_path: Path) -> None:
    shelf = Shelf({"AAA": bars_of("AAA", 30), "CCC": bars_of("CCC", 30)})
    shelf.errors["BBB"] = UnknownNameError("BBB: no such ticker")
    report = fetch(["AAA", "BBB", "CCC"], home=tmp_path, source=shelf)
    assert report.table["days"].fillna(0).tolist() == [30, 0, 30]
    with pytest.raises(PartialFailure, match="1 of 3 tickers failed: BBB"):
        report.raise_failures()


def test_all_failed_raises_their_own_error(tmp_path: Path) -> None:
    shelf = Shelf({}, {"BBB": UnknownNameError("BBB: no such ticker")})
    with pytest.raises(UnknownNameError):
        fetch(["BBB"], home=tmp_path, source=shelf).raise_failures()


def test_a_rate_limit_decides_the_error_even_when_some_succeeded(tmp_path: Path) -> None:
    shelf = Shelf({"AAA": bars_of("AAA", 30)}, {"BBB": TryLaterError("BBB: 429")})
    with pytest.raises(TryLaterError):
        fetch(["AAA", "BBB"], home=tmp_path, source=shelf).raise_failures()
    assert len(held(tmp_path, "AAA")) == 30


def test_a_source_that_stays_down_is_not_asked_for_every_ticker(tmp_path: Path) -> None:
    names = [f"T{number}" for number in range(20)]
    shelf = Shelf({}, {name: SourceDownError(f"{name}: down") for name in names})
    with pytest.raises(SourceDownError):
        fetch(names, home=tmp_path, source=shelf)
    assert len(shelf.asked) == MOST_DOWN


def test_tickers_stored_before_the_source_goes_down_stay_stored(tmp_path: Path) -> None:
    names = [f"T{number}" for number in range(MOST_DOWN + 1)]
    shelf = Shelf({name: bars_of(name, 90) for name in names})
    fetch(names, home=tmp_path, source=shelf)
    shelf.tables["T0"] = bars_of("T0", 91)
    shelf.errors = {name: SourceDownError(f"{name}: down") for name in names[1:]}
    with pytest.raises(SourceDownError):
        fetch(names, home=tmp_path, source=shelf)
    assert [len(held(tmp_path, name)) for name in names[:2]] == [91, 90]


def test_an_unknown_source_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    """Not replaced by Yahoo."""
    with pytest.raises(ValidationError, match="choose one of yahoo, sample"):
        FetchSettings(source="yaho")
    unchecked = FetchSettings.model_construct(source="yaho", compare_all_days=28)
    with pytest.raises(UsageError, match="'yaho' is unknown; choose one of yahoo, sample"):
        fetch(["AAA"], home=tmp_path, settings=unchecked)


@pytest.fixture
def fourth_source(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """A source that is one module and one line of the table."""
    shelf = Shelf({"AAA": bars_of("AAA", 30)})
    module = ModuleType("tests.fourth_source")
    module.open_source = lambda home: shelf  # type: ignore[attr-defined]
    module.check = lambda: "30 days of AAA"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    entry = SourceEntry(module=module.__name__, summary="a shelf", key="SHELF_KEY")
    monkeypatch.setitem(SOURCES, "shelf", entry)
    return shelf


def test_a_source_that_is_added_to_the_table_is_fetched_from(
    tmp_path: Path, fourth_source: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = FetchSettings(source="shelf")
    with pytest.raises(SettingsError, match="set SHELF_KEY in the environment"):
        fetch(["AAA"], home=tmp_path, settings=settings)
    monkeypatch.setenv("SHELF_KEY", "secret")
    assert fetch(["AAA"], home=tmp_path, settings=settings).table["days"].tolist() == [30]
    assert check_source("shelf") == "30 days of AAA"
    assert "shelf: a shelf" in describe_sources()


def test_tickers_left_out_mean_those_stored_from_this_source(tmp_path: Path) -> None:
    shelf = Shelf({"AAA": bars_of("AAA", 30)})
    with pytest.raises(UsageError, match="forecaster fetch AAPL"):
        fetch(home=tmp_path, source=shelf)
    fetch(["AAA"], home=tmp_path, source=shelf)
    other = Shelf({"BBB": bars_of("BBB", 30)}, name="other")
    fetch(["BBB"], home=tmp_path, source=other)
    assert fetch(home=tmp_path, source=shelf).table["ticker"].tolist() == ["AAA"]


def test_another_source_does_not_mix_into_a_stored_ticker(tmp_path: Path) -> None:
    fetch(["AAA"], home=tmp_path, source=Shelf({"AAA": bars_of("AAA", 30)}))
    other = Shelf({"AAA": bars_of("AAA", 60)}, name="other")
    with pytest.raises(DataError, match="stored from shelf"):
        fetch(["AAA"], home=tmp_path, source=other).raise_failures()
    assert len(held(tmp_path, "AAA")) == 30


def test_new_gaps_are_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With the bars that make them, and not again each day."""
    table = bars_of("AAA", 100)
    shelf = Shelf({"AAA": table.drop(index=range(40, 60)).iloc[:70]})
    for upto in (70, 80):
        shelf.tables["AAA"] = table.drop(index=range(40, 60)).iloc[:upto]
        fetch(["AAA"], home=tmp_path, source=shelf)
    assert caplog.text.count("AAA: no bars from 2010-03-03 to 2010-03-30 (20 sessions") == 1


def test_a_guessed_calendar_is_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = Shelf({"OPAP.AT": bars_of("OPAP.AT", 30)}, calendar="weekdays")
    for upto in (20, 30):
        shelf.tables["OPAP.AT"] = bars_of("OPAP.AT", 30).iloc[:upto]
        fetch(["OPAP.AT"], home=tmp_path, source=shelf)
    assert caplog.text.count("OPAP.AT: no calendar is known") == 1


@pytest.mark.parametrize(
    ("days", "found"),
    [
        (np.arange("2010-01-08", "2011-01-01", 7, dtype="datetime64[D]"), "interval: weekly bars"),
        (np.arange("2010-01-04", "2010-06-01", dtype="datetime64[D]"), "24/7 fits best"),
    ],
    ids=["weekly", "a coin"],
)
def test_other_intervals_and_calendars_stay_out_of_an_unattended_run(
    tmp_path: Path, days: np.ndarray, found: str
) -> None:
    """The other tickers go on; the source has no option, so that a person decides."""
    odd = bars_of("ODD", len(days)).assign(session=days.astype("datetime64[s]"))
    report = fetch(
        ["AAA", "ODD"], home=tmp_path, source=Shelf({"AAA": bars_of("AAA", 90), "ODD": odd})
    )
    assert set(report.failures) == {"ODD"} and found in str(report.failures["ODD"])
    assert "--calendar" not in str(report.failures["ODD"])
    with pytest.raises(PartialFailure):
        report.raise_failures()


def test_a_week_that_moves_is_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """From Sunday to Thursday until 2021, from Monday to Friday since: no question."""
    old = sessions_between("sun-thu", date(2021, 1, 3), date(2021, 12, 31))
    days = np.r_[old, sessions_between("mon-fri", date(2022, 1, 3), date(2022, 6, 30))]
    table = bars_of("QNBK.QA", len(days)).assign(session=days.astype("datetime64[s]"))
    shelf = Shelf({}, calendar="sun-thu@Asia/Qatar")
    caplog.set_level("INFO")
    for upto in (len(old), len(old) + 5, len(old) + 20, len(old) + 40, len(days)):
        shelf.tables["QNBK.QA"] = table.iloc[:upto]
        assert not fetch(["QNBK.QA"], home=tmp_path, source=shelf).failures
    assert caplog.text.count("follow the week sun-thu/2022-01-01/mon-fri@Asia/Qatar, not sun") == 1
    with PriceStore.open_for_reading(tmp_path) as store:
        assert store.listing("QNBK.QA").calendar == "sun-thu/2022-01-01/mon-fri@Asia/Qatar"
        assert store.span("QNBK.QA").days == len(days)


def test_one_ticker_may_be_given_by_itself(tmp_path: Path) -> None:
    """Not as A, A and A."""
    report = fetch("AAA", home=tmp_path, source=Shelf({"AAA": bars_of("AAA", 30)}))
    assert report.table["ticker"].tolist() == ["AAA"]


def test_the_real_client_fills_the_store_from_a_loopback_yahoo(
    yahoo: LoopbackYahoo, source: YahooSource, tmp_path: Path
) -> None:
    report = fetch(["AAPL"], home=tmp_path, source=source)
    assert not report.failures
    bars = held(tmp_path, "AAPL").set_index("session")
    assert bars.loc["2020-08-31", "split"] == 4.0
    assert bars.loc["2020-08-07", "dividend"] == 0.205
    calls = len(yahoo.calls)
    assert fetch(["AAPL"], home=tmp_path, source=source).table["rows_changed"].tolist() == [0]
    assert len(yahoo.calls) == calls + 1, "a known ticker costs one call"


@pytest.mark.parametrize(
    ("ticker", "error"),
    [
        ("LIMIT", TryLaterError),
        ("DOWN", SourceDownError),
        ("HTML", SourceDownError),
        ("TRUNC", SourceDownError),
        ("GONE", UnknownNameError),
        ("OTHER", DataError),
    ],
)
def test_what_yahoo_answers_becomes_the_right_failure(
    source: YahooSource, tmp_path: Path, ticker: str, error: type[ForecasterError]
) -> None:
    report = fetch([ticker], home=tmp_path, source=source)
    assert type(report.failures[ticker]) is error
    with PriceStore.open_for_reading(tmp_path) as store:
        assert store.tickers() == []


def served_later(monkeypatch: pytest.MonkeyPatch, shelf: Shelf, home: Path, days: float) -> None:
    """Fetch again after so many days."""
    later = datetime.now(UTC) + timedelta(days=days)
    monkeypatch.setattr(clock, "now", lambda: later)
    fetch(home=home, source=shelf)


def test_a_dividend_of_long_ago_is_seen_when_all_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The overlap does not reach it; five weeks later at the latest the whole past does."""
    table = bars_of("AAA", 100)
    shelf = Shelf({"AAA": table})
    fetch(["AAA"], home=tmp_path, source=shelf)
    shelf.tables["AAA"] = table.copy()
    shelf.tables["AAA"].loc[10, "dividend"] = 0.5
    served_later(monkeypatch, shelf, tmp_path, 27)
    assert held(tmp_path, "AAA").loc[10, "dividend"] == 0.0
    served_later(monkeypatch, shelf, tmp_path, 36)
    assert held(tmp_path, "AAA").loc[10, "dividend"] == 0.5
    first, last = (table["session"].iloc[row].date() for row in (0, 99))
    assert [start for _, start, _ in shelf.asked] == [None, last - OVERLAP, first]
    (reason,) = reasons(tmp_path)
    assert reason.startswith("a late dividend of 2010-01-19: 0 stored, 0.5 served")
    served_later(monkeypatch, shelf, tmp_path, 37)
    assert shelf.asked[-1][1] == last - OVERLAP


def test_all_is_never_compared_where_that_is_what_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf({"AAA": bars_of("AAA", 100)})
    fetch(["AAA"], home=tmp_path, source=shelf)
    monkeypatch.setattr(clock, "now", lambda: datetime.now(UTC) + timedelta(days=400))
    fetch(home=tmp_path, source=shelf, settings=FetchSettings(compare_all_days=0))
    assert [start for _, start, _ in shelf.asked] == [None, date(2010, 5, 12)]


@pytest.mark.slow
def test_tickers_of_one_day_are_compared_on_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"T{number:02}" for number in range(24)]
    shelf = Shelf({name: bars_of(name, 100) for name in names})
    fetch(names, home=tmp_path, source=shelf)
    per_day = []
    for day in range(28, 37):
        shelf.asked.clear()
        served_later(monkeypatch, shelf, tmp_path, day + 0.01)
        per_day.append(sum(start == date(2010, 1, 4) for _, start, _ in shelf.asked))
    assert sum(per_day) == 24 and max(per_day) < 12


class Broken(Shelf):
    """A source in which some tickers cause an unexpected exception."""

    broken: tuple[str, ...] = ()
    error: BaseException = ZeroDivisionError("AAA")

    def history(self, ticker: str, start: date | None, end: date | None) -> History:
        """Serve, or break."""
        if ticker in self.broken:
            self.asked.append((ticker, start, end))
            raise self.error
        return super().history(ticker, start, end)


def broken(*tickers: str, error: BaseException | None = None) -> Broken:
    """Three tickers, of which some break."""
    source = Broken({name: bars_of(name, 30) for name in ("AAA", "BBB", "CCC")})
    source.broken = tickers
    source.error = error or source.error
    return source


@pytest.mark.parametrize("ticker", ["AAA", "BBB", "CCC"])
def test_a_bug_in_one_ticker_is_its_failure_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, ticker: str
) -> None:
    """The first, the middle or the last: exit 3, one line, the traceback in the log file."""
    report = fetch(["AAA", "BBB", "CCC"], home=tmp_path, source=broken(ticker))
    assert list(report.failures) == [ticker] and report.bug is None
    with PriceStore.open_for_reading(tmp_path) as store:
        assert store.tickers() == sorted({"AAA", "BBB", "CCC"} - {ticker})
    with pytest.raises(PartialFailure, match=f"1 of 3 tickers failed: {ticker}"):
        report.raise_failures()
    shown = [one for one in caplog.records if not one.exc_info]
    assert [one.getMessage() for one in shown] == [str(report.failures[ticker])]
    (line,) = log_path(tmp_path).read_text().splitlines()
    assert "Traceback" in line and "ZeroDivisionError" in line


def test_a_bug_in_every_ticker_is_one_of_the_program(tmp_path: Path) -> None:
    """Each is asked nevertheless; one ticker alone is not called that."""
    source = broken("AAA", "BBB", "CCC")
    report = fetch(["AAA", "BBB", "CCC"], home=tmp_path, source=source)
    assert len(source.asked) == 3
    with pytest.raises(BugError, match=r"a bug: ZeroDivisionError in test_fetch\.py, line"):
        report.raise_failures()
    alone = fetch(["AAA"], home=tmp_path, source=source)
    with pytest.raises(TickerBugError, match="AAA: a bug") as raised:
        alone.raise_failures()
    assert raised.value.exit_code == 3


def test_memory_and_disk_are_everybody_s(tmp_path: Path) -> None:
    for error in (MemoryError(), OSError(errno.ENOSPC, "No space left"), StorageError("full")):
        with pytest.raises(type(error)):
            fetch(["AAA", "BBB", "CCC"], home=tmp_path, source=broken("AAA", error=error))


def test_a_limit_of_the_rate_ends_the_fetch_and_keeps_what_was_stored(tmp_path: Path) -> None:
    source = broken("BBB", error=TryLaterError("BBB: Yahoo limits our rate"))
    report = fetch(["AAA", "BBB", "CCC"], home=tmp_path, source=source)
    assert list(report.failures) == ["BBB", "CCC"] and len(source.asked) == 2
    assert report.table["rows_changed"].tolist() == [30, 0, 0]
    with pytest.raises(TryLaterError):
        report.raise_failures()
