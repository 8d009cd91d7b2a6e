"""kill -9 at any moment of a command by hand: the next one ends it, and nothing is left over."""

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from forecaster.data.price_database import store_path
from forecaster.data.store import PriceStore
from forecaster.database import integrity_error
from forecaster.pipeline.data_import import import_files
from forecaster.pipeline.predict import predict
from forecaster.pipeline.train import train
from forecaster.registry.champion_history import champion_status, decisions, registered
from forecaster.registry.promotion import promote, register
from forecaster.registry.registry_file import registry_path
from forecaster.registry.versions import (
    UNFINISHED,
    list_versions,
    load_weights,
    save_version,
    verify,
)
from tests.faults.conftest import ALL, ROOT
from tests.faults.daily_run import TRAIN
from tests.faults.killed_commands import COMMANDS, KEPT
from tests.synthetic import bars_of, ragged_bars

KILLS = 25 if ALL else 6
STORED = {"AAA": 700, "BBB": 650, **{f"T{number:02}": 600 for number in range(20)}}
VERSIONS = 30
Ask = Callable[..., dict[str, float]]


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with tickers, many versions, the first of them champion, and files of an export."""
    home = tmp_path_factory.mktemp("before")
    ragged_bars(STORED).to_csv(home / "stored.csv", index=False)
    ragged_bars({name: days + 5 for name, days in STORED.items()}).to_csv(
        home / "new.csv", index=False
    )
    import_files([home / "stored.csv"], home=home, basis="split-adjusted")
    manifest = train(settings=TRAIN, home=home, tickers=["AAA", "BBB"]).manifest
    weights = load_weights(home, manifest)
    promote(home, "return", manifest.version, reason="by hand", session=None, evidence={})
    for number in range(1, VERSIONS):
        created = datetime.fromisoformat(manifest.created_at) + timedelta(minutes=number)
        saved = save_version(home, manifest, weights, created)
        register(home, saved.version, "return")
    (home / "out.csv").write_text("an older export\n")
    return home


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    command = [sys.executable, "-m", "tests.faults.killed_commands"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, bufsize=1, **pipes) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == "ready\n"

        def run(home: Path, command: str, **order: float) -> dict[str, float]:
            print(json.dumps({"home": str(home), "command": command, **order}), file=process.stdin)
            answer: dict[str, float] = json.loads(process.stdout.readline())
            return answer

        yield run


def check_sound(home: Path) -> None:
    """Whatever happened, both databases are intact and the champion forecasts."""
    for path in (store_path(home), registry_path(home)):
        assert integrity_error(path) == ""
    champion = champion_status(home, "return").champion
    last = bars_of("AAA", STORED["AAA"])["session"].max().date()
    assert predict("AAA", home=home, as_of=last, record=False).version == champion
    for version in list_versions(home):
        verify(home, version)


def left_over(home: Path) -> list[str]:
    """What only a killed command can have left."""
    odd = [path.name for path in home.rglob("*.part")]
    return odd + [path.name for path in (home / "models" / UNFINISHED).iterdir()]


def days_of(home: Path) -> dict[str, int]:
    with PriceStore.open_for_reading(home) as store:
        return {name: len(store.bars(name)) for name in store.tickers()}


def age(home: Path) -> None:
    """Let what a killed command has left be older than what may be another process's now."""
    for path in home.rglob("*.part"):
        os.utime(path, (0, 0))


def check_done(home: Path, command: str, before: Path) -> None:
    """The command has its result, once, and all else is as it was."""
    versions = list_versions(before)
    if command == "train":
        assert set(list_versions(home)) > set(versions)
        assert set(registered(home)) == set(list_versions(home))
    elif command == "prune":
        kept = list_versions(home)
        assert kept == [versions[0], *versions[1 - KEPT :]]
        pruned = [one.challenger for one in decisions(home) if one.outcome == "pruned"]
        assert sorted(filter(None, pruned)) == versions[1 : 1 - KEPT]
        assert set(registered(home)) == set(kept)
    elif command == "export":
        assert len(pd.read_csv(home / "out.csv")) == sum(STORED.values())


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_killed_at_any_moment_is_ended_by_the_next_one(
    command: str,
    before: Path,
    tmp_path: Path,
    ask: Ask,
    draw: random.Random,
    shown: Callable[[str], None],
) -> None:
    home, hits, tries, lasted = tmp_path / "home", 0, 0, math.inf
    for _ in range(2):  # the first one is slower
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(before, home)
        lasted = min(lasted, ask(home, command)["lasted"])
    undisturbed = days_of(home)
    while tries < KILLS or (hits < KILLS // 3 and tries < 5 * KILLS):
        tries += 1
        shutil.rmtree(home)
        shutil.copytree(before, home)
        killed = ask(home, command, seconds=draw.uniform(0.0, lasted))
        hits += killed["status"] == -signal.SIGKILL
        lasted = min(lasted, killed["lasted"]) if killed["status"] == 0 else lasted
        check_sound(home)
        if command == "export":
            rows = (home / "out.csv").read_text().count("\n")
            assert rows in (1, 1 + sum(STORED.values())), "the older file or the new one"
        age(home)
        assert ask(home, command)["status"] == 0
        check_sound(home)
        check_done(home, command, before)
        assert days_of(home) == undisturbed
        if command == "train":  # abandoned for a day, the rest of a training is swept up
            assert ask(home, "prune")["status"] == 0
        assert left_over(home) == []
    shown(f"{hits} of {tries} kills within the {lasted:.2f} s of {command}")
    assert hits >= KILLS // 3
