"""`retrain`, `status`, `score` and `doctor` on the command line."""

import json
import re
import shlex
import shutil
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, date, datetime, timedelta

import pytest

from forecaster import clock
from forecaster.data.calendar_corrections import Correction
from forecaster.data.price_database import store_path
from forecaster.data.store import PriceStore
from forecaster.errors import TooOldError
from forecaster.operations import clock_check, daily_run
from forecaster.operations.daily_run import Decided
from forecaster.operations.due_sessions import SessionWork, settled_at, store_state
from forecaster.operations.forecast_recording import forecast_session
from forecaster.pipeline import doctor
from forecaster.pipeline.doctor import examine, exit_code
from forecaster.registry.forecast_log import read_forecasts
from forecaster.registry.promotion import promote
from forecaster.registry.registry_file import registry_path
from forecaster.registry.run_history import begin_training, finish_training
from forecaster.registry.versions import list_versions
from forecaster.settings import PredictSettings, Settings


@pytest.fixture(autouse=True)
def _no_training(monkeypatch):
    """One that takes no time."""

    def train(work, day):
        number = begin_training(work.home, work.name, "cold", day)
        finish_training(work.home, number, state="done")
        return Decided(outcome="kept", version=None, reason="no better")

    monkeypatch.setattr(daily_run, "train_and_decide", train)
    monkeypatch.setattr(daily_run, "untested_challenger", lambda work, day, record=True: None)


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

    def stop(work, day):
        promote(home, work.name, version, reason="passed", session=day)
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


def test_status_checks_the_age_of_the_last_run(run, home, last, monkeypatch):
    """Nothing ever done, only replayed, done lately, done too long ago."""
    monkeypatch.setattr(clock_check, "_past_instants", lambda home: [])
    check = ("status", "--max-age", "26h", "--home", home)
    assert run("status", "--home", home).exit_code == 0
    assert run(*check).exit_code == 5
    retrained(run, home, "--as-of", last)
    replayed = run(*check)
    assert replayed.exit_code == 5 and "No daily run has ended well" in replayed.stderr
    assert "overdue the next session has been final for" in replayed.stdout
    begin = settled_at(["XNYS"], last) + timedelta(hours=1)
    with clock.as_if(begin):
        assert retrained(run, home, "--no-fetch").exit_code == 0
        done = run(*check)
    assert done.exit_code == 0 and "champion baseline" in done.stdout
    with clock.as_if(begin + timedelta(hours=27)):
        done = run(*check)
    assert done.exit_code == 5 and "27.0 hours ago" in done.stderr
    assert run("status", "--max-age", "soon", "--home", home).exit_code == 2
    with clock.as_if(begin - timedelta(days=30)):
        done = run(*check)
    assert done.exit_code == 75 and "set it" in done.stderr


def test_an_overdue_session_fails_the_check(run, home, last, monkeypatch):
    """Runs end well, but bring no bars: the heartbeat alone would not show it."""
    monkeypatch.setattr(clock_check, "_past_instants", lambda home: [])
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

    found, age = forecast(5)
    assert (age, found.version) == (5, version)
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


def findings(home):
    return {one.subject: one for one in examine(home=home, offline=True)}


