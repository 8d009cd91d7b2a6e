"""The usual night: what is stored at once is what one ticker at a time would have stored."""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from forecaster import clock, database
from forecaster.data.history import BAR_COLUMNS, PRICE_COLUMNS, History, Listing
from forecaster.data.quarantine import Entry, values_of
from forecaster.data.sessions import sessions_between
from forecaster.data.store import PriceStore
from forecaster.data.store_batch import Batch
from forecaster.data.store_rows import store_path
from forecaster.errors import SourceDownError
from forecaster.pipeline import fetch as fetching
from forecaster.pipeline.fetch import FetchReport, fetch
from tests.synthetic import bars_of

LAST = 60  # rows stored before the night
EARLY = LAST - 12  # rows stored of a ticker that was not fetched for two weeks
NAMES = tuple(f"T{number:02}" for number in range(6))


def tables_at(moment: datetime) -> dict[str, pd.DataFrame]:
    """Six tickers of eighty days, of which the day of that moment is number LAST + 5."""
    sessions = sessions_between("XNYS", date(2025, 1, 2), moment.date())
    first = date.fromisoformat(str(sessions[-LAST - 6]))
    tables = {name: bars_of(name, 80, first=first)[list(BAR_COLUMNS)] for name in NAMES}
    tables["T05"].loc[LAST - 10, "split"] = 1.4  # a move of its size would be its doing
    return tables


# While New York trades; the second overlap holds Christmas and New Year, and only nine sessions.
NIGHTS = [datetime(2026, 11, 20, 16, tzinfo=UTC), datetime(2026, 1, 12, 16, tzinfo=UTC)]
TABLES = {moment: tables_at(moment) for moment in NIGHTS}
PRICES = list(PRICE_COLUMNS)

Change = Callable[[pd.DataFrame, int], pd.DataFrame]


def scaled(column: str | list[str], factor: float) -> Change:
    """Multiply values of one row."""

    def change(table: pd.DataFrame, row: int) -> pd.DataFrame:
        table.loc[row, column] = table.loc[row, column] * factor
        if column in ("open", "close"):
            table.loc[row, "high"] = table.loc[row, PRICES].max()
            table.loc[row, "low"] = table.loc[row, PRICES].min()
        return table

    return change


def put(column: str, value: float) -> Change:
    """Set a value of one row."""

    def change(table: pd.DataFrame, row: int) -> pd.DataFrame:
        table.loc[row, column] = value
        return table

    return change


def from_row_on(factor: float) -> Change:
    """Multiply the prices from a row on."""

    def change(table: pd.DataFrame, row: int) -> pd.DataFrame:
        table.loc[row:, PRICES] *= factor
        return table

    return change


def frozen(table: pd.DataFrame, row: int) -> pd.DataFrame:
    """Repeat the close of one row in all that follow."""
    table.loc[row:, PRICES] = table.loc[row, "close"]
    return table


def below(table: pd.DataFrame, row: int) -> pd.DataFrame:
    """Put the high of one row half a percent below the close."""
    table.loc[row, ["open", "low"]] = table.loc[row, "close"] * 0.994
    table.loc[row, "high"] = table.loc[row, "close"] * 0.995
    return table


CHANGES: dict[str, Change] = {
    "nothing": lambda table, row: table,
    "jitter": lambda table, row: table.assign(close=table["close"] * (1 + 5e-5)),
    "rescaled": lambda table, row: table.assign(**{name: table[name] / 2 for name in PRICES}),
    "volume": scaled("volume", 1.2),
    "open": scaled("open", 1.01),
    "close": scaled("close", 1.02),
    "spike": scaled(PRICES, 3.0),
    "slip": scaled(PRICES, 0.01),
    "tripled": scaled(PRICES, 3.0),
    "wide": scaled("high", 1.7),
    "half": from_row_on(0.5),
    "third": from_row_on(1.37),
    "below": below,
    "no close": put("close", np.nan),
    "no price": put("low", 0.0),
    "huge": put("volume", 1e19),
    "dividend": put("dividend", 0.5),
    "large dividend": put("dividend", 20.0),
    "split": put("split", 2.0),
    "frozen": frozen,
    "lacking": lambda table, row: table.drop(index=row).reset_index(drop=True),
    "long gap": lambda table, row: table.drop(index=range(EARLY, EARLY + 8)).reset_index(drop=True),
    "twice": lambda table, row: pd.concat([table, table.loc[[row]]], ignore_index=True),
    "no order": lambda table, row: table.iloc[::-1].reset_index(drop=True),
    "at noon": lambda table, row: table.assign(
        session=(table["session"] + pd.Timedelta(hours=12)).astype("datetime64[s]")
    ),
    "short": lambda table, row: table.head(LAST - 3),
    "empty": lambda table, row: table.head(0),
    "integers": lambda table, row: table.assign(volume=table["volume"].astype("int64")),
    "unfinished": lambda table, row: table.assign(
        session=[*table["session"].iloc[:-1], pd.Timestamp("2026-11-20")]
    ).astype({"session": "datetime64[s]"}),
}
LISTINGS: dict[str, dict[str, object]] = {
    "same": {},
    "named": {"name": "Invented Inc"},
    "other currency": {"currency": "GBp"},
    "crypto": {"calendar": "24/7"},
    "eager": {"eager": True},
}


