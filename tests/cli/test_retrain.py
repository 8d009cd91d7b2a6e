"""`retrain`, `status` and `score` on the command line."""

import json
import shlex
import sys
from datetime import timedelta

import pytest

from forecaster import clock
from forecaster.errors import TooOldError
from forecaster.operations import daily_run, due_sessions
from forecaster.operations.due_sessions import SessionWork, settled_at, store_state
from forecaster.operations.forecast_recording import forecast_session
from forecaster.operations.retraining import Decided
from forecaster.registry.forecast_log import read_forecasts
from forecaster.registry.promotion import promote
from forecaster.registry.run_history import begin_training, finish_training
from forecaster.registry.versions import list_versions
from forecaster.settings import PredictSettings, Settings


@pytest.fixture(autouse=True)
def _no_training(monkeypatch):
    """One that takes no time."""

    def train(day, chosen):
        number = begin_training(day.home, day.name, "cold", day.day)
        finish_training(day.home, number, state="done")
        return Decided(outcome="kept", version=None, reason="no better")

    monkeypatch.setattr(daily_run, "train_and_decide", train)
    monkeypatch.setattr(daily_run, "untested_challenger", lambda training: None)


@pytest.fixture
def last(home):
    """The newest day of the home's prices."""
    return max(store_state(home).newest.values())


def retrained(run, home, *arguments):
    """Run on stored prices, the trained targets."""
    return run("retrain", "--target", "return,range", "--home", home, *arguments)


def test_a_session_is_printed_and_a_second_run_has_nothing_to_do(run, home, last):
    done = retrained(run, home, "--as-of", last)
    assert done.exit_code == 0, done.output
    assert f"session {last}  6 forecasts by baseline" in done.stdout
    assert done.stdout.splitlines()[-1] == f"next    forecaster status --home {home}"
    assert "nothing to do" in retrained(run, home, "--as-of", last).stdout


def test_a_session_stopped_after_its_promotion_is_not_forecast_by_the_new_champion_too(
    run, home, last, monkeypatch
):
    """One forecast a session: that of the champion at its start."""
    (version,) = list_versions(home)

    def stop(day, chosen):
        promote(home, day.name, version, reason="passed", session=day.day)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(daily_run, "train_and_decide", stop)
        assert retrained(run, home, "--as-of", last).exit_code != 0
    assert retrained(run, home, "--as-of", last).exit_code == 0
    rows = read_forecasts(home, "return,range")
    assert len(rows) == 6 and set(rows["version"]) == {"baseline"}


def test_quiet_says_nothing_where_all_is_well(run, home, last):
    """Cron mails whatever is printed."""
    done = retrained(run, home, "--as-of", last, "--quiet")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")


def test_json_is_one_object_with_the_forecasts(run, home, last):
    done = retrained(run, home, "--as-of", last, "--json")
    content = json.loads(done.stdout)
    assert content["schema"] == "forecaster.retrain/2"
    (one,) = content["sessions"]
    assert one["session"] == str(last) and len(one["forecasts"]) == 6
    assert json.loads(retrained(run, home, "--dry-run", "--json").stdout)["plan"] is not None


def test_the_command_runs_after_a_failure_with_its_exit_code(run, home, last, tmp_path):
    """The clock was set back: 75. After a good run it does not run."""
    file = tmp_path / "failure"
    code = f"import os; open({str(file)!r}, 'w').write(os.environ['FORECASTER_EXIT'])"
    command = shlex.join([sys.executable, "-c", code])
    assert retrained(run, home, "--as-of", last, "--on-failure", command).exit_code == 0
    assert not file.exists()
    with clock.as_if(settled_at(["XNYS"], last)):
        assert retrained(run, home, "--on-failure", command).exit_code == 75
    assert file.read_text() == "75"


def test_an_open_quote_in_the_command_is_refused_before_any_work(run, home):
    done = retrained(run, home, "--on-failure", "echo 'x")
    assert done.exit_code == 78 and "No closing quotation" in done.stderr


def test_the_command_runs_after_a_wrong_option_too(run, home, tmp_path):
    file = tmp_path / "failure"
    code = f"import os; open({str(file)!r}, 'w').write(os.environ['FORECASTER_REASON'])"
    command = shlex.join([sys.executable, "-c", code])
    done = retrained(run, home, "--every", "0", "--on-failure", command)
    assert done.exit_code == 2 and "--every 0" in done.stderr
    assert "--every 0" in file.read_text()


def test_status_checks_the_age_of_the_last_run(run, home, last):
    """Nothing ever done, done lately, done too long ago."""
    assert run("status", "--home", home).exit_code == 0
    assert run("status", "--max-age", "26h", "--home", home).exit_code == 5
    retrained(run, home, "--as-of", last)
    done = run("status", "--max-age", "26h", "--home", home)
    assert done.exit_code == 0 and "champion baseline" in done.stdout
    with clock.as_if(clock.now() + timedelta(hours=27)):
        done = run("status", "--max-age", "26h", "--home", home)
    assert done.exit_code == 5 and "27.0 hours ago" in done.stderr
    assert run("status", "--max-age", "soon", "--home", home).exit_code == 2


def test_an_overdue_session_fails_the_check(run, home, last, monkeypatch):
    """Runs end well, but bring no bars: the heartbeat alone would not show it."""
    monkeypatch.setattr(due_sessions, "refuse_clock_set_back", lambda stored: None)
    begin = settled_at(["XNYS"], last) + timedelta(hours=1)
    options = ("--no-fetch", "--target", "return")
    with clock.as_if(begin):
        assert run("retrain", *options, "--home", home).exit_code == 0
    with clock.as_if(begin + timedelta(days=6)):
        assert "no bar of it" in run("retrain", *options, "--home", home).stdout
        found = json.loads(run("status", "--json", "--home", home).stdout)
        done = run("status", "--max-age", "26h", "--home", home)
    assert found["hours"] == 0.0 and found["names"][0]["overdue_hours"] > 26
    assert done.exit_code == 5 and "Its bars have not come" in done.stderr


def test_an_old_model_is_warned_of_and_then_refused(home, last, logged_warnings):
    """Trained as of the newest day, and asked five sessions later."""
    (version,) = list_versions(home)
    promote(home, "return,range", version, reason="x")
    day, stored = last + timedelta(days=7), store_state(home)

    def forecast(most):
        settings = Settings(predict=PredictSettings(max_model_age=most))
        work = SessionWork(home=home, name="return,range", settings=settings, stored=stored)
        return forecast_session(work, day, clock.now())

    assert (forecast(5).age, forecast(5).version) == (5, version)
    assert not [text for text in logged_warnings if "--max-model-age" in text]
    forecast(3)
    assert any(
        "5 sessions before" in text and "--max-model-age is 3" in text for text in logged_warnings
    )
    with pytest.raises(TooOldError, match="no forecast is made") as caught:
        forecast(2)
    assert caught.value.exit_code == 5


def test_score_prints_live_and_late_apart(run, home, last):
    """The outcome of a replayed session is known, and late."""
    earlier = last - timedelta(days=7)
    assert retrained(run, home, "--as-of", earlier).exit_code == 0
    done = run("score", "--home", home, "--json")
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    assert {row["made"] for row in content["scores"]} == {"late"}
    assert run("score", "--name", "unknown", "--home", home).exit_code == 66
