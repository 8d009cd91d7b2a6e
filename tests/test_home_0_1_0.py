"""A home of forecaster 0.1.0 opens, forecasts the same values and runs its next session."""

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from forecaster import clock
from forecaster.registry.run_history import count_evaluation

Run = Callable[..., Result]
ORIGIN = Path(__file__).parent / "home_0_1_0"
EXPECTED = json.loads((ORIGIN / "expected.json").read_text())
LAST, NEXT = date(2017, 11, 8), date(2017, 11, 9)
CHAMPION, PREDECESSOR = "20171103-223000-elman-bd6994c5", "20171103-223000-lstm-1bbd8c83"
NEW_NAMES = {"rise": "prob_up", "cover80": "coverage_80", "cover95": "coverage_95"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ORIGIN, tmp_path / "home"))


def at_close(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 22, 30, tzinfo=UTC)


def content(run: Run, home: Path, day: date, *words: object) -> dict:
    """The JSON of a command that ends well, run after the close of a day."""
    with clock.as_if(at_close(day)):
        done = run(*words, "--home", home, "--json")
    assert done.exit_code == 0, done.output + done.stderr
    found: dict = json.loads(done.stdout)
    return found


def renamed(rows: list[dict]) -> list[dict]:
    return [{NEW_NAMES.get(key, key): value for key, value in row.items()} for row in rows]


def manifests(home: Path) -> dict[str, str]:
    return {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((home / "models").glob("*/*"))
        if path.name in ("manifest.json", "weights.safetensors")
    }


def test_its_versions_are_listed_with_their_champion(run: Run, home: Path) -> None:
    """Read-only commands migrate the registry and never rewrite a manifest."""
    before = manifests(home)
    found = content(run, home, LAST, "models", "list")
    assert [row["state"] for row in found["versions"]] == ["intact"] * 3
    assert found["names"][0]["champion"] == CHAMPION
    assert found["names"][0]["predecessor"] == PREDECESSOR
    shown = content(run, home, LAST, "models", "show", PREDECESSOR)["manifest"]
    assert shown["data"]["blocks"]["train_until"] == "2016-08-31"
    assert shown["training"]["batch_rows"] == 64 and "validation_mse_range" in shown["metrics"]
    assert manifests(home) == before


@pytest.mark.parametrize("target", ["return", "range"])
def test_its_champion_forecasts_the_same_values(run: Run, home: Path, target: str) -> None:
    words = ("predict", "--target", target, "--no-record", "--as-of", LAST)
    found = content(run, home, LAST, *words)["forecasts"]
    assert found == renamed(EXPECTED[target]["forecasts"])


def test_its_past_is_scored_and_its_state_reported(run: Run, home: Path) -> None:
    found = content(run, home, LAST, "score", "--as-of", LAST)
    assert (found["pending"], found["unscorable"]) == (6, 0)
    expected_mse = [row["expected_mse"] for row in found["scores"]]
    assert len(expected_mse) == 2 and None not in expected_mse
    (name,) = content(run, home, LAST, "status")["names"]
    assert (name["champion"], name["session"], name["exit_code"]) == (CHAMPION, str(LAST), 0)


@pytest.mark.parametrize("is_read_only", [False, True])
def test_reading_it_writes_nothing(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch, is_read_only: bool
) -> None:
    """Neither migrates it; on a read-only disk, which is acted for root, all is read alike."""
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    connect = sqlite3.connect

    def refuse_side_files(target: str, **options: Any) -> sqlite3.Connection:
        if target and "immutable" not in str(target):
            raise sqlite3.OperationalError("unable to open database file")
        return connect(target, **options)

    if is_read_only:
        monkeypatch.setattr(sqlite3, "connect", refuse_side_files)
        monkeypatch.setattr(os, "access", lambda path, mode: not (mode & os.W_OK))
    for words in (("status",), ("score",), ("predict", "--no-record"), ("data", "list")):
        content(run, home, LAST, *words)
    made = content(run, home, LAST, "predict") if is_read_only else {"recorded": None}
    assert made["recorded"] is None
    after = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    side_files = {path for path in after if path.name.endswith(("-wal", "-shm"))}
    assert not (is_read_only and side_files)
    assert {path: after[path] for path in set(after) - side_files} == before


@pytest.mark.slow
def test_its_next_session_ends_as_it_would_have_with_the_old_code(run: Run, home: Path) -> None:
    """Settings of old names are read with a warning; the cron line of 0.1.0 still runs."""
    before = manifests(home)
    content(run, home, NEXT, "data", "import", home / "bars.csv")
    found = content(run, home, NEXT, "retrain", "--no-fetch", "--as-of", NEXT)
    (session,), (expected,) = found["sessions"], EXPECTED["next"]["nights"]
    assert session["forecasts"] == renamed(expected["forecasts"])
    scores = {target: renamed([row])[0] for target, row in expected["scores"].items()}
    assert session["scores"] == scores
    assert session["due"] == expected["due"]
    (decided,), (old,) = session["decided"], expected["decided"]
    assert (decided["outcome"], decided["reason"]) == (old["outcome"], old["reason"])
    assert manifests(home).items() >= before.items() and len(manifests(home)) == len(before) + 2
    with clock.as_if(at_close(NEXT)):
        again = run("retrain", "--home", home, "--quiet", "--no-fetch")
    assert (again.exit_code, again.stdout) == (0, ""), again.output


def test_its_test_set_evaluations_are_taken_over_once(home: Path) -> None:
    """Two were counted before; overlapping ones add to them."""
    first, last = date(2017, 3, 1), date(2017, 11, 3)
    found = [count_evaluation(home, "another question", first, last) for _ in range(2)]
    assert [(one.same, one.total, one.questions) for one in found] == [(1, 3, 3), (2, 4, 3)]
    assert not (home / "models" / "looks.json").exists()


@pytest.mark.parametrize(
    ("version", "option"), [(CHAMPION, ()), (PREDECESSOR, ("--no-same-inputs",))]
)
def test_an_evaluation_repeated_now_is_the_same_question(
    run: Run, home: Path, version: str, option: tuple[str, ...]
) -> None:
    """The names of the walk's settings have changed; what was counted before has not."""
    words = ("evaluate", version, "--benchmarks", "quick", "--no-report", *option)
    found = content(run, home, LAST, *words, "--as-of", date(2017, 11, 3))["test_set_evaluations"]
    assert (found["same"], found["total"], found["questions"]) == (2, 3, 2)
