"""kill -9 at any moment of a run: the next one ends it as if nothing had happened."""

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from forecaster.operations import challenger as challenger_training
from forecaster.operations import daily_run as session_run
from forecaster.pipeline.predict import predict
from forecaster.registry.run_history import trainings
from tests.faults import daily_run
from tests.faults.conftest import ALL, Stage
from tests.faults.daily_run import TODAY, YESTERDAY, do, flaws, state

KILLS = 25 if ALL else 6
HIT = 0.8  # of them, provably


def serves(home: Path) -> None:
    """The champion is loaded, verified, and forecasts every ticker."""
    found = predict(home=home, as_of=YESTERDAY, record=False)
    assert len(found.forecasts) == 2 and found.version != "baseline" and not found.troubles


def compare(home: Path, expected: dict[str, object]) -> None:
    """Nothing is lost, nothing doubled, nothing different."""
    assert flaws(home) == []
    found = state(home)
    for subject in expected:
        assert found[subject] == expected[subject], subject
    assert all(run.state != "running" for run in trainings(home))


@pytest.mark.slow
@pytest.mark.parametrize("phase", daily_run.PHASES)
def test_a_run_killed_at_any_moment_is_ended_by_the_next_one(
    phase: str, stage: Stage, draw: random.Random, shown: Callable[[str], None]
) -> None:
    """Fault 36: sound files, champion forecasting, at the end bit for bit the undisturbed run."""
    lasted = min(stage.ask(stage.home(), phase=phase)["lasted"] for _ in range(3))
    hits = kills = 0
    # A machine that was busy a moment ago lets kills come too late; more are drawn then.
    while kills < KILLS or (hits < HIT * KILLS and kills < 2 * KILLS):
        home, after = stage.home(), draw.uniform(0.0, lasted)
        killed = stage.ask(home, phase=phase, seconds=after)
        assert killed["status"] == -signal.SIGKILL
        kills, hits, lasted = kills + 1, hits + killed["hit"], min(lasted, killed["lasted"])
        assert flaws(home) == []
        serves(home)
        ended = stage.ask(home)
        assert (ended["status"], ended["code"]) == (0, 0), ended["reason"]
        compare(home, stage.done)
    shown(f"{hits} of {kills} kills within the {lasted:.3f} s of {phase}")
    assert hits >= HIT * KILLS


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The state after an undisturbed run."""
    home = tmp_path_factory.mktemp("unharmed")
    with pytest.MonkeyPatch.context() as patch:
        daily_run.arrange(patch=patch)
        do(TODAY, home)
    return state(home)


@pytest.mark.parametrize(
    ("module", "step", "when"),
    [
        (challenger_training, "save_version", "after"),
        (challenger_training, "register", "after"),
        (session_run, "promote", "after"),
    ],
)
def test_a_run_that_ends_between_two_steps_is_ended_by_the_next_one(
    module: object,
    step: str,
    when: str,
    tmp_path: Path,
    unharmed: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a random moment seldom falls: between two files, or two transactions."""
    daily_run.arrange(patch=monkeypatch)
    own = getattr(module, step)

    def ends(*arguments: object, **options: object) -> None:
        if when == "after":
            own(*arguments, **options)
        raise SystemExit("killed")

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(module, step, ends)
        do(TODAY, tmp_path)
    assert do(TODAY, tmp_path).exit_code == 0
    compare(tmp_path, unharmed)
