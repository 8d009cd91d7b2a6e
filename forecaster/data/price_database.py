"""The price store as a database: its tables, and a list of what it has. Knows no pandas."""

from contextlib import closing
from pathlib import Path
from typing import Any, Final

from forecaster.database import Database, connect_for_reading, translated_errors

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
        # The exchange-local date of the first trade as the source gives it; '' if unknown.
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
        # Values as served, so that none is required: NaN arrives as NULL, infinity stays.
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
        # When the complete stored past was last compared with the source; '' if never.
        "ALTER TABLE listings ADD COLUMN compared_at TEXT NOT NULL DEFAULT ''",
    ),
    (
        # A third basis; SQLite cannot change a CHECK in place.
        """
        CREATE TABLE new_listings (
            ticker TEXT NOT NULL PRIMARY KEY CHECK (length(ticker) BETWEEN 1 AND 20),
            source TEXT NOT NULL CHECK (source <> ''),
            basis TEXT NOT NULL CHECK (basis IN ('split-adjusted', 'as-traded', 'total-return')),
            calendar TEXT NOT NULL CHECK (calendar <> ''),
            name TEXT NOT NULL,
            exchange TEXT NOT NULL,
            currency TEXT NOT NULL,
            fetched_at TEXT NOT NULL,
            first_trade TEXT NOT NULL DEFAULT '',
            compared_at TEXT NOT NULL DEFAULT ''
        ) STRICT, WITHOUT ROWID
        """,
        """
        INSERT INTO new_listings
        SELECT ticker, source, basis, calendar, name, exchange, currency, fetched_at, first_trade,
               compared_at
        FROM listings
        """,
        "DROP TABLE listings",
        "ALTER TABLE new_listings RENAME TO listings",
        # What a user answered about the files of a ticker, by option of `data import`.
        """
        CREATE TABLE import_answers (
            ticker TEXT NOT NULL,
            option TEXT NOT NULL CHECK (option <> ''),
            answer TEXT NOT NULL,
            PRIMARY KEY (ticker, option)
        ) STRICT, WITHOUT ROWID
        """,
    ),
    (
        # Days on which bars contradict a calendar of exchange_calendars, or a week.
        """
        CREATE TABLE calendar_corrections (
            calendar TEXT NOT NULL CHECK (calendar <> ''),
            day TEXT NOT NULL CHECK (day GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]'),
            is_session INTEGER NOT NULL CHECK (is_session IN (0, 1)),
            reason TEXT NOT NULL CHECK (reason <> ''),
            noted_at TEXT NOT NULL,
            PRIMARY KEY (calendar, day)
        ) STRICT, WITHOUT ROWID
        """,
    ),
    (
        # Numbers that a user keeps beside the prices, as known at the close of their session.
        """
        CREATE TABLE own_values (
            ticker TEXT NOT NULL REFERENCES listings (ticker),
            session TEXT NOT NULL CHECK (session GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]'),
            name TEXT NOT NULL CHECK (name <> ''),
            value REAL NOT NULL CHECK (value > -9e999 AND value < 9e999),
            PRIMARY KEY (ticker, session, name)
        ) STRICT, WITHOUT ROWID
        """,
    ),
)

# In an order in which no row refers to one that is gone.
TABLES_OF_A_TICKER: Final = (
    "bars",
    "own_values",
    "revisions",
    "quarantine",
    "import_answers",
    "listings",
)


def store_path(home: Path) -> Path:
    """Return the path of a home's price store."""
    return home / "data" / "prices.db"


def price_database(home: Path) -> Database:
    """Return the price store of a home as a database."""
    return Database(
        path=store_path(home),
        migrations=MIGRATIONS,
        absent=f"no prices are stored under {home}; run `forecaster fetch TICKER` or "
        "`forecaster data import FILE` first, or name another --home.",
        wrong_row="Correct the prices.",
        lost="fetch again.",
    )


SUMMARY_COLUMNS: Final = (
    "ticker source basis calendar currency days first last revision fetched_at".split()
)
SUMMARY: Final = """
    SELECT ticker, source, basis, calendar, currency, count(session) AS days,
           min(session) AS first, max(session) AS last,
           (SELECT max(revision) FROM revisions WHERE revisions.ticker = listings.ticker),
           fetched_at
    FROM listings LEFT JOIN bars USING (ticker) GROUP BY ticker ORDER BY ticker
"""


def stored_tickers(home: Path) -> list[dict[str, Any]]:
    """List the tickers in a home's store by SUMMARY_COLUMNS; dates and instants as ISO text."""
    file = price_database(home)
    with closing(connect_for_reading(file, home)) as connection, translated_errors(file):
        rows = connection.execute(SUMMARY).fetchall()
    return [dict(zip(SUMMARY_COLUMNS, row, strict=True)) for row in rows]
