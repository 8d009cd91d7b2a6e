"""The price store: every ticker's bars as served (D trading days), in one SQLite file.

Histories in, tables out; knows no source and no network.  Bars are replaced when a source
corrects them; only a rejection by hand deletes one.
"""

import difflib
import json
import sqlite3
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster import database
from forecaster.data import calendar_cache, price_database, store_rows
from forecaster.data.calendar_corrections import Corrections
from forecaster.data.history import History, Listing, own_names, validate_bars
from forecaster.data.quarantine import Quarantine
from forecaster.data.store_rows import Mark, Revision, Row, Span, TickerState
from forecaster.data.trading_calendar import base_name
from forecaster.errors import DataError, UnknownNameError


class PriceStore:
    """The prices of one home; a context manager that closes its file.

    A store that is open for reading is a snapshot, whatever another process writes. Methods that
    take a ticker raise UnknownNameError where nothing is stored of it, unless they return None.
    """

    def __init__(self, connection: sqlite3.Connection, file: database.Database) -> None:
        self.path = file.path
        self.quarantine = Quarantine(connection, file)
        self.corrections = Corrections(connection, file)
        self._connection, self._file = connection, file

    @classmethod
    def open_for_writing(cls, home: Path) -> Self:
        """Open the store of an existing home, or create it; see `database.connect_for_writing`."""
        file = price_database.price_database(home)
        return cls(database.connect_for_writing(file, home), file)

    @classmethod
    def open_for_reading(cls, home: Path) -> Self:
        """Open the store of a home, which may be read-only; see `database.connect_for_reading`."""
        calendar_cache.use(home)
        file = price_database.price_database(home)
        return cls(database.connect_for_reading(file, home), file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def defer_sync(self) -> None:
        """Write through to the disk on closing, not with each transaction.

        A power failure may lose the newest transactions, never a part of one.
        """
        with database.translated_errors(self._file):
            self._connection.execute("PRAGMA synchronous = NORMAL")

    def upsert(self, history: History, fetched_at: datetime, reason: str = "") -> int:
        """Store one ticker's bars; see `upsert_all`."""
        return self.upsert_all([history], fetched_at, reason)[0]

    def upsert_all(
        self, histories: Sequence[History], fetched_at: datetime, reason: str = ""
    ) -> list[int]:
        """Store several tickers' bars in one transaction: all of them, or none.

        New bars are added, different ones replaced, days that are lacking kept. A change on or
        before the newest stored session raises the ticker's revision, and so does another
        listing with a reason.

        Args:
            histories: bars oldest first; none for a change of a stored listing alone.
            fetched_at: aware instant at which the source served them.
            reason: why the past changes; empty for a sentence that counts the bars.

        Returns:
            The number of new or different bars of each.

        Raises:
            DataError: impossible bars, or a ticker that is stored from another source or on
                another basis.
            StorageError, TryLaterError: the disk failed, or another process is writing.
        """
        instant = store_rows.instant_text(fetched_at)
        with database.translated_errors(self._file), database.transaction(self._connection):
            return [self._replace(history, instant, reason) for history in histories]

    def _replace(self, history: History, instant: str, reason: str) -> int:
        listing, ticker = history.listing, history.listing.ticker
        known = self._query(store_rows.LISTING, ticker)
        if not (known and history.bars.empty):
            validate_bars(ticker, history.bars)
        row = store_rows.listing_row(listing)
        if known:
            _refuse_other_origin(store_rows.listing_of(known[0]), listing)
        else:
            self._connection.execute(store_rows.UPSERT_LISTING, (*row, instant))
        bars = store_rows.bar_rows(ticker, history.bars)
        newest = self._query("SELECT max(session) FROM bars WHERE ticker = ?", ticker)[0][0]
        own = store_rows.own_rows(ticker, history.bars)
        replaced = added = 0
        for sql, rows in ((store_rows.UPSERT_BAR, bars), (store_rows.UPSERT_OWN, own)):
            past = bisect_right(rows, newest or "", key=lambda row: row[1])
            # A bar and its own values are one change.
            replaced = max(replaced, self._write(sql, rows[:past]))
            added = max(added, self._write(sql, rows[past:]))
        is_other = bool(known) and known[0] != row
        if is_other or (known and replaced + added):
            self._connection.execute(store_rows.UPSERT_LISTING, (*row, instant))
        if newest is None:
            reason = "first stored"
        elif not reason and replaced:
            reason = f"{replaced:,} bars on or before {newest} replaced or added"
        if newest is None or replaced or (is_other and reason):
            self._connection.execute(store_rows.RAISE_REVISION, (ticker, reason, instant))
        return replaced + added

    def upsert_own(self, ticker: str, values: pd.DataFrame, at: datetime) -> int:
        """Store own columns of a stored ticker's bars; return the number of changed sessions.

        `values` has `session` and columns of numbers, oldest first. A change on or before the
        newest stored session raises the revision; prices and their fetch date stay.
        """
        self.listing(ticker)
        rows = store_rows.own_rows(ticker, values)
        with database.translated_errors(self._file), database.transaction(self._connection):
            changed = self._write(store_rows.UPSERT_OWN, rows)
            if changed:
                reason = f"{changed:,} values of {', '.join(own_names(values))} added or replaced"
                instant = store_rows.instant_text(at)
                self._connection.execute(store_rows.RAISE_REVISION, (ticker, reason, instant))
        return changed

    def _write(self, sql: str, rows: list[Row]) -> int:
        before = self._connection.total_changes
        if rows:
            self._connection.executemany(sql, rows)
        return self._connection.total_changes - before

    def answers(self, ticker: str) -> dict[str, str]:
        """Return what was answered about the files of a ticker, stored or not, by option."""
        return dict(
            self._query("SELECT option, answer FROM import_answers WHERE ticker = ?", ticker)
        )

    def record_answers(self, tickers: Sequence[str], answers: Mapping[str, str]) -> None:
        """Record answers by option for some tickers, over earlier ones."""
        rows = [(ticker, *answer) for ticker in tickers for answer in answers.items()]
        with database.translated_errors(self._file), database.transaction(self._connection):
            self._connection.executemany(
                "INSERT OR REPLACE INTO import_answers VALUES (?, ?, ?)", rows
            )

    def remove(self, ticker: str) -> int:
        """Delete all there is of a ticker; return the number of its bars."""
        days = int(self._query(store_rows.SPAN, ticker)[0][0])
        self.listing(ticker)
        with database.translated_errors(self._file), database.transaction(self._connection):
            for table in price_database.TABLES_OF_A_TICKER:
                self._connection.execute(f"DELETE FROM {table} WHERE ticker = ?", (ticker,))
        return days

    def copy_to(self, home: Path) -> None:
        """Copy the store to a folder that has none."""
        path = price_database.store_path(home)
        path.parent.mkdir(mode=0o700)
        with database.translated_errors(self._file), closing(sqlite3.connect(path)) as copy:
            self._connection.backup(copy)

    def record_comparison(self, ticker: str, at: datetime) -> None:
        """Record that the complete past of a ticker was compared with its source."""
        sql = "UPDATE listings SET compared_at = ? WHERE ticker = ?"
        with database.translated_errors(self._file), database.transaction(self._connection):
            self._connection.execute(sql, (store_rows.instant_text(at), ticker))

    def compared_at(self, ticker: str) -> datetime | None:
        """Return when the complete past of a ticker was last compared, in UTC; None if never."""
        rows = self._of_ticker("SELECT compared_at FROM listings WHERE ticker = ?", ticker)
        return datetime.fromisoformat(rows[0][0]) if rows[0][0] else None

    def tickers(self, source: str = "") -> list[str]:
        """List the tickers in the store, sorted; all, or those of one source."""
        sql = "SELECT ticker FROM listings WHERE ?1 IN ('', source) ORDER BY ticker"
        return [row[0] for row in self._query(sql, source)]

    def states(self, tickers: Sequence[str] = ()) -> list[TickerState]:
        """Return the state of those of the tickers that are stored, or of all, sorted."""
        rows = self._query(store_rows.STATES, json.dumps([*tickers]))
        found = [store_rows.state_of(row) for row in rows]
        name_of = self.corrections.name_of
        return [replace(one, calendar=name_of(one.calendar)) for one in found]

    def newest(self) -> list[tuple[str, date | None, datetime]]:
        """Return each calendar's newest stored session, and when it was last fetched, in UTC."""
        return [
            (calendar, date.fromisoformat(last) if last else None, datetime.fromisoformat(fetched))
            for calendar, last, fetched in self._query(store_rows.NEWEST_SESSIONS)
        ]

    def days_with_bars(self, calendar: str, after: date, before: date) -> int:
        """Count the days strictly between two of which any ticker of a calendar has a bar."""
        ends = (after.isoformat(), before.isoformat())
        return int(self._query(store_rows.HAS_BARS, base_name(calendar), *ends)[0][0])

    def listing(self, ticker: str) -> Listing:
        """Return the listing of a ticker, its calendar with all corrections."""
        listing = store_rows.listing_of(self._of_ticker(store_rows.LISTING, ticker)[0])
        return replace(listing, calendar=self.corrections.name_of(listing.calendar))

    def marks(self, tickers: Sequence[str], until: date | None = None) -> list[Mark]:
        """Return the marks of those of the tickers that have a bar up to a day, sorted."""
        last = until.isoformat() if until else store_rows.NEWEST
        rows = self._query(store_rows.MARKS, json.dumps([*tickers]), last)
        found = [Mark(*row) for row in rows if row[-1] is not None]
        return [replace(one, calendar=self.corrections.name_of(one.calendar)) for one in found]

    def revision(self, ticker: str) -> Revision:
        """Return the newest revision of a ticker's past; see `revisions`."""
        return self.revisions(ticker)[-1]

    def revisions(self, ticker: str) -> list[Revision]:
        """List the revisions of a ticker's past, oldest first."""
        return [
            Revision(number=number, reason=reason, raised_at=datetime.fromisoformat(instant))
            for number, reason, instant in self._of_ticker(store_rows.REVISIONS, ticker)
        ]

    def span(self, ticker: str) -> Span | None:
        """Return the stored sessions of a ticker; None if there is no bar."""
        ((days, first, last),) = self._query(store_rows.SPAN, ticker)
        if not days:
            return None
        return Span(days=days, first=date.fromisoformat(first), last=date.fromisoformat(last))

    def session_before(self, ticker: str, day: date, bars: int) -> date:
        """Return the stored session that is up to so many bars before a day; the day if none is."""
        ((first,),) = self._query(store_rows.SESSION_BEFORE, ticker, day.isoformat(), str(bars))
        return date.fromisoformat(first) if first else day

    def bars(
        self, ticker: str, until: date | None = None, since: date | None = None
    ) -> pd.DataFrame:
        """Read one ticker's bars (D,), oldest first, from `since` to `until`, both included."""
        return self.all_bars([ticker], until, since).drop(columns="ticker")

    def all_bars(
        self,
        tickers: Sequence[str],
        until: date | None = None,
        since: date | None = None,
        newest: int | None = None,
    ) -> pd.DataFrame:
        """Read the bars of several tickers: `ticker` and BAR_COLUMNS, sorted by both.

        Own columns come last, NaN where a ticker has none.
        All from `since` to `until`, or of each ticker the `newest` ones until then.
        """
        wanted = sorted(set(tickers))
        names = json.dumps(wanted)
        unknown = self._query(store_rows.UNKNOWN, names)
        if unknown:
            raise self._unknown(unknown[0][0])
        rows = self._read_bars(names, until, since, newest)
        table = store_rows.bars_table(rows)
        numbers = rows[:, 0].astype(np.intp)
        table.insert(0, "ticker", pd.Series(pd.array(wanted, dtype="str").take(numbers)))
        if table.empty:
            return table
        ends = (f"{end:%Y-%m-%d}" for end in (table["session"].min(), table["session"].max()))
        return store_rows.with_own_columns(table, self._query(store_rows.OWN, names, *ends))

    def _read_bars(
        self, names: str, until: date | None, since: date | None, newest: int | None = None
    ) -> NDArray[np.float64]:
        first = since.isoformat() if since else store_rows.OLDEST
        last = until.isoformat() if until else store_rows.NEWEST
        query: tuple[str, tuple[str | int, ...]] = (store_rows.BARS, (names, first, last))
        if newest is not None:
            query = (store_rows.NEWEST_BARS, (names, last, newest))
        with database.translated_errors(self._file):
            rows = self._connection.execute(*query)
            return np.fromiter(rows, dtype=store_rows.BAR_ROW)

    def history(self, ticker: str, until: date | None = None) -> History:
        """Read one ticker's listing and bars."""
        return History(listing=self.listing(ticker), bars=self.bars(ticker, until))

    def summary(self) -> pd.DataFrame:
        """Return SUMMARY_COLUMNS, one row per ticker; dates and instants as ISO text."""
        return pd.DataFrame(
            self._query(price_database.SUMMARY), columns=price_database.SUMMARY_COLUMNS
        )

    def _of_ticker(self, sql: str, ticker: str) -> list[Any]:
        rows = self._query(sql, ticker)
        if not rows:
            raise self._unknown(ticker)
        return rows

    def _query(self, sql: str, *values: str) -> list[Any]:
        with database.translated_errors(self._file):
            return self._connection.execute(sql, values).fetchall()

    def _unknown(self, ticker: str) -> UnknownNameError:
        if held := self.quarantine.blocking(ticker).get(ticker):
            return UnknownNameError(f"{ticker}: nothing is stored: {held}")
        close = difflib.get_close_matches(ticker, self.tickers(), n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else "."
        return UnknownNameError(
            f"{ticker}: no prices are stored in {self.path}{hint} "
            "`forecaster data list` shows what is there."
        )


def _refuse_other_origin(stored: Listing, listing: Listing) -> None:
    """Refuse to mix sources or bases: their prices of a day may not be comparable."""
    if (stored.source, stored.basis) == (listing.source, listing.basis):
        return
    remove = f"forecaster data remove {listing.ticker}"
    remedy = f"Keep them in another --home, or remove those stored: {remove}"
    if stored.source == listing.source:
        remedy = f"Add --basis {stored.basis} if that is their basis; otherwise k{remedy[1:]}"
    raise DataError(
        f"{listing.ticker}: is stored from {stored.source}, {stored.basis}; these bars are from "
        f"{listing.source}, {listing.basis}, and the two do not mix. {remedy}"
    )
