"""Between bars and rows: the statements of the price store, and what goes in and out of them.

Tables and listings to rows and back; opens no file.

Shape letters: D trading days.
"""

import sqlite3
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster import database
from forecaster.data.history import BAR_COLUMNS, Listing
from forecaster.data.overlap import Block

# One entry per schema version, oldest first; an entry that was released never changes.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """
        CREATE TABLE listings (
            ticker TEXT NOT NULL PRIMARY KEY CHECK (length(ticker) BETWEEN 1 AND 20),
            source TEXT NOT NULL CHECK (source <> ''),
            basis TEXT NOT NULL CHECK (basis IN ('split-adjusted', 'as-traded')),
            calendar TEXT NOT NULL CHECK (calendar <> ''),
            name TEXT NOT NULL,
            exchange TEXT NOT NULL,
            currency TEXT NOT NULL,
            fetched_at TEXT NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
        # 9e999 is infinity; NaN arrives as NULL.
        """
        CREATE TABLE bars (
            ticker TEXT NOT NULL REFERENCES listings (ticker),
            session TEXT NOT NULL CHECK (session GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]'),
            open REAL NOT NULL CHECK (open > 0 AND open < 9e999),
            high REAL NOT NULL CHECK (high > 0 AND high < 9e999),
            low REAL NOT NULL CHECK (low > 0 AND low < 9e999),
            close REAL NOT NULL CHECK (close > 0 AND close < 9e999),
            volume REAL NOT NULL CHECK (volume >= 0 AND volume < 9e999),
            dividend REAL NOT NULL CHECK (dividend >= 0 AND dividend < 9e999),
            split REAL NOT NULL CHECK (split > 0 AND split < 9e999),
            PRIMARY KEY (ticker, session)
        ) STRICT, WITHOUT ROWID
        """,
    ),
    (
        # The exchange-local date of the first trade that the source tells; '' where it does not.
        "ALTER TABLE listings ADD COLUMN first_trade TEXT NOT NULL DEFAULT ''",
        """
        CREATE TABLE revisions (
            ticker TEXT NOT NULL REFERENCES listings (ticker),
            revision INTEGER NOT NULL CHECK (revision > 0),
            reason TEXT NOT NULL CHECK (reason <> ''),
            raised_at TEXT NOT NULL,
            PRIMARY KEY (ticker, revision)
        ) STRICT, WITHOUT ROWID
        """,
        """
        INSERT INTO revisions
        SELECT ticker, 1, 'stored before revisions were counted', fetched_at FROM listings
        """,
    ),
    (
        # Values as they came, so that none is required: NaN arrives as NULL, infinity stays.
        """
        CREATE TABLE quarantine (
            ticker TEXT NOT NULL,
            session TEXT NOT NULL CHECK (session GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]'),
            rule TEXT NOT NULL CHECK (rule <> ''),
            reason TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('held', 'released', 'dropped')),
            open REAL, high REAL, low REAL, close REAL, volume REAL, dividend REAL, split REAL,
            noted_at TEXT NOT NULL,
            PRIMARY KEY (ticker, session, rule)
        ) STRICT, WITHOUT ROWID
        """,
    ),
    (
        # When the whole stored past was last held against the source; '' where it never was.
        "ALTER TABLE listings ADD COLUMN compared_at TEXT NOT NULL DEFAULT ''",
    ),
)


def store_path(home: Path) -> Path:
    """Return where the prices of a home are stored."""
    return home / "data" / "prices.db"


def connect_for_writing(home: Path) -> sqlite3.Connection:
    """Open the store of a home, made and migrated where needed.

    Raises:
        CannotWriteError: the home is missing, no folder, or read-only.
        SettingsError: the store was made by a newer version.
        StorageError: the file is damaged, or the disk failed.
        TryLaterError: another process holds it.
    """
    return database.connect_for_writing(_store(store_path(home)), home)


