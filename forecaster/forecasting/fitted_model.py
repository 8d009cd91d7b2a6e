"""A fitted network at work, without files: panels in, forecasts in the targets' own units out.

Knows no version and no registry, so that walk-forward folds and registered versions forecast
by the same code. Everything in it pickles.

Shape letters: N rows of the panel, K targets, R raw outputs of all targets together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from forecaster.data.derived_features import compact_names, derived_blocks, derived_inputs
from forecaster.data.panel import Panel
from forecaster.data.scaling import Scaler
from forecaster.data.sequence_packing import window_ends
from forecaster.errors import ArtifactError
from forecaster.evaluation.distributions import Predictive
from forecaster.evaluation.mixture import mixture
from forecaster.forecasting.base_model import Base
from forecaster.models.heads import (
    Form,
    PointLoss,
    form_of,
    split_raw,
)
from forecaster.models.network import Network
from forecaster.training.inference import forecast_histories, forecast_windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Inputs by name with their scales, and the base or None."""

    names: tuple[str, ...]
    scaler: Scaler
    base: Base | None

    @classmethod
    def of(cls, panel: Panel, train_until: np.datetime64, base: Base | None) -> "Reader":
        """Choose a network's inputs and measure their scales on the days up to a date."""
        names = compact_names(panel)
        scaler = Scaler.fit(derived_inputs(panel, names), panel.days <= train_until)
        return cls(names=names, scaler=scaler, base=base)

    def inputs(self, panel: Panel) -> np.ndarray:
        """Read every row: (N, F) float32, or (N, F + R) with a base.

        Piece by piece: of millions of rows a hundred inputs would not fit into memory.
        """
        base, own = self.base, len(self.names)
        names = (*self.names, *(base.names if base else ()))
        width = own + (len(base.intercepts) if base else 0)
        inputs = np.empty((len(panel.days), width), dtype=np.float32)
        for rows, block in derived_blocks(panel, names):
            inputs[rows, :own] = self.scaler.apply(block[:, :own])
            if base is not None:
                inputs[rows, own:] = base.outputs(block[:, own:])
        return inputs


def forms_of(heads: Sequence[str], point_loss: PointLoss) -> tuple[Form, ...]:
    """Make the form of each target from the names of its head."""
    return tuple(form_of(name, point_loss) for name in heads)


Weights = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Networks with what they read and the scales that they were trained on.

    `networks` are the members of one ensemble, or none where the base forecasts alone;
    `lookback` the days that they read (or "all"); `forms` what they say of each target;
    `shrinkage` (K,) the share of what the networks add to each target's location that is
    believed.
    """

    networks: tuple[Network, ...]
    lookback: int | str
    reader: Reader
    target_scaler: Scaler
    forms: tuple[Form, ...]
    shrinkage: np.ndarray

    def able(self, panel: Panel) -> NDArray[np.bool_]:
        """(N,) True on rows that can be forecast: a whole window lies behind them."""
        return forecastable_rows(panel.offsets, self.lookback)

    def forecast(self, panel: Panel, rows: NDArray[np.bool_]) -> np.ndarray:
        """Forecast the mean of the day after the chosen rows, as deviation from `panel.level`.

        Args:
            panel: of the inputs and targets that were trained on.
            rows: (N,) True where a forecast is wanted.

        Returns:
            (N, K) in the targets' own units; NaN where no forecast is wanted or a window
            would begin before the series.
        """
        return np.column_stack([part.mean() for part in self.predictive(panel, rows)])

    def predictive(self, panel: Panel, rows: NDArray[np.bool_]) -> tuple[Predictive, ...]:
        """Forecast each target's distribution, (N,) each; a number alone where that is its form.

        Args and units as `forecast`; a row without forecast has NaN. Of several members, their
        mixture (see `evaluation/mixture.py`).
        """
        return together(self.by_member(panel, rows), self.forms, self.target_scaler)

    def outputs(self, panel: Panel, rows: NDArray[np.bool_]) -> np.ndarray:
        """Return raw outputs (N, R): the members' mean, as far as it is believed."""
        mean: np.ndarray = np.mean(self.by_member(panel, rows), axis=0)
        return mean

    def by_member(self, panel: Panel, rows: NDArray[np.bool_]) -> list[np.ndarray]:
        """Return raw outputs (N, R) of each member, believed alike; of the base where none is."""
        inputs = self.reader.inputs(panel)
        width = sum(form.width for form in self.forms)
        base = inputs[:, -width:].astype(np.float64) if self.reader.base is not None else 0.0
        if not self.networks:
            return [np.where(rows[:, None], base, np.nan)]
        each = (
            forecast_rows(network, torch.from_numpy(inputs), panel.offsets, self.lookback, rows)
            for network in self.networks
        )
        return [shrunk(raw, base, self.forms, self.shrinkage) for raw in each]


