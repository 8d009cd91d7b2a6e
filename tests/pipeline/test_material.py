"""What early stopping looks at: the select block, and nothing else."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch

from forecaster.models.network import build_network
from forecaster.pipeline.material import Material, prepare, select_loss
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
        "lstm", inputs=panel.inputs.shape[1], targets=2, hidden=4, layers=1, dropout=0.0
    ).eval()
    inputs = torch.from_numpy(prepared.scaler.apply(panel.inputs))
    y = prepared.target_scaler.apply_target(panel.y)

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
