"""The panel that a training reads; what early stopping scores, and how epochs are drawn."""

import dataclasses
import logging
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from forecaster.data.history import BAR_COLUMNS, History, Listing, fingerprint
from forecaster.data.loading import load_histories
from forecaster.data.panel import Panel, build_panel
from forecaster.data.store import PriceStore
from forecaster.errors import DataError
from forecaster.forecasting.data_set import (
    Dataset,
    _kind_of_base,
    epoch_batches,
    training_panel,
    validation_loss,
)
from forecaster.models.network import Architecture, build_network
from forecaster.settings import TrainSettings
from tests.forecasting.samples import dataset_of
from tests.synthetic import ragged_bars

BARS = ragged_bars({"AAA": 300, "BBB": 250})
SETTINGS = TrainSettings(
    hidden=4,
    target="return,range",
    train_until=date(2010, 10, 29),
    validation_until=date(2010, 12, 31),
)


@pytest.fixture(params=["all", 20])
def dataset(request: pytest.FixtureRequest) -> tuple[Dataset, TrainSettings]:
    """Whole histories and windows in turn."""
    settings = SETTINGS.model_copy(update={"lookback": request.param})
    return dataset_of(load_histories(BARS, Path(), (), None), settings), settings


def test_validation_days_alone_move_the_loss_that_stops_a_training(
    dataset: tuple[Dataset, TrainSettings],
) -> None:
    prepared, settings = dataset
    panel = prepared.panel
    torch.manual_seed(0)
    network = build_network(
        Architecture(
            model="lstm",
            inputs=len(prepared.model.reader.names),
            hidden=4,
            dropout=0.0,
            forms=prepared.model.forms,
            has_base=True,
        )
    ).eval()
    inputs, y = torch.from_numpy(prepared.inputs), prepared.y

    def loss(outcomes: np.ndarray) -> float:
        return validation_loss(prepared, settings, inputs, outcomes)(network)

    select = (panel.outcome_days > np.datetime64("2010-10-29")) & (
        panel.outcome_days <= np.datetime64("2010-12-31")
    )
    assert 60 < select.sum() < 100
    assert loss(np.where(select[:, None], y, y + 100.0)) == loss(y)
    one_day = np.zeros_like(select)
    one_day[np.flatnonzero(select)[-1]] = True
    assert loss(np.where(one_day[:, None], y + 100.0, y)) > loss(y)


def drawn(prepared: Dataset, number: int, **options: object) -> list[np.ndarray]:
    """The rows of each segment of an epoch over whole histories."""
    settings = SETTINGS.model_copy(update={"bptt_k2": 20, **options})
    return [segment.rows for segment in epoch_batches(prepared, settings)(number)]


def test_each_epoch_draws_a_phase_and_an_order_of_its_own() -> None:
    """Else the same days would always stand first in a chunk, where no error reaches back."""
    prepared = dataset_of(load_histories(BARS, Path(), (), None), SETTINGS)
    first_chunks, orders = set(), set()
    for number in range(1, 40):
        passed = drawn(prepared, number, batch_rows=1)
        first_chunks.add(len(passed[0]))
        orders.add(int(passed[0][0, 0]))
        rows = np.concatenate(passed)
        assert len(np.unique(rows[rows >= 0])) == (rows >= 0).sum() > 300
    assert first_chunks <= set(range(1, 21)) and len(first_chunks) > 10
    assert orders == set(prepared.panel.offsets[:-1].tolist())


def test_an_epoch_is_drawn_the_same_again() -> None:
    """A training that goes on from a checkpoint asks again; another seed draws another pass."""
    prepared = dataset_of(load_histories(BARS, Path(), (), None), SETTINGS)
    for one, again in zip(drawn(prepared, 3), drawn(prepared, 3), strict=True):
        np.testing.assert_array_equal(one, again)
    lengths = {tuple(map(len, drawn(prepared, 3, seed=seed))) for seed in range(5)}
    assert len(lengths) > 1


