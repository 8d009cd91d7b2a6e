"""Options made from settings, one for each field; `config show` and `config init`."""

import json
import os
import re
from typing import Any

import pytest
import typer.main

from forecaster.cli import app, options
from forecaster.settings import SECTIONS, Settings
from tests.cli.conftest import QUICK

COMMANDS = typer.main.get_command(app).commands
MADE = {name: one for name, one in COMMANDS.items() if hasattr(one, "sections")}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("FORECASTER_"):
            monkeypatch.delenv(name)


def options_of(command: Any) -> dict[str, Any]:
    context = command.make_context("x", [], resilient_parsing=True)
    return {one.name: one for one in command.get_params(context)}


@pytest.mark.parametrize("name", MADE)
def test_every_setting_of_a_command_is_an_option_with_its_default(name: str) -> None:
    command = MADE[name]
    found = options_of(command)
    for section, names in command.sections.items():
        fields = SECTIONS[section].model_fields
        for field in fields if names is options.ALL else names:
            option, default = found[field], fields[field].default
            assert f"--{field.replace('_', '-')}" in option.opts
            assert option.default is None
            shown = re.search(r"\[(.+)\]", option.help)
            if isinstance(default, bool) or default in (None, ""):
                continue
            text = ",".join(default) if isinstance(default, tuple) else default
            assert shown and shown[1] == (f"{text:g}" if isinstance(text, float) else str(text))


def test_train_has_an_option_for_every_setting() -> None:
    assert set(SECTIONS["train"].model_fields) <= set(options_of(COMMANDS["train"]))


def test_every_setting_is_described() -> None:
    for settings in SECTIONS.values():
        for name, field in settings.model_fields.items():
            assert field.description and field.description.rstrip("].")[-1] != " ", name


def test_help_lists_the_options_by_group(run: Any) -> None:
    text = run("train", "--help").output
    groups = ["Arguments:", "Options:", "Network:", "Data:", "Gradient:", "Optimizer:", "Machine:"]
    assert sorted(groups, key=text.index) == groups


def test_an_option_reaches_its_setting(run: Any, tmp_path: Any, monkeypatch: Any) -> None:
    """Each kind of value: a number, a choice, a flag, a date, text."""
    seen: dict[str, Any] = {}

    def train(**given: Any) -> None:
        seen.update(given)
        raise SystemExit(0)

    monkeypatch.setattr("forecaster.pipeline.train.train", train)
    words = ["--hidden", 3, "--model", "gru", "--bidirectional", "--lookback", 9]
    words += ["--train-until", "2015-06-01", "--target", "range,return"]
    run("train", *words, "--home", tmp_path)
    found = seen["settings"]
    assert (found.hidden, found.model, found.bidirectional) == (3, "gru", True)
    assert (found.lookback, str(found.train_until)) == (9, "2015-06-01")
    assert found.target == ("range", "return")


def test_an_option_of_0_1_0_is_replaced_with_a_warning(run: Any, tmp_path: Any) -> None:
    """A cron line that somebody wrote goes on working."""
    done = run("retrain", "--max-updates", "0", "--home", tmp_path, "--quiet")
    assert "WARNING --max-updates is now --max-steps" in done.stderr
    assert "--max-steps 0: " in done.stderr and done.exit_code == 2


def test_an_option_of_0_1_0_is_refused_at_a_terminal(run: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(options, "is_interactive", lambda *, quiet: not quiet)
    done = run("train", "--lanes=3")
    assert done.exit_code == 2 and "--lanes is now --batch-rows" in done.stderr


def test_a_setting_that_gives_way_to_an_option_is_reported(run: Any, home: Any) -> None:
    """And the training is the one that was asked for."""
    (home / "forecaster.toml").write_text("[train]\nbptt_k2 = 63\n")
    done = run("train", "AAA", "--bptt", "full", *QUICK, "--home", home, "--json")
    assert json.loads(done.stdout)["training"]["bptt"] == "full"
    assert done.stderr.startswith(
        "config  train.bptt_k2 = 63 of forecaster.toml not used: it has no meaning beside "
        "bptt = full\n"
    )


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
    monkeypatch.setattr("forecaster.cli.options.is_interactive", lambda *, quiet: True)
    refused = run("config", "show", "--home", tmp_path)
    assert refused.exit_code == 78 and "forecaster config init --migrate" in refused.stderr
    done = run("config", "init", "--migrate", "--home", tmp_path)
    assert done.exit_code == 0 and "changed batch_rows = 8" in done.stdout
    assert (tmp_path / "forecaster.toml.bak").read_text() == "[train]\nlanes = 8\n"
    assert shown(run, tmp_path)["train.batch_rows"] == (8, "forecaster.toml")
