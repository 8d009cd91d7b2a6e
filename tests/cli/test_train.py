"""`forecaster train`: progress by member, an ensemble, what is saved."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import Result

from forecaster import clock
from forecaster.cli.train import _line_printer, _member_labels
from forecaster.errors import SettingsError, UsageError
from forecaster.operations.due_sessions import settled_at
from forecaster.settings.settings_sources import load_settings
from forecaster.training.trainer import Validation
from tests.cli.conftest import QUICK
from tests.synthetic import ragged_bars

Run = Callable[..., Result]


def test_every_source_sets_the_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One by default; 1 to 32, refused in the words of its source."""
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


def test_an_ensemble_lists_its_members_and_saves_each(run: Run, home: Path) -> None:
    options = ["AAA", "--target", "range", *QUICK, "--max-steps", 100, "--members", 2]
    done = run("train", *options, "--seed", 7, "--home", home)
    assert done.exit_code == 0, done.output
    notices = done.stderr.splitlines()
    assert "member  1 of 2, seed 7" in notices and "member  2 of 2, seed 8" in notices
    lines = [line for line in notices if line.endswith(("member 1/2", "member 2/2"))]
    assert [line[-3:] for line in lines] == ["1/2", "2/2"]
    best = [line for line in done.stdout.splitlines() if line.startswith("best")]
    assert [line.split(",")[0] for line in best] == ["best    member 1", "best    member 2"]
    version = done.stdout.split()[done.stdout.split().index("evaluate") + 1]
    found = sorted(os.listdir(home / "models" / version))
    assert found == ["manifest.json", "weights-2.safetensors", "weights.safetensors"]
    asked = ["AAA", "--target", "range", "--version", version, "--as-of", "2012-10-10"]
    forecast = run("predict", *asked, "--home", home)
    assert forecast.exit_code == 0, forecast.output


def test_the_steps_of_the_next_member_start_again() -> None:
    label = _member_labels(2)
    assert [label(step) for step in (1, 2, 3, 1, 2)] == ["member 1/2"] * 3 + ["member 2/2"] * 2
    assert _member_labels(1)(1) == ""


def test_progress_is_a_line_every_hundred_steps(capsys: pytest.CaptureFixture[str]) -> None:
    show = _line_printer(1)
    for step in (50, 100, 150, 200):
        show(step, validation(step, best=step == 200))
    show(300, None)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "epoch    step  train loss  validation loss    time",
        "    3     100      1.0000           0.9000   2.0 s",
        "    3     200      1.0000           0.9000   2.0 s  best",
    ]


def validation(step: int, *, best: bool) -> Validation:
    return Validation(
        step=step,
        epoch=3,
        train_loss=1.0,
        validation_loss=0.9,
        best=best,
        seconds=2.0,
        clipped=0,
        spikes=0,
    )


@pytest.mark.slow
def test_an_own_column_goes_the_whole_way(run: Run, tmp_path: Path) -> None:
    """Kept by the import, trained, forecast, scored; a day without a value has no forecast."""
    table = ragged_bars({"AAA": 700, "BBB": 660})
    table["rv5"] = (table["high"] / table["low"] - 1.0) ** 2
    days = sorted(table["session"].unique())
    home, file = ("--home", tmp_path), tmp_path / "prices.csv"

    def at_the_end_of(day: pd.Timestamp, *arguments: object) -> Result:
        with clock.as_if(settled_at(["XNYS"], day.date())):
            return run(*arguments, *home)

    def imported(last: pd.Timestamp, *options: object) -> Result:
        table[table["session"] <= last].to_csv(file, index=False)
        return at_the_end_of(last, "data", "import", file, *options)

    zero = table.assign(rv5=table["rv5"].where(table["session"] != days[-9], 0.0))
    zero.to_csv(file, index=False)
    refused = at_the_end_of(days[-1], "data", "import", file, "--keep", "rv5")
    assert refused.exit_code == 65, refused.output
    assert f"AAA: rv5 is 0 on {days[-9]:%Y-%m-%d}; a finite number above 0" in refused.output
    assert imported(days[-4], "--keep", "rv5").exit_code == 0
    (tmp_path / "forecaster.toml").write_text(
        '[train]\ntarget_column = "rv5"\nhidden = 4\nmax_steps = 20\n'
    )
    done = at_the_end_of(days[-4], "retrain", "--no-fetch")
    assert done.exit_code in (0, 4), done.output
    made = at_the_end_of(days[-4], "predict", "AAA", "--json")
    row = json.loads(made.stdout)["forecasts"][0]
    assert row["target"] == "rv5" and row["q10"] < row["forecast"] < row["q90"]
    assert row["session"] == f"{days[-3]:%Y-%m-%d}"
    printed = at_the_end_of(days[-4], "predict", "AAA").stdout
    assert "rv5 (80 %)" in printed.splitlines()[0]
    assert imported(days[-3]).exit_code == 0  # --keep is known from before
    scores = json.loads(at_the_end_of(days[-3], "score", "--json").stdout)["scores"]
    assert scores[0]["target"] == "rv5" and scores[0]["forecasts"] >= 2
    assert at_the_end_of(days[-3], "status").exit_code == 0
    table.loc[table["session"] == days[-2], "rv5"] = float("nan")
    assert imported(days[-2]).exit_code == 0
    lacking = at_the_end_of(days[-2], "predict", "AAA")
    assert lacking.exit_code == 65, lacking.output
    assert f"AAA: no rv5 on its newest day, {days[-2]:%Y-%m-%d}" in lacking.stderr
