"""Data sets and forecasts for the tests of a fitted model."""

from collections.abc import Sequence

import numpy as np

from forecaster.data.history import History
from forecaster.data.panel import Panel, build_panel
from forecaster.forecasting.data_set import Dataset, prepare_dataset
from forecaster.forecasting.fitted_model import FittedModel
from forecaster.settings import TrainSettings


def dataset_of(histories: Sequence[History], settings: TrainSettings) -> Dataset:
    """Prepare the data set that `train` prepares from some histories."""
    names = [history.listing.ticker for history in histories]
    universe = names if len(names) > 1 else None
    return prepare_dataset(build_panel(histories, settings.target, universe=universe), settings)


def means(model: FittedModel, panel: Panel) -> np.ndarray:
    """Forecast the mean of the day after every row, (N, K)."""
    rows = np.ones(len(panel.days), dtype=bool)
    return np.column_stack([part.mean() for part in model.distributions(panel, rows).values()])


def raw_means(model: FittedModel, panel: Panel, rows: np.ndarray) -> np.ndarray:
    """Return the members' mean raw outputs, (N, R)."""
    mean: np.ndarray = np.mean(model.raw_by_member(panel, rows), axis=0)
    return mean
