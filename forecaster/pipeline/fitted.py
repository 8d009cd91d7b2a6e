"""A fitted network at work, without files: panels in, forecasts in the targets' own units out.

Knows no version and no registry, so that walk-forward folds and registered versions forecast
by the same code. Everything in it pickles.

Shape letters: N rows of the panel, K targets.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from forecaster.data.panel import Panel
from forecaster.data.scaling import Scaler
from forecaster.data.windows import window_ends
from forecaster.errors import ArtifactError
from forecaster.models.network import Network
from forecaster.training.forecasting import forecast_histories, forecast_windows

Weights = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Networks with the scales that they were trained on.

    `networks` are the members of one ensemble, `lookback` the days that they read (or "all"),
    `shrinkage` (K,) the share of each target's forecast to believe.
    """

    networks: tuple[Network, ...]
    lookback: int | str
    scaler: Scaler
    target_scaler: Scaler
    shrinkage: np.ndarray

    def able(self, panel: Panel) -> NDArray[np.bool_]:
        """(N,) True on rows that can be forecast: a whole window lies behind them."""
        return able_rows(panel.offsets, self.lookback)

    def forecast(self, panel: Panel, rows: NDArray[np.bool_]) -> np.ndarray:
        """Forecast the day after the chosen rows, as deviation from `panel.level`.

        Args:
            panel: of the inputs and targets that were trained on.
            rows: (N,) True where a forecast is wanted.

        Returns:
            (N, K) in the targets' own units, the mean of the members; NaN where no
            forecast is wanted or a window would begin before the series.
        """
        inputs = torch.from_numpy(self.scaler.apply(panel.inputs))
        scaled = [
            forecast_rows(network, inputs, panel.offsets, self.lookback, rows)
            for network in self.networks
        ]
        return self.target_scaler.undo(np.mean(scaled, axis=0) * self.shrinkage)


def able_rows(offsets: NDArray[np.int64], lookback: int | str) -> NDArray[np.bool_]:
    """(N,) True on rows with a whole window behind them; all rows for whole histories."""
    able = np.ones(offsets[-1], dtype=np.bool_)
    if isinstance(lookback, int):
        ends = window_ends(offsets, lookback, able)
        able = np.zeros(offsets[-1], dtype=np.bool_)
        able[ends] = True
    return able


def forecast_rows(
    network: Network,
    inputs: torch.Tensor,
    offsets: NDArray[np.int64],
    lookback: int | str,
    rows: NDArray[np.bool_],
) -> np.ndarray:
    """Forecast the chosen rows from their whole history, or from the window that ends there.

    Returns:
        (N, K) scaled forecasts, NaN on rows not chosen and on those without a whole window.
    """
    if not isinstance(lookback, int):
        return np.where(rows[:, None], forecast_histories(network, inputs, offsets), np.nan)
    ends = window_ends(offsets, lookback, rows)
    values = forecast_windows(network, inputs, ends, lookback)
    forecasts = np.full((len(inputs), values.shape[1]), np.nan)
    forecasts[ends] = values
    return forecasts


def fill(network: Network, weights: Weights, subject: str) -> None:
    """Give a network the weights that were kept of one like it.

    Raises:
        ArtifactError: they have other names or shapes; `subject` begins the sentence.
    """
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: value.shape for name, value in weights.items()}
    if expected != found:
        raise ArtifactError(
            f"{subject}: the weights have other names or shapes than the network described; "
            "train again."
        )
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})


def weights_of(network: Network) -> Weights:
    """Copy a network's weights to numpy arrays by name."""
    return {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
