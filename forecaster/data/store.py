"""The price store: every ticker's bars as they were served, in one SQLite file.

Histories in, tables out; knows no source and no network.  Bars are replaced when a source
corrects them and are never deleted.

Shape letters: D trading days.
"""

import difflib
import json
import sqlite3
from bisect import bisect_right
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd

from forecaster import database
from forecaster.data import store_rows
from forecaster.data.history import History, Listing, validate_bars
from forecaster.data.quarantine import Quarantine
from forecaster.data.store_batch import Batch
from forecaster.data.store_rows import Revision, Row, Span
from forecaster.errors import DataError, UnknownNameError


class PriceStore:
    """The prices of one home; a context manager that closes its file.

    While it is open for reading, everything it tells is as of one instant, whatever another
    process writes.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    def open_for_writing(cls, home: Path) -> Self:
        """Open the store of an existing home, made where there is none.

        Raises:
            CannotWriteError: the home is missing or read-only; nothing was done.
            SettingsError: the store was made by a newer version.
            StorageError: the file is damaged or the disk failed.
            TryLaterError: another process is writing.
        """
        return cls(store_rows.connect_for_writing(home), store_rows.store_path(home))

    @classmethod
    def open_for_reading(cls, home: Path) -> Self:
        """Open the store of a home, which may be read-only.

        Raises:
            UnknownNameError: no prices are stored there.
            SettingsError: the store was made by another version.
            StorageError: the file is damaged.
        """
        return cls(store_rows.connect_for_reading(home), store_rows.store_path(home))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the store is of no use afterwards."""
        self._connection.close()

    @property
    def quarantine(self) -> Quarantine:
        """The bars of this store that await a person."""
        return Quarantine(self._connection, self.path)

    @property
    def batch(self) -> Batch:
        """Many tickers of this store at once."""
        return Batch(self._connection, self.path)

    def upsert(self, history: History, fetched_at: datetime, reason: str = "") -> int:
        """Store one ticker's bars; see `upsert_all`. Return how many were new or different."""
        return self.upsert_all([history], fetched_at, reason)[0]

    def upsert_all(
        self, histories: Sequence[History], fetched_at: datetime, reason: str = ""
    ) -> list[int]:
        """Store several tickers' bars in one transaction: all of them, or none.

        New bars are added, different ones replaced. What changes nothing writes nothing. A
        change on or before the newest stored session raises the ticker's revision, and so
        does another listing for which there is a reason.

        Args:
            histories: bars oldest first; days that they lack stay as they are stored. A
                ticker that is stored may come without bars, for its listing alone.
            fetched_at: aware instant at which the source served them.
            reason: why the past changes; empty for a sentence that counts the bars.

        Returns:
            How many bars of each were new or different.

        Raises:
            DataError: bars that cannot be, or a ticker that is stored from another source or
                on another basis.
            StorageError: the disk is full or failed; nothing was changed.
            TryLaterError: another process is writing.
        """
        instant = store_rows.instant_text(fetched_at)
        with (
            store_rows.translated_errors(self.path),
            database.transaction(self._connection),
        ):
            return [self._replace(history, instant, reason) for history in histories]

    def _replace(self, history: History, instant: str, reason: str) -> int:
        listing, span = history.listing, self.span(history.listing.ticker)
        known = self._query(store_rows.LISTING, listing.ticker)
        if not (known and history.bars.empty):
            validate_bars(listing.ticker, history.bars)
        self._refuse_other_origin(listing)
        told = store_rows.listing_row(listing)
        if not known:
            self._connection.execute(store_rows.UPSERT_LISTING, (*told, instant))
        rows = store_rows.bar_rows(listing.ticker, history.bars)
        newest = span.last.isoformat() if span else ""
        past = bisect_right(rows, newest, key=lambda row: row[1])
        replaced, added = self._write(rows[:past]), self._write(rows[past:])
        is_other = bool(known) and known[0] != told
        if is_other or (known and replaced + added):
            self._connection.execute(store_rows.UPSERT_LISTING, (*told, instant))
        if span is None:
            reason = "first stored"
        elif not reason and replaced:
            reason = f"{replaced:,} bars on or before {newest} replaced or added"
        if span is None or replaced or (is_other and reason):
            self._connection.execute(store_rows.RAISE_REVISION, (listing.ticker, reason, instant))
        return replaced + added

    def _write(self, rows: list[Row]) -> int:
        before = self._connection.total_changes
        self._connection.executemany(store_rows.UPSERT_BAR, rows)
        return self._connection.total_changes - before

    def tickers(self, source: str = "") -> list[str]:
        """Name the tickers in the store, sorted; all, or those that came from one source."""
        sql = "SELECT ticker FROM listings WHERE ?1 IN ('', source) ORDER BY ticker"
        return [row[0] for row in self._query(sql, source)]

    def listing(self, ticker: str) -> Listing:
        """Tell what a ticker is.

        Raises:
            UnknownNameError: nothing is stored of it.
        """
        return store_rows.listing_of(self._of_ticker(store_rows.LISTING, ticker)[0])

    def revision(self, ticker: str) -> Revision:
        """Tell the newest revision of a ticker's past; see `revisions`."""
        return self.revisions(ticker)[-1]

    def revisions(self, ticker: str) -> list[Revision]:
        """List how often a ticker's past has changed, oldest first, and why.

        Raises:
            UnknownNameError: nothing is stored of it.
        """
        return [
            Revision(number=number, reason=reason, raised_at=datetime.fromisoformat(instant))
            for number, reason, instant in self._of_ticker(store_rows.REVISIONS, ticker)
        ]

    def span(self, ticker: str) -> Span | None:
        """Tell which sessions of a ticker are stored; None where there is no bar."""
        ((days, first, last),) = self._query(store_rows.SPAN, ticker)
        if not days:
            return None
        return Span(days=days, first=date.fromisoformat(first), last=date.fromisoformat(last))

    def fetched_at(self, ticker: str) -> datetime:
        """Tell when a ticker's source last brought something new, in UTC.

        Raises:
            UnknownNameError: nothing is stored of it.
        """
        rows = self._of_ticker("SELECT fetched_at FROM listings WHERE ticker = ?", ticker)
        return datetime.fromisoformat(rows[0][0])

    def bars(
        self, ticker: str, until: date | None = None, since: date | None = None
    ) -> pd.DataFrame:
        """Read one ticker's bars, oldest first.

        Args:
            ticker: as stored.
            until: last session wanted, inclusive; None for all.
            since: first session wanted, inclusive; None for all.

        Returns:
            (D,) rows of BAR_COLUMNS.

        Raises:
            UnknownNameError: nothing is stored of the ticker.
        """
        return self.all_bars([ticker], until, since).drop(columns="ticker")

    def all_bars(
        self, tickers: Sequence[str], until: date | None = None, since: date | None = None
    ) -> pd.DataFrame:
        """Read the bars of several tickers at once.

        Args:
            tickers: as stored; the order does not matter.
            until: last session wanted, inclusive; None for all.
            since: first session wanted, inclusive; None for all.

        Returns:
            A column `ticker` and BAR_COLUMNS, sorted by ticker and session.

        Raises:
            UnknownNameError: nothing is stored of one of the tickers.
        """
        wanted = sorted(set(tickers))
        unknown = self._query(store_rows.UNKNOWN, json.dumps(wanted))
        if unknown:
            raise self._unknown(unknown[0][0])
        first = since.isoformat() if since else store_rows.OLDEST
        last = until.isoformat() if until else store_rows.NEWEST
        values = (json.dumps(wanted), first, last)
        with store_rows.translated_errors(self.path):
            rows = self._connection.execute(store_rows.BARS, values)
            found = np.fromiter(rows, dtype=store_rows.BAR_ROW)
        return store_rows.long_table(wanted, found)

    def history(self, ticker: str, until: date | None = None) -> History:
        """Read one ticker's listing and bars.

        Raises:
            UnknownNameError: nothing is stored of the ticker.
        """
        return History(listing=self.listing(ticker), bars=self.bars(ticker, until))

    def summary(self) -> pd.DataFrame:
        """Tell what is there: one row per ticker.

        Returns:
            SUMMARY_COLUMNS: `first` and `last` are ISO dates, `fetched_at` is an ISO instant.
        """
        names = list(store_rows.SUMMARY_COLUMNS)
        return pd.DataFrame(self._query(store_rows.SUMMARY), columns=names)

    def _of_ticker(self, sql: str, ticker: str) -> list[Any]:
        rows = self._query(sql, ticker)
        if not rows:
            raise self._unknown(ticker)
        return rows

    def _query(self, sql: str, *values: str) -> list[Any]:
        with store_rows.translated_errors(self.path):
            return self._connection.execute(sql, values).fetchall()

    def _refuse_other_origin(self, listing: Listing) -> None:
        """Refuse to mix sources or bases: their prices of one day need not be comparable."""
        rows = self._query("SELECT source, basis FROM listings WHERE ticker = ?", listing.ticker)
        if not rows or rows[0] == (listing.source, listing.basis):
            return
        source, basis = rows[0]
        remedy = "Keep them in another --home."
        if source == listing.source:
            remedy = f"Add --basis {basis} if that is what they are; otherwise k{remedy[1:]}"
        raise DataError(
            f"{listing.ticker}: is stored from {source}, {basis}; these bars are from "
            f"{listing.source}, {listing.basis}, and the two do not mix. {remedy}"
        )

    def _unknown(self, ticker: str) -> UnknownNameError:
        close = difflib.get_close_matches(ticker, self.tickers(), n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else "."
        return UnknownNameError(
            f"{ticker}: no prices are stored in {self.path}{hint} "
            "`forecaster data list` shows what is there."
        )
