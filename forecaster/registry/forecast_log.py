"""The ledger: every forecast that was made, with what was known when; never changed afterwards.

Tables in and out; knows no network and no prices.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import pandas as pd

from forecaster.registry.registry_file import changing, check_name, reading

_STATED: Final = ("q025", "q10", "q90", "q975", "rise")
LEDGER_COLUMNS: Final = (
    *("name", "version", "ticker", "target", "as_of", "session", "forecast"),
    *(*_STATED, "last_close", "fingerprint", "made_at", "night", "late"),
)
_REMEMBER = f"""
    INSERT INTO forecasts ({", ".join(LEDGER_COLUMNS)})
    VALUES ({", ".join("?" for _ in LEDGER_COLUMNS)})
    ON CONFLICT DO NOTHING
"""
_READ = f"""
    SELECT {", ".join(LEDGER_COLUMNS)} FROM forecasts
    WHERE (?1 IS NULL OR name = ?1) AND (?2 IS NULL OR as_of >= ?2)
    ORDER BY as_of, name, ticker, target, version, night
"""


def remember(
    home: Path,
    name: str,
    table: pd.DataFrame,
    *,
    fingerprint: str,
    made_at: datetime,
    night: bool,
    late: bool | Sequence[bool],
) -> int:
    """Write forecasts into the ledger, in one transaction; one that is there stays as it is.

    Args:
        home: the workspace.
        name: the model name that they were made for.
        table: rows with the columns of a prediction; `version` is "baseline" where none made
            them.
        fingerprint: hash of exactly the bars that they were made from.
        made_at: aware instant.
        night: made by the night's work, not by a person. A person's forecast and the night's
            are two rows.
        late: made after their session had closed, so that they are no proof of anything; of all
            or of each.

    Returns:
        How many are new.

    Raises:
        CannotWriteError: the home is missing or read-only.
        DataError: a forecast is not finite, or its session not after its day.
        SettingsError: the registry was made by a newer version.
        StorageError: it is damaged, or the disk failed; nothing is written.
    """
    check_name(name)
    told = (fingerprint, made_at.isoformat(timespec="microseconds"), int(night))
    each = [late] * len(table) if isinstance(late, bool) else late
    rows = [
        (*_row(name, row), *told, int(after))
        for row, after in zip(table.to_dict("records"), each, strict=True)
    ]
    with changing(home) as connection:
        before = connection.total_changes
        connection.executemany(_REMEMBER, rows)
        return connection.total_changes - before


def ledger(home: Path, name: str | None = None, since: date | None = None) -> pd.DataFrame:
    """Read the ledger, oldest day first.

    Args:
        home: the workspace.
        name: of one model name; None for all.
        since: made as of this day or later; None for all.

    Returns:
        LEDGER_COLUMNS: `as_of` and `session` are days, `made_at` an instant in UTC, `night` and
        `late` bool, what was not stated NaN. No row where there is no registry.

    Raises:
        SettingsError: the registry was made by another version of forecaster.
        StorageError: it is damaged.
    """
    values = (name, since.isoformat() if since else None)
    with reading(home) as connection:
        rows = connection.execute(_READ, values).fetchall() if connection else []
    table = pd.DataFrame(rows, columns=list(LEDGER_COLUMNS))
    for column in ("as_of", "session"):
        table[column] = pd.to_datetime(table[column]).astype("datetime64[s]")
    table["made_at"] = pd.to_datetime(table["made_at"], format="ISO8601", utc=True)
    table[["night", "late"]] = table[["night", "late"]].astype(bool)
    numbers = ["forecast", *_STATED, "last_close"]
    table[numbers] = table[numbers].astype(float)
    return table


def _row(name: str, row: Mapping[Any, Any]) -> tuple[object, ...]:
    return (
        *(name, row["version"], row["ticker"], row["target"]),
        *(f"{row['as_of']:%Y-%m-%d}", f"{row['session']:%Y-%m-%d}", float(row["forecast"])),
        *(_stated(row[column]) for column in _STATED),
        float(row["last_close"]),
    )


def _stated(value: float) -> float | None:
    """Keep a number; what was not stated is missing."""
    return float(value) if math.isfinite(value) else None
