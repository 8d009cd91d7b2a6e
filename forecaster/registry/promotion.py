"""Changes of who is champion: each in one transaction, with its reason stored.

Knows versions by name, and that their files are whole; who should win is decided elsewhere.
"""

import logging
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

from forecaster.errors import ArtifactError, UnknownNameError, UsageError
from forecaster.registry.champion_history import (
    ChampionStatus,
    Outcome,
    champion_status_in,
    reigns_in,
)
from forecaster.registry.registry_file import changing, check_name, day_text, document
from forecaster.registry.registry_file import instant as present
from forecaster.registry.versions import verify

log = logging.getLogger(__name__)

_ALIAS = """
    INSERT INTO aliases (name, alias, version) VALUES (?, ?, ?)
    ON CONFLICT (name, alias) DO UPDATE SET version = excluded.version
"""
_STATUS = "UPDATE versions SET status = ?, since = ?, reason = ? WHERE version = ?"
_DECIDED = """
    INSERT INTO decisions
        (name, night, made_at, outcome, challenger, "before", "after", reason, evidence)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_TRAINED = """
    UPDATE runs SET ended_at = ?, state = 'done', version = ?, updates = ?
    WHERE id = ? AND state = 'running'
"""
_SAME_NIGHT = """
    SELECT 1 FROM decisions WHERE name = ? AND night = ? AND outcome = ? AND challenger IS ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ruling:
    """What is written of one decision, but for who was and is champion."""

    name: str
    outcome: Outcome
    challenger: str | None
    night: date | None
    reason: str
    evidence: Mapping[str, Any] | None = None


def register(
    home: Path,
    version: str,
    name: str,
    reason: str = "trained by hand",
    *,
    run: int | None = None,
    updates: int | None = None,
) -> ChampionStatus:
    """Enter a version as the challenger of a model name; once is as good as twice.

    Args:
        home: the workspace.
        version: its id.
        name: whose challenger it is.
        reason: why it was trained.
        run: the number of its training, which is done in the same transaction: a version that
            can be judged is one that needs no other training.
        updates: of that training.

    Raises:
        UsageError: it is no name, or the version has another one.
    """
    with changing(home) as connection:
        if _enter(connection, version, name, reason):
            connection.execute(_ALIAS, (name, "challenger", version))
        connection.execute(_TRAINED, (present(), version, updates, run))
        return champion_status_in(connection, name)


def promote(
    home: Path,
    name: str,
    version: str,
    *,
    reason: str,
    night: date | None = None,
    evidence: Mapping[str, Any] | None = None,
    outcome: Literal["promoted", "by-hand"] = "promoted",
) -> ChampionStatus:
    """Make a version champion, after verifying its files; the one that is, stays so.

    Raises:
        ArtifactError: a file of the version is damaged; nothing is changed.
        UnknownNameError: there is no such version.
        UsageError: it is no name, or the version has another one.
    """
    verify(home, version)
    with changing(home) as connection:
        _enter(connection, version, name, reason)
        before = champion_status_in(connection, name)
        if before.champion != version:
            ruling = _Ruling(
                name=name,
                outcome=outcome,
                challenger=version,
                night=night,
                reason=reason,
                evidence=evidence,
            )
            _crown(connection, before, version, ruling)
        return champion_status_in(connection, name)


def keep(
    home: Path,
    name: str,
    version: str,
    *,
    reason: str,
    night: date | None = None,
    evidence: Mapping[str, Any] | None = None,
    outcome: Literal["kept", "unable"] = "kept",
) -> ChampionStatus:
    """Leave the champion as it is; a challenger that was judged is retired.

    One that could not be judged (`unable`) stays what it is.
    """
    ruling = _Ruling(
        name=name,
        outcome=outcome,
        challenger=version,
        night=night,
        reason=reason,
        evidence=evidence,
    )
    return _leave(home, ruling, None if outcome == "unable" else "retired")


