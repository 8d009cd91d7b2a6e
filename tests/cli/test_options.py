"""The options that are made from settings: each field has one, and each one sets its field."""

import json
import re
from typing import Any

import pytest
import typer.main

from forecaster.cli import app, options
from forecaster.settings import SECTIONS
from tests.cli.conftest import QUICK

COMMANDS = typer.main.get_command(app).commands
MADE = {name: one for name, one in COMMANDS.items() if hasattr(one, "sections")}


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
