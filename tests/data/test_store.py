import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster import database
from forecaster.data import price_database
from forecaster.data.history import BAR_COLUMNS, History, Listing
from forecaster.data.price_database import MIGRATIONS, store_path
from forecaster.data.store import PriceStore
from forecaster.data.store_rows import Span
from forecaster.errors import (
    CannotWriteError,
    DataError,
    SettingsError,
    StorageError,
    TryLaterError,
    UnknownNameError,
)

FETCHED = datetime(2024, 6, 14, 22, 0, tzinfo=UTC)


def _connect(home: Path) -> sqlite3.Connection:
    return database.connect_for_writing(price_database.price_database(home), home)


def _history(ticker: str = "AAPL", days: int = 3, first: str = "2024-01-02") -> History:
    close = np.arange(10.0, 10.0 + days)
    bars = pd.DataFrame(
        {
            "session": pd.date_range(first, periods=days).as_unit("s"),
            "open": close,
            "high": close + 1,
            "low": close - 1,
            "close": close + 0.1,
            "volume": 100.0,
            "dividend": 0.0,
            "split": 1.0,
        }
    )
    listing = Listing(
        ticker=ticker,
        source="yahoo",
        basis="split-adjusted",
        calendar="XNYS",
        name="Apple Inc.",
        exchange="NMS",
        currency="USD",
        first_trade=date(1980, 12, 12),
    )
    return History(listing=listing, bars=bars)


def _fill(home: Path, *histories: History) -> None:
    with PriceStore.open_for_writing(home) as store:
        for history in histories:
            store.upsert(history, FETCHED)


def test_what_was_stored_comes_back_bit_for_bit(tmp_path):
    history = _history()
    history.bars.loc[1, ["close", "split", "dividend"]] = [0.1 + 0.2, 4.0, 1e-9]
    history.bars.loc[1, "low"] = 1e-3
    _fill(tmp_path, history)
    with PriceStore.open_for_reading(tmp_path) as store:
        pd.testing.assert_frame_equal(store.bars("AAPL"), history.bars, check_exact=True)
        assert store.listing("AAPL") == history.listing
        assert store.states(["AAPL"])[0].fetched_at == FETCHED
        assert store.tickers() == ["AAPL"]
        assert store.history("AAPL").listing == history.listing


def test_the_file_is_made_in_the_data_folder_and_leaves_nothing_beside_it(tmp_path):
    _fill(tmp_path, _history())
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["prices.db"]


def test_upsert_counts_new_and_different_bars_only(tmp_path):
    with PriceStore.open_for_writing(tmp_path) as store:
        assert store.upsert(_history(days=3), FETCHED) == 3
        assert store.upsert(_history(days=3), FETCHED) == 0
        longer = _history(days=5)
        longer.bars.loc[1, "volume"] = 101.0
        assert store.upsert(longer, FETCHED) == 3
        pd.testing.assert_frame_equal(store.bars("AAPL"), longer.bars)


def test_a_shorter_answer_never_shrinks_the_store(tmp_path):
    _fill(tmp_path, _history(days=5), _history(days=2, first="2024-01-05"))
    with PriceStore.open_for_reading(tmp_path) as store:
        assert len(store.bars("AAPL")) == 5


def test_the_order_of_fetches_does_not_matter(tmp_path):
    early, late = _history(days=3), _history(days=3, first="2024-01-05")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    _fill(tmp_path / "a", early, late)
    _fill(tmp_path / "b", late, early)
    with (
        PriceStore.open_for_reading(tmp_path / "a") as one,
        PriceStore.open_for_reading(tmp_path / "b") as other,
    ):
        pd.testing.assert_frame_equal(one.bars("AAPL"), other.bars("AAPL"))