def fail(
    home: Path,
    name: str,
    *,
    reason: str,
    version: str | None = None,
    night: date | None = None,
    evidence: Mapping[str, Any] | None = None,
) -> ChampionStatus:
    """Store that a training or its judgement failed; the champion stays."""
    ruling = _Ruling(
        name=name,
        outcome="failed",
        challenger=version,
        night=night,
        reason=reason,
        evidence=evidence,
    )
    return _leave(home, ruling, "failed")


def rollback(home: Path, name: str, reason: str) -> ChampionStatus:
    """Return to the newest champion before this one whose files are whole, or to the baseline.

    Raises:
        UnknownNameError: the baseline is champion already.
    """
    with changing(home) as connection:
        before = champion_status_in(connection, name)
        if before.champion is None:
            raise UnknownNameError(
                f"{name}: the baseline is champion; there is nothing to return to. See: "
                "forecaster models list"
            )
        earlier = [one.after for one in reigns_in(connection, name)[:-1] if one.after]
        after = next((one for one in reversed(earlier) if _is_whole(home, one)), None)
        ruling = _Ruling(
            name=name, outcome="rolled-back", challenger=None, night=None, reason=reason
        )
        _crown(connection, before, after, ruling)
        return champion_status_in(connection, name)


def _is_whole(home: Path, version: str) -> bool:
    try:
        verify(home, version)
    except (ArtifactError, UnknownNameError) as error:
        log.warning("%s", error)
        return False
    return True


def _enter(connection: sqlite3.Connection, version: str, name: str, reason: str) -> bool:
    """Make sure that the registry has a version, under this name; tell whether it is new."""
    check_name(name)
    connection.execute(
        "INSERT INTO aliases (name, alias, version) VALUES (?, 'champion', NULL) "
        "ON CONFLICT DO NOTHING",
        (name,),
    )
    entered = connection.execute(
        "INSERT INTO versions VALUES (?, ?, 'challenger', ?, ?) ON CONFLICT DO NOTHING",
        (version, name, present(), reason),
    )
    is_new = entered.rowcount == 1
    query = connection.execute("SELECT name FROM versions WHERE version = ?", (version,))
    (found,) = query.fetchone()
    if found != name:
        raise UsageError(
            f"Version {version} is registered under --name {found}, not {name}; a version has one "
            "name."
        )
    return is_new


def _crown(
    connection: sqlite3.Connection, before: ChampionStatus, version: str | None, ruling: _Ruling
) -> None:
    now = present()
    if before.champion is not None:
        why = f"{ruling.outcome}: {version or 'the baseline'} took its place"
        connection.execute(_STATUS, ("retired", now, why, before.champion))
    if version is not None:
        connection.execute(_STATUS, ("champion", now, ruling.reason, version))
    connection.execute(_ALIAS, (ruling.name, "champion", version))
    if version is not None and before.challenger == version:
        connection.execute(_ALIAS, (ruling.name, "challenger", None))
    _decide(connection, ruling, before.champion, version)


def _leave(home: Path, ruling: _Ruling, status: str | None) -> ChampionStatus:
    with changing(home) as connection:
        name, version = check_name(ruling.name), ruling.challenger
        if version is not None:
            _enter(connection, version, name, ruling.reason)
        before = champion_status_in(connection, name)
        if status and version is not None and version != before.champion:
            connection.execute(_STATUS, (status, present(), ruling.reason, version))
            if before.challenger == version:
                connection.execute(_ALIAS, (name, "challenger", None))
        _decide(connection, ruling, before.champion, before.champion)
        return champion_status_in(connection, name)


def _decide(
    connection: sqlite3.Connection, ruling: _Ruling, before: str | None, after: str | None
) -> None:
    """Store a decision; a night's own is stored once, however often the night is taken up."""
    night = day_text(ruling.night)
    same = (ruling.name, night, ruling.outcome, ruling.challenger)
    if night and connection.execute(_SAME_NIGHT, same).fetchone():
        return
    words = (ruling.reason, document(ruling.evidence))
    row = (ruling.name, night, present(), ruling.outcome, ruling.challenger, before, after, *words)
    connection.execute(_DECIDED, row)
