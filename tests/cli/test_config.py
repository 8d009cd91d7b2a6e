"""`config show`: every setting, its value, and which source set it."""

import json
import os

import pytest

from forecaster.settings import Settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("FORECASTER_"):
            monkeypatch.delenv(name)


def shown(run, home):
    done = run("config", "show", "--home", home, "--json")
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    return {row["setting"]: (row["value"], row["source"]) for row in content["settings"]}


def test_each_value_is_shown_with_the_source_that_set_it(run, tmp_path, monkeypatch):
    """The highest source counts: the variable's 0.3 hides the file's."""
    (tmp_path / "forecaster.toml").write_text("[train]\nlr = 0.2\nhidden = 8\n")
    monkeypatch.setenv("FORECASTER_TRAIN__LR", "0.3")
    found = shown(run, tmp_path)
    assert found["train.lr"] == (0.3, "FORECASTER_TRAIN__LR")
    assert found["train.hidden"] == (8, "forecaster.toml")
    assert found["retrain.every"] == (21, "default")
    there = {f"{s}.{n}" for s in Settings.model_fields for n in getattr(Settings(), s).model_dump()}
    assert set(found) == there


def test_what_gave_way_is_shown_as_the_default_that_it_became(run, tmp_path, monkeypatch):
    """Not as the file's, which nobody uses."""
    (tmp_path / "forecaster.toml").write_text("[train]\nbptt_k2 = 63\n")
    monkeypatch.setenv("FORECASTER_TRAIN__BPTT", "full")
    assert shown(run, tmp_path)["train.bptt_k2"] == (None, "default")


def test_an_unknown_key_is_refused_with_the_nearest(run, tmp_path):
    (tmp_path / "forecaster.toml").write_text("[retrain]\nevry = 5\n")
    done = run("config", "show", "--home", tmp_path)
    assert done.exit_code == 78
    assert "retrain.evry = 5: no such setting; did you mean every?" in done.stderr


def test_the_variables_of_on_failure_are_no_settings(run, tmp_path, monkeypatch):
    """The command of --on-failure may call forecaster in turn."""
    monkeypatch.setenv("FORECASTER_EXIT", "69")
    monkeypatch.setenv("FORECASTER_REASON", "the source is down")
    assert run("config", "show", "--home", tmp_path).exit_code == 0


def test_init_writes_a_file_once(run, tmp_path):
    done = run("config", "init", "--home", tmp_path, "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["file"] == str(tmp_path / "forecaster.toml")
    assert "# hidden = 64" in (tmp_path / "forecaster.toml").read_text()
    again = run("config", "init", "--home", tmp_path)
    assert again.exit_code == 2 and "add --migrate" in again.stderr


def test_a_terminal_is_sent_to_the_migration_and_a_log_is_not(run, tmp_path, monkeypatch):
    """The same file: read with a warning by cron, refused with the remedy at a terminal."""
    (tmp_path / "forecaster.toml").write_text("[train]\nlanes = 8\n")
    assert "lanes = 8 of forecaster.toml is now" in run("config", "show", "--home", tmp_path).stderr
    monkeypatch.setattr("forecaster.cli.config.is_interactive", lambda *, quiet: True)
    refused = run("config", "show", "--home", tmp_path)
    assert refused.exit_code == 78 and "forecaster config init --migrate" in refused.stderr
    done = run("config", "init", "--migrate", "--home", tmp_path)
    assert done.exit_code == 0 and "changed batch_rows = 8" in done.stdout
    assert (tmp_path / "forecaster.toml.bak").read_text() == "[train]\nlanes = 8\n"
    assert shown(run, tmp_path)["train.batch_rows"] == (8, "forecaster.toml")
