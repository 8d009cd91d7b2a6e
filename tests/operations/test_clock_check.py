"""A clock behind the stored prices: what is behind, and that no command writes anything."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from forecaster import clock
from forecaster.data.store import PriceStore
from forecaster.errors import TryLaterError
from forecaster.operations.clock_check import refuse_clock_behind
from forecaster.pipeline.data_import import import_files
from forecaster.pipeline.train import train
from forecaster.registry.versions import list_versions
from forecaster.settings import TrainSettings
from tests.data.histories import history
from tests.synthetic import ragged_bars


def at(text):
    return datetime.fromisoformat(f"2024-01-{text}+00:00")


def stored(home, calendar, last, fetched="02T00:00", ticker="AAPL"):
    bar = history(ticker, calendar="24/7", first=last, close=np.ones(1))
    with PriceStore.open_for_writing(home) as store:
        store.upsert(replace(bar, listing=replace(bar.listing, calendar=calendar)), at(fetched))


@pytest.mark.parametrize(
    ("calendar", "session", "close", "why"),
    [
        ("XNYS", "2024-01-09", "09T21:00", "New York"),
        ("XTKS", "2024-01-10", "10T06:00", "Tokyo's bar, before New York opens"),
        ("XNZE", "2024-01-10", "10T03:45", "Auckland, in summer"),
        ("24/7", "2024-01-09", "10T00:00", "a coin's day ends at midnight"),
        ("BVMF", "2024-01-09", "09T21:00", "Sao Paulo"),
        ("XNYS", "2024-01-13", "12T21:00", "a Saturday's bar: Friday's close, not Monday's"),
    ],
)
def test_a_clock_behind_the_close_of_the_newest_session_is_refused(
    tmp_path, calendar, session, close, why
):
    """To the minute, in UTC."""
    stored(tmp_path, calendar, session)
    with clock.as_if(at(close)):
        refuse_clock_behind(tmp_path)
    for behind in (timedelta(minutes=1), timedelta(days=1), timedelta(days=900)):
        with clock.as_if(at(close) - behind), pytest.raises(TryLaterError) as caught:
            refuse_clock_behind(tmp_path)
        assert "set it (timedatectl" in str(caught.value) and "\n" not in str(caught.value), why


def test_the_latest_of_all_tickers_counts(tmp_path):
    """Tokyo has closed for today, New York's newest bar is of yesterday."""
    stored(tmp_path, "XNYS", "2024-01-09")
    stored(tmp_path, "XTKS", "2024-01-10", ticker="7203.T")
    with clock.as_if(at("10T05:00")), pytest.raises(TryLaterError, match="2024-01-10 of XTKS"):
        refuse_clock_behind(tmp_path)


def test_a_clock_behind_the_last_fetch_is_refused(tmp_path):
    """On a weekend the newest session says nothing; a step of a second is no fault."""
    stored(tmp_path, "XNYS", "2024-01-05", fetched="07T12:00")
    with clock.as_if(at("07T11:59:30")):
        refuse_clock_behind(tmp_path)
    with clock.as_if(at("07T11:00")), pytest.raises(TryLaterError, match="prices were fetched at"):
        refuse_clock_behind(tmp_path)


def test_a_home_without_prices_has_no_clock_to_compare(tmp_path):
    with clock.as_if(datetime(1980, 1, 1, tzinfo=UTC)):
        refuse_clock_behind(tmp_path)
        refuse_clock_behind(tmp_path / "none")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    made = tmp_path_factory.mktemp("home")
    bars = ragged_bars({"AAA": 300, "BBB": 260})
    bars.to_csv(made / "bars.csv", index=False)
    import_files([made / "bars.csv"], home=made)
    train(settings=TrainSettings(hidden=4, max_steps=5), home=made, as_of=date(2011, 1, 31))
    return made


def contents(home):
    """Every file but SQLite's own, which a reader may leave behind."""
    return {
        str(path): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


WRITERS = (
    "predict",
    "predict AAA --as-of 2011-02-01",
    "predict --no-record",
    "train --max-steps 1",
    "train AAA --as-of 2011-01-31 --max-steps 1",
    "retrain --no-fetch",
    "retrain --as-of 2011-02-01",
    "retrain --source sample",
    "fetch --source sample",
    "data import bars.csv",
    "data quarantine release AAA",
    "data quarantine drop AAA 2010-02-01",
    "evaluate --benchmarks quick",
    "evaluate --as-of 2011-02-01 --no-report",
    "memory",
    "models promote {version}",
)


@pytest.mark.parametrize("line", WRITERS)
def test_no_command_writes_anything(run, home, monkeypatch, line):
    """The last day known is no clock: with --as-of before the clock's time neither."""
    monkeypatch.chdir(home)
    (version,) = list_versions(home)
    before = contents(home)
    with clock.as_if(datetime(2011, 2, 2, 12, tzinfo=UTC)):
        done = run(*line.format(version=version).split(), "--home", home)
    assert done.exit_code == 75, done.output + done.stderr
    assert done.stderr.startswith("forecaster: The clock says 2011-02-02 12:00 UTC")
    assert done.stderr.count("\n") == 1 and done.stdout == ""
    assert contents(home) == before


def test_reading_goes_on(run, home):
    with clock.as_if(datetime(2011, 2, 2, 12, tzinfo=UTC)):
        assert run("status", "--home", home).exit_code == 0
        assert run("data", "list", "--home", home).exit_code == 0
        done = run("doctor", "--offline", "--home", home)
    assert done.exit_code == 75 and "set it" in done.stdout