def test_a_later_fetch_updates_what_a_ticker_is_called(tmp_path):
    history = _history()
    renamed = History(listing=replace(history.listing, name="Apple"), bars=history.bars)
    _fill(tmp_path, history)
    with PriceStore.open_for_writing(tmp_path) as store:
        tokyo = timezone(timedelta(hours=9))
        assert store.upsert(renamed, datetime(2024, 6, 16, 8, tzinfo=tokyo)) == 0
        assert store.revision("AAPL").number == 1
        assert store.listing("AAPL").name == "Apple"
        assert store.states(["AAPL"])[0].fetched_at == datetime(2024, 6, 15, 23, tzinfo=UTC)


@pytest.mark.parametrize("change", [{"source": "files"}, {"basis": "as-traded"}])
def test_another_source_or_basis_is_refused_and_nothing_changes(tmp_path, change):
    history = _history(days=3)
    _fill(tmp_path, history)
    longer = _history(days=5)
    other = History(listing=replace(longer.listing, **change), bars=longer.bars)
    with PriceStore.open_for_writing(tmp_path) as store:
        with pytest.raises(DataError, match=r"AAPL: is stored from yahoo, split-adj.*--home"):
            store.upsert(other, FETCHED)
        assert len(store.bars("AAPL")) == 3
        assert store.listing("AAPL") == history.listing


def test_several_tickers_land_together_or_not_at_all(tmp_path):
    """The last one's other basis undoes the first ones, in the store and in the listings."""
    _fill(tmp_path, _history("MSFT"))
    other = _history("MSFT")
    other = replace(other, listing=replace(other.listing, basis="as-traded"))
    with PriceStore.open_for_writing(tmp_path) as store:
        assert store.upsert_all([_history("AAPL", 2), _history("MSFT", 4)], FETCHED) == [2, 1]
        with pytest.raises(DataError, match=r"do not mix\. Add --basis split-adjusted if"):
            store.upsert_all([_history("AAPL", 9), _history("IBM"), other], FETCHED)
        assert store.tickers() == ["AAPL", "MSFT"]
        assert len(store.bars("AAPL")) == 2


def test_impossible_bars_are_refused_as_a_whole(tmp_path):
    history = _history()
    history.bars.loc[2, "close"] = np.nan
    with PriceStore.open_for_writing(tmp_path) as store:
        with pytest.raises(DataError, match="2024-01-04 has close nan"):
            store.upsert(history, FETCHED)
        assert store.tickers() == []


def test_the_file_itself_refuses_bars_that_cannot_be(tmp_path):
    """Whoever writes past our checks meets those of the tables."""
    _fill(tmp_path, _history())
    good = ["AAPL", "2024-02-01", 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0]
    bad = {1: "1/2/2024", 2: 0.0, 3: float("inf"), 5: float("nan"), 6: -1.0, 8: 0.0, 0: "NONE"}
    with closing(
        database.connect_for_writing(price_database.price_database(tmp_path), tmp_path)
    ) as connection:
        sql = "INSERT INTO bars VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        for place, value in bad.items():
            row = [*good[:place], value, *good[place + 1 :]]
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute(sql, row)
        connection.execute(sql, good)


def test_a_naive_instant_is_refused(tmp_path):
    with (
        PriceStore.open_for_writing(tmp_path) as store,
        pytest.raises(ValueError, match="timezone"),
    ):
        store.upsert(_history(), datetime(2024, 6, 14))


LATER = FETCHED + timedelta(days=1)


def _changed(days: int, row: int, **values: float) -> History:
    history = _history(days=days)
    history.bars.loc[row, list(values)] = list(values.values())
    return history


def _reasons(home: Path) -> list[str]:
    with PriceStore.open_for_reading(home) as store:
        return [revision.reason for revision in store.revisions("AAPL")]


def test_bars_after_the_newest_raise_no_revision(tmp_path):
    _fill(tmp_path, _history(days=3), _history(days=5))
    assert _reasons(tmp_path) == ["first stored"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_changed(5, 1, close=11.2), "1 bars on or before 2024-01-04 replaced or added"),
        (_history(days=5, first="2024-01-01"), "4 bars on or before 2024-01-04 replaced or added"),
    ],
)
def test_a_changed_past_raises_the_revision_with_its_reason_and_time(tmp_path, change, reason):
    """A bar replaced, and days before the first, come with days after the last."""
    _fill(tmp_path, _history(days=3))
    with PriceStore.open_for_writing(tmp_path) as store:
        store.upsert(change, LATER)
        assert store.revision("AAPL").number == 2
        assert store.revision("AAPL").raised_at == LATER
    assert _reasons(tmp_path) == ["first stored", reason]