@dataclass
class Planned:
    """A source with a table and marks by ticker; "down" fails, "eager" serves more than asked."""

    tables: dict[str, pd.DataFrame]
    marks: dict[str, dict[str, object]]
    name: str = "planned"

    def tickers(self) -> tuple[str, ...]:
        """Serve without bound."""
        return ()

    def history(self, ticker: str, start: date | None, end: date | None) -> History:
        """Serve what is planned from a day on."""
        bars = self.tables[ticker]
        marks = {"calendar": "XNYS", "currency": "USD", **self.marks.get(ticker, {})}
        if not marks.pop("eager", False):
            bars = bars[bars["session"] >= pd.Timestamp(start or "1900-01-01")]
        if marks.pop("down", False):
            raise SourceDownError(f"{ticker}: down")
        listing = Listing(ticker=ticker, source=self.name, basis="split-adjusted", **marks)  # type: ignore[arg-type]
        return History(listing=listing, bars=bars.reset_index(drop=True))


def stored_first(
    home: Path, moment: datetime, held: Sequence[str] = (), *, patchy: bool = False
) -> None:
    """Store sixty days of each ticker; a bar of some in quarantine."""
    tables = TABLES[moment]
    source = Planned({name: table.head(LAST) for name, table in tables.items()}, {})
    if patchy:
        source.tables["T03"] = tables["T03"].head(EARLY)
        source.tables["T04"] = tables["T04"].head(LAST).drop(index=LAST - 3)
    fetch(NAMES, home=home, source=source)
    with PriceStore.open_for_writing(home) as store:
        for name in held:
            bar, day = values_of(tables[name], LAST), tables[name]["session"][LAST].date()
            entry = Entry(ticker=name, session=day, rule="spike", reason="odd", values=bar)
            store.quarantine.decide([entry], "dropped", moment)


@cache
def prepared(moment: datetime, held: tuple[str, ...]) -> bytes:
    """Make the store that a night begins with."""
    with TemporaryDirectory() as folder:
        stored_first(Path(folder), moment, held, patchy=True)
        return store_path(Path(folder)).read_bytes()


def content(home: Path) -> list[str]:
    """Everything in the store."""
    connection = sqlite3.connect(store_path(home))
    try:
        return sorted(connection.iterdump())
    finally:
        connection.close()


def one_night(
    source: Planned, moment: datetime, held: list[str], *, usual: bool
) -> tuple[list[str], FetchReport, list[str]]:
    """Fetch as it is, or one ticker after another; return store, report and warnings."""
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    package = logging.getLogger("forecaster")
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", lambda: moment)
        home = Path(folder)
        (home / "data").mkdir()
        store_path(home).write_bytes(prepared(moment, tuple(held)))
        if not usual:
            patch.setattr(fetching._Night, "_may_wait", lambda *_: False)
        package.addHandler(handler)
        try:
            report = fetch(NAMES, home=home, source=source)
        finally:
            package.removeHandler(handler)
        return content(home), report, sorted(told)


Plan = Sequence[tuple[str, int, int, str]]


def check_night(moment: datetime, plan: Plan, held: list[str]) -> None:
    """Same bars, revisions, quarantine, report and warnings, at once and ticker by ticker."""
    tables, marks = {}, {}
    for name, (change, row, new, listing) in zip(NAMES, plan, strict=True):
        table = TABLES[moment][name].head(LAST + new)
        tables[name] = CHANGES[change](table.copy(), min(row, LAST + new - 1))
        marks[name] = LISTINGS[listing]
    source = Planned(tables, marks)
    store, report, told = one_night(source, moment, held, usual=True)
    expected_store, expected, expected_told = one_night(source, moment, held, usual=False)
    assert store == expected_store
    pd.testing.assert_frame_equal(report.table, expected.table)
    assert set(report.failures) == set(expected.failures)
    assert told == expected_told


@pytest.mark.parametrize(
    ("first", "new"),
    [(0, 1), *(pytest.param(*one, marks=pytest.mark.slow) for one in [(1, 5), (0, 5), (1, 1)])],
)
def test_every_change_ends_as_ticker_by_ticker(first: int, new: int) -> None:
    """Each change meets a ticker that is plain, one that was away, and one with a split."""
    for change in sorted(CHANGES)[first::2]:
        check_night(NIGHTS[1], [(change, LAST, new, "same")] * 6, [])


plans = st.tuples(
    st.sampled_from(sorted(CHANGES)),
    st.sampled_from([LAST - 11, LAST - 9, LAST - 1, *[LAST] * 5, LAST + 1, LAST + 2, LAST + 5]),
    st.sampled_from([0, 1, 1, 2, 3, 5, 6, 7]),
    st.sampled_from(["same"] * 6 + sorted(LISTINGS)),
)


