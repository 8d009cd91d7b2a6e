"""The panel that a training reads: streamed from the store, or from a caller's own table."""

import dataclasses
import logging
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from forecaster.data.history import BAR_COLUMNS, History, Listing, fingerprint
from forecaster.data.loading import load_histories
from forecaster.data.panel import Panel, build_panel
from forecaster.data.store import PriceStore
from forecaster.errors import DataError
from forecaster.forecasting.training_panel import training_panel
from forecaster.settings import TrainSettings
from tests.synthetic import ragged_bars

FETCHED = datetime(2026, 3, 6, 22, tzinfo=UTC)
SETTINGS = TrainSettings(target=("range", "return", "volume"))
LENGTHS = {"AAA": 300, "BBB": 260, "CCC": 180, "DDD": 15}
LONG = ["AAA", "BBB", "CCC"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Four stored tickers: one too short, one with a gap, one on another exchange."""
    bars = ragged_bars(LENGTHS)
    with PriceStore.open_for_writing(tmp_path) as store:
        for ticker in LENGTHS:
            own = bars[bars["ticker"] == ticker][list(BAR_COLUMNS)].reset_index(drop=True)
            own = own.drop(index=range(100, 110)) if ticker == "BBB" else own
            calendar = "XLON" if ticker == "CCC" else "XNYS"
            listing = Listing(
                ticker=ticker, source="invented", basis="split-adjusted", calendar=calendar
            )
            store.upsert(History(listing=listing, bars=own), FETCHED)
    return tmp_path


@pytest.mark.parametrize("as_of", [None, date(2010, 12, 31)])
def test_the_panel_is_that_of_the_histories_that_are_long_enough(
    home: Path, as_of: date | None
) -> None:
    """Bit for bit, with their hash, and with the market's means of these tickers alone."""
    histories = load_histories(None, home, LONG, as_of)
    expected = build_panel(histories, SETTINGS.target, universe=LONG)
    found, digest, skipped = training_panel(None, home, (), as_of, SETTINGS)
    assert digest == fingerprint(histories)
    assert skipped == (("DDD",) if as_of is None else ())
    for field in dataclasses.fields(Panel):
        mine, other = getattr(found, field.name), getattr(expected, field.name)
        if field.name == "columns":
            assert list(mine) == list(other)
            assert all(mine[name].tobytes() == other[name].tobytes() for name in other)
        elif isinstance(other, np.ndarray):
            assert (mine.dtype, mine.shape) == (other.dtype, other.shape), field.name
            assert mine.tobytes() == other.tobytes(), field.name
        else:
            assert mine == other, field.name


def test_one_ticker_has_no_market_columns(home: Path) -> None:
    panel, _, _ = training_panel(None, home, ["AAA"], None, SETTINGS)
    assert len(panel.days) == 300
    assert list(panel.columns)[-1] == "holiday_before"


def test_short_tickers_are_logged(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        training_panel(None, home, (), None, SETTINGS)
    assert "DDD: 15 trading days, too few for 23; left out." in caplog.text


@pytest.mark.parametrize(
    ("tickers", "as_of"), [(["DDD"], None), (["AAA", "CCC"], date(2010, 3, 3))]
)
def test_what_cannot_be_trained_on_is_refused(
    home: Path, tickers: list[str], as_of: date | None
) -> None:
    with pytest.raises(DataError, match=r"needs at least 23|no bar on or before"):
        training_panel(None, home, tickers, as_of, SETTINGS)


def test_nothing_is_kept_beside_the_prices(home: Path) -> None:
    training_panel(None, home, (), None, SETTINGS)
    assert not (home / "data" / "cache").exists()
