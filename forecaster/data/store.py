"""The price store: every ticker's bars as they were served, in one SQLite file.

Histories in, tables out; knows no source and no network.  Bars are replaced when a source
corrects them and are never deleted.

Shape letters: D trading days.
"""

import difflib
import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.data import store_file
from forecaster.data.bars import BAR_COLUMNS, History, Listing, validate_bars
from forecaster.errors import DataError, UnknownNameError

_COLUMNS: Final = ", ".join(BAR_COLUMNS)
_VALUES: Final = BAR_COLUMNS[1:]
_NEWEST: Final = "9999-12-31"

_UPSERT_LISTING: Final = """
    INSERT INTO listings VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (ticker) DO UPDATE SET
        calendar = excluded.calendar, name = excluded.name, exchange = excluded.exchange,
        currency = excluded.currency, fetched_at = excluded.fetched_at
"""
_UPSERT_BAR: Final = f"""
    INSERT INTO bars (ticker, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (ticker, session) DO UPDATE SET
        {", ".join(f"{name} = excluded.{name}" for name in _VALUES)}
    WHERE ({", ".join(_VALUES)}) IS NOT ({", ".join(f"excluded.{name}" for name in _VALUES)})
"""
# Numbers only, so that half a million rows go to an array without a tuple for each.
_BARS: Final = f"""
    SELECT key, julianday(session) - 2440587.5, {", ".join(_VALUES)}
    FROM json_each(?) CROSS JOIN bars ON ticker = value
    WHERE session <= ? ORDER BY key, session
"""
_BAR_ROW: Any = np.dtype((np.float64, 1 + len(BAR_COLUMNS)))
_SUMMARY: Final = """
    SELECT ticker, source, basis, calendar, currency, count(session) AS days,
           min(session) AS first, max(session) AS last, fetched_at
    FROM listings LEFT JOIN bars USING (ticker) GROUP BY ticker ORDER BY ticker
"""


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
        return cls(store_file.connect_for_writing(home), store_file.store_path(home))

    @classmethod
    def open_for_reading(cls, home: Path) -> Self:
        """Open the store of a home, which may be read-only.

        Raises:
            UnknownNameError: no prices are stored there.
            SettingsError: the store was made by another version.
            StorageError: the file is damaged.
        """
        return cls(store_file.connect_for_reading(home), store_file.store_path(home))

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

    def upsert(self, history: History, fetched_at: datetime) -> int:
        """Store one ticker's bars; see `upsert_all`. Return how many were new or different."""
        return self.upsert_all([history], fetched_at)[0]

    def upsert_all(self, histories: Sequence[History], fetched_at: datetime) -> list[int]:
        """Store several tickers' bars in one transaction: all of them, or none.

        New bars are added, different ones replaced.

        Args:
            histories: bars oldest first; days that they lack stay as they are stored.
            fetched_at: aware instant at which the source served them.

        Returns:
            How many bars of each were new or different.

        Raises:
            DataError: bars that cannot be, or a ticker that is stored from another source or
                on another basis.
            StorageError: the disk is full or failed; nothing was changed.
            TryLaterError: another process is writing.
        """
        instant = _instant(fetched_at)
        rows = [_rows(h.listing.ticker, validate_bars(h.listing.ticker, h.bars)) for h in histories]
        with (
            store_file.translated_errors(self.path),
            store_file.transaction(self._connection),
        ):
            return [
                self._replace(history.listing, bars, instant)
                for history, bars in zip(histories, rows, strict=True)
            ]

    def _replace(self, listing: Listing, rows: list[tuple[Any, ...]], instant: str) -> int:
        self._refuse_other_origin(listing)
        described = (
            *(listing.ticker, listing.source, listing.basis, listing.calendar),
            *(listing.name, listing.exchange, listing.currency, instant),
        )
        self._connection.execute(_UPSERT_LISTING, described)
        before = self._connection.total_changes
        self._connection.executemany(_UPSERT_BAR, rows)
        return self._connection.total_changes - before

    def tickers(self) -> list[str]:
        """Name all tickers in the store, sorted."""
        return [row[0] for row in self._query("SELECT ticker FROM listings ORDER BY ticker")]

    def listing(self, ticker: str) -> Listing:
        """Tell what a ticker is.

        Raises:
            UnknownNameError: nothing is stored of it.
        """
        columns = "ticker, source, basis, calendar, name, exchange, currency"
        rows = self._query(f"SELECT {columns} FROM listings WHERE ticker = ?", ticker)
        if not rows:
            raise self._unknown(ticker)
        return Listing(**dict(zip(columns.split(", "), rows[0], strict=True)))

    def fetched_at(self, ticker: str) -> datetime:
        """Tell when a ticker's source was last read, in UTC.

        Raises:
            UnknownNameError: nothing is stored of it.
        """
        rows = self._query("SELECT fetched_at FROM listings WHERE ticker = ?", ticker)
        if not rows:
            raise self._unknown(ticker)
        return datetime.fromisoformat(rows[0][0])

    def bars(self, ticker: str, until: date | None = None) -> pd.DataFrame:
        """Read one ticker's bars, oldest first.

        Args:
            ticker: as stored.
            until: last session wanted, inclusive; None for all.

        Returns:
            (D,) rows of BAR_COLUMNS.

        Raises:
            UnknownNameError: nothing is stored of the ticker.
        """
        return self.all_bars([ticker], until).drop(columns="ticker")

    def all_bars(self, tickers: Sequence[str], until: date | None = None) -> pd.DataFrame:
        """Read the bars of several tickers at once.

        Args:
            tickers: as stored; the order does not matter.
            until: last session wanted, inclusive; None for all.

        Returns:
            A column `ticker` and BAR_COLUMNS, sorted by ticker and session.

        Raises:
            UnknownNameError: nothing is stored of one of the tickers.
        """
        stored = set(self.tickers())
        for ticker in tickers:
            if ticker not in stored:
                raise self._unknown(ticker)
        wanted = sorted(set(tickers))
        values = (json.dumps(wanted), until.isoformat() if until else _NEWEST)
        with store_file.translated_errors(self.path):
            found = np.fromiter(self._connection.execute(_BARS, values), dtype=_BAR_ROW)
        return _frame(wanted, found)

    def history(self, ticker: str, until: date | None = None) -> History:
        """Read one ticker's listing and bars.

        Raises:
            UnknownNameError: nothing is stored of the ticker.
        """
        return History(listing=self.listing(ticker), bars=self.bars(ticker, until))

    def summary(self) -> pd.DataFrame:
        """Tell what is there: one row per ticker.

        Returns:
            Columns ticker, source, basis, calendar, currency, days, first, last (ISO dates)
            and fetched_at (ISO instant), sorted by ticker.
        """
        names = "ticker source basis calendar currency days first last fetched_at".split()
        return pd.DataFrame(self._query(_SUMMARY), columns=names)

    def _query(self, sql: str, *values: str) -> list[Any]:
        with store_file.translated_errors(self.path):
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


def _rows(ticker: str, bars: pd.DataFrame) -> list[tuple[Any, ...]]:
    sessions = np.datetime_as_string(bars["session"].to_numpy().astype("datetime64[D]")).tolist()
    columns = [bars[name].tolist() for name in _VALUES]
    return list(zip([ticker] * len(bars), sessions, *columns, strict=True))


def _frame(tickers: list[str], rows: NDArray[np.float64]) -> pd.DataFrame:
    """Turn rows of ticker number, day since 1970 and values into the long table."""
    names = pd.array(tickers, dtype="str").take(rows[:, 0].astype(np.intp))
    days = rows[:, 1].astype("datetime64[D]").astype("datetime64[s]")
    values = dict(zip(_VALUES, rows[:, 2:].T.copy(), strict=True))
    return pd.DataFrame({"ticker": names, "session": days, **values})


def _instant(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError(f"an instant needs a timezone, got {moment.isoformat()}")
    return moment.astimezone(UTC).isoformat(timespec="seconds")