def test_a_given_reason_stands_beside_the_revision_that_it_raises(tmp_path):
    _fill(tmp_path, _history(days=3))
    with PriceStore.open_for_writing(tmp_path) as store:
        store.upsert(_history(days=4), LATER, "unneeded")
        store.upsert(_changed(4, 0, volume=7.0), LATER, "split of 2024-01-05")
    assert _reasons(tmp_path) == ["first stored", "split of 2024-01-05"]


def test_another_listing_raises_a_revision_where_there_is_a_reason(tmp_path):
    history = _history(days=3)
    _fill(tmp_path, history)
    renamed = replace(history, listing=replace(history.listing, name="Pear"))
    with PriceStore.open_for_writing(tmp_path) as store:
        assert store.upsert(replace(renamed, bars=renamed.bars[:0]), LATER, "renamed") == 0
        assert store.listing("AAPL").name == "Pear"
        assert len(store.bars("AAPL")) == 3
    assert _reasons(tmp_path) == ["first stored", "renamed"]


def test_what_changes_nothing_writes_nothing(tmp_path):
    """Not even the instant: the file stays as it is, byte for byte."""
    _fill(tmp_path, _history(days=3))
    before = store_path(tmp_path).read_bytes()
    with PriceStore.open_for_writing(tmp_path) as store:
        assert store.upsert(_history(days=3), LATER) == 0
        assert store._connection.total_changes == 0
    assert store_path(tmp_path).read_bytes() == before


def test_a_revision_that_fails_undoes_its_bars(tmp_path):
    """Bars and revision are one transaction."""
    _fill(tmp_path, _history(days=3))
    with PriceStore.open_for_writing(tmp_path) as store:
        store._connection.execute("ALTER TABLE revisions RENAME TO gone")
        with pytest.raises(StorageError, match="no such table"):
            store.upsert(_changed(3, 1, close=11.5), LATER)
        assert store.bars("AAPL")["close"].tolist() == _history(days=3).bars["close"].tolist()


def test_the_span_has_count_and_ends(tmp_path):
    _fill(tmp_path, _history(days=3))
    with PriceStore.open_for_reading(tmp_path) as store:
        assert store.span("AAPL") == Span(days=3, first=date(2024, 1, 2), last=date(2024, 1, 4))
        assert store.span("ZZZZ") is None
        assert store.tickers("yahoo") == ["AAPL"] and store.tickers("files") == []


def test_since_is_inclusive(tmp_path):
    _fill(tmp_path, _history(days=5))
    with PriceStore.open_for_reading(tmp_path) as store:
        found = store.bars("AAPL", since=date(2024, 1, 4))["session"]
    assert found.dt.day.tolist() == [4, 5, 6]


def test_until_is_inclusive(tmp_path):
    _fill(tmp_path, _history(days=5))
    with PriceStore.open_for_reading(tmp_path) as store:
        assert store.bars("AAPL", until=date(2024, 1, 4))["session"].max() == pd.Timestamp(
            "2024-01-04"
        )
        none = store.bars("AAPL", until=date(2023, 1, 1))
    assert none.empty
    assert none.dtypes.to_dict() == _history().bars.dtypes.to_dict()


def test_several_tickers_come_in_one_long_table(tmp_path):
    _fill(tmp_path, _history("MSFT", 2), _history("AAPL", 3), _history("IBM", 4))
    with PriceStore.open_for_reading(tmp_path) as store:
        table = store.all_bars(["MSFT", "AAPL"])
    assert tuple(table.columns) == ("ticker", *BAR_COLUMNS)
    assert table["ticker"].tolist() == ["AAPL"] * 3 + ["MSFT"] * 2


