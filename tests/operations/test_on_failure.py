"""The command that runs after a failure."""

import sys
from pathlib import Path

import pytest

from forecaster.errors import SettingsError
from forecaster.operations.on_failure import OnFailure, on_failure

TELL = "import os, sys; open(sys.argv[1], 'w').write(os.environ['FORECASTER_EXIT'] + ' ' + " + (
    "os.environ['FORECASTER_REASON'])"
)


def test_the_command_gets_the_exit_code_and_the_reason(tmp_path):
    file = tmp_path / "failure file"
    assert OnFailure(f"'{sys.executable}' -c \"{TELL}\" '{file}'").run(69, "the source; is $DOWN")
    assert file.read_text() == "69 the source; is $DOWN"


def test_no_shell_reads_the_command(tmp_path):
    """A semicolon, a pipe or a dollar sign are words like any other."""
    marker = tmp_path / "marker"
    assert OnFailure(f"echo x; touch {marker} > {marker} $(touch {marker})").run(1, "y")
    assert not marker.exists()


def test_a_command_that_fails_or_is_not_there_is_warned_of_and_changes_nothing(logged_warnings):
    assert not OnFailure("false").run(3, "some tickers failed")
    assert not OnFailure("/nowhere/at/all").run(3, "some tickers failed")
    assert (
        len(logged_warnings) == 2
        and "ended with 1" in logged_warnings[0]
        and "No such file" in logged_warnings[1]
    )
    assert not OnFailure("").run(3, "no command") and len(logged_warnings) == 2


def test_what_the_command_prints_does_not_reach_stdout(capfd):
    """It carries the result of the run and nothing else."""
    assert OnFailure("echo hello").run(3, "x")
    assert capfd.readouterr().out == ""


def test_an_open_quote_is_a_wrong_setting():
    with pytest.raises(SettingsError, match="No closing quotation"):
        with on_failure("echo 'x"):
            Path("x").touch()
    assert not Path("x").exists()
