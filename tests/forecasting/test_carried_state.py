"""States carried from one daily run to the next: right to 1e-6, stale or damaged ones not used."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster import clock
from forecaster.data.history import BAR_COLUMNS, History, Listing
from forecaster.data.store import PriceStore
from forecaster.forecasting import carried_state
from forecaster.forecasting.fitted_model import FittedModel
from forecaster.forecasting.model_version import load_model
from forecaster.forecasting.next_session import ForecastRequest, StateUse, forecast_next_session
from forecaster.forecasting.ticker_state import advance
from forecaster.pipeline.train import train
from forecaster.registry.versions import state_path
from forecaster.settings import TrainSettings
from tests.synthetic import ragged_bars

BARS = ragged_bars({"AAA": 700, "BBB": 640, "CCC": 560})
DAYS = [day.date() for day in np.sort(BARS["session"].unique()).astype("datetime64[s]").tolist()]
SESSIONS = DAYS[-4:]
NUMBERS = ["forecast", "q025", "q10", "q90", "q975"]
NOW = datetime(2013, 1, 2, tzinfo=UTC)
SETTINGS: dict[str, dict[str, object]] = {
    "histories": {"target": "return,range", "members": 2, "bptt_k2": 30},
    "windows": {"target": "range", "lookback": 20, "model": "gru", "head": "quantiles"},
    "no recurrence": {"target": "return", "model": "mlp"},
}


def history(ticker: str, bars: pd.DataFrame) -> History:
    listing = Listing(ticker=ticker, source="made", basis="split-adjusted", calendar="XNYS")
    mine = bars[bars["ticker"] == ticker]
    return History(listing=listing, bars=mine[list(BAR_COLUMNS)].reset_index(drop=True))


def store(home: Path, bars: pd.DataFrame, at: datetime = NOW) -> None:
    """Store bars, over those that are there."""
    with PriceStore.open_for_writing(home) as prices:
        for ticker in bars["ticker"].unique():
            prices.upsert(history(ticker, bars), at)


def until(day: date) -> pd.DataFrame:
    return BARS[BARS["session"] <= pd.Timestamp(day)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], FittedModel]:
    """Train each kind of version once; its network's part counts in full."""
    made: dict[str, FittedModel] = {}

    def model(kind: str) -> FittedModel:
        if kind not in made:
            home = tmp_path_factory.mktemp("trained")
            settings = TrainSettings.model_validate(
                {"hidden": 6, "max_steps": 15, **SETTINGS[kind]}
            )
            with clock.as_if(NOW):
                manifest = train(until(SESSIONS[0]), settings=settings, home=home).manifest
            found = load_model(home, manifest)
            made[kind] = replace(found, shrinkage=np.ones(len(found.targets)))
        return made[kind]

    return model


@pytest.fixture
def home(tmp_path: Path) -> Path:
    store(tmp_path, until(SESSIONS[0]))
    return tmp_path


@pytest.fixture(autouse=True)
def settled() -> Iterator[None]:
    with clock.as_if(NOW):
        yield


