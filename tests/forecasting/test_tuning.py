"""The search: reproducible, killed and continued, shared, and bound to its data."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from forecaster.errors import UsageError
from forecaster.forecasting.tuning import DEFAULT_SPACE, TuneResult, read_space
from forecaster.pipeline.data_import import import_files
from forecaster.pipeline.tune import tune
from forecaster.settings import TrainSettings
from tests.synthetic import ragged_bars

SETTINGS = TrainSettings(target="range", hidden=4, max_steps=20, evaluate_every=5)
SPACE = "[lr]\nlow = 1e-3\nhigh = 1e-1\nlog = true\n\n[hidden]\nvalues = [2, 3, 4]\n"
TRIALS = 5


@pytest.fixture
def home(tmp_path: Path) -> Path:
    ragged_bars({"AAA": 400, "BBB": 380}).to_csv(tmp_path / "bars.csv", index=False)
    import_files([tmp_path / "bars.csv"], home=tmp_path, basis="split-adjusted")
    (tmp_path / "space.toml").write_text(SPACE)
    return tmp_path


def found(home: Path, study: str, trials: int = TRIALS) -> TuneResult:
    return tune(settings=SETTINGS, trials=trials, space=home / "space.toml", study=study, home=home)


def process(home: Path, study: str) -> subprocess.Popen[str]:
    options = ["--target", "range", "--hidden", "4", "--max-steps", "20", "--evaluate-every", "5"]
    command = [sys.executable, "-m", "forecaster", "tune", *options, "--trials", str(TRIALS)]
    where = ["--space", str(home / "space.toml"), "--study", study, "--home", str(home)]
    return subprocess.Popen([*command, *where], stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_killed_study_goes_on_as_if_it_had_not_stopped(home: Path) -> None:
    with process(home, "killed") as running:
        assert running.stderr
        for line in running.stderr:
            if line.startswith("trial   1"):
                running.send_signal(signal.SIGKILL)
                break
    killed, whole = found(home, "killed"), found(home, "whole")
    assert (killed.best, killed.best_loss) == (whole.best, whole.best_loss)
    assert killed.refits == whole.refits
    assert killed.finished + killed.pruned == whole.finished + whole.pruned == TRIALS
    assert set(whole.best) == {"lr", "hidden"} and len(whole.refits["default"]) == 3
    assert found(home, "whole").best_loss == whole.best_loss  # nothing left to do


@pytest.mark.slow
def test_processes_share_a_study(home: Path) -> None:
    with process(home, "shared") as one, process(home, "shared") as other:
        texts = [(running.communicate()[1], running.returncode) for running in (one, other)]
    assert [code for _, code in texts] == [0, 0], texts
    lines = [line for text, _ in texts for line in text.splitlines() if line.startswith("trial")]
    numbers = sorted(line.split()[1] for line in lines)
    assert len(set(numbers)) == len(numbers) and TRIALS <= len(numbers) <= TRIALS + 1
    assert found(home, "shared").finished + found(home, "shared").pruned == len(numbers)


@pytest.mark.slow
def test_a_study_of_other_settings_is_refused(home: Path) -> None:
    found(home, "mine", trials=1)
    with pytest.raises(UsageError, match="other prices, settings or another space; choose another"):
        tune(settings=SETTINGS, space=None, study="mine", home=home)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[hiden]\nvalues = [1]", "hiden: no such setting; did you mean hidden"),
        ("[hidden]\nvalues = [0]", "hidden"),
        ("[lr]\nlow = 0.1\nhigh = 0.01", r"\[lr\] of the space: write values"),
        ("[target]\nvalues = ['range']", "cannot be compared; give --target to all"),
        ("[lr", "cannot be read"),
        ("", "has no setting"),
    ],
)
def test_a_space_that_no_training_could_use_is_refused(
    text: str, expected: str, tmp_path: Path
) -> None:
    (tmp_path / "space.toml").write_text(text)
    with pytest.raises(UsageError, match=expected):
        read_space(tmp_path / "space.toml", SETTINGS)


def test_without_a_file_the_space_is_the_default_one() -> None:
    assert read_space(None, SETTINGS) == DEFAULT_SPACE


def test_without_optuna_the_error_has_the_remedy(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r'pip install -c constraints.txt "\.\[tune\]"'):
        found(home, "any")
