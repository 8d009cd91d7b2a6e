"""A trained version at work: manifest and weights in, forecasts in the targets' own units out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from forecaster.data.bars import History
from forecaster.data.panel import Panel, build_panel
from forecaster.data.scaling import Scaler
from forecaster.data.windows import window_ends
from forecaster.errors import ArtifactError
from forecaster.models.network import Network, build_network
from forecaster.registry.manifest import Manifest, ScalerPart
from forecaster.registry.versions import Weights, load_weights
from forecaster.training.forecasting import forecast_histories, forecast_windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The networks of one version with the scales they were trained on."""

    manifest: Manifest
    networks: tuple[Network, ...]

    def panel(self, histories: Sequence[History]) -> Panel:
        """Build the panel that this version reads: its targets, its inputs, its universe.

        Raises:
            ArtifactError: this code makes other inputs than the version was trained on.
        """
        data = self.manifest.data
        universe = data.tickers if data.cross_section else None
        panel = build_panel(histories, self.manifest.targets, universe=universe)
        if list(panel.input_names) != self.manifest.inputs:
            raise ArtifactError(
                f"Version {self.manifest.version} reads {len(self.manifest.inputs)} inputs, this "
                f"forecaster {self.manifest.code_version} makes other ones; train again."
            )
        return panel

    def able(self, panel: Panel) -> NDArray[np.bool_]:
        """(N,) True on rows that the version can forecast: a whole window lies behind them."""
        return able_rows(panel.offsets, self.manifest.network.lookback)

    def forecast(self, panel: Panel, rows: NDArray[np.bool_]) -> np.ndarray:
        """Forecast the day after the chosen rows, as deviation from `panel.level`.

        Args:
            panel: as `panel()` builds it.
            rows: (N,) True where a forecast is wanted.

        Returns:
            (N, K) in the targets' own units, the mean of the members; NaN where no
            forecast is wanted or a window would begin before the series.
        """
        inputs = torch.from_numpy(scaler_of(self.manifest.scaler).apply(panel.inputs))
        lookback = self.manifest.network.lookback
        scaled = [
            forecast_rows(network, inputs, panel.offsets, lookback, rows)
            for network in self.networks
        ]
        believed = np.mean(scaled, axis=0) * np.array(self.manifest.shrinkage)
        return scaler_of(self.manifest.target_scaler).undo(believed)


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


def load_trained(home: Path, manifest: Manifest) -> Trained:
    """Rebuild a version's networks and fill in its verified weights.

    Torch then works on as many threads as it was trained with: left to itself it takes one
    per core, and on a shared machine those wait for each other.

    Raises:
        ArtifactError: a weights file is damaged or does not fit the network described.
    """
    members = load_weights(home, manifest)
    threads = manifest.training.get("threads")
    torch.set_num_threads(threads if isinstance(threads, int) else 1)
    networks = tuple(_rebuilt(manifest, weights) for weights in members)
    return Trained(manifest=manifest, networks=networks)


def _rebuilt(manifest: Manifest, weights: Weights) -> Network:
    part = manifest.network
    network = build_network(
        part.model,
        inputs=len(manifest.inputs),
        targets=len(manifest.targets),
        hidden=part.hidden,
        layers=part.layers,
        dropout=part.dropout,
        learned_start=part.learned_start,
        bidirectional=part.bidirectional,
    )
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: value.shape for name, value in weights.items()}
    if expected != found:
        raise ArtifactError(
            f"Version {manifest.version} is damaged: its weights have other names or shapes than "
            f"the {part.model} its manifest describes; train again."
        )
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return network.eval()


def weights_of(network: Network) -> Weights:
    """Copy a network's weights to numpy arrays by name."""
    return {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}


def scaler_of(part: ScalerPart) -> Scaler:
    """Read a scaler back from the manifest."""
    return Scaler(mean=np.array(part.mean), scale=np.array(part.scale))


def scaler_part(scaler: Scaler) -> ScalerPart:
    """Write a scaler into the manifest."""
    return ScalerPart(mean=scaler.mean.tolist(), scale=scaler.scale.tolist())