def test_summary_has_a_row_per_ticker(tmp_path):
    _fill(tmp_path, _history("MSFT", 2), _history("AAPL", 3))
    with PriceStore.open_for_reading(tmp_path) as store:
        summary = store.summary()
    assert summary.to_dict("records")[0] == {
        "ticker": "AAPL",
        "source": "yahoo",
        "basis": "split-adjusted",
        "calendar": "XNYS",
        "currency": "USD",
        "days": 3,
        "first": "2024-01-02",
        "last": "2024-01-04",
        "revision": 1,
        "fetched_at": "2024-06-14T22:00:00+00:00",
    }
    assert summary["ticker"].tolist() == ["AAPL", "MSFT"]


def test_an_unknown_ticker_is_refused_with_close_names(tmp_path):
    _fill(tmp_path, _history("AAPL"), _history("MSFT"))
    with PriceStore.open_for_reading(tmp_path) as store:
        for ask in (store.bars, store.listing, store.compared_at, store.history, store.revisions):
            with pytest.raises(UnknownNameError, match=r"APPL: no prices.*did you mean AAPL\?"):
                ask("APPL")
        with pytest.raises(UnknownNameError, match=r"ZZZZ: no prices are stored in [^;]*\. `"):
            store.all_bars(["AAPL", "ZZZZ"])


@pytest.mark.parametrize(("bars", "day"), [(1, 4), (2, 3), (9, 2)])
def test_a_session_some_bars_before_a_day_is_found(tmp_path, bars, day):
    _fill(tmp_path, _history(days=4))
    with PriceStore.open_for_reading(tmp_path) as store:
        assert store.session_before("AAPL", date(2024, 1, 5), bars) == date(2024, 1, day)
        assert store.session_before("AAPL", date(2024, 1, 2), bars) == date(2024, 1, 2)


def test_reading_where_nothing_is_stored_names_the_command(tmp_path):
    with pytest.raises(UnknownNameError, match=r"no prices are stored under .*forecaster fetch"):
        PriceStore.open_for_reading(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_home_is_refused_before_any_work(tmp_path):
    home = tmp_path / "nowhere"
    with pytest.raises(CannotWriteError, match=rf"there is no such folder.*mkdir -p {home}"):
        PriceStore.open_for_writing(home)
    assert not home.exists()


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "home").write_text("")
    for error, opened in (
        (CannotWriteError, PriceStore.open_for_writing),
        (UnknownNameError, PriceStore.open_for_reading),
    ):
        with pytest.raises(error, match="home: is a file; a folder is needed"):
            opened(tmp_path / "home")
    (tmp_path / "data").write_text("")
    with pytest.raises(CannotWriteError, match="data: File exists"):
        PriceStore.open_for_writing(tmp_path)