@pytest.fixture
def gone_on(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List the tickers whose states were made from earlier ones."""
    found: list[str] = []

    def spy(model, panel, before):  # type: ignore[no-untyped-def]
        found.extend(before)
        return advance(model, panel, before)

    monkeypatch.setattr(carried_state, "advance", spy)
    return found


def forecast(
    home: Path,
    model: FittedModel,
    day: date = SESSIONS[-1],
    states: StateUse = "write",
    tickers: Sequence[str] = (),
) -> pd.DataFrame:
    request = ForecastRequest.of(home, tickers, None, day, 5, states)
    return forecast_next_session(model, "any", model.targets, request).forecasts


def distance(found: pd.DataFrame, expected: pd.DataFrame) -> float:
    """Return the largest difference in standard deviations of the forecasts."""
    keys = ["ticker", "target", "as_of", "session"]
    pd.testing.assert_frame_equal(found[keys], expected[keys])
    deviation = ((expected["q90"] - expected["q10"]) / 2.56).to_numpy()[:, None]
    both = (found[NUMBERS].to_numpy(), expected[NUMBERS].to_numpy())
    assert all(np.isfinite(one).all() for one in both)
    return float(np.abs((both[0] - both[1]) / deviation).max())


def is_recomputed(home: Path, model: FittedModel, tickers: Sequence[str] = ()) -> bool:
    """Whether forecasts with states are those without, to the last bit."""
    return distance(*(forecast(home, model, SESSIONS[-1], use, tickers) for use in USES)) == 0.0


USES: tuple[StateUse, StateUse] = ("write", "none")


@pytest.mark.parametrize(
    "kind",
    ["histories", "windows", pytest.param("no recurrence", marks=pytest.mark.slow)],
)
def test_forecasts_from_carried_states_are_the_recomputed_ones(
    home: Path, trained: Callable[[str], FittedModel], gone_on: list[str], kind: str
) -> None:
    """Over several sessions, of which one run has two bars, and for any subset of tickers."""
    model = trained(kind)
    fresh = [forecast(home, model, SESSIONS[0], use) for use in USES]
    assert distance(*fresh) == 0.0 and not gone_on
    for day in (SESSIONS[1], SESSIONS[3]):
        store(home, until(day))
        carried = forecast(home, model, day)
        assert sorted(gone_on) == ["AAA", "BBB", "CCC"]
        assert distance(carried, forecast(home, model, day, "none")) < 1e-6
        one = forecast(home, model, day, "none", ["BBB"])
        assert distance(one, forecast(home, model, day, "read", ["BBB"])) < 1e-6
        gone_on.clear()
    assert distance(carried, forecast(home, model)) == 0.0 and not gone_on


def test_a_segment_that_begins_after_a_state_starts_from_nothing(
    home: Path, trained: Callable[[str], FittedModel], gone_on: list[str]
) -> None:
    model = trained("histories")
    with PriceStore.open_for_writing(home) as prices:
        prices.remove("AAA")
    mine = BARS["ticker"] == "AAA"
    store(home, BARS[mine & (BARS["session"] <= pd.Timestamp(DAYS[-41]))])
    forecast(home, model, DAYS[-41])
    store(home, BARS[mine & (BARS["session"] > pd.Timestamp(DAYS[-31]))])
    store(home, BARS[~mine])
    assert distance(forecast(home, model), forecast(home, model, states="none")) < 1e-6
    assert "AAA" in gone_on


def other_bar(day: date, ticker: str) -> pd.DataFrame:
    """Make another bar of a day: a fifth higher, and traded ten times as much."""
    bar = BARS[(BARS["ticker"] == ticker) & (BARS["session"] == pd.Timestamp(day))]
    prices = bar[["open", "high", "low", "close"]] * [1.0, 1.3, 1.0, 1.2]
    return bar.assign(**prices, volume=10 * bar["volume"])


def change_own_bar(home: Path) -> None:
    store(home, other_bar(DAYS[-300], "AAA"))


def change_bar_of_the_universe(home: Path) -> None:
    store(home, other_bar(DAYS[-8], "CCC"))


def change_the_newest_bar(home: Path) -> None:
    store(home, other_bar(SESSIONS[0], "AAA"))


def remove_and_store_others(home: Path) -> None:
    """The revision is the first again."""
    with PriceStore.open_for_writing(home) as prices:
        prices.remove("AAA")
    odd = other_bar(DAYS[-8], "AAA")
    bars = until(SESSIONS[0]).query("ticker == 'AAA'").drop(odd.index)
    store(home, pd.concat([bars, odd]).sort_values("session"), LATER)


LATER = datetime(2013, 1, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "change",
    [change_own_bar, change_bar_of_the_universe, change_the_newest_bar, remove_and_store_others],
)
def test_a_state_made_from_other_bars_is_not_used(
    home: Path,
    trained: Callable[[str], FittedModel],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
) -> None:
    """And would be seen: with keys that notice nothing, forecasts differ."""
    model = trained("histories")
    forecast(home, model, SESSIONS[0])
    change(home)
    store(home, BARS[BARS["session"] > pd.Timestamp(SESSIONS[0])])
    right = forecast(home, model, states="none", tickers=["AAA"])
    assert distance(forecast(home, model, states="read", tickers=["AAA"]), right) < 1e-12
    state_path(home, model.version).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(carried_state, "_hash", lambda content: "the same")
        (home / "data").rename(home / "changed")
        store(home, until(SESSIONS[0]))
        forecast(home, model, SESSIONS[0])
        (home / "data").rename(home / "before")
        (home / "changed").rename(home / "data")
        wrong = forecast(home, model, states="read", tickers=["AAA"])
    assert distance(wrong, right) > 1e-6


def test_a_state_of_another_calendar_is_not_used(
    home: Path, trained: Callable[[str], FittedModel], gone_on: list[str]
) -> None:
    """A correction moves no scheduled input, but may join or split segments."""
    model = trained("histories")
    forecast(home, model, SESSIONS[0])
    with closing(sqlite3.connect(home / "data" / "prices.db")) as prices, prices:
        row = ("XNYS", str(DAYS[-6]), 0, "closed", "")
        prices.execute("INSERT INTO calendar_corrections VALUES (?, ?, ?, ?, ?)", row)
    store(home, BARS[BARS["session"] > pd.Timestamp(SESSIONS[0])])
    assert is_recomputed(home, model) and not gone_on


def test_a_bar_that_comes_late_changes_the_means_of_its_day(
    home: Path, trained: Callable[[str], FittedModel], gone_on: list[str]
) -> None:
    model = trained("histories")
    today = BARS["session"] == pd.Timestamp(SESSIONS[1])
    store(home, BARS[today & (BARS["ticker"] != "CCC")])
    forecast(home, model, SESSIONS[1])
    store(home, BARS[today & (BARS["ticker"] == "CCC")])
    store(home, BARS[BARS["session"] > pd.Timestamp(SESSIONS[1])])
    gone_on.clear()
    assert is_recomputed(home, model, ["AAA"]) and not gone_on


def edit(home: Path, model: FittedModel, sql: str) -> None:
    with closing(sqlite3.connect(state_path(home, model.version))) as file, file:
        file.execute(sql)


DAMAGE = {
    "another ticker's": "UPDATE states SET (key, checksum, content) = "
    "(SELECT key, checksum, content FROM states WHERE name = 'BBB') WHERE name = 'AAA'",
    "another day's": f"UPDATE states SET day = '{DAYS[-5]}'",
    "a bit": "UPDATE states SET content = CAST(replace(hex(content), '3F', '3E') AS BLOB)",
    "no table": "DROP TABLE states",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_state_is_made_again_without_a_word(
    home: Path, trained: Callable[[str], FittedModel], logged_warnings: list[str], kind: str
) -> None:
    model = trained("histories")
    forecast(home, model, SESSIONS[0])
    edit(home, model, DAMAGE[kind])
    store(home, BARS[BARS["session"] > pd.Timestamp(SESSIONS[0])])
    expected = forecast(home, model, states="none", tickers=["AAA"])
    assert distance(forecast(home, model, tickers=["AAA"]), expected) < 1e-12
    assert not logged_warnings


def test_a_file_of_junk_is_replaced(
    home: Path, trained: Callable[[str], FittedModel], gone_on: list[str]
) -> None:
    model = trained("windows")
    path = state_path(home, model.version)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"junk" * 999)
    for day in SESSIONS[:2]:
        store(home, until(day))
        forecast(home, model, day)
    assert sorted(gone_on) == ["AAA", "BBB", "CCC"]


def test_a_young_tickers_intervals_are_pooled_over_all_whoever_is_asked_for(
    home: Path, trained: Callable[[str], FittedModel]
) -> None:
    """A ticker with fewer outcomes than its own intervals need."""
    model = trained("histories")
    young = BARS[(BARS["ticker"] == "AAA")].tail(60).assign(ticker="NEW")
    store(home, young[young["session"] <= pd.Timestamp(SESSIONS[0])])
    forecast(home, model, SESSIONS[0])
    store(home, BARS)
    store(home, young)
    for tickers in ([], ["NEW"], ["AAA", "NEW"]):
        right = forecast(home, model, states="none", tickers=tickers)
        assert distance(forecast(home, model, states="read", tickers=tickers), right) < 1e-6
    alone = forecast(home, model, states="none", tickers=["NEW"])
    among = forecast(home, model, states="none").query("ticker == 'NEW'").reset_index(drop=True)
    assert distance(alone, among) < 1e-6


def test_only_a_run_that_may_write_leaves_a_file(
    home: Path, trained: Callable[[str], FittedModel]
) -> None:
    model = trained("windows")
    path = state_path(home, model.version)
    for use in ("none", "read"):
        forecast(home, model, SESSIONS[0], use)  # type: ignore[arg-type]
        assert not path.exists()
    forecast(home, model, SESSIONS[0])
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700


def test_a_home_that_cannot_be_written_is_forecast_from(
    home: Path, trained: Callable[[str], FittedModel], logged_warnings: list[str]
) -> None:
    model = trained("windows")
    (home / "models").mkdir()
    (home / "models" / "state").write_text("in the way")
    assert len(forecast(home, model, SESSIONS[0])) == 3 and not logged_warnings
