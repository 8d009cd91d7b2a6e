"""The registry's database file: its tables, one transaction to change it, one snapshot to read."""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from forecaster import clock, database
from forecaster.errors import StorageError, UsageError

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
    (
        "ALTER TABLE decisions RENAME COLUMN night TO session",
        """
        UPDATE decisions SET evidence = json_remove(
            json_set(evidence, '$.expected', json_extract(evidence, '$.promised')), '$.promised'
        ) WHERE json_type(evidence, '$.promised') IS NOT NULL
        """,
        "ALTER TABLE forecasts RENAME TO forecast_log",
        # 1: made by the daily run, 0: by hand.
        "ALTER TABLE forecast_log RENAME COLUMN night TO scheduled",
        "ALTER TABLE forecast_log RENAME COLUMN rise TO prob_up",
        "ALTER TABLE nights RENAME TO daily_runs",
        "ALTER TABLE daily_runs RENAME COLUMN night TO session",
        "ALTER TABLE runs RENAME TO trainings",
        "ALTER TABLE trainings RENAME COLUMN night TO session",
        "ALTER TABLE trainings RENAME COLUMN updates TO steps",
        """
        CREATE TABLE test_set_evaluations (
            question TEXT NOT NULL CHECK (question <> ''),
            "first" TEXT NOT NULL CHECK ("first" <> ''),
            "last" TEXT NOT NULL CHECK ("last" >= "first"),
            evaluations INTEGER NOT NULL CHECK (evaluations > 0),
            PRIMARY KEY (question, "first")
        ) STRICT, WITHOUT ROWID
        """,
    ),
    (
        # When a forecast was recorded: the ticker's newest stored session, and the close of the
        # session that is forecast. NULL, of rows from before: unknown.
        """
        ALTER TABLE forecast_log ADD COLUMN newest_session TEXT
        CHECK (late = 1 OR newest_session IS NULL OR newest_session <= as_of)
        """,
        """
        ALTER TABLE forecast_log ADD COLUMN session_close TEXT
        CHECK (late = 1 OR session_close IS NULL OR made_at < session_close)
        """,
    ),
)
# Settings of a walk in the questions that 0.1.0 counted test-set evaluations of.
RENAMED_IN_QUESTIONS: Final = {" fit_days=": " train_days=", " twins=": " same_inputs="}

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9,._-]{0,63}")
Row = TypeVar("Row")
_TIMES: Final = ("since", "made_at", "started_at", "finished_at", "ended_at")
_PARSERS: Final[dict[str, Callable[[str], Any]]] = {
    **dict.fromkeys(_TIMES, datetime.fromisoformat),
    "session": date.fromisoformat,
    "evidence": json.loads,
    "summary": json.loads,
}


def registry_path(home: Path) -> Path:
    """Return the path of a home's registry."""
    return home / "models" / "registry.db"


@contextmanager
def changing(home: Path) -> Iterator[sqlite3.Connection]:
    """Open the registry of a home for one transaction; create the file if there is none.

    Raises:
        CannotWriteError: the home is missing or read-only.
        SettingsError: the registry was made by a newer version.
        StorageError: the file is corrupt or a link, or the disk failed.
        TryLaterError: another process is writing.
    """
    registry = _registry(home)
    with (
        closing(database.connect_for_writing(registry, home)) as connection,
        database.translated_errors(registry),
        database.transaction(connection),
    ):
        yield connection


@contextmanager
def reading(home: Path) -> Iterator[sqlite3.Connection | None]:
    """Open the registry of a home read-only, on one snapshot; None if there is no registry.

    Raises:
        SettingsError: the registry was made by a newer version.
        StorageError: the file is corrupt or a link.
    """
    registry = _registry(home)
    if not registry.path.exists():
        yield None
        return
    opened = database.connect_for_reading(registry, home)
    with closing(opened) as connection, database.translated_errors(registry):
        yield connection


def select(
    connection: sqlite3.Connection | None, kind: Callable[..., Row], query: str, *values: object
) -> list[Row]:
    """Read rows as instances of a class whose fields have the names of the columns."""
    if connection is None:
        return []
    cursor = connection.execute(query, values)
    names = [column for column, *_ in cursor.description]
    found = []
    for row in cursor:
        fields = dict(zip(names, row, strict=True))
        for name, parse in _PARSERS.items():
            if fields.get(name) is not None:
                fields[name] = parse(fields[name])
        found.append(kind(**fields))
    return found


def check_registry(home: Path) -> None:
    """Check, before any work is done for it, that the registry can be written; see `changing`."""
    with changing(home):
        pass


def check_name(name: str) -> str:
    """Return a valid model name, which becomes part of a file name; refuse a malformed one."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"--name {name[:80]!r}: a name has 1 to 64 of a-z, 0-9, comma, point, _ and -, and "
            "begins with a letter or digit; for example --name return."
        )
    return name


def now_text() -> str:
    """Return the current time as the registry stores it."""
    return clock.now().isoformat(timespec="microseconds")


def _registry(home: Path) -> database.Database:
    path = registry_path(home)
    if path.is_symlink():
        raise StorageError(f"{path}: is a link; the registry is a file of its own. Put it back.")
    return database.Database(
        path=path,
        migrations=MIGRATIONS,
        absent=f"{path}: there is no registry yet; run: forecaster train",
        wrong_row="This is a bug: please report it.",
        lost="train again: versions stay, the champion history and past forecasts are lost.",
    )
