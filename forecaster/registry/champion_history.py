"""The champion history: registered versions, decisions, and the champion of each model name.

A champion None is the baseline. Read-only; changes are in `promotion.py`. Functions that take a
home raise as `registry_file.reading`.
"""

import sqlite3
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

from forecaster.registry.registry_file import reading, select

Status = Literal["challenger", "champion", "retired", "failed"]
Outcome = Literal["promoted", "kept", "failed", "unable", "by-hand", "rolled-back", "pruned"]

_REGISTERED = "SELECT * FROM versions ORDER BY version"
_DECISIONS = "SELECT * FROM decisions WHERE ?1 IS NULL OR name = ?1 ORDER BY id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A version in the registry: its model name, its status, since when and why.

    A challenger was not tested yet; a version that was rejected or replaced is retired.
    """

    version: str
    name: str
    status: Status
    since: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision on a challenger, with the champion before and after it.

    `session` is the one whose daily run took the decision, None for a decision by hand.
    """

    id: int
    name: str
    session: date | None
    made_at: datetime
    outcome: Outcome
    challenger: str | None
    before: str | None
    after: str | None
    reason: str
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionStatus:
    """Champion, predecessor and challenger of a model name; the first two None: the baseline.

    `since` is the time of the decision that made the champion; None if there was none.
    """

    name: str
    champion: str | None = None
    predecessor: str | None = None
    challenger: str | None = None
    since: datetime | None = None


def registered(home: Path) -> dict[str, Registered]:
    """Return every registered version by its id; empty if there is no registry."""
    with reading(home) as connection:
        return {one.version: one for one in select(connection, Registered, _REGISTERED)}


def decisions(home: Path, name: str | None = None) -> list[Decision]:
    """List decisions, oldest first, of one model name or of all."""
    with reading(home) as connection:
        return select(connection, Decision, _DECISIONS, name)


def champion_status(home: Path, name: str) -> ChampionStatus:
    """Return the champion status of a model name; the baseline if nothing was decided."""
    with reading(home) as connection:
        return champion_status_in(connection, name) if connection else ChampionStatus(name=name)


def champion_statuses(home: Path) -> list[ChampionStatus]:
    """Return the champion status of every model name, in alphabetical order."""
    with reading(home) as connection:
        if connection is None:
            return []
        names = connection.execute("SELECT DISTINCT name FROM aliases ORDER BY name")
        return [champion_status_in(connection, name) for (name,) in names.fetchall()]


def champion_status_in(connection: sqlite3.Connection, name: str) -> ChampionStatus:
    """Return the champion status of a model name, inside an open transaction."""
    rows = connection.execute("SELECT alias, version FROM aliases WHERE name = ?", (name,))
    alias = dict(rows.fetchall())
    champion, past = alias.get("champion"), promotions_in(connection, name)
    taken = select(connection, Decision, _DECISIONS, name)
    changes = [one for one in taken if one.before != one.after]
    return ChampionStatus(
        name=name,
        champion=champion,
        predecessor=past[-2].after if champion and len(past) > 1 else None,
        challenger=alias.get("challenger"),
        since=changes[-1].made_at if changes else None,
    )


def promotions_in(connection: sqlite3.Connection, name: str) -> list[Decision]:
    """List the promotions in force of versions that still exist, oldest first.

    A rollback undoes every promotion after that of the version it returns to.
    """
    in_force: list[Decision] = []
    for decision in select(connection, Decision, _DECISIONS, name):
        if decision.outcome in ("promoted", "by-hand"):
            in_force.append(decision)
        elif decision.outcome == "rolled-back":
            while in_force and in_force[-1].after != decision.after:
                in_force.pop()
    existing = {version for (version,) in connection.execute("SELECT version FROM versions")}
    found: list[Decision] = []
    for decision in in_force:
        if decision.after in existing and (not found or found[-1].after != decision.after):
            found.append(decision)
    return found