def shrunk(
    raw: np.ndarray, base: np.ndarray | float, forms: Sequence[Form], shares: np.ndarray
) -> np.ndarray:
    """Move locations back towards the base's: it keeps all, the network its share.

    Args:
        raw: (N, R) raw outputs, the base's included.
        base: (N, R) those of the base alone; 0 without one.
        forms: (K,) of the targets.
        shares: (K,) from 0 to 1.
    """
    places, moved = location_columns(forms), raw.copy()
    held = np.broadcast_to(base, raw.shape)[:, places]
    moved[:, places] = held + shares * (raw[:, places] - held)
    return moved


def location_columns(forms: Sequence[Form]) -> NDArray[np.int64]:
    """(K,) number of the raw output that is each target's location: its first."""
    return np.cumsum([0, *(form.width for form in forms)])[:-1]


def together(
    raws: Sequence[np.ndarray], forms: Sequence[Form], target_scaler: Scaler
) -> tuple[Predictive, ...]:
    """Turn each member's raw outputs (N, R) into one distribution per target, of all members."""
    each = [distributions(raw, forms, target_scaler) for raw in raws]
    return tuple(mixture(parts) for parts in zip(*each, strict=True))


def distributions(
    raw: np.ndarray, forms: Sequence[Form], target_scaler: Scaler
) -> tuple[Predictive, ...]:
    """Turn raw outputs (N, R) into each target's distribution, in its own units."""
    parts = split_raw(torch.from_numpy(raw), forms)
    scales = zip(target_scaler.mean, target_scaler.scale, strict=True)
    return tuple(
        form.distribution(part, mean, scale)
        for form, part, (mean, scale) in zip(forms, parts, scales, strict=True)
    )


def forecastable_rows(offsets: NDArray[np.int64], lookback: int | str) -> NDArray[np.bool_]:
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
        (N, R) raw outputs, NaN on rows not chosen and on those without a whole window.
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
    refuse_other_shapes(network, weights, subject)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})


def refuse_other_shapes(network: Network, weights: Weights, subject: str) -> None:
    """Refuse weights that are not a network's; see `fill`."""
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: value.shape for name, value in weights.items()}
    if expected != found:
        raise ArtifactError(
            f"{subject}: the weights have other names or shapes than the network described; "
            "train again."
        )


def ensemble_weights(networks: Sequence[Network]) -> Weights:
    """Copy all members' weights into one set of arrays; `start_of` takes it apart.

    The first member's have their own names, those of the others begin with "2/", "3/".
    """
    return {
        _prefix(member) + name: value
        for member, network in enumerate(networks)
        for name, value in weights_of(network).items()
    }


def start_of(member: int, weights: Weights | None) -> Weights | None:
    """Take a member's own weights, members counted from 0, out of `weights_of_all`'s."""
    if weights is None:
        return None
    mine = _prefix(member)
    return {
        name.removeprefix(mine): value
        for name, value in weights.items()
        if (name.startswith(mine) if mine else "/" not in name)
    }


def _prefix(member: int) -> str:
    return f"{member + 1}/" if member else ""


def weights_of(network: Network) -> Weights:
    """Copy a network's weights to numpy arrays by name."""
    return {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
