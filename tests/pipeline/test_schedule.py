"""Lines for cron and units for systemd that work without an environment."""

import configparser
import shlex
import subprocess

import pytest

from forecaster.errors import UnknownNameError, UsageError
from forecaster.pipeline.schedule import (
    cron_text,
    hour_and_minute,
    schedule_command,
    systemd_text,
    unseen_variables,
)


def test_the_words_of_a_cron_line_survive_cron_and_the_shell(tmp_path):
    """Cron takes backslash and percent for a percent sign, and then a shell the quotes."""
    home = tmp_path / "my 50% prices; it's"
    home.mkdir()
    line = cron_text(home, ["aapl", "M&M.NS"])
    fields, command = line.split(maxsplit=5)[:5], line.split(maxsplit=5)[5]
    assert fields[1:] == ["*"] * 4 and 0 <= int(fields[0]) < 60
    assert "%" not in command.replace(r"\%", ""), "cron would cut the command there"
    words = shlex.split(command.replace(r"\%", "%"))
    assert words[-len(schedule_command(home)) - 2 :] == schedule_command(home, ["AAPL", "M&M.NS"])
    assert words[-6:] == ["retrain", "AAPL", "M&M.NS", "--home", str(home), "--quiet"]


def test_the_program_of_the_line_runs_with_an_empty_environment(tmp_path):
    """As cron starts it: no PATH to a virtual environment, another folder, no terminal."""
    command = cron_text(tmp_path).split(maxsplit=5)[5].strip()
    empty = ["env", "-i", f"HOME={tmp_path}", "PATH=/usr/bin:/bin", "LOGNAME=x", "sh", "-c"]
    done = subprocess.run(
        [*empty, command.replace("--quiet", "--help")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "retrain" in done.stdout


def test_a_daily_line_has_its_hour(tmp_path):
    assert cron_text(tmp_path, at=hour_and_minute("22:05")).startswith("5 22 * * * ")
    assert "OnCalendar=*-*-* 22:05:00\n" in systemd_text(tmp_path, at=(22, 5))
    for wrong in ("24:00", "7", "7:60", "noon", "-1:00", ""):
        with pytest.raises(UsageError, match="a time of day is needed"):
            hour_and_minute(wrong)


def test_a_unit_writes_only_to_the_home_and_escapes_what_systemd_would_expand(tmp_path):
    home = tmp_path / "50% of $HOME"
    home.mkdir()
    units = configparser.ConfigParser(strict=False, interpolation=None)
    units.optionxform = str
    units.read_string(systemd_text(home))
    escaped = str(home).replace("%", "%%").replace("$", "$$")
    assert units["Service"]["ReadWritePaths"] == f'"{escaped}"'
    assert units["Service"]["ExecStart"].endswith(f'retrain --home "{escaped}" --quiet')
    assert units["Service"]["Type"] == "oneshot" and units["Timer"]["Persistent"] == "true"


def test_a_home_that_is_not_there_is_refused(tmp_path):
    """Cron would report it every hour."""
    with pytest.raises(UnknownNameError, match="no such folder"):
        cron_text(tmp_path / "nowhere")


def test_variables_that_cron_will_not_see_are_named():
    seen = {"FORECASTER_HOME": "/x", "PATH": "/bin", "FORECASTER_TRAIN__LR": "1", "NO_PROXY": ""}
    assert unseen_variables({**seen, "https_proxy": "http://x"}) == [
        "FORECASTER_TRAIN__LR",
        "https_proxy",
    ]
