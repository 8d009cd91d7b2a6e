"""The tables of the price store, and how each version of them became the next.

SQL and nothing else.
"""

from typing import Final

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