def test_a_read_only_home_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: not (mode & os.W_OK))
    with pytest.raises(CannotWriteError, match="is read-only"):
        PriceStore.open_for_writing(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_read_only_home_can_be_read(tmp_path):
    _fill(tmp_path, _history())
    store_path(tmp_path).chmod(0o400)
    store_path(tmp_path).parent.chmod(0o500)
    try:
        with PriceStore.open_for_reading(tmp_path) as store:
            assert len(store.bars("AAPL")) == 3
        with pytest.raises(CannotWriteError, match="is read-only"):
            PriceStore.open_for_writing(tmp_path)
    finally:
        store_path(tmp_path).parent.chmod(0o700)


def test_a_folder_without_room_for_side_files_can_be_read(tmp_path, monkeypatch):
    """The same for root: SQLite's refusal and the folder's permissions are acted."""
    _fill(tmp_path, _history())
    connect, asked = sqlite3.connect, []

    def refuse_side_files(target, **options):
        asked.append(target)
        if "immutable" not in str(target):
            raise sqlite3.OperationalError("unable to open database file")
        return connect(target, **options)

    monkeypatch.setattr(sqlite3, "connect", refuse_side_files)
    monkeypatch.setattr(os, "access", lambda path, mode: not (mode & os.W_OK))
    with PriceStore.open_for_reading(tmp_path) as store:
        assert len(store.bars("AAPL")) == 3
    assert len(asked) == 2


def test_reading_cannot_write(tmp_path):
    _fill(tmp_path, _history())
    with (
        PriceStore.open_for_reading(tmp_path) as store,
        pytest.raises(sqlite3.OperationalError, match=r"readonly|within a transaction"),
    ):
        store._connection.execute("DELETE FROM bars")


def test_a_second_writer_must_try_later(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.0)
    _fill(tmp_path, _history())
    with (
        PriceStore.open_for_writing(tmp_path) as one,
        PriceStore.open_for_writing(tmp_path) as other,
        database.transaction(one._connection),
        pytest.raises(TryLaterError, match="another process is writing"),
    ):
        other.upsert(_history(days=4), FETCHED)


def test_a_reader_sees_one_instant_while_another_writes(tmp_path):
    _fill(tmp_path, _history(days=3))
    with PriceStore.open_for_reading(tmp_path) as reader:
        assert len(reader.bars("AAPL")) == 3
        _fill(tmp_path, _history(days=5), _history("MSFT"))
        assert len(reader.bars("AAPL")) == 3
        assert reader.tickers() == ["AAPL"]
    with PriceStore.open_for_reading(tmp_path) as reader:
        assert len(reader.bars("AAPL")) == 5


def test_a_full_disk_changes_nothing(tmp_path):
    _fill(tmp_path, _history(days=3))
    with PriceStore.open_for_writing(tmp_path) as store:
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StorageError, match="disk is full; nothing was changed"):
            store.upsert(_history(days=3000, first="2010-01-01"), FETCHED)
        assert len(store.bars("AAPL")) == 3
    with PriceStore.open_for_writing(tmp_path) as store:
        assert store.upsert(_history(days=3000, first="2010-01-01"), FETCHED) == 3000


def test_no_content_or_other_content_is_refused_and_kept(tmp_path):
    _fill(tmp_path, _history())
    for content in (b"", b"not a database at all" * 100):
        store_path(tmp_path).write_bytes(content)
        for opener in (PriceStore.open_for_reading, PriceStore.open_for_writing):
            with pytest.raises(StorageError, match=r"prices\.db: corrupt.*\.recover"):
                opener(tmp_path)
        assert store_path(tmp_path).read_bytes() == content


def test_a_damaged_page_is_refused_when_it_is_read(tmp_path):
    _fill(tmp_path, _history(days=3000, first="2010-01-01"))
    content = bytearray(store_path(tmp_path).read_bytes())
    content[4096 * 3 :] = b"\xff" * (len(content) - 4096 * 3)
    store_path(tmp_path).write_bytes(content)
    with (
        PriceStore.open_for_reading(tmp_path) as store,
        pytest.raises(StorageError, match=r"prices\.db: corrupt"),
    ):
        store.bars("AAPL")


def test_a_store_of_a_newer_version_is_refused_naming_both(tmp_path):
    _fill(tmp_path, _history())
    ours = len(MIGRATIONS)
    with closing(sqlite3.connect(store_path(tmp_path))) as connection:
        connection.execute(f"PRAGMA user_version = {ours + 1}")
    for opener in (PriceStore.open_for_reading, PriceStore.open_for_writing):
        with pytest.raises(SettingsError, match=f"schema {ours + 1} is newer than {ours}"):
            opener(tmp_path)


def test_an_older_store_is_copied_and_migrated(tmp_path, monkeypatch):
    _fill(tmp_path, _history())
    ours = len(MIGRATIONS)
    later = (*MIGRATIONS, ("CREATE TABLE extra (one INTEGER) STRICT",))
    monkeypatch.setattr(price_database, "MIGRATIONS", later)
    before = store_path(tmp_path).read_bytes()
    with PriceStore.open_for_reading(tmp_path) as store:  # as a migrated copy
        assert len(store.bars("AAPL")) == 3
        assert store._query("SELECT * FROM extra") == []
    assert store_path(tmp_path).read_bytes() == before
    with PriceStore.open_for_writing(tmp_path) as store:
        assert len(store.bars("AAPL")) == 3
        store._connection.execute("INSERT INTO extra VALUES (1)")
    with closing(sqlite3.connect(store_path(tmp_path).with_name(f"prices.db.v{ours}"))) as copy:
        assert copy.execute("SELECT count(*) FROM bars").fetchone() == (3,)