def connect_for_reading(home: Path) -> sqlite3.Connection:
    """Open the store of a home read-only, with all queries on one snapshot.

    Raises:
        UnknownNameError: nothing is stored there, or the home is a file.
        SettingsError: the store was made by another version.
        StorageError: the file is damaged.
    """
    return database.connect_for_reading(_store(store_path(home)), home)


def translated_errors(path: Path) -> AbstractContextManager[None]:
    """Turn what SQLite and the file system raise into our errors, naming the store."""
    return database.translated_errors(_store(path))


def _store(path: Path) -> database.Database:
    return database.Database(
        path=path,
        migrations=MIGRATIONS,
        absent=f"no prices are stored under {path.parent.parent}; run `forecaster fetch TICKER` or "
        "`forecaster data import FILE` first, or name another --home.",
        wrong_row="Correct the prices.",
        lost="fetch again.",
        writer="forecaster fetch",
    )


Row = tuple[Any, ...]

OLDEST: Final = "0000-01-01"
NEWEST: Final = "9999-12-31"
LISTING_COLUMNS: Final = (
    *("ticker", "source", "basis", "calendar", "name", "exchange", "currency", "first_trade"),
)
SUMMARY_COLUMNS: Final = (
    *("ticker", "source", "basis", "calendar", "currency"),
    *("days", "first", "last", "revision", "fetched_at"),
)
_VALUES: Final = BAR_COLUMNS[1:]
_COLUMNS: Final = ", ".join(BAR_COLUMNS)
_TOLD: Final = (*LISTING_COLUMNS[3:], "fetched_at")

LISTING: Final = f"SELECT {', '.join(LISTING_COLUMNS)} FROM listings WHERE ticker = ?"
UNKNOWN: Final = """
    SELECT value FROM json_each(?) WHERE value NOT IN (SELECT ticker FROM listings)
"""
UPSERT_LISTING: Final = f"""
    INSERT INTO listings ({", ".join(LISTING_COLUMNS)}, fetched_at, compared_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9)
    ON CONFLICT (ticker) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _TOLD)}
"""
UPSERT_BAR: Final = f"""
    INSERT INTO bars (ticker, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (ticker, session) DO UPDATE SET
        {", ".join(f"{name} = excluded.{name}" for name in _VALUES)}
    WHERE ({", ".join(_VALUES)}) IS NOT ({", ".join(f"excluded.{name}" for name in _VALUES)})
"""
RAISE_REVISION: Final = """
    INSERT INTO revisions
    SELECT ?1, 1 + coalesce(max(revision), 0), ?2, ?3 FROM revisions WHERE ticker = ?1
"""
REVISIONS: Final = """
    SELECT revision, reason, raised_at FROM revisions WHERE ticker = ? ORDER BY revision
"""
# Numbers only, so that half a million rows go to an array without a tuple for each.
BARS: Final = f"""
    SELECT key, julianday(session) - 2440587.5, {", ".join(_VALUES)}
    FROM json_each(?) CROSS JOIN bars ON ticker = value
    WHERE session BETWEEN ? AND ? ORDER BY key, session
"""
BAR_ROW: Any = np.dtype((np.float64, 1 + len(BAR_COLUMNS)))
# How several tickers stand, and the newest of their bars, without a query for each.
STANDS: Final = f"""
    SELECT {", ".join(LISTING_COLUMNS)}, compared_at,
           (SELECT count(*) FROM bars WHERE bars.ticker = listings.ticker),
           (SELECT min(session) FROM bars WHERE bars.ticker = listings.ticker),
           (SELECT max(session) FROM bars WHERE bars.ticker = listings.ticker),
           (SELECT max(revision) FROM revisions WHERE revisions.ticker = listings.ticker),
           EXISTS (SELECT 1 FROM quarantine WHERE quarantine.ticker = listings.ticker)
    FROM json_each(?) CROSS JOIN listings ON ticker = value
"""
NEWEST_BARS: Final = f"""
    SELECT key, julianday(session) - 2440587.5, {", ".join(_VALUES)}
    FROM json_each(?) CROSS JOIN bars
    ON ticker = value ->> 0 AND session >= value ->> 1 ORDER BY key, session
"""
COUNT: Final = """
    SELECT sum((SELECT count(*) FROM bars WHERE ticker = value AND session <= ?2))
    FROM json_each(?1)
"""
MARKS: Final = f"""
    SELECT {", ".join(LISTING_COLUMNS)}, fetched_at,
           (SELECT max(session) FROM bars WHERE bars.ticker = listings.ticker),
           (SELECT max(revision) FROM revisions WHERE revisions.ticker = listings.ticker),
           (SELECT max(raised_at) FROM revisions WHERE revisions.ticker = listings.ticker)
    FROM json_each(?) CROSS JOIN listings ON ticker = value
"""
STATES: Final = """
    SELECT value, (SELECT max(session) FROM bars WHERE ticker = value),
           (SELECT max(revision) FROM revisions WHERE ticker = value)
    FROM json_each(?)
"""
TOUCH: Final = "UPDATE listings SET fetched_at = ?2 WHERE ticker = ?1"
COMPARED: Final = "UPDATE listings SET compared_at = ?2 WHERE ticker = ?1"
SPAN: Final = "SELECT count(*), min(session), max(session) FROM bars WHERE ticker = ?"
SUMMARY: Final = """
    SELECT ticker, source, basis, calendar, currency, count(session) AS days,
           min(session) AS first, max(session) AS last,
           (SELECT max(revision) FROM revisions WHERE revisions.ticker = listings.ticker),
           fetched_at
    FROM listings LEFT JOIN bars USING (ticker) GROUP BY ticker ORDER BY ticker
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """How many bars of a ticker are stored, and the sessions of the first and the last."""

    days: int
    first: date
    last: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A state of a ticker's past: its number, from 1, why it was raised, and when (UTC)."""

    number: int
    reason: str
    raised_at: datetime


