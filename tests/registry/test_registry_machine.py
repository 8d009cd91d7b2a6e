"""The registry against a model of a few lines, in any order of changes, crashes among them."""

import shutil
import sqlite3
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from forecaster import database
from forecaster.errors import StorageError, UnknownNameError
from forecaster.registry.champion_history import champion_status, decisions, registered
from forecaster.registry.promotion import promote, register, rollback
from forecaster.registry.versions import list_versions, prune, verify
from tests.registry.samples import MADE_AT, fail, keep, manifest, saved

NAME = "return"


class Registry(RuleBasedStateMachine):
    """`champions` are those that a rollback can return to, `status` what each version is."""

    versions = Bundle("versions")

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.champions: list[str] = []
        self.status: dict[str, str] = {}
        self.challenger: str | None = None
        self.decided = 0
        self.made = 0

    def teardown(self) -> None:
        """Remove the home."""
        shutil.rmtree(self.home)

    @rule(target=versions)
    def train(self) -> str:
        """Write a version and register it: the challenger now."""
        self.made += 1
        version = saved(self.home, created=MADE_AT + timedelta(days=self.made)).version
        register(self.home, version, NAME)
        self.status[version], self.challenger = "challenger", version
        return version

    def retire_champion(self) -> None:
        """Note that another version takes its place."""
        if self.champions:
            self.status[self.champions[-1]] = "retired"

    def decide(self, version: str) -> None:
        """Count a decision about a version."""
        self.decided += 1
        if self.challenger == version:
            self.challenger = None

    @rule(version=versions)
    def promote(self, version: str) -> None:
        """Make it champion; the one that is stays so, one that was pruned is unknown."""
        if version not in self.status:
            with pytest.raises(UnknownNameError):
                promote(self.home, NAME, version, reason="better")
            return
        promote(self.home, NAME, version, reason="better")
        if self.champions[-1:] == [version]:
            return
        self.retire_champion()
        self.decide(version)
        self.status[version] = "champion"
        self.champions.append(version)

    @rule(version=versions, failed=st.booleans())
    def refuse(self, version: str, failed: bool) -> None:
        """Reject a version; the champion stays."""
        if version not in self.status:
            return
        if failed:
            fail(self.home, NAME, version=version, reason="NaN")
        else:
            keep(self.home, NAME, version, reason="worse")
        if self.champions[-1:] == [version]:
            self.decided += 1
            return
        self.decide(version)
        self.status[version] = "failed" if failed else "retired"

    @rule()
    def rollback(self) -> None:
        """Return to the champion before, or to the baseline."""
        if not self.champions:
            with pytest.raises(UnknownNameError):
                rollback(self.home, NAME, "broke")
            return
        rollback(self.home, NAME, "broke")
        self.retire_champion()
        self.champions.pop()
        self.decided += 1
        if self.champions:
            self.status[self.champions[-1]] = "champion"

    @rule(keeping=st.integers(1, 4))
    def prune(self, keeping: int) -> None:
        """Remove the oldest that are not needed."""
        used = {*self.champions[-2:], self.challenger}
        old = [version for version in sorted(self.status) if version not in used]
        removed = old[: max(0, len(self.status) - keeping)]
        assert list(prune(self.home, keeping)) == removed
        self.decided += len(removed)
        for version in removed:
            del self.status[version]
        left = [version for version in self.champions if version in self.status]
        # A version before and after a pruned one counts once.
        self.champions = [
            one for place, one in enumerate(left) if place == 0 or left[place - 1] != one
        ]

    @rule(version=versions, what=st.sampled_from(["promote", "keep", "fail", "rollback", "new"]))
    def crash(self, version: str, what: str) -> None:
        """Die at the commit of a change: it never was."""
        if version not in self.status or (what == "rollback" and not self.champions):
            return
        change = {
            "promote": lambda: promote(self.home, NAME, version, reason="better"),
            "keep": lambda: keep(self.home, NAME, version, reason="worse"),
            "fail": lambda: fail(self.home, NAME, version=version, reason="NaN"),
            "rollback": lambda: rollback(self.home, NAME, "broke"),
            "new": lambda: register(self.home, manifest().content_hash(), NAME),
        }[what]
        with pytest.MonkeyPatch.context() as patch, pytest.raises(StorageError):
            patch.setattr(database, "connect_for_writing", dying)
            change()

    @invariant()
    def the_registry_is_the_model(self) -> None:
        """Champions, statuses, folders and decisions agree; the champion is intact."""
        found = champion_status(self.home, NAME)
        champion, predecessor = ([None, None, *self.champions][::-1])[:2]
        assert (found.champion, found.predecessor) == (champion, predecessor)
        assert found.challenger == self.challenger
        assert {one.version: one.status for one in registered(self.home).values()} == self.status
        assert list_versions(self.home) == sorted(self.status)
        assert len(decisions(self.home)) == self.decided
        if champion:
            assert verify(self.home, champion).version == champion


_connect = database.connect_for_writing


def dying(*arguments: object) -> sqlite3.Connection:
    """Open a database that never commits, as if the process died there."""
    connection = _connect(*arguments)  # type: ignore[arg-type]
    commit = (sqlite3.SQLITE_TRANSACTION, "COMMIT")
    connection.set_authorizer(
        lambda action, what, *_: (
            sqlite3.SQLITE_DENY if (action, what) == commit else sqlite3.SQLITE_OK
        )
    )
    return connection


class TestRegistry(Registry.TestCase):
    """A few walks."""

    settings = settings(max_examples=6, stateful_step_count=20, deadline=None)


@pytest.mark.slow
class TestRegistryLong(Registry.TestCase):
    """Many long ones."""

    settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