@pytest.mark.parametrize("nights", [5, pytest.param(60, marks=pytest.mark.slow)])
def test_any_night_ends_as_ticker_by_ticker(nights: int) -> None:
    """No shrinking: what failed is printed, and a night costs 200 ms."""

    @settings(
        max_examples=nights,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.reuse, Phase.generate],
    )
    @given(
        st.sampled_from(NIGHTS),
        st.lists(plans, min_size=6, max_size=6),
        st.lists(st.sampled_from(NAMES), max_size=1),
    )
    def any_night(moment: datetime, plan: list[tuple[str, int, int, str]], held: list[str]) -> None:
        check_night(moment, plan, held)

    any_night()


@pytest.mark.parametrize("listing", sorted(LISTINGS))
@pytest.mark.parametrize("change", ["nothing", "jitter"])
def test_every_listing_ends_as_ticker_by_ticker(listing: str, change: str) -> None:
    check_night(NIGHTS[0], [(change, LAST, 1, listing)] * 6, ["T01"])


def usual_ones(home: Path, source: Planned) -> list[str]:
    """Name the tickers that a night stores at once."""
    seen: list[str] = []
    append = Batch.append

    def noting(batch: Batch, stands: list, instants: list, bars: object) -> list[int]:  # type: ignore[type-arg]
        added = append(batch, stands, instants, bars)  # type: ignore[arg-type]
        seen.extend(s.listing.ticker for s, n in zip(stands, added, strict=True) if n > 0)
        return added

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batch, "append", noting)
        fetch(list(NAMES), home=home, source=source)
    return seen


def test_an_ordinary_new_bar_is_stored_at_once(tmp_path: Path) -> None:
    """Else every night would take the long way, and nobody would see."""
    stored_first(tmp_path, NIGHTS[1])
    source = Planned({name: table.head(LAST + 1) for name, table in TABLES[NIGHTS[1]].items()}, {})
    assert usual_ones(tmp_path, source) == list(NAMES[:5])  # the last has a split


def test_one_night_writes_one_transaction(tmp_path: Path) -> None:
    """A disk that must be waited for is waited for once."""
    stored_first(tmp_path, NIGHTS[1])
    tables = {name: table.head(LAST + 1) for name, table in TABLES[NIGHTS[1]].items()}
    count: list[int] = []
    begin = database.transaction

    def counting(connection: sqlite3.Connection) -> AbstractContextManager[None]:
        count.append(1)
        return begin(connection)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "transaction", counting)
        fetch(NAMES[:5], home=tmp_path, source=Planned(tables, {}))
    assert len(count) == 1


def test_answers_are_stored_when_the_source_goes_down(tmp_path: Path) -> None:
    stored_first(tmp_path, NIGHTS[1])
    tables = {name: table.head(LAST + 1) for name, table in TABLES[NIGHTS[1]].items()}
    down = {name: {"down": True} for name in list(NAMES)[1:]}
    with pytest.raises(SourceDownError):
        fetch(list(NAMES), home=tmp_path, source=Planned(tables, down))
    with PriceStore.open_for_reading(tmp_path) as store:
        days = [store.batch.stands(list(NAMES))[name].span.days for name in NAMES]
    assert days == [LAST + 1] + [LAST] * 5


def test_a_ticker_that_another_process_changes_meanwhile_is_looked_at_again(
    tmp_path: Path,
) -> None:
    """Its overlap was compared with bars that are no longer there."""
    stored_first(tmp_path, NIGHTS[1])
    rescaled = TABLES[NIGHTS[1]]["T00"].assign(
        **{name: TABLES[NIGHTS[1]]["T00"][name] / 2 for name in PRICES}
    )
    others = {name: table.head(LAST + 1) for name, table in TABLES[NIGHTS[1]].items()}

    class Meddled(Planned):
        def history(self, ticker: str, start: date | None, end: date | None) -> History:
            if ticker == "T05":
                split = Planned({**others, "T00": rescaled.head(LAST)}, {})
                fetch("T00", home=tmp_path, source=split)
            return super().history(ticker, start, end)

    fetch(list(NAMES), home=tmp_path, source=Meddled(others, {}))
    with PriceStore.open_for_reading(tmp_path) as store:
        assert store.bars("T00")["close"].tolist() == others["T00"]["close"].tolist()
        assert len(store.revisions("T00")) == 3


def test_answers_do_not_wait_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a slow source a kill must not cost the work of many minutes."""
    stored_first(tmp_path, NIGHTS[1])
    ticks = [NIGHTS[1]]

    def later() -> datetime:
        ticks[0] += timedelta(seconds=20)
        return ticks[0]

    monkeypatch.setattr(clock, "now", later)
    kept: list[int] = []
    store_usual = fetching.store_usual
    monkeypatch.setattr(
        fetching,
        "store_usual",
        lambda store, some: kept.append(len(some)) or store_usual(store, some),
    )
    source = Planned({name: table.head(LAST + 1) for name, table in TABLES[NIGHTS[1]].items()}, {})
    fetch(NAMES, home=tmp_path, source=source)
    assert max(kept) <= 3 and sum(kept) == len(NAMES)
