"""What is recorded of a forecast: from which bars, when, and whether in time."""

import os
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from forecaster import clock
from forecaster.data.history import BAR_COLUMNS, History, fingerprint
from forecaster.data.store import PriceStore
from forecaster.errors import CannotWriteError, StorageError
from forecaster.forecasting.next_session import Prediction
from forecaster.operations.due_sessions import SessionWork, store_state
from forecaster.operations.forecast_recording import forecast_session
from forecaster.pipeline.data_import import import_files
from forecaster.pipeline.predict import predict
from forecaster.pipeline.train import train
from forecaster.registry.forecast_log import read_forecasts
from forecaster.registry.registry_file import registry_path
from forecaster.registry.versions import list_versions
from forecaster.settings import Settings, TrainSettings
from tests.registry.samples import keep
from tests.synthetic import ragged_bars

FRIDAY = date(2011, 3, 4)
AFTER_CLOSE = datetime(2011, 3, 4, 23, 0, tzinfo=UTC)
CLOSE = datetime(2011, 3, 7, 21, 0, tzinfo=UTC)  # of Monday's session in New York


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    bars = ragged_bars({"AAA": 300, "BBB": 260})
    bars[bars["session"] <= pd.Timestamp(FRIDAY)].to_csv(home / "bars.csv", index=False)
    with clock.as_if(AFTER_CLOSE):
        import_files([home / "bars.csv"], home=home)
        train(settings=TrainSettings(hidden=4, max_steps=5), home=home, as_of=FRIDAY)
    return home


@pytest.fixture
def home(made: Path) -> Path:
    for path in made.glob("models/registry.db*"):
        path.unlink()
    return made


def known(home: Path) -> str:
    """Hash all bars known on that day."""
    with PriceStore.open_for_reading(home) as store:
        return fingerprint([store.history(ticker, FRIDAY) for ticker in store.tickers()])


def scheduled(home: Path) -> Prediction:
    """Forecast as a daily run does, at the present time."""
    stored = store_state(home)
    work = SessionWork(home=home, name="return", settings=Settings(), stored=stored)
    (version,) = list_versions(home)
    found, _ = forecast_session(work, FRIDAY, clock.now(), version)
    return found


@pytest.mark.parametrize(
    ("at", "late"),
    [(CLOSE.replace(hour=20, minute=59), False), (CLOSE, True)],
    ids=["a minute before the close", "at the close"],
)
@pytest.mark.parametrize("by_hand", [True, False], ids=["by hand", "daily run"])
def test_a_forecast_of_a_session_that_has_closed_is_late(
    home: Path, at: datetime, late: bool, by_hand: bool
) -> None:
    with clock.as_if(at):
        if by_hand:
            found = predict(home=home, as_of=FRIDAY)
            assert found.recorded == 2
        else:
            found = scheduled(home)
            assert found.recorded == 2
    rows = read_forecasts(home)
    assert rows["late"].tolist() == [late] * 2 and rows["made_at"].tolist() == [at] * 2
    assert set(rows["newest_session"].dt.date) == {FRIDAY}
    assert set(rows["session_close"]) == {CLOSE}
    assert rows["scheduled"].eq(not by_hand).all() and set(rows["name"]) == {"return"}
    assert set(rows["version"]) == {found.version}


def test_the_fingerprint_is_that_of_the_bars_known_that_day(home: Path, tmp_path: Path) -> None:
    """Of the universe too, which the forecast of one ticker reads."""
    predict(["AAA"], home=home, as_of=FRIDAY)
    (row,) = read_forecasts(home).to_dict("records")
    assert (row["ticker"], row["scheduled"]) == ("AAA", False)
    copy = shutil.copytree(home, tmp_path / "copy")
    later = ragged_bars({"AAA": 300}).tail(1)
    with clock.as_if(CLOSE + timedelta(days=60)):
        for odd in (later, ragged_bars({"BBB": 260}).head(1).assign(volume=1.0)):
            store_bars(copy, odd)
            found = predict(["AAA"], home=copy, as_of=FRIDAY, record=False).fingerprint
            assert (found == row["fingerprint"]) == (odd is later)


def store_bars(home: Path, bars: pd.DataFrame) -> None:
    """Store bars of one ticker over those that are there."""
    with PriceStore.open_for_writing(home) as store:
        listing = store.listing(bars["ticker"].iloc[0])
        own = bars[list(BAR_COLUMNS)].reset_index(drop=True)
        store.upsert(History(listing=listing, bars=own), clock.now())


def test_the_baselines_forecasts_are_recorded_alike(home: Path) -> None:
    keep(home, "return", "unknown", reason="worse")
    assert predict(home=home, as_of=FRIDAY).version == "baseline"
    rows = read_forecasts(home)
    assert set(rows["version"]) == {"baseline"} and set(rows["name"]) == {"return"}
    assert set(rows["fingerprint"]) == {known(home)} and rows["forecast"].eq(0.0).all()


def test_a_daily_run_that_cannot_record_fails_and_a_forecast_by_hand_warns(
    home: Path, logged_warnings: list[str]
) -> None:
    registry_path(home).write_bytes(b"junk" * 999)
    with pytest.raises(StorageError, match="corrupt"):
        scheduled(home)
    found = predict(home=home, as_of=FRIDAY)
    assert found.recorded is None and "these forecasts are not recorded" in found.troubles
    assert any("not recorded: " in text for text in logged_warnings)


def test_a_daily_run_in_a_read_only_home_fails(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forecast by hand does not; see `tests/cli/test_models.py`."""
    monkeypatch.setattr(os, "access", lambda path, mode: not (mode & os.W_OK))
    with pytest.raises(CannotWriteError, match="read-only"):
        scheduled(home)
    assert predict(home=home, as_of=FRIDAY).recorded is None
