"""Promotion: each change in one transaction with its reason, files verified first."""

import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from forecaster import clock, database
from forecaster.errors import (
    ArtifactError,
    CannotWriteError,
    SettingsError,
    StorageError,
    UnknownNameError,
    UsageError,
)
from forecaster.registry.champion_history import (
    ChampionStatus,
    champion_status,
    champion_statuses,
    decisions,
    registered,
)
from forecaster.registry.promotion import promote, register, rollback
from forecaster.registry.registry_file import MIGRATIONS, check_registry, registry_path
from tests.registry.samples import MADE_AT, fail, keep, postpone, saved

DAY = date(2024, 3, 1)


def versions_of(home, count):
    return [saved(home, created=MADE_AT.replace(year=2024 + year)).version for year in range(count)]


def corrupt(home, version):
    (home / "models" / version / "weights.safetensors").write_bytes(b"junk")


def status(home):
    return {one.version: one.status for one in registered(home).values()}


def test_a_home_without_a_registry_has_the_baseline_and_reading_makes_no_file(tmp_path):
    assert champion_status(tmp_path, "return") == ChampionStatus(name="return")
    assert (champion_statuses(tmp_path), decisions(tmp_path), registered(tmp_path)) == ([], [], {})
    assert list(tmp_path.iterdir()) == []


def test_a_trained_version_is_challenger_until_it_is_tested(tmp_path):
    """The newest is the name's challenger; the earlier one is still untested."""
    first, second = versions_of(tmp_path, 2)
    register(tmp_path, first, "return")
    assert register(tmp_path, second, "return").challenger == second
    assert register(tmp_path, first, "return").challenger == second, "idempotent"
    assert status(tmp_path) == {first: "challenger", second: "challenger"}
    assert champion_status(tmp_path, "return").champion is None and decisions(tmp_path) == []


def test_promotion_and_rollback_walk_up_and_down_the_champions(tmp_path):
    a, b, c = versions_of(tmp_path, 3)
    promote(tmp_path, "return", a, reason="better", session=DAY)
    promote(tmp_path, "return", b, reason="better still")
    found = promote(tmp_path, "return", c, reason="best", session=DAY + timedelta(days=1))
    assert (found.champion, found.predecessor, found.challenger) == (c, b, None)
    assert status(tmp_path) == {a: "retired", b: "retired", c: "champion"}
    found = rollback(tmp_path, "return", "broke")
    assert (found.champion, found.predecessor) == (b, a)
    assert status(tmp_path) == {a: "retired", b: "champion", c: "retired"}
    assert promote(tmp_path, "return", a, reason="by hand").predecessor == b
    assert rollback(tmp_path, "return", "again").champion == b
    assert rollback(tmp_path, "return", "again").champion == a
    assert rollback(tmp_path, "return", "again").champion is None
    with pytest.raises(UnknownNameError, match="the baseline is champion"):
        rollback(tmp_path, "return", "again")
    outcomes = [one.outcome for one in decisions(tmp_path)]
    assert (
        outcomes
        == ["promoted", "by-hand", "promoted", "rolled-back", "by-hand"] + ["rolled-back"] * 3
    )


def test_a_decision_keeps_its_reason_its_numbers_and_its_session(tmp_path):
    """Numbers of numpy and dates become JSON, what is not finite null."""
    (a,) = versions_of(tmp_path, 1)
    evidence = {"bound": np.float64(0.5), "loss": [float("nan"), 1.0], "first": DAY, "days": 126}
    at = datetime(2024, 3, 1, 23, 0, tzinfo=UTC)
    with clock.as_if(at):
        promote(tmp_path, "return", a, reason="bound 0.5", session=DAY, evidence=evidence)
    (found,) = decisions(tmp_path, "return")
    assert (found.outcome, found.before, found.after, found.session) == ("promoted", None, a, DAY)
    assert (found.challenger, found.reason, found.made_at) == (a, "bound 0.5", at)
    plain = {"bound": 0.5, "loss": [None, 1.0], "first": "2024-03-01", "days": 126}
    assert found.evidence == plain
    assert champion_status(tmp_path, "return").since == at
    assert decisions(tmp_path, "range") == []


def test_a_challenger_that_lost_is_retired_and_one_that_could_not_be_tested_is_not(tmp_path):
    a, b, c = versions_of(tmp_path, 3)
    promote(tmp_path, "return", a, reason="first")
    for version in (b, c):
        register(tmp_path, version, "return")
    assert postpone(tmp_path, "return", c, reason="few days").challenger == c
    found = keep(tmp_path, "return", c, reason="worse")
    assert (found.champion, found.challenger) == (a, None)
    assert fail(tmp_path, "return", version=b, reason="NaN").champion == a
    assert fail(tmp_path, "return", reason="no memory").champion == a
    assert status(tmp_path) == {a: "champion", b: "failed", c: "retired"}
    assert [one.outcome for one in decisions(tmp_path)][1:] == ["unable", "kept", *["failed"] * 2]
    assert all(one.before == one.after == a for one in decisions(tmp_path)[1:])


def test_a_repeated_daily_run_decides_once(tmp_path):
    """Killed after its transaction and run again: nothing is doubled, nothing lost."""
    a, b = versions_of(tmp_path, 2)
    for _ in range(2):
        promote(tmp_path, "return", a, reason="better", session=DAY)
        keep(tmp_path, "return", b, reason="worse", session=DAY)
        fail(tmp_path, "return", reason="NaN", session=DAY)
    assert [one.outcome for one in decisions(tmp_path)] == ["promoted", "kept", "failed"]
    keep(tmp_path, "return", b, reason="worse", session=DAY + timedelta(days=1))
    assert len(decisions(tmp_path)) == 4


