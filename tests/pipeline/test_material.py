"""What early stopping looks at: the select block, and nothing else."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch

from forecaster.models.network import build_network
from forecaster.pipeline.material import Material, passes_over, prepare, select_loss
from forecaster.pipeline.prices import load_histories
from forecaster.settings import TrainSettings
from tests.synthetic import ragged_bars

BARS = ragged_bars({"AAA": 300, "BBB": 250})
SETTINGS = TrainSettings(
    hidden=4, target="return,range", fit_until=date(2010, 10, 29), select_until=date(2010, 12, 31)
)


@pytest.fixture(params=["all", 20])
def material(request: pytest.FixtureRequest) -> tuple[Material, TrainSettings]:
    """Whole histories and windows in turn."""
    settings = SETTINGS.model_copy(update={"lookback": request.param})
    return prepare(load_histories(BARS, Path(), (), None), settings), settings


def test_select_days_alone_move_the_loss_that_stops_a_training(
    material: tuple[Material, TrainSettings],
) -> None:
    prepared, settings = material
    panel = prepared.panel
    torch.manual_seed(0)
    network = build_network(
        "lstm",
        **{"inputs": len(prepared.reader.names), "targets": 2, "hidden": 4, "layers": 1},
        dropout=0.0,
        forms=prepared.forms,
        has_base=True,
    ).eval()
    inputs, y = torch.from_numpy(prepared.inputs), prepared.y

    def loss(outcomes: np.ndarray) -> float:
        return select_loss(prepared, settings, inputs, outcomes)(network)

    select = (panel.outcome_days > np.datetime64("2010-10-29")) & (
        panel.outcome_days <= np.datetime64("2010-12-31")
    )
    assert 60 < select.sum() < 100
    assert loss(np.where(select[:, None], y, y + 100.0)) == loss(y)
    one_day = np.zeros_like(select)
    one_day[np.flatnonzero(select)[-1]] = True
    assert loss(np.where(one_day[:, None], y + 100.0, y)) > loss(y)


def drawn(prepared: Material, number: int, **options: object) -> list[np.ndarray]:
    """The rows of each segment of a pass over whole histories."""
    settings = SETTINGS.model_copy(update={"bptt_steps": 20, **options})
    return [segment.rows for segment in passes_over(prepared, settings)(number)]


def test_each_pass_draws_a_phase_and_an_order_of_its_own() -> None:
    """Else the same days would always stand first in a chunk, where no error reaches back."""
    prepared = prepare(load_histories(BARS, Path(), (), None), SETTINGS)
    first_chunks, orders = set(), set()
    for number in range(1, 40):
        passed = drawn(prepared, number, lanes=1)
        first_chunks.add(len(passed[0]))
        orders.add(int(passed[0][0, 0]))
        rows = np.concatenate(passed)
        assert len(np.unique(rows[rows >= 0])) == (rows >= 0).sum() > 300
    assert first_chunks <= set(range(1, 21)) and len(first_chunks) > 10
    assert orders == set(prepared.panel.offsets[:-1].tolist())


def test_a_pass_draws_the_same_whenever_it_is_asked() -> None:
    """A training that goes on from a checkpoint asks again; another seed draws another pass."""
    prepared = prepare(load_histories(BARS, Path(), (), None), SETTINGS)
    for one, again in zip(drawn(prepared, 3), drawn(prepared, 3), strict=True):
        np.testing.assert_array_equal(one, again)
    lengths = {tuple(map(len, drawn(prepared, 3, seed=seed))) for seed in range(5)}
    assert len(lengths) > 1


def test_windows_are_shuffled_anew_in_each_pass() -> None:
    prepared = prepare(load_histories(BARS, Path(), (), None), SETTINGS)
    one, other = (drawn(prepared, number, lookback=20) for number in (1, 2))
    ends = [np.concatenate([rows[-1] for rows in passed]) for passed in (one, other)]
    assert (ends[0] != ends[1]).any() and (np.diff(ends[0]) != 1).any()
    np.testing.assert_array_equal(np.sort(ends[0]), np.sort(ends[1]))
