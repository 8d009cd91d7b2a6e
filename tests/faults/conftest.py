"""Homes before and after an undisturbed daily run, and the process whose children repeat it."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

ROOT = Path(__file__).parents[2]
ALL = os.environ.get("FAULTS") == "all"  # `make faults`


@dataclass(frozen=True, slots=True)
class Stage:
    """Homes for attacks: each a copy of the one that `done` is the end state of."""

    folder: Path
    yesterday: Path
    done: dict[str, Any]
    ask: Callable[..., dict[str, Any]]

    def home(self) -> Path:
        """Return a fresh home, in which the last session is due."""
        home = self.folder / "home"
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(self.yesterday, home)
        return home


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Run the session before, and the last one undisturbed."""
    from tests.faults.daily_run import TODAY, YESTERDAY, state

    folder = tmp_path_factory.mktemp("stage")
    before, after = folder / "before", folder / "after"
    before.mkdir()
    command = [sys.executable, "-m", "tests.faults.driver"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, bufsize=1, **pipes) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == "ready\n"

        def ask(home: Path, day: object = TODAY, **order: object) -> dict[str, Any]:
            return _answer(process.stdin, process.stdout, home=str(home), day=str(day), **order)

        assert ask(before, YESTERDAY)["code"] == 0
        shutil.copytree(before, after)
        assert ask(after)["code"] == 0
        yield Stage(folder, before, state(after), ask)


def _answer(there: "IO[str] | None", here: "IO[str] | None", **order: object) -> dict[str, Any]:
    assert there and here
    print(json.dumps(order), file=there, flush=True)
    answer: dict[str, Any] = json.loads(here.readline())
    return answer


@pytest.fixture
def draw(request: pytest.FixtureRequest, shown: Callable[[str], None]) -> random.Random:
    """Draw at random, from a printed seed."""
    seed = int(os.environ.get("FAULTS_SEED", random.SystemRandom().randrange(10**6)))
    shown(f"FAULTS_SEED={seed}")
    return random.Random(f"{seed} {request.node.name}")


@pytest.fixture
def shown(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], None]:
    """Print figures even where the test passes."""

    def show(text: str) -> None:
        with capsys.disabled():
            print(f"\n{request.node.name}: {text}", end="")

    return show
