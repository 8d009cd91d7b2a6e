"""`forecaster models` and what it changes for `predict`, as a user sees it."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from forecaster.registry.registry_file import registry_path
from tests.cli.conftest import QUICK
from tests.registry.samples import keep

Run = Callable[..., Result]
AS_OF = ("--as-of", "2012-10-12")


@pytest.fixture
def two(run: Run, home: Path) -> tuple[str, str]:
    """A home with two versions under one name, the older first."""
    done = run("train", "--target", "return,range", *QUICK, "--seed", "1", "--home", home)
    assert done.exit_code == 0, done.output
    found = content(run("models", "list", "--json", "--home", home))["versions"]
    first, second = (row["version"] for row in found)
    return first, second


def content(done: Result, code: int = 0) -> dict:
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def served(run: Run, home: Path, *options: str, code: int = 0) -> str:
    done = run("predict", "AAA", *AS_OF, *options, "--json", "--home", home)
    (model,) = content(done, code)["models"]
    return model["version"]


def test_predict_follows_promotion_and_rollback_by_hand(
    run: Run, home: Path, two: tuple[str, str]
) -> None:
    first, second = two
    assert served(run, home) == second, "nothing decided: the newest"
    found = content(run("models", "promote", first, "--reason", "seen", "--json", "--home", home))
    assert (found["champion"], found["predecessor"]) == (first, "baseline")
    assert served(run, home) == first
    listed = content(run("models", "list", "--json", "--home", home))
    assert [row["status"] for row in listed["versions"]] == ["champion", "challenger"]
    assert listed["names"][0]["challenger"] == second
    assert f"champion return,range: {first} since" in run("models", "list", "--home", home).stdout
    shown = content(run("models", "show", first, "--json", "--home", home))
    assert shown["status"] == "champion"
    assert [(one["outcome"], one["reason"]) for one in shown["decisions"]] == [("by-hand", "seen")]
    assert "status   champion" in run("models", "show", first, "--home", home).stdout
    done = run("models", "rollback", "--home", home)
    assert done.exit_code == 0 and "champion return,range: baseline" in done.stdout
    assert served(run, home) == "baseline"
    assert "return,range: baseline" in run("predict", *AS_OF, "--home", home).stdout
    assert run("models", "rollback", "--home", home).exit_code == 66


def test_a_corrupt_champion_exits_3_and_its_predecessor_forecasts(
    run: Run, home: Path, two: tuple[str, str]
) -> None:
    first, second = two
    for version in two:
        assert run("models", "promote", version, "--home", home).exit_code == 0
    weights = home / "models" / second / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    done = run("predict", "AAA", *AS_OF, "--json", "--home", home)
    assert content(done, 3)["models"] == [{"name": "return,range", "version": first}]
    assert "WARNING the champion of return,range is corrupt" in done.stderr
    assert "models rollback --name return,range" in done.stderr and second in done.stderr
    assert run("models", "rollback", "--home", home).exit_code == 0
    assert served(run, home) == first


def test_a_corrupt_registry_stops_changes_and_not_forecasts(
    run: Run, home: Path, two: tuple[str, str]
) -> None:
    registry_path(home).write_bytes(b"junk" * 999)
    for command in (["list"], ["promote", two[0]], ["rollback"], ["prune", "--keep", "1"]):
        done = run("models", *command, "--home", home)
        assert done.exit_code == 74 and "registry.db: corrupt" in done.stderr
    there = sorted((home / "models").iterdir())
    assert run("train", *QUICK, "--home", home).exit_code == 74
    assert sorted((home / "models").iterdir()) == there, "found before any work"
    done = run("predict", "AAA", *AS_OF, "--home", home)
    assert done.exit_code == 3 and "the champion is unknown" in done.stderr
    assert "not recorded" in done.stderr and "AAA" in done.stdout


def test_compare_shows_what_differs_and_not_what_is_alike(
    run: Run, home: Path, two: tuple[str, str]
) -> None:
    first, second = two
    rows = content(run("models", "compare", *two, "--json", "--home", home))["differences"]
    differences = {row["what"]: (row[first], row[second]) for row in rows}
    assert differences["seed"] == (0, 1) and "validation_mse_return" in differences
    assert "hidden" not in differences and "fingerprint" not in differences
    text = run("models", "compare", *two, "--home", home).stdout
    assert "seed" in text and "not comparable" not in text
    assert run("models", "compare", first, first, "--home", home).exit_code == 2
    assert run("models", "compare", first, "nope", "--home", home).exit_code == 66


def test_prune_removes_the_oldest_after_a_dry_run(
    run: Run, home: Path, two: tuple[str, str]
) -> None:
    first, second = two
    dry = run("models", "prune", "--keep", "1", "--dry-run", "--home", home)
    assert dry.stdout == f"would remove  {first}\n" and (home / "models" / first).exists()
    done = run("models", "prune", "--keep", "1", "--home", home)
    assert done.stdout == f"removed  {first}\n" and not (home / "models" / first).exists()
    assert served(run, home) == second
    again = content(run("models", "prune", "--keep", "1", "--json", "--home", home))
    assert again["removed"] == []
    assert run("models", "prune", "--keep", "0", "--home", home).exit_code == 2


def test_predict_records_once_and_not_with_no_record(run: Run, home: Path) -> None:
    def count(*options: str) -> int | None:
        return content(run("predict", *AS_OF, *options, "--json", "--home", home))["recorded"]

    assert count("--no-record") is None
    assert count("--target", "return") == 3 and count("--target", "return") == 0
    assert count() == 3


def test_a_home_that_cannot_be_written_forecasts_all_the_same(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And reports in one line that nothing is recorded."""
    monkeypatch.setattr(os, "access", lambda path, mode: not (mode & os.W_OK))
    done = run("predict", "AAA", *AS_OF, "--home", home)
    assert done.exit_code == 0 and done.stderr.count("not recorded") == 1
    assert run("models", "promote", "x", "--home", home).exit_code == 66
    assert run("models", "prune", "--home", home).exit_code == 0


@pytest.mark.slow
def test_a_name_is_asked_for_where_several_have_champions(
    run: Run, home: Path, two: tuple[str, str]
) -> None:
    first, second = two
    assert run("models", "promote", first, "--home", home).exit_code == 0
    refused = run("models", "promote", first, "--name", "mine", "--home", home)
    assert refused.exit_code == 2 and "registered under --name return,range" in refused.stderr
    done = run("train", "--target", "range", *QUICK, "--name", "mine", "--home", home)
    listed = content(run("models", "list", "--json", "--home", home))["versions"]
    (third,) = {row["version"] for row in listed} - {first, second}
    assert done.exit_code == 0
    assert run("models", "promote", third, "--home", home).exit_code == 0
    refused = run("models", "rollback", "--home", home)
    assert refused.exit_code == 2 and "mine, return,range" in refused.stderr
    assert served(run, home, "--name", "mine") == third
    assert served(run, home, "--target", "return") == first
    several = run("predict", *AS_OF, "--home", home)
    assert several.exit_code == 2 and "--name" in several.stderr
    keep(home, "mine", "unknown", reason="worse")
    assert run("models", "rollback", "--name", "mine", "--home", home).exit_code == 0
    assert served(run, home, "--name", "mine") == "baseline"
    asked = run("predict", "--name", "none", *AS_OF, "--home", home)
    assert asked.exit_code == 66 and "--name none" in asked.stderr
    both = run("predict", "--name", "mine", "--version", first, "--home", home)
    assert both.exit_code == 2