def test_windows_are_shuffled_again_in_each_pass() -> None:
    prepared = dataset_of(load_histories(BARS, Path(), (), None), SETTINGS)
    one, other = (drawn(prepared, number, lookback=20) for number in (1, 2))
    ends = [np.concatenate([rows[-1] for rows in passed]) for passed in (one, other)]
    assert (ends[0] != ends[1]).any() and (np.diff(ends[0]) != 1).any()
    np.testing.assert_array_equal(np.sort(ends[0]), np.sort(ends[1]))


@pytest.mark.parametrize(
    ("days", "asked", "kind"),
    [
        (1259, "auto", "har"),
        (1260, "auto", "linear"),
        (1260, "none", None),
        (9, "linear", "linear"),
        (1260, "har", "har"),
    ],
)
def test_a_hundred_weights_need_five_years(days: int, asked: str, kind: str | None) -> None:
    """Counted in days of the training days, a day of two tickers once."""
    train_days = np.repeat(np.datetime64("2000-01-01") + np.arange(days), 2)
    settings = TrainSettings(base=asked)  # type: ignore[arg-type]
    assert _kind_of_base(settings, train_days) == kind


def test_a_base_is_fitted_on_training_days_alone() -> None:
    """Validation days and later ones change no number of the base."""
    histories = load_histories(BARS, Path(), (), None)
    calm = dataset_of(histories, SETTINGS)
    wild = BARS.copy()
    later = wild["session"] > pd.Timestamp("2010-10-29")
    wild.loc[later, "high"] *= 1.5
    wild.loc[later, "close"] *= 0.9
    wild.loc[later, "low"] *= 0.5
    other = dataset_of(load_histories(wild, Path(), (), None), SETTINGS)
    for name in ("weights", "intercepts"):
        np.testing.assert_array_equal(
            getattr(calm.model.reader.base, name), getattr(other.model.reader.base, name)
        )
    assert calm.inputs.shape[1] == len(calm.model.reader.names) + 4
    none = dataset_of(histories, SETTINGS.model_copy(update={"base": "none"}))
    assert none.model.reader.base is None and none.inputs.shape[1] == len(none.model.reader.names)


FETCHED = datetime(2026, 3, 6, 22, tzinfo=UTC)
PANEL_SETTINGS = TrainSettings(target=("range", "return", "volume"))
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
    expected = build_panel(histories, PANEL_SETTINGS.target, universe=LONG)
    found, digest, skipped = training_panel(None, home, (), as_of, PANEL_SETTINGS)
    assert digest == fingerprint(histories)
    assert skipped == (("DDD",) if as_of is None else ())
    for field in dataclasses.fields(Panel):
        mine, other = getattr(found, field.name), getattr(expected, field.name)
        if field.name == "columns":
            assert list(mine) == list(other)
            assert all(mine[name][:].tobytes() == other[name][:].tobytes() for name in other)
        elif isinstance(other, np.ndarray):
            assert (mine.dtype, mine.shape) == (other.dtype, other.shape), field.name
            assert mine.tobytes() == other.tobytes(), field.name
        else:
            assert mine == other, field.name


def test_one_ticker_has_no_market_columns(home: Path) -> None:
    panel, _, _ = training_panel(None, home, ["AAA"], None, PANEL_SETTINGS)
    assert len(panel.days) == 300
    assert list(panel.columns)[-1] == "holiday_before"


def test_short_tickers_are_logged(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        training_panel(None, home, (), None, PANEL_SETTINGS)
    assert "DDD: 15 trading days, too few for 23; left out." in caplog.text


@pytest.mark.parametrize(
    ("tickers", "as_of"), [(["DDD"], None), (["AAA", "CCC"], date(2010, 3, 3))]
)
def test_what_cannot_be_trained_on_is_refused(
    home: Path, tickers: list[str], as_of: date | None
) -> None:
    with pytest.raises(DataError, match=r"needs at least 23|no bar on or before"):
        training_panel(None, home, tickers, as_of, PANEL_SETTINGS)


def test_nothing_is_kept_beside_the_prices(home: Path) -> None:
    training_panel(None, home, (), None, PANEL_SETTINGS)
    assert not (home / "data" / "cache").exists()
