"""`forecaster tune` in the terminal: what it prints can be pasted."""

import json
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tests.cli.conftest import QUICK


@pytest.mark.slow
def test_the_best_settings_are_toml_and_the_next_command_works(
    run: Callable[..., Result], home: Path
) -> None:
    arguments = ("tune", "--target", "range", *QUICK, "--trials", 4, "--home", home)
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    best = tomllib.loads(done.stdout[done.stdout.index("[train]") : done.stdout.index("next ")])
    again = json.loads(run(*arguments, "--json").stdout)
    assert again["schema"] == "forecaster.tune/1"
    assert best["train"] == again["best"] and again["trials"]["failed"] == 0
    assert again["gain"] == pytest.approx(
        sum(again["refits"]["default"]) / 3 - sum(again["refits"]["best"]) / 3
    )
    following = shlex.split(done.stdout.split("next    forecaster ")[1])
    assert run(*following, "--max-steps", 20).exit_code == 0