def test_a_corrupt_or_unknown_version_is_never_promoted(tmp_path):
    a, b = versions_of(tmp_path, 2)
    promote(tmp_path, "return", a, reason="better")
    corrupt(tmp_path, b)
    with pytest.raises(ArtifactError, match=b):
        promote(tmp_path, "return", b, reason="better")
    for name in ("nope", "../x", ""):
        with pytest.raises(UnknownNameError, match="No version"):
            promote(tmp_path, "return", name, reason="better")
    assert champion_status(tmp_path, "return").champion == a and set(registered(tmp_path)) == {a}


def test_a_rollback_skips_versions_that_are_corrupt_or_gone(tmp_path):
    a, b, c = versions_of(tmp_path, 3)
    for version in (a, b, c):
        promote(tmp_path, "return", version, reason="better")
    corrupt(tmp_path, b)
    found = rollback(tmp_path, "return", "broke")
    assert (found.champion, found.predecessor) == (a, None)
    corrupt(tmp_path, a)
    promote(tmp_path, "return", c, reason="again")
    assert rollback(tmp_path, "return", "broke").champion is None


def test_a_version_has_one_name(tmp_path):
    (a,) = versions_of(tmp_path, 1)
    register(tmp_path, a, "return")
    with pytest.raises(UsageError, match="registered under --name return, not range"):
        promote(tmp_path, "range", a, reason="better")
    assert [one.name for one in champion_statuses(tmp_path)] == ["return"], (
        "nothing is half written"
    )


@pytest.mark.parametrize("name", ["", "A", "../x", "a/b", "-a", "a" * 65, "é", "a\0b", "a b"])
def test_a_name_that_could_be_a_path_is_refused(tmp_path, name):
    (a,) = versions_of(tmp_path, 1)
    with pytest.raises(UsageError, match="--name"):
        register(tmp_path, a, name)


def test_names_do_not_see_each_other(tmp_path):
    a, b = versions_of(tmp_path, 2)
    promote(tmp_path, "return", a, reason="better")
    promote(tmp_path, "range,volume", b, reason="better")
    assert [(one.name, one.champion) for one in champion_statuses(tmp_path)] == [
        ("range,volume", b),
        ("return", a),
    ]
    rollback(tmp_path, "return", "broke")
    assert champion_status(tmp_path, "range,volume").champion == b


def test_a_crash_before_the_commit_changes_nothing(tmp_path, monkeypatch):
    """Whatever the change, and wherever in it."""
    a, b = versions_of(tmp_path, 2)
    promote(tmp_path, "return", a, reason="better")
    before = (champion_status(tmp_path, "return"), decisions(tmp_path), registered(tmp_path))
    intact = database.connect_for_writing

    def dying(*args):
        connection = intact(*args)
        connection.set_authorizer(
            lambda action, what, *_: (
                sqlite3.SQLITE_DENY
                if (action, what) == (sqlite3.SQLITE_TRANSACTION, "COMMIT")
                else sqlite3.SQLITE_OK
            )
        )
        return connection

    monkeypatch.setattr(database, "connect_for_writing", dying)
    for change in (
        lambda: promote(tmp_path, "return", b, reason="better"),
        lambda: keep(tmp_path, "return", b, reason="worse"),
        lambda: register(tmp_path, b, "return"),
        lambda: rollback(tmp_path, "return", "broke"),
    ):
        with pytest.raises(StorageError, match="not authorized"):
            change()
    assert (
        champion_status(tmp_path, "return"),
        decisions(tmp_path),
        registered(tmp_path),
    ) == before


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 100])
def test_a_corrupt_registry_is_reported_and_kept(tmp_path, content):
    """With the remedy; exit code 74; nothing is deleted."""
    (a,) = versions_of(tmp_path, 1)
    register(tmp_path, a, "return")
    registry_path(tmp_path).write_bytes(content)
    for attempt in (
        lambda: champion_status(tmp_path, "return"),
        lambda: register(tmp_path, a, "return"),
        lambda: check_registry(tmp_path),
    ):
        with pytest.raises(StorageError, match=r"\.db: corrupt.*\.recover.*train") as caught:
            attempt()
        assert caught.value.exit_code == 74
    assert registry_path(tmp_path).read_bytes() == content


def test_a_registry_of_a_newer_version_is_refused_naming_both(tmp_path):
    (a,) = versions_of(tmp_path, 1)
    register(tmp_path, a, "return")
    with closing(sqlite3.connect(registry_path(tmp_path))) as connection:
        connection.execute("PRAGMA user_version = 9")
    for attempt in (champion_statuses, check_registry):
        with pytest.raises(
            SettingsError, match=f"schema 9 is newer than {len(MIGRATIONS)}"
        ) as caught:
            attempt(tmp_path)
        assert caught.value.exit_code == 78


def test_a_link_in_the_registrys_place_is_not_followed(tmp_path):
    """Neither in that of the file, nor of the one under which it is made."""
    (a,) = versions_of(tmp_path, 1)
    elsewhere = tmp_path / "elsewhere"
    for link in (registry_path(tmp_path), registry_path(tmp_path).with_name("registry.db.new")):
        link.symlink_to(elsewhere)
        with pytest.raises(StorageError, match="link"):
            register(tmp_path, a, "return")
        assert not elsewhere.exists()
        link.unlink()


def test_a_missing_home_is_not_made(tmp_path):
    with pytest.raises(CannotWriteError, match="mkdir -p"):
        check_registry(tmp_path / "none")
    assert not (tmp_path / "none").exists()
