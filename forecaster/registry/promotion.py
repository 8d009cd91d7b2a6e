"""Changes of the champion, each in one transaction and with its reason."""

import logging
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

from forecaster.errors import ArtifactError, UnknownNameError, UsageError
from forecaster.files import to_json
from forecaster.registry.champion_history import (
    ChampionStatus,
    Outcome,
    champion_status_in,
    promotions_in,
)
from forecaster.registry.registry_file import changing, check_name, now_text
from forecaster.registry.versions import verify

log = logging.getLogger(__name__)

_ALIAS = """
    INSERT INTO aliases (name, alias, version) VALUES (?, ?, ?)
    ON CONFLICT (name, alias) DO UPDATE SET version = excluded.version
"""
_NEW_NAME = "INSERT INTO aliases VALUES (?, 'champion', NULL) ON CONFLICT DO NOTHING"
_NEW_VERSION = "INSERT INTO versions VALUES (?, ?, 'challenger', ?, ?) ON CONFLICT DO NOTHING"
_STATUS = "UPDATE versions SET status = ?, since = ?, reason = ? WHERE version = ?"
_DECIDED = """
    INSERT INTO decisions
        (name, session, outcome, challenger, made_at, "before", "after", reason, evidence)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_TRAINED = """
    UPDATE trainings SET ended_at = ?, state = 'done', version = ?, steps = ?
    WHERE id = ? AND state = 'running'
"""
_STATUS_AFTER: Final = {"kept": "retired", "failed": "failed"}
_SAME_SESSION = """
    SELECT 1 FROM decisions WHERE name = ? AND session = ? AND outcome = ? AND challenger IS ?
"""


@dataclass(frozen=True, slots=True)
class NewDecision:
    """A decision to be stored; `session` is the one whose daily run decides, None by hand.

    `evidence` has the numbers of the promotion test.
    """

    name: str
    outcome: Outcome
    reason: str
    challenger: str | None = None
    session: date | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


def register(
    home: Path,
    version: str,
    name: str,
    reason: str = "trained by hand",
    *,
    training: int | None = None,
    steps: int | None = None,
) -> ChampionStatus:
    """Register a version as the challenger of a model name. Idempotent.

    `training` is the number of its training, of so many optimizer steps, which ends in the same
    transaction: once a version can be tested, its training isn't repeated.

    Raises:
        UsageError: the name is malformed, or the version has another one.
    """
    with changing(home) as connection:
        if _insert(connection, version, name, reason):
            connection.execute(_ALIAS, (name, "challenger", version))
        connection.execute(_TRAINED, (now_text(), version, steps, training))
        return champion_status_in(connection, name)


def promote(
    home: Path,
    name: str,
    version: str,
    *,
    reason: str,
    session: date | None = None,
    evidence: Mapping[str, Any] | None = None,
) -> ChampionStatus:
    """Make a version champion, after verifying its files. Idempotent.

    Raises:
        ArtifactError, UnknownNameError: the version is corrupt, or there is none.
        UsageError: the name is malformed, or the version has another one.
    """
    verify(home, version)
    with changing(home) as connection:
        _insert(connection, version, name, reason)
        before = champion_status_in(connection, name)
        if before.champion != version:
            outcome: Outcome = "promoted" if session else "by-hand"
            decision = NewDecision(name, outcome, reason, version, session, evidence or {})
            _replace_champion(connection, before, version, decision)
        return champion_status_in(connection, name)


def keep_champion(home: Path, decision: NewDecision) -> ChampionStatus:
    """Record that the champion stays; a challenger that could not be tested ("unable") stays, too.

    Raises:
        UsageError: the name is malformed, or the challenger has another one.
    """
    with changing(home) as connection:
        name, version = check_name(decision.name), decision.challenger
        if version is not None:
            _insert(connection, version, name, decision.reason)
        before = champion_status_in(connection, name)
        status = _STATUS_AFTER.get(decision.outcome)
        if status and version is not None and version != before.champion:
            connection.execute(_STATUS, (status, now_text(), decision.reason, version))
            if before.challenger == version:
                connection.execute(_ALIAS, (name, "challenger", None))
        _store(connection, decision, before.champion, before.champion)
        return champion_status_in(connection, name)


def rollback(home: Path, name: str, reason: str) -> ChampionStatus:
    """Return to the newest previous champion whose files are intact, or to the baseline.

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
        earlier = [one.after for one in promotions_in(connection, name)[:-1] if one.after]
        after = next((one for one in reversed(earlier) if _is_intact(home, one)), None)
        decision = NewDecision(name=name, outcome="rolled-back", reason=reason)
        _replace_champion(connection, before, after, decision)
        return champion_status_in(connection, name)


def _is_intact(home: Path, version: str) -> bool:
    try:
        return bool(verify(home, version))
    except (ArtifactError, UnknownNameError) as error:
        log.warning("%s", error)
        return False


def _insert(connection: sqlite3.Connection, version: str, name: str, reason: str) -> bool:
    """Insert a version under a model name unless it is there; return whether it is new."""
    check_name(name)
    connection.execute(_NEW_NAME, (name,))
    inserted = connection.execute(_NEW_VERSION, (version, name, now_text(), reason))
    query = connection.execute("SELECT name FROM versions WHERE version = ?", (version,))
    (found,) = query.fetchone()
    if found != name:
        raise UsageError(
            f"Version {version} is registered under --name {found}, not {name}; a version has one "
            "name."
        )
    return inserted.rowcount == 1


def _replace_champion(
    connection: sqlite3.Connection,
    before: ChampionStatus,
    version: str | None,
    decision: NewDecision,
) -> None:
    now = now_text()
    if before.champion is not None:
        reason = f"{decision.outcome}: {version or 'the baseline'} took its place"
        connection.execute(_STATUS, ("retired", now, reason, before.champion))
    if version is not None:
        connection.execute(_STATUS, ("champion", now, decision.reason, version))
    connection.execute(_ALIAS, (decision.name, "champion", version))
    if version is not None and before.challenger == version:
        connection.execute(_ALIAS, (decision.name, "challenger", None))
    _store(connection, decision, before.champion, version)


def _store(
    connection: sqlite3.Connection, decision: NewDecision, before: str | None, after: str | None
) -> None:
    """Store a decision; that of a session is stored once, however often its run is repeated."""
    session = decision.session.isoformat() if decision.session else None
    row = (decision.name, session, decision.outcome, decision.challenger)
    if session and connection.execute(_SAME_SESSION, row).fetchone():
        return
    evidence = to_json(decision.evidence, sort_keys=True)
    connection.execute(_DECIDED, (*row, now_text(), before, after, decision.reason, evidence))
