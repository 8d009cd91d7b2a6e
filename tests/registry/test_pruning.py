"""Pruning: the oldest versions go completely; champions, predecessors, challengers stay."""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from forecaster.errors import StorageError, UsageError
from forecaster.registry import pruning
from forecaster.registry.champion import champion_of
from forecaster.registry.champion_history import champion_status, decisions, registered
from forecaster.registry.promotion import keep, promote, register, rollback
from forecaster.registry.pruning import prune
from forecaster.registry.versions import list_versions
from tests.registry.samples import MADE_AT, saved


def versions_of(home, count):
    found = [saved(home, created=MADE_AT + timedelta(days=day)).version for day in range(count)]
    for version in found:
        register(home, version, "return")
    return found


def unfinished(home):
    return sorted(path.name for path in (home / "models" / ".unfinished").iterdir())


def test_the_oldest_go_until_so_many_are_left(tmp_path):
    there = versions_of(tmp_path, 5)
    assert prune(tmp_path, 5) == ()
    assert prune(tmp_path, 3, dry_run=True) == tuple(there[:2])
    assert list_versions(tmp_path) == there
    assert prune(tmp_path, 3) == tuple(there[:2])
    assert list_versions(tmp_path) == there[2:] and unfinished(tmp_path) == []
    assert set(registered(tmp_path)) == set(there[2:])
    pruned = [(one.outcome, one.challenger, one.before) for one in decisions(tmp_path)]
    assert pruned == [("pruned", version, None) for version in there[:2]]
    assert "3 versions" in decisions(tmp_path)[0].reason
    assert prune(tmp_path, 3) == () and len(decisions(tmp_path)) == 2


def test_champion_predecessor_and_challenger_stay_however_few_may(tmp_path):
    """Of every name; they count among those that stay."""
    a, b, c, d, e = versions_of(tmp_path, 5)
    promote(tmp_path, "return", a, reason="better")
    promote(tmp_path, "return", c, reason="better")
    other = saved(tmp_path, created=MADE_AT - timedelta(days=1)).version
    promote(tmp_path, "range", other, reason="better")
    assert prune(tmp_path, 1) == (b, d)
    assert list_versions(tmp_path) == [other, a, c, e]
    assert champion_status(tmp_path, "return").predecessor == a
    keep(tmp_path, "return", e, reason="worse")
    assert prune(tmp_path, 4) == ()
    assert prune(tmp_path, 3) == (e,)


def test_a_rollback_after_pruning_skips_the_champions_that_are_gone(tmp_path):
    a, b, c = versions_of(tmp_path, 3)
    for version in (a, b, c):
        promote(tmp_path, "return", version, reason="better")
    assert prune(tmp_path, 1) == (a,)
    assert rollback(tmp_path, "return", "broke").champion == b
    assert champion_status(tmp_path, "return").predecessor is None
    assert rollback(tmp_path, "return", "broke").champion is None


def test_two_promotions_of_one_version_count_once_if_nothing_is_left_between_them(tmp_path):
    """Otherwise a rollback would return to the version that it leaves."""
    b, a, c, d = versions_of(tmp_path, 4)
    keep(tmp_path, "return", d, reason="worse")
    for version in (a, b, a, c, d):
        promote(tmp_path, "return", version, reason="better")
    assert prune(tmp_path, 3) == (b,)
    champions = [rollback(tmp_path, "return", "broke").champion for _ in range(3)]
    assert champions == [c, a, None]


def test_a_champion_whose_folder_was_removed_stays_registered(tmp_path):
    """Its row stays, so that its predecessor goes on forecasting in its place."""
    a, b, c = versions_of(tmp_path, 3)
    for version in (a, b):
        promote(tmp_path, "return", version, reason="better")
    for version in (b, c):
        shutil.rmtree(tmp_path / "models" / version)
    keep(tmp_path, "return", c, reason="worse")
    prune(tmp_path, 9)
    assert set(registered(tmp_path)) == {a, b}
    assert champion_status(tmp_path, "return").champion == b
    assert champion_of(tmp_path, "return").manifest.version == a


@pytest.mark.parametrize("after", ["the first rename", "the renames", "the rows"])
def test_a_prune_that_was_killed_is_finished_by_the_next(tmp_path, monkeypatch, after):
    """No version is partial, no decision stored twice."""
    there = versions_of(tmp_path, 4)
    rename, count = os.rename, []

    def killed(*args):
        if args and isinstance(args[0], Path) and args[0].name in there:
            rename(*args)
            count.append(1)
            if len(count) > 1:
                return
        raise KeyboardInterrupt

    where = {"the first rename": "os.rename", "the renames": "_forget", "the rows": "_sweep"}[after]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pruning.os if "." in where else pruning, where.split(".")[-1], killed)
        prune(tmp_path, 2)
    for version in list_versions(tmp_path):
        assert len(list((tmp_path / "models" / version).iterdir())) == 2
    assert unfinished(tmp_path) != []
    prune(tmp_path, 2)
    assert list_versions(tmp_path) == there[2:] == sorted(registered(tmp_path))
    assert [one.challenger for one in decisions(tmp_path)] == there[:2]
    assert unfinished(tmp_path) == []


def test_what_killed_writers_left_goes_after_a_day_and_checkpoints_stay(tmp_path):
    folder = tmp_path / "models" / ".unfinished"
    there = versions_of(tmp_path, 1)
    for name in ("0" * 32, "1" * 32, "return.checkpoint"):
        (folder / name).mkdir()
        (folder / name / "weights").write_bytes(b"1")
    touched = (
        f".return.checkpoint.{'4' * 32}.part",
        f"probe-{'2' * 32}",
        f"return.checkpoint.{'3' * 32}.part",
    )
    for name in touched:
        (folder / name).touch()
    long_ago = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
    for name in ("0" * 32, "return.checkpoint", *touched):
        os.utime(folder / name, (long_ago, long_ago))
    prune(tmp_path, 9)
    assert unfinished(tmp_path) == ["1" * 32, "return.checkpoint"]
    assert list_versions(tmp_path) == there


def test_a_link_among_the_versions_is_removed_and_what_it_leads_to_is_not(tmp_path):
    (version,) = versions_of(tmp_path, 1)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "mine").touch()
    (tmp_path / "models" / f"2020{version[4:]}").symlink_to(precious)
    assert len(prune(tmp_path, 1)) == 1
    assert list_versions(tmp_path) == [version] and (precious / "mine").exists()


def test_nothing_goes_while_the_registry_cannot_be_read(tmp_path):
    there = versions_of(tmp_path, 3)
    (tmp_path / "models" / "registry.db").write_bytes(b"junk" * 999)
    with pytest.raises(StorageError, match="corrupt"):
        prune(tmp_path, 1)
    assert list_versions(tmp_path) == there


def test_keeping_none_is_a_mistake(tmp_path):
    with pytest.raises(UsageError, match="--keep 0"):
        prune(tmp_path, 0)
