"""The forecast log: every forecast with what was known when it was made; rows never change."""

import json
import math
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pandas as pd

from forecaster.registry.registry_file import changing, check_name, reading

_INTERVALS: Final = ("q025", "q10", "q90", "q975", "prob_up")
FORECAST_LOG_COLUMNS: Final = (
    *("name", "version", "ticker", "target", "as_of", "session", "forecast"),
    *(*_INTERVALS, "last_close", "fingerprint", "made_at", "scheduled", "late"),
    *("newest_session", "session_close"),
)
_RECORD = f"""
    INSERT INTO forecast_log ({", ".join(FORECAST_LOG_COLUMNS)})
    VALUES ({", ".join("?" for _ in FORECAST_LOG_COLUMNS)})
    ON CONFLICT DO NOTHING
"""
# By the primary key, so that a few tickers are found among millions of forecasts.
_FROM: Final = """
    FROM json_each(:pairs) AS pair CROSS JOIN forecast_log
    ON name = json_extract(pair.value, '$[0]') AND version = json_extract(pair.value, '$[1]')
    WHERE as_of BETWEEN :since AND :until AND scheduled >= :scheduled
"""
_OF_TICKERS: Final = "AND ticker IN (SELECT value FROM json_each(:tickers))"
_NEXT_PAIR: Final = """
    SELECT name, version FROM forecast_log
    WHERE (name, version) > (?, ?) ORDER BY name, version LIMIT 1
"""
_ORDER: Final = ["as_of", "name", "ticker", "target", "version", "scheduled"]
_AT_ONCE: Final = 20_000  # rows in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Forecasts of a model name, made as of some days, by daily runs only, of some tickers.

    None and () mean all.
    """

    name: str | None = None
    since: date | None = None
    until: date | None = None
    scheduled_only: bool = False
    tickers: tuple[str, ...] = ()


def record_forecasts(
    home: Path,
    name: str,
    table: pd.DataFrame,
    *,
    fingerprint: str,
    made_at: datetime,
    scheduled: bool,
) -> int:
    """Record forecasts in one transaction and count the new ones; one that is there stays.

    `table` has the columns of a prediction, `newest_session`, the ticker's newest day in the store,
    and `session_close`, an aware instant. A forecast is late if it was made at or after that close,
    or if a bar after its own day is stored. `fingerprint` is the hash of the bars that the
    forecasts were made from. Rows of the daily run (`scheduled`) and those by hand are separate.

    Raises:
        DataError: a forecast is not finite, or its session not after its day.
        CannotWriteError, SettingsError, StorageError: as `registry_file.changing`.
    """
    check_name(name)
    source = (fingerprint, _instant(made_at), int(scheduled))
    rows = [
        (
            *(name, row["version"], row["ticker"], row["target"]),
            *(f"{row['as_of']:%Y-%m-%d}", f"{row['session']:%Y-%m-%d}", float(row["forecast"])),
            *(float(row[key]) if math.isfinite(row[key]) else None for key in _INTERVALS),
            *(float(row["last_close"]), *source),
            int(made_at >= row["session_close"] or row["newest_session"] > row["as_of"]),
            *(f"{row['newest_session']:%Y-%m-%d}", _instant(row["session_close"])),
        )
        for row in table.to_dict("records")
    ]
    with changing(home) as connection:
        before = connection.total_changes
        connection.executemany(_RECORD, rows)
        return connection.total_changes - before


def _instant(moment: datetime) -> str:
    """Convert an aware instant to text whose order is that of time."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def read_forecasts(home: Path, name: str | None = None, since: date | None = None) -> pd.DataFrame:
    """Read the forecasts made for a model name as of a day or later, or all; oldest first.

    Returns:
        FORECAST_LOG_COLUMNS: `as_of`, `session` and `newest_session` are days, `made_at` and
        `session_close` in UTC, `scheduled` and `late` are bool, missing numbers NaN, what is
        unknown NaT. No rows if there is no registry.
    """
    parts = list(iter_forecasts(home, Selection(name=name, since=since)))
    table = pd.concat(parts, ignore_index=True) if parts else _table([])
    return table.sort_values(_ORDER, ignore_index=True)


def iter_forecasts(home: Path, chosen: Selection) -> Iterator[pd.DataFrame]:
    """Read forecasts as `read_forecasts` does, all of a few tickers at a time."""
    with reading(home) as connection:
        if connection is None:
            return
        pairs = list(_pairs(connection, chosen.name))
        values = {
            "pairs": json.dumps(pairs),
            "since": chosen.since.isoformat() if chosen.since else "",
            "until": chosen.until.isoformat() if chosen.until else "9999",
            "scheduled": int(chosen.scheduled_only),
        }
        for tickers in _batches(connection, chosen.tickers, values):
            sql = f"SELECT {', '.join(FORECAST_LOG_COLUMNS)} {_FROM} {_OF_TICKERS}"
            rows = connection.execute(sql, {**values, "tickers": json.dumps(tickers)}).fetchall()
            yield _table(rows).sort_values(_ORDER, ignore_index=True)


def _pairs(connection: sqlite3.Connection, name: str | None) -> Iterator[tuple[str, str]]:
    """List the names and versions in the log, by a seek for each."""
    pair = (name or "", "")
    while (found := connection.execute(_NEXT_PAIR, pair).fetchone()) and name in (None, found[0]):
        yield (pair := found)


def _batches(
    connection: sqlite3.Connection, tickers: tuple[str, ...], values: dict[str, Any]
) -> Iterator[list[str]]:
    """Divide tickers, none meaning all, so that each batch has about `_AT_ONCE` forecasts."""
    only = _OF_TICKERS if tickers else ""
    sql = f"SELECT ticker, count(*) {_FROM} {only} GROUP BY ticker ORDER BY ticker"
    counts = connection.execute(sql, {**values, "tickers": json.dumps(tickers)}).fetchall()
    batch, rows = list[str](), 0
    for ticker, count in chain(counts, [(None, _AT_ONCE)]):
        if batch and rows + count > _AT_ONCE:
            yield batch
            batch, rows = [], 0
        batch.append(ticker)
        rows += count


def _table(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(FORECAST_LOG_COLUMNS))
    for column in ("as_of", "session", "newest_session"):
        table[column] = pd.to_datetime(table[column]).astype("datetime64[s]")
    for column in ("made_at", "session_close"):
        table[column] = pd.to_datetime(table[column], format="ISO8601", utc=True)
    table[["scheduled", "late"]] = table[["scheduled", "late"]].astype(bool)
    numbers = ["forecast", *_INTERVALS, "last_close"]
    table[numbers] = table[numbers].astype(float)
    return table
