"""Who is champion of a model name, who comes back after it, who wants to be next.

A champion None is the baseline. Reads; who changes it is in `ruling.py`.
"""

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from forecaster.registry.record import Decision, decisions_in, reigns
from forecaster.registry.registry_file import reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Who serves a model name: the champion, who comes back after it, who wants to be next.

    `champion` and `predecessor` None are the baseline. `since` is when the champion was made;
    None where nothing was ever decided.
    """

    name: str
    champion: str | None = None
    predecessor: str | None = None
    challenger: str | None = None
    since: datetime | None = None


def standing(home: Path, name: str) -> Standing:
    """Tell who serves a model name; the baseline where nothing was decided.

    Raises:
        SettingsError: the registry was made by another version of forecaster.
        StorageError: it is damaged.
    """
    with reading(home) as connection:
        return standing_in(connection, name) if connection else Standing(name=name)


def standings(home: Path) -> list[Standing]:
    """Tell who serves each model name that there is, in alphabetical order."""
    with reading(home) as connection:
        if connection is None:
            return []
        names = connection.execute("SELECT DISTINCT name FROM aliases ORDER BY name")
        return [standing_in(connection, name) for (name,) in names.fetchall()]


def reigns_in(connection: sqlite3.Connection, name: str) -> list[Decision]:
    """List the decisions that made a champion whose version is still there, oldest first."""
    there = {version for (version,) in connection.execute("SELECT version FROM versions")}
    return reigns(decisions_in(connection, name), there)


def standing_in(connection: sqlite3.Connection, name: str) -> Standing:
    """Tell who serves a model name, in the transaction that this connection has open."""
    rows = connection.execute("SELECT alias, version FROM aliases WHERE name = ?", (name,))
    alias = dict(rows.fetchall())
    champion, past = alias.get("champion"), reigns_in(connection, name)
    predecessor = past[-2].after if champion and len(past) > 1 else None
    taken = [one for one in decisions_in(connection, name) if one.before != one.after]
    return Standing(
        name=name,
        champion=champion,
        predecessor=predecessor,
        challenger=alias.get("challenger"),
        since=taken[-1].made_at if taken else None,
    )
