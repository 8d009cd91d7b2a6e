"""The tables of the registry, and how each version of them became the next.

SQL and nothing else.
"""

from typing import Final

# One entry per schema version, oldest first; an entry that was released never changes.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """
        CREATE TABLE versions (
            version TEXT NOT NULL PRIMARY KEY CHECK (version <> ''),
            name TEXT NOT NULL CHECK (name <> ''),
            status TEXT NOT NULL CHECK (status IN ('challenger', 'champion', 'retired', 'failed')),
            since TEXT NOT NULL,
            reason TEXT NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
        # The champion NULL is the baseline; without a row nothing was ever decided of the name.
        """
        CREATE TABLE aliases (
            name TEXT NOT NULL CHECK (name <> ''),
            alias TEXT NOT NULL CHECK (alias IN ('champion', 'challenger')),
            version TEXT REFERENCES versions (version),
            PRIMARY KEY (name, alias)
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE decisions (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL CHECK (name <> ''),
            night TEXT,
            made_at TEXT NOT NULL,
            outcome TEXT NOT NULL CHECK (outcome IN (
                'promoted', 'kept', 'failed', 'unable', 'by-hand', 'rolled-back', 'pruned'
            )),
            challenger TEXT,
            "before" TEXT,
            "after" TEXT,
            reason TEXT NOT NULL CHECK (reason <> ''),
            evidence TEXT NOT NULL CHECK (json_valid(evidence))
        ) STRICT
        """,
        "CREATE INDEX decisions_of_a_name ON decisions (name, id)",
        # 9e999 is infinity; NaN arrives as NULL, so that neither is ever a forecast.
        """
        CREATE TABLE forecasts (
            name TEXT NOT NULL CHECK (name <> ''),
            version TEXT NOT NULL CHECK (version <> ''),
            ticker TEXT NOT NULL CHECK (ticker <> ''),
            target TEXT NOT NULL CHECK (target <> ''),
            as_of TEXT NOT NULL CHECK (as_of GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]'),
            session TEXT NOT NULL CHECK (session > as_of),
            forecast REAL NOT NULL CHECK (abs(forecast) < 9e999),
            q025 REAL, q10 REAL, q90 REAL, q975 REAL, rise REAL,
            last_close REAL NOT NULL CHECK (last_close > 0 AND last_close < 9e999),
            fingerprint TEXT NOT NULL CHECK (length(fingerprint) = 64),
            made_at TEXT NOT NULL,
            night INTEGER NOT NULL CHECK (night IN (0, 1)),
            late INTEGER NOT NULL CHECK (late IN (0, 1)),
            PRIMARY KEY (name, version, ticker, target, as_of, night)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX forecasts_of_a_session ON forecasts (session)",
        """
        CREATE TABLE nights (
            name TEXT NOT NULL CHECK (name <> ''),
            night TEXT NOT NULL CHECK (night GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]'),
            started_at TEXT NOT NULL,
            finished_at TEXT,
            outcome TEXT,
            exit_code INTEGER,
            summary TEXT NOT NULL CHECK (json_valid(summary)),
            PRIMARY KEY (name, night)
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE runs (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL CHECK (name <> ''),
            night TEXT,
            kind TEXT NOT NULL CHECK (kind <> ''),
            started_at TEXT NOT NULL,
            ended_at TEXT,
            state TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed', 'stopped')),
            reason TEXT NOT NULL,
            version TEXT,
            updates INTEGER
        ) STRICT
        """,
        "CREATE INDEX runs_of_a_name ON runs (name, id)",
    ),
)
