"""The forecast log: every forecast with what was known when it was made; rows never change."""

import math
from datetime import date, datetime
from pathlib import Path
from typing import Final

import pandas as pd

from forecaster.registry.registry_file import changing, check_name, reading

_INTERVALS: Final = ("q025", "q10", "q90", "q975", "prob_up")
FORECAST_LOG_COLUMNS: Final = (
    *("name", "version", "ticker", "target", "as_of", "session", "forecast"),
    *(*_INTERVALS, "last_close", "fingerprint", "made_at", "scheduled", "late"),
)
_RECORD = f"""
    INSERT INTO forecast_log ({", ".join(FORECAST_LOG_COLUMNS)})
    VALUES ({", ".join("?" for _ in FORECAST_LOG_COLUMNS)})
    ON CONFLICT DO NOTHING
"""
_READ = f"""
    SELECT {", ".join(FORECAST_LOG_COLUMNS)} FROM forecast_log
    WHERE (?1 IS NULL OR name = ?1) AND (?2 IS NULL OR as_of >= ?2)
    ORDER BY as_of, name, ticker, target, version, scheduled
"""


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

    `table` has the columns of a prediction and `late`, True if made after the close of its
    session; `fingerprint` is the hash of exactly the bars that they were made from. Rows of the
    daily run (`scheduled`) and those by hand are separate.

    Raises:
        DataError: a forecast is not finite, or its session not after its day.
        CannotWriteError, SettingsError, StorageError: as `registry_file.changing`.
    """
    check_name(name)
    source = (fingerprint, made_at.isoformat(timespec="microseconds"), int(scheduled))
    rows = [
        (
            *(name, row["version"], row["ticker"], row["target"]),
            *(f"{row['as_of']:%Y-%m-%d}", f"{row['session']:%Y-%m-%d}", float(row["forecast"])),
            *(float(row[key]) if math.isfinite(row[key]) else None for key in _INTERVALS),
            *(float(row["last_close"]), *source, int(row["late"])),
        )
        for row in table.to_dict("records")
    ]
    with changing(home) as connection:
        before = connection.total_changes
        connection.executemany(_RECORD, rows)
        return connection.total_changes - before


def read_forecasts(home: Path, name: str | None = None, since: date | None = None) -> pd.DataFrame:
    """Read the forecasts made for a model name as of a day or later, or all; oldest first.

    Returns:
        FORECAST_LOG_COLUMNS: `as_of` and `session` are days, `made_at` is in UTC, `scheduled` and
        `late` are bool, missing numbers NaN. No rows if there is no registry.
    """
    values = (name, since.isoformat() if since else None)
    with reading(home) as connection:
        rows = connection.execute(_READ, values).fetchall() if connection else []
    table = pd.DataFrame(rows, columns=list(FORECAST_LOG_COLUMNS))
    for column in ("as_of", "session"):
        table[column] = pd.to_datetime(table[column]).astype("datetime64[s]")
    table["made_at"] = pd.to_datetime(table["made_at"], format="ISO8601", utc=True)
    table[["scheduled", "late"]] = table[["scheduled", "late"]].astype(bool)
    numbers = ["forecast", *_INTERVALS, "last_close"]
    table[numbers] = table[numbers].astype(float)
    return table