def test_a_store_of_the_first_schema_keeps_its_bars_and_gets_revisions(tmp_path, monkeypatch):
    """Written by the first release's own statements."""
    with monkeypatch.context() as patch:
        patch.setattr(price_database, "MIGRATIONS", MIGRATIONS[:1])
        with closing(
            database.connect_for_writing(price_database.price_database(tmp_path), tmp_path)
        ) as old:
            listing = ("AAPL", "yahoo", "split-adjusted", "XNYS", "Apple", "NMS", "USD")
            old.execute(
                "INSERT INTO listings VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*listing, FETCHED.isoformat()),
            )
            bar = ("AAPL", "2024-01-02", 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0)
            old.execute("INSERT INTO bars VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", bar)
    with PriceStore.open_for_writing(tmp_path) as store:
        assert len(store.bars("AAPL")) == 1
        assert store.listing("AAPL").first_trade is None
        (revision,) = store.revisions("AAPL")
    assert (revision.number, revision.raised_at) == (1, FETCHED)
    assert revision.reason == "stored before revisions were counted"


def test_a_store_of_two_bases_learns_the_third_and_keeps_its_rows(tmp_path, monkeypatch):
    """SQLite replaces a table for another CHECK; bars and revisions refer to it."""
    with monkeypatch.context() as patch:
        patch.setattr(price_database, "MIGRATIONS", MIGRATIONS[:4])
        _fill(tmp_path, _history(), _history("MSFT"))
        with PriceStore.open_for_writing(tmp_path) as store:
            old = store._query(
                "SELECT sql FROM sqlite_master WHERE name IN ('bars', 'revisions') ORDER BY name"
            )
            before = store.summary(), store._query("SELECT * FROM bars")
    third = _history("ACME")
    third = replace(third, listing=replace(third.listing, basis="total-return"))
    with PriceStore.open_for_writing(tmp_path) as store:
        pd.testing.assert_frame_equal(store.summary(), before[0])
        assert store._query("SELECT * FROM bars") == before[1]
        assert old == store._query(
            "SELECT sql FROM sqlite_master WHERE name IN ('bars', 'revisions') ORDER BY name"
        )
        assert store._query("PRAGMA foreign_key_check") == []
        assert store._query("PRAGMA foreign_keys") == [(1,)]
        store.upsert(third, FETCHED)
        assert store.listing("ACME").basis == "total-return"
        with pytest.raises(sqlite3.IntegrityError):
            store._connection.execute("UPDATE listings SET basis = 'none'")


def test_a_ticker_is_removed_from_every_table_that_has_one(tmp_path):
    """Removed and stored again it is a new one, on another basis if need be."""
    _fill(tmp_path, _history(), _history("MSFT"))
    with PriceStore.open_for_writing(tmp_path) as store:
        tables = [name for (name,) in store._query("SELECT name FROM sqlite_master")]
        ours = {
            table
            for table in tables
            if any(row[1] == "ticker" for row in store._query(f"PRAGMA table_info({table})"))
        }
        assert ours == set(price_database.TABLES_OF_A_TICKER)
        store.record_answers(["AAPL", "MSFT"], {"dates": '"mdy"'})
        assert store.remove("AAPL") == 3
        assert (store.tickers(), store.answers("AAPL")) == (["MSFT"], {})
        assert store.answers("MSFT") == {"dates": '"mdy"'}
        with pytest.raises(UnknownNameError):
            store.remove("AAPL")
        again = _history()
        store.upsert(replace(again, listing=replace(again.listing, basis="as-traded")), FETCHED)
        assert store.revision("AAPL").number == 1


