"""Who is champion of a model name, who comes back after it, who wants to be next.

A champion None is the baseline. Reads; who changes it is in `ruling.py`.
"""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

from forecaster.registry.registry_file import day_of, reading

Status = Literal["challenger", "champion", "retired", "failed"]
Outcome = Literal["promoted", "kept", "failed", "unable", "by-hand", "rolled-back", "pruned"]

_REGISTERED = "SELECT version, name, status, since, reason FROM versions ORDER BY version"
_DECISIONS = """
    SELECT id, name, night, made_at, outcome, challenger, "before", "after", reason, evidence
    FROM decisions WHERE ?1 IS NULL OR name = ?1 ORDER BY id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A version as the registry knows it: whose it is, what it is, since when and why.

    A challenger was not judged yet; a version that was refused or replaced is retired.
    """

    version: str
    name: str
    status: Status
    since: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision: what became of a challenger, who was champion before and after, and why.

    A champion None is the baseline. `night` is the session after whose close it was taken, None
    for a person's own.
    """

    id: int
    name: str
    night: date | None
    made_at: datetime
    outcome: Outcome
    challenger: str | None
    before: str | None
    after: str | None
    reason: str
    evidence: dict[str, Any]


def registered(home: Path) -> dict[str, Registered]:
    """Tell every registered version by its id; empty where there is no registry.

    Raises:
        SettingsError: the registry was made by another version of forecaster.
        StorageError: it is damaged.
    """
    with reading(home) as connection:
        rows = connection.execute(_REGISTERED).fetchall() if connection else []
    return {
        version: Registered(
            version=version,
            name=name,
            status=status,
            since=datetime.fromisoformat(since),
            reason=reason,
        )
        for version, name, status, since, reason in rows
    }


def decisions(home: Path, name: str | None = None) -> list[Decision]:
    """List what was decided, oldest first; of one model name, or of all.

    Raises:
        SettingsError: the registry was made by another version of forecaster.
        StorageError: it is damaged.
    """
    with reading(home) as connection:
        return decisions_in(connection, name) if connection else []


def decisions_in(connection: sqlite3.Connection, name: str | None) -> list[Decision]:
    """List the decisions that a connection sees; see `decisions`."""
    return [
        Decision(
            id=number,
            name=whose,
            night=day_of(night),
            made_at=datetime.fromisoformat(made_at),
            outcome=outcome,
            challenger=challenger,
            before=before,
            after=after,
            reason=reason,
            evidence=json.loads(evidence),
        )
        for number, whose, night, made_at, outcome, challenger, before, after, reason, evidence in (
            connection.execute(_DECISIONS, (name,))
        )
    ]


def reigns(taken: Iterable[Decision], there: set[str]) -> list[Decision]:
    """Follow who was champion after whom: the decisions that still stand, oldest first.

    A rollback takes back the promotions above the version that it returns to. Versions that are
    no longer `there` are left out; of a version's reigns in a row the first counts.
    """
    found: list[Decision] = []
    for decision in taken:
        if decision.outcome in ("promoted", "by-hand"):
            found.append(decision)
        elif decision.outcome == "rolled-back":
            while found and found[-1].after != decision.after:
                found.pop()
    champion_status: list[Decision] = []
    for decision in found:
        if decision.after in there and (
            not champion_status or champion_status[-1].after != decision.after
        ):
            champion_status.append(decision)
    return champion_status


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionStatus:
    """Who serves a model name: the champion, who comes back after it, who wants to be next.

    `champion` and `predecessor` None are the baseline. `since` is when the champion was made;
    None where nothing was ever decided.
    """

    name: str
    champion: str | None = None
    predecessor: str | None = None
    challenger: str | None = None
    since: datetime | None = None


def champion_status(home: Path, name: str) -> ChampionStatus:
    """Tell who serves a model name; the baseline where nothing was decided.

    Raises:
        SettingsError: the registry was made by another version of forecaster.
        StorageError: it is damaged.
    """
    with reading(home) as connection:
        return champion_status_in(connection, name) if connection else ChampionStatus(name=name)


def champion_statuses(home: Path) -> list[ChampionStatus]:
    """Tell who serves each model name that there is, in alphabetical order."""
    with reading(home) as connection:
        if connection is None:
            return []
        names = connection.execute("SELECT DISTINCT name FROM aliases ORDER BY name")
        return [champion_status_in(connection, name) for (name,) in names.fetchall()]


def reigns_in(connection: sqlite3.Connection, name: str) -> list[Decision]:
    """List the decisions that made a champion whose version is still there, oldest first."""
    there = {version for (version,) in connection.execute("SELECT version FROM versions")}
    return reigns(decisions_in(connection, name), there)


def champion_status_in(connection: sqlite3.Connection, name: str) -> ChampionStatus:
    """Tell who serves a model name, in the transaction that this connection has open."""
    rows = connection.execute("SELECT alias, version FROM aliases WHERE name = ?", (name,))
    alias = dict(rows.fetchall())
    champion, past = alias.get("champion"), reigns_in(connection, name)
    predecessor = past[-2].after if champion and len(past) > 1 else None
    taken = [one for one in decisions_in(connection, name) if one.before != one.after]
    return ChampionStatus(
        name=name,
        champion=champion,
        predecessor=predecessor,
        challenger=alias.get("challenger"),
        since=taken[-1].made_at if taken else None,
    )