def contents(home):
    return {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_an_intact_home_is_ok_and_stays_as_it_is(run, home):
    before = contents(home)
    done = run("doctor", "--offline", "--home", home)
    assert done.exit_code == 0, done.output
    assert {path for path in contents(home) if not path.endswith(("-wal", "-shm", ".lock"))} == {
        path for path in before if not path.endswith(("-wal", "-shm", ".lock"))
    }
    assert "3 tickers" in done.stdout and "1 intact" in done.stdout


def test_an_empty_home_is_no_failure(tmp_path):
    """Nothing is there yet, and nothing is made."""
    found = findings(tmp_path)
    assert exit_code(list(found.values())) == 0
    assert found["store"].state == found["registry"].state == "note"
    assert list(tmp_path.iterdir()) == []


def test_the_calendar_package_is_shown_with_its_age_and_reach(home, monkeypatch):
    def seen():
        found = [one for one in examine(home=home, offline=True) if one.subject == "calendar"]
        return [(one.state, one.seen, bool(one.remedy)) for one in found]

    (state, package, _), (_, exchange, _) = seen()
    assert state == "ok" and "exchange_calendars" in package and "installed" in package
    assert exchange.startswith("XNYS: last final session")
    with PriceStore.open_for_writing(home) as store:
        found = Correction(calendar="XNYS", day=date(2012, 7, 4), is_session=True, reason="seen")
        store.corrections.replace("XNYS", [found], clock.now())
    assert seen()[1][1].endswith(", 1 days corrected from bars")
    monkeypatch.setattr(doctor, "_REACH", timedelta(days=365 * 80))
    monkeypatch.setattr(doctor, "_OLD_CALENDARS", -1)
    assert [(state, remedy) for state, _, remedy in seen()] == [("note", True), ("note", True)]


def test_a_corrected_calendar_is_a_row_of_status(run, home):
    found = Correction(calendar="XNYS", day=date(2012, 7, 4), is_session=True, reason="seen")
    with PriceStore.open_for_writing(home) as store:
        store.corrections.replace("XNYS", [found], clock.now())
    done = run("status", "--home", home)
    row = "XNYS: days corrected from bars: 1, the last 2012-07-04 (a session: seen)"
    assert done.exit_code == 0 and f"calendar {row}" in done.stdout
    assert json.loads(run("status", "--json", "--home", home).stdout)["calendars"] == [row]


@pytest.mark.parametrize("name", [".", "data", "models"])
def test_a_folder_that_others_may_write_in_is_noted_with_the_remedy(home, name):
    (home / name).chmod(0o777)
    found = findings(home)["home"]
    assert (found.state, found.remedy) == ("note", f"chmod go-w {home / name}")
    assert exit_code([found]) == 0


def test_a_missing_home_is_bad(tmp_path):
    found = examine(home=tmp_path / "nowhere", offline=True)
    assert exit_code(found) == 73


@pytest.mark.parametrize("path_of", [store_path, registry_path])
def test_a_corrupt_page_is_found(home, path_of):
    """One that no query of the opening reads."""
    path = path_of(home)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    content = bytearray(path.read_bytes())
    for page in range(2, len(content) // size):
        content[page * size : page * size + 16] = b"\xff" * 16
    path.write_bytes(content)
    assert exit_code(list(findings(home).values())) == 74


def test_a_corrupt_version_is_listed(home):
    """Not the champion: worth a note, no failure."""
    (weights,) = (home / "models").glob("*/weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    found = findings(home)["versions"]
    assert found.state == "note" and weights.parent.name in found.seen


def test_a_clock_before_the_newest_prices_is_bad(home):
    with clock.as_if(datetime(2011, 1, 3, tzinfo=UTC)):
        found = findings(home)["clock"]
    assert (found.state, found.exit_code) == ("bad", 75)
    assert "set it" in found.seen


def test_a_full_disk_and_wrong_settings_are_bad(home, monkeypatch):
    usage = shutil.disk_usage(home)._replace(free=1_000_000)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    (home / "forecaster.toml").write_text("[train]\nlr = 'fast'\n")
    found = findings(home)
    assert (found["disk"].state, found["disk"].exit_code) == ("bad", 74)
    assert (found["settings"].state, found["settings"].exit_code) == ("bad", 78)


def test_a_package_that_does_not_fit_is_named(home, monkeypatch):
    monkeypatch.setattr(
        doctor.importlib.metadata, "requires", lambda name: ["numpy>=99", "nosuchthing>=1"]
    )
    found = [one for one in examine(home=home, offline=True) if one.subject == "packages"]
    assert [one.state for one in found] == ["ok", "bad", "bad"]
    assert "numpy" in found[1].seen and "nosuchthing is missing" in found[2].seen


def test_the_source_is_asked_as_a_fetch_asks(home, yahoo, monkeypatch):
    """Yahoo itself, through the real client; nothing of it stays in the home."""
    from forecaster.data.sources import yahoo as module
    from tests.yahoo.faults import status
    from tests.yahoo.session import LoopbackSession

    monkeypatch.setattr(module, "shared_session", lambda: LoopbackSession(yahoo.url))
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    (found,) = [one for one in examine(home=home) if one.subject == "source"]
    assert found.state == "ok" and "days of SPY" in found.seen
    yahoo.always("SPY", status(500))
    monkeypatch.setattr(module, "_FAILED_PAUSE", 0.0)
    (found,) = [one for one in examine(home=home) if one.subject == "source"]
    assert (found.state, found.exit_code) == ("bad", 69)
    assert not (home / "data" / "yahoo").exists()


def test_many_sessions_of_a_plan_are_one_line(run, home, last):
    """A run that makes up for a year does not print a year."""
    first = last - timedelta(days=120)
    retrained(run, home, "--as-of", first)
    done = retrained(run, home, "--no-fetch", "--dry-run")
    assert done.exit_code == 0 and len(done.stdout.splitlines()) < 6
    assert re.search(r"session \S+ to \S+: \d\d due", done.stdout)


def test_forecasts_are_passed_to_a_command(run, home, last, tmp_path):
    copy = tmp_path / "copy.json"
    words = ("--on-forecast", f"sh -c 'cp $0 {copy}'", "--as-of", last, "--target", "return")
    assert run("retrain", *words, "--home", home).exit_code == 0
    (session,) = json.loads(copy.read_text())
    assert session["session"] == str(last) and session["forecasts"][0]["target"] == "return"
    opened = run("retrain", "--on-forecast", "echo 'x", *words[2:], "--home", tmp_path)
    assert opened.exit_code == 78 and "--on-forecast" in opened.stderr
    failed = run("retrain", "--on-forecast", "false", *words[2:], "--home", home)
    assert failed.exit_code == 0  # nothing was due: it is not run
    assert "on-forecast" not in run("status", "--home", home).stdout