def test_a_copy_has_the_whole_store_and_changes_nothing_of_it(tmp_path):
    (tmp_path / "copy").mkdir()
    _fill(tmp_path, _history())
    with PriceStore.open_for_reading(tmp_path) as store:
        store.copy_to(tmp_path / "copy")
    with PriceStore.open_for_writing(tmp_path / "copy") as copy:
        assert len(copy.bars("AAPL")) == 3
        copy.remove("AAPL")
    with PriceStore.open_for_reading(tmp_path) as store:
        assert store.tickers() == ["AAPL"]


def test_a_migration_that_fails_changes_nothing(tmp_path, monkeypatch):
    _fill(tmp_path, _history())
    broken = (*MIGRATIONS, ("CREATE TABLE extra (one)", "CREATE NONSENSE"))
    with monkeypatch.context() as patch, pytest.raises(StorageError, match="syntax error"):
        patch.setattr(price_database, "MIGRATIONS", broken)
        PriceStore.open_for_writing(tmp_path)
    with PriceStore.open_for_writing(tmp_path) as store:
        assert len(store.bars("AAPL")) == 3
        assert store._query("SELECT * FROM sqlite_master WHERE name = 'extra'") == []


def test_a_store_killed_in_the_making_is_made_again(tmp_path):
    """A half-made store lies under another name, which the next one reuses and removes."""
    (tmp_path / "data").mkdir()
    unfinished = store_path(tmp_path).with_name("prices.db.new")
    unfinished.write_bytes(b"")
    _fill(tmp_path, _history())
    assert not unfinished.exists()
    assert store_path(tmp_path).stat().st_size > 0


def test_a_store_is_made_where_files_cannot_be_linked(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    _fill(tmp_path, _history())
    with PriceStore.open_for_reading(tmp_path) as store:
        assert len(store.bars("AAPL")) == 3


def test_a_writer_killed_in_a_transaction_leaves_the_last_state(tmp_path):
    _fill(tmp_path, _history(days=3))
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from forecaster import database\n"
        "from forecaster.data import price_database\n"
        "home = Path(sys.argv[1])\n"
        "connection = database.connect_for_writing(price_database.price_database(home), home)\n"
        "connection.execute('PRAGMA cache_size = 1')\n"
        "connection.execute('BEGIN IMMEDIATE')\n"
        "connection.execute('UPDATE bars SET close = 1.0')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    with PriceStore.open_for_writing(tmp_path) as store:
        pd.testing.assert_frame_equal(store.bars("AAPL"), _history(days=3).bars)
        assert store._query("PRAGMA integrity_check") == [("ok",)]


def test_own_columns_are_stored_beside_the_bars(tmp_path):
    """A corrected value of the past raises the revision, as a bar does; a missing one keeps it."""
    plain, other = _history(), _history("MSFT")
    days = len(plain.bars)
    kept = replace(plain, bars=plain.bars.assign(rv5=np.arange(days) + 1.0))
    _fill(tmp_path, kept, other)
    with PriceStore.open_for_writing(tmp_path) as store:
        pd.testing.assert_frame_equal(store.bars("AAPL"), kept.bars)
        last = kept.bars["session"].iloc[-1].date()
        assert store.bars("AAPL", since=last)["rv5"].tolist() == [days]
        assert store.all_bars(["AAPL", "MSFT"])["rv5"].isna().sum() == len(other.bars)
        assert "rv5" not in store.bars("MSFT")
        before = store.revision("AAPL").number
        assert store.upsert(plain, FETCHED) == 0
        assert store.revision("AAPL").number == before
        again = kept.bars.assign(rv5=kept.bars["rv5"].where(kept.bars["rv5"] != 1.0, 9.0))
        assert store.upsert(replace(kept, bars=again), FETCHED) == 1
        assert store.revision("AAPL").number == before + 1
        assert store.bars("AAPL")["rv5"].iloc[0] == 9.0
        store.remove("AAPL")
