"""The doctor finds what is wrong, prints the remedy, and changes nothing."""

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest

from forecaster import clock
from forecaster.data.store_rows import store_path
from forecaster.pipeline import doctor
from forecaster.pipeline.doctor import examine, exit_code
from forecaster.registry.registry_file import registry_path


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
    assert "set the clock" in found.remedy


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
