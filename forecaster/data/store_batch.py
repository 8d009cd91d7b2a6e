"""Many tickers of an open store at once: how they stand, their newest bars, and bars after these.

A query for all instead of several for each.  Knows no source and no rules.

Shape letters: T tickers, R bars.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np

from forecaster import database
from forecaster.data import store_rows
from forecaster.data.history import Listing
from forecaster.data.overlap import Block
from forecaster.data.store_rows import Row, Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """How a stored ticker stands: what it is, its span, its revision.

    `compared_at` is when its whole past was last held against the source, None where it never
    was; `is_held` whether any of its bars is in quarantine.
    """

    listing: Listing
    span: Span
    revision: int
    compared_at: datetime | None
    is_held: bool

    @property
    def state(self) -> tuple[str, int]:
        """Newest session and revision: as long as both stay, so do the bars."""
        return self.span.last.isoformat(), self.revision


class Batch:
    """Many tickers of an open store; see `PriceStore.batch`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def stands(self, tickers: Sequence[str]) -> dict[str, Stand]:
        """Tell how tickers stand, by name; one without bars is left out."""
        rows = self._query(store_rows.STANDS, json.dumps(list(tickers)))
        return {row[0]: _stand(row) for row in rows if row[-4] is not None}

    def count(self, tickers: Sequence[str], until: date | None = None) -> int:
        """Count the bars of several tickers, up to a day."""
        last = until.isoformat() if until else store_rows.NEWEST
        return int(self._query(store_rows.COUNT, json.dumps(list(tickers)), last)[0][0] or 0)

    def marks(self, tickers: Sequence[str]) -> list[Row]:
        """Tell of each stored ticker what changes whenever its listing or its bars do.

        It is a listing, the newest session, the revision and when these came: a change of the
        past raises the revision, and any other brings a newer session.
        """
        return self._query(store_rows.MARKS, json.dumps(list(tickers)))

    def newest(self, since: Mapping[str, date]) -> Block:
        """Read the bars of each ticker from a day on, numbered in the order of the tickers."""
        wanted = json.dumps([(ticker, day.isoformat()) for ticker, day in since.items()])
        with store_rows.translated_errors(self._path):
            rows = self._connection.execute(store_rows.NEWEST_BARS, (wanted,))
            found = np.fromiter(rows, dtype=store_rows.BAR_ROW)
        days = found[:, 1].astype("datetime64[D]")
        return Block(found[:, 0].astype(np.int64), days, found[:, 2:])

    def append(
        self, stands: Sequence[Stand], instants: Sequence[datetime], bars: Block
    ) -> list[int]:
        """Add bars after the newest of each ticker, all in one transaction.

        A ticker that another process has changed since it was looked at stays as it is.

        Args:
            stands: (T,) the tickers, as they stood when their bars were compared.
            instants: (T,) aware instants at which the bars were served.
            bars: (R,) bars that `validate_bars` accepts, each after the last of its ticker.

        Returns:
            (T,) how many were added; -1 where the ticker has changed.

        Raises:
            StorageError: the disk is full or failed; nothing was changed.
            TryLaterError: another process is writing.
        """
        if not len(bars.owner):
            return [0] * len(stands)
        names = [stand.listing.ticker for stand in stands]
        rows = store_rows.block_rows(names, bars)
        edges = np.searchsorted(bars.owner, np.arange(len(stands) + 1)).tolist()
        with store_rows.translated_errors(self._path), database.transaction(self._connection):
            states = {row[0]: tuple(row[1:]) for row in self._states(names)}
            return [
                self._append(stand, instant, rows[edges[number] : edges[number + 1]])
                if states[stand.listing.ticker] == stand.state
                else -1
                for number, (stand, instant) in enumerate(zip(stands, instants, strict=True))
            ]

    def note_compared(self, ticker: str, at: datetime) -> None:
        """Write down that the whole past of a ticker was held against its source."""
        with store_rows.translated_errors(self._path), database.transaction(self._connection):
            self._connection.execute(store_rows.COMPARED, (ticker, store_rows.instant_text(at)))

    def _append(self, stand: Stand, instant: datetime, rows: list[Row]) -> int:
        if rows:
            self._connection.executemany(store_rows.UPSERT_BAR, rows)
            touched = (stand.listing.ticker, store_rows.instant_text(instant))
            self._connection.execute(store_rows.TOUCH, touched)
        return len(rows)

    def _states(self, tickers: list[str]) -> list[Row]:
        return self._connection.execute(store_rows.STATES, (json.dumps(tickers),)).fetchall()

    def _query(self, sql: str, *values: str) -> list[Row]:
        with store_rows.translated_errors(self._path):
            return self._connection.execute(sql, values).fetchall()


def _stand(row: Row) -> Stand:
    *told, compared, days, first, last, revision, is_held = row
    return Stand(
        listing=store_rows.listing_of(tuple(told)),
        span=Span(days=days, first=date.fromisoformat(first), last=date.fromisoformat(last)),
        revision=revision,
        compared_at=datetime.fromisoformat(compared) if compared else None,
        is_held=bool(is_held),
    )