def listing_row(listing: Listing) -> Row:
    """Lay a listing out as LISTING_COLUMNS."""
    first = listing.first_trade
    told = asdict(listing) | {"first_trade": first.isoformat() if first else ""}
    return tuple(told[name] for name in LISTING_COLUMNS)


def listing_of(row: Row) -> Listing:
    """Read a listing from LISTING_COLUMNS."""
    *told, first = row
    known = date.fromisoformat(first) if first else None
    return Listing(**dict(zip(LISTING_COLUMNS, told, strict=False)), first_trade=known)


def bar_rows(ticker: str, bars: pd.DataFrame) -> list[Row]:
    """Lay bars (D,) out as rows of ticker, ISO session and values."""
    sessions = np.datetime_as_string(bars["session"].to_numpy().astype("datetime64[D]")).tolist()
    columns = [bars[name].tolist() for name in _VALUES]
    return list(zip([ticker] * len(bars), sessions, *columns, strict=True))


def block_rows(tickers: list[str], bars: Block) -> list[Row]:
    """Lay bars of several tickers out as rows of ticker, ISO session and values."""
    names = [tickers[number] for number in bars.owner.tolist()]
    sessions = np.datetime_as_string(bars.day).tolist()
    return list(zip(names, sessions, *bars.values.T.tolist(), strict=True))


def long_table(tickers: list[str], rows: NDArray[np.float64]) -> pd.DataFrame:
    """Turn rows of ticker number, day since 1970 and values into the long table."""
    names = pd.array(tickers, dtype="str").take(rows[:, 0].astype(np.intp))
    days = rows[:, 1].astype("datetime64[D]").astype("datetime64[s]")
    values = dict(zip(_VALUES, rows[:, 2:].T.copy(), strict=True))
    return pd.DataFrame({"ticker": names, "session": days, **values})


def instant_text(moment: datetime) -> str:
    """Write an aware instant in UTC, to the second."""
    if moment.tzinfo is None:
        raise ValueError(f"an instant needs a timezone, got {moment.isoformat()}")
    return moment.astimezone(UTC).isoformat(timespec="seconds")
