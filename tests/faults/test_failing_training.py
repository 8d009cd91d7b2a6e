"""A training that goes wrong for real: the run is failed, its best kept, the champion untouched."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from forecaster.registry.champion_history import champion_status, decisions, registered
from forecaster.registry.forecast_log import read_forecasts
from forecaster.registry.run_history import trainings
from forecaster.registry.versions import load_weights, read_manifest
from tests.faults import daily_run, troubles
from tests.faults.conftest import Stage
from tests.faults.daily_run import TODAY, YESTERDAY, do
from tests.faults.test_killed import serves
from tests.operations.sessions import last_session

WORDS = {
    "nan": r"had a gradient of norm nan",
    "explode": r"had a gradient of norm inf",
    "memory": r"out of memory after step 8",
}


def check(home: Path, champion: str | None, trouble: str) -> None:
    """The reason is stored thrice, the session is finished, its forecasts are the champion's."""
    run, decided, done = trainings(home)[-1], decisions(home)[-1], last_session(home)
    assert done and (done.session, done.outcome, done.exit_code) == (TODAY, "done", 5)
    assert (run.state, decided.outcome, decided.session) == ("failed", "failed", TODAY)
    assert WORDS[trouble] in run.reason == decided.reason
    assert decided.before == decided.after == champion_status(home, "return").champion == champion
    rows = read_forecasts(home, since=TODAY)
    assert list(rows["version"]) == [champion or "baseline"] * 2
    assert np.isfinite(rows["forecast"]).all()
    (failed,) = [name for name, one in registered(home).items() if one.status == "failed"]
    manifest = read_manifest(home, failed)
    assert manifest.training["steps"] == 6, "the step of the best validation"
    for weights in load_weights(home, manifest):
        assert all(np.isfinite(value).all() for value in weights.values())


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a champion, in which a session is due."""
    home = tmp_path_factory.mktemp("before")
    with pytest.MonkeyPatch.context() as patch:
        daily_run.arrange(patch)
        do(YESTERDAY, home)
    return home


@pytest.mark.parametrize("trouble", ["nan", "explode"])
def test_numbers_that_go_wild_fail_the_run_alone(
    trouble: str, before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 47: the weights of the validation before are kept; the next session trains again."""
    home, champion = tmp_path / "home", champion_status(before, "return").champion
    shutil.copytree(before, home)
    daily_run.arrange(monkeypatch)
    with monkeypatch.context() as patch:
        settings = troubles.arrange(patch, trouble, daily_run.SETTINGS)
        report = do(TODAY, home, settings)
    assert report.exit_code == 5 and champion
    check(home, champion, trouble)
    assert do(TODAY, home).sessions == ()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS binds on Linux alone")
def test_too_little_memory_fails_the_run_alone(stage: Stage) -> None:
    """Fault 46, by RLIMIT_AS: the weights before are kept, though memory stays short."""
    home, champion = stage.home(), champion_status(stage.yesterday, "return").champion
    ended = stage.ask(home, trouble="memory")
    assert (ended["status"], ended["code"]) == (0, 5), ended["reason"]
    check(home, champion, "memory")
    serves(home)
