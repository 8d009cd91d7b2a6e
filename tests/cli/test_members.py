"""`train --members`: what is set, shown and saved of an ensemble."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from forecaster.errors import SettingsError, UsageError
from forecaster.settings.settings_sources import load_settings
from tests.cli.conftest import QUICK

Run = Callable[..., Result]


def test_every_source_sets_the_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One unless told otherwise; 1 to 32, refused in the words of its source."""
    monkeypatch.delenv("FORECASTER_TRAIN__MEMBERS", raising=False)
    assert load_settings(tmp_path).train.members == 1
    (tmp_path / "forecaster.toml").write_text("[train]\nmembers = 2\n")
    assert load_settings(tmp_path).train.members == 2
    monkeypatch.setenv("FORECASTER_TRAIN__MEMBERS", "4")
    assert load_settings(tmp_path).train.members == 4
    assert load_settings(tmp_path, {"train": {"members": 3}}).train.members == 3
    with pytest.raises(UsageError, match=r"^--members 33: "):
        load_settings(tmp_path, {"train": {"members": 33}})
    monkeypatch.setenv("FORECASTER_TRAIN__MEMBERS", "0")
    with pytest.raises(SettingsError, match=r"train\.members = '0' of FORECASTER_TRAIN__MEMBERS"):
        load_settings(tmp_path)


def test_an_ensemble_names_its_members_and_saves_each(run: Run, home: Path) -> None:
    options = ["AAA", "--target", "range", *QUICK, "--max-steps", 100, "--members", 2]
    done = run("train", *options, "--seed", 7, "--home", home)
    assert done.exit_code == 0, done.output
    told = done.stderr.splitlines()
    assert "member  1 of 2, seed 7" in told and "member  2 of 2, seed 8" in told
    lines = [line for line in told if line.endswith(("member 1/2", "member 2/2"))]
    assert [line[-3:] for line in lines] == ["1/2", "2/2"]
    best = [line for line in done.stdout.splitlines() if line.startswith("best")]
    assert [line.split(",")[0] for line in best] == ["best    member 1", "best    member 2"]
    version = done.stdout.split()[done.stdout.split().index("evaluate") + 1]
    found = sorted(os.listdir(home / "models" / version))
    assert found == ["manifest.json", "weights-2.safetensors", "weights.safetensors"]
    asked = ["AAA", "--target", "range", "--version", version, "--as-of", "2012-10-10"]
    forecast = run("predict", *asked, "--home", home)
    assert forecast.exit_code == 0, forecast.output
