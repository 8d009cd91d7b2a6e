"""The log, lines of JSON of bounded size, which stops no run; the command after a failure."""

import json
import logging
import os
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from forecaster import clock
from forecaster.errors import SettingsError
from forecaster.operations import run_log as module
from forecaster.operations.run_log import (
    OnFailure,
    RunLog,
    log_path,
    on_failure,
    read_heartbeat,
    read_on_forecast_failure,
    run_log,
    run_on_forecast,
    write_heartbeat,
)

MADE_AT = datetime(2024, 3, 8, 23, 0, tzinfo=UTC)


def lines(home):
    return [json.loads(line) for line in log_path(home).read_text().splitlines()]


def test_an_event_is_one_line_of_json_with_its_time(tmp_path):
    """Newlines in a text stay inside the line."""
    with clock.as_if(MADE_AT):
        RunLog(tmp_path).write("session", session=date(2024, 3, 8), reason="two\nlines")
    assert lines(tmp_path) == [
        {"at": "2024-03-08T23:00:00+00:00", "event": "session", "session": "2024-03-08"}
        | {"reason": "two\nlines"}
    ]


def test_notices_of_the_package_reach_the_log_even_where_the_screen_is_quiet(
    tmp_path, logged_warnings
):
    """And the screen stays as quiet as it was."""
    logger = logging.getLogger("forecaster")
    logger.setLevel(logging.WARNING)
    try:
        with run_log(tmp_path):
            logging.getLogger("forecaster.pipeline.x").info("fetch   1/2")
            logging.getLogger("forecaster.pipeline.x").warning("%s is odd", "AAPL")
        assert logger.level == logging.WARNING
    finally:
        logger.setLevel(logging.NOTSET)
    assert [(one["level"], one["text"]) for one in lines(tmp_path)] == [
        ("info", "fetch   1/2"),
        ("warning", "AAPL is odd"),
    ]
    assert logged_warnings == ["AAPL is odd"]


def test_the_log_is_rotated_and_old_files_are_dropped(tmp_path):
    """At most `backups` files beside the newest, none longer than asked."""
    log = RunLog(tmp_path, max_bytes=200, backups=2)
    for number in range(30):
        log.write("session", number=number)
    files = sorted((tmp_path / "logs").iterdir())
    assert [file.name for file in files] == [f"forecaster.log{n}" for n in ("", ".1", ".2")]
    assert all(file.stat().st_size <= 200 for file in files)
    newest = [json.loads(one)["number"] for file in files for one in file.read_text().splitlines()]
    assert max(newest) == 29 and min(newest) > 20


def test_a_log_moved_away_is_started_again(tmp_path):
    """As logrotate does, at any time."""
    log = RunLog(tmp_path)
    log.write("session", number=1)
    log_path(tmp_path).rename(tmp_path / "elsewhere")
    log.write("session", number=2)
    assert [one["number"] for one in lines(tmp_path)] == [2]


def test_a_log_that_cannot_be_written_is_reported_once_and_stops_nothing(tmp_path, logged_warnings):
    """A file where the folder should be: as good as a full disk."""
    (tmp_path / "logs").touch()
    with run_log(tmp_path) as log:
        log.write("session")
        log.write("session")
    assert len(logged_warnings) == 1 and "leaves no log" in logged_warnings[0]


def test_a_link_in_place_of_the_log_is_not_followed(tmp_path, logged_warnings):
    victim = tmp_path / "victim"
    victim.write_text("mine\n")
    (tmp_path / "logs").mkdir()
    log_path(tmp_path).symlink_to(victim)
    RunLog(tmp_path).write("session")
    assert victim.read_text() == "mine\n"
    assert len(logged_warnings) == 1


def test_the_heartbeat_is_the_last_run_that_ended_well(tmp_path):
    assert read_heartbeat(tmp_path) is None
    for hour in (21, 22):
        with clock.as_if(MADE_AT.replace(hour=hour)):
            write_heartbeat(tmp_path)
    assert read_heartbeat(tmp_path) == MADE_AT.replace(hour=22)
    (tmp_path / "logs" / "heartbeat").write_text("yesterday")
    assert read_heartbeat(tmp_path) is None


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


def test_a_command_gets_the_forecasts_as_its_last_argument(tmp_path):
    copy = tmp_path / "copy.json"
    run_on_forecast(f"sh -c 'cp $0 {copy}'", tmp_path, [{"session": date(2024, 1, 5)}])
    assert json.loads(copy.read_text()) == [{"session": "2024-01-05"}]
    assert read_on_forecast_failure(tmp_path) == ""


def test_a_failure_after_a_forecast_is_known_until_it_ends_well(tmp_path, logged_warnings):
    run_on_forecast("false", tmp_path, [])
    assert "ended with 1" in read_on_forecast_failure(tmp_path) and len(logged_warnings) == 1
    run_on_forecast("true", tmp_path, [])
    assert read_on_forecast_failure(tmp_path) == "" and len(logged_warnings) == 1


def test_a_command_that_does_not_end_is_killed_with_what_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.3)
    started = time.monotonic()
    run_on_forecast(f"sh -c 'sleep 60 & echo $! > {tmp_path}/pid; wait'", tmp_path, [])
    assert time.monotonic() - started < 20 and "killed" in read_on_forecast_failure(tmp_path)
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError("the command's own child goes on")


def test_what_the_command_prints_does_not_reach_stdout(capfd):
    """It carries the result of the run and nothing else."""
    assert OnFailure("echo hello").run(3, "x")
    assert capfd.readouterr().out == ""


def test_an_open_quote_is_a_wrong_setting():
    with pytest.raises(SettingsError, match="No closing quotation"):
        with on_failure("echo 'x"):
            Path("x").touch()
    assert not Path("x").exists()
