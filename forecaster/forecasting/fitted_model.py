"""A fitted model at work, without files: panels in, distributions in the targets' own units out.

Walk-forward folds and registered versions forecast by the same code. It pickles.

Shape letters: N rows of the panel, n chosen rows, S series, K targets, R raw outputs of all
targets together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

import forecaster
from forecaster.data.columns import DailyMeans
from forecaster.data.history import History
from forecaster.data.panel import (
    Panel,
    build_panel,
    compute_features,
    feature_names,
    features_by_segment,
    network_feature_names,
)
from forecaster.data.scaling import Scaler
from forecaster.data.sequence_packing import window_ends
from forecaster.errors import ArtifactError
from forecaster.evaluation.calibration import recalibrated
from forecaster.evaluation.conformal import COVERAGES, Intervals, uncalibrated_intervals
from forecaster.evaluation.distributions import Predictive
from forecaster.evaluation.mixture import mixture
from forecaster.evaluation.quantiles import LEVELS, Quantiles
from forecaster.evaluation.splits import Split
from forecaster.forecasting.base_model import Base
from forecaster.forecasting.forecast_tables import (
    adaptive_intervals,
)
from forecaster.forecasting.plausibility import absurd_forecasts, refuse_damaged
from forecaster.models.heads import Form
from forecaster.models.network import Network
from forecaster.training.inference import forecast_histories, forecast_windows

Weights = dict[str, np.ndarray]
Calibration = Mapping[str, Mapping[str, Sequence[float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputReader:
    """Inputs by name with their scales, and the base model or None."""

    names: tuple[str, ...]
    scaler: Scaler
    base: Base | None

    @classmethod
    def of(cls, panel: Panel, train_until: np.datetime64, base: Base | None) -> "InputReader":
        """Select a network's inputs and measure their scales on the days up to a date."""
        names = network_feature_names(panel)
        scaler = Scaler.fit(compute_features(panel, names), panel.days <= train_until)
        return cls(names=names, scaler=scaler, base=base)

    @property
    def columns_read(self) -> tuple[str, ...]:
        """Names of what the network reads, then of what the base reads."""
        return (*self.names, *(self.base.names if self.base else ()))

    def base_outputs(self, inputs: np.ndarray) -> NDArray[np.float64] | float:
        """Select the raw outputs of the base among inputs of `inputs`, (N, R); 0 without one."""
        return inputs[:, len(self.names) :].astype(np.float64) if self.base else 0.0

    def inputs(self, panel: Panel) -> np.ndarray:
        """Compute the inputs of every row: (N, F) float32, or (N, F + R) with a base."""
        base, own = self.base, len(self.names)
        width = own + (len(base.intercepts) if base else 0)
        inputs = np.empty((len(panel.days), width), dtype=np.float32)
        for rows, block in features_by_segment(panel, self.columns_read):
            inputs[rows, :own] = self.scaler.apply(block[:, :own])
            if base is not None:
                inputs[rows, own:] = base.outputs(block[:, own:])
        return inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedModel:
    """Networks with their inputs and scales, the split they were fitted on, their calibration.

    `tickers` are those trained on, `cross_section` whether inputs compare a ticker with them.
    `networks` are the members, or none where the base forecasts alone; `shrinkage` (K,) the factor
    on what they add to each target's location. `calibration` maps target and ticker ("" for all
    others) to scores. `version` is empty for a model that is not registered.
    """

    targets: tuple[str, ...]
    tickers: tuple[str, ...]
    cross_section: bool
    split: Split
    network_name: str
    networks: tuple[Network, ...]
    lookback: int | str
    reader: InputReader
    target_scaler: Scaler
    forms: tuple[Form, ...]
    shrinkage: np.ndarray
    calibration: Calibration
    levels: tuple[float, ...] = LEVELS
    version: str = ""

    @property
    def known_until(self) -> np.datetime64:
        """Last day that the model was trained or validated on."""
        return self.split.validation_until

    def panel(
        self, histories: Sequence[History], market: Mapping[str, DailyMeans] | None = None
    ) -> Panel:
        """Build the panel that this model reads: its targets, its inputs, its universe.

        `market` has the universe's means by calendar where they are known already.

        Raises:
            ArtifactError: this code computes other inputs than the model was trained on.
        """
        universe = self.tickers if self.cross_section and market is None else None
        panel = build_panel(histories, self.targets, universe=universe, market=market)
        read = set(self.reader.columns_read)
        if not read <= set(feature_names(panel)):
            raise ArtifactError(
                f"Version {self.version} reads {len(read)} inputs, this "
                f"forecaster {forecaster.__version__} makes other ones; train again."
            )
        return panel

    def forecastable(self, panel: Panel) -> NDArray[np.bool_]:
        """Select the rows (N,) that can be forecast: a complete window lies behind them."""
        return forecastable_rows(panel.offsets, self.lookback)

    def rows_since_training(self, panel: Panel) -> NDArray[np.bool_]:
        """Select the rows (N,) with an outcome after the training days, and the newest ones."""
        rows: NDArray[np.bool_] = panel.outcome_days > self.split.train_until
        rows[panel.newest] = True
        return rows

    def distributions(
        self, panel: Panel, rows: NDArray[np.bool_], inputs: np.ndarray | None = None
    ) -> dict[str, Predictive]:
        """Forecast the day after the rows where `rows` (N,) is True, as deviation from the level.

        `inputs` are those of the reader for this panel, if they are known.

        Returns:
            N uncalibrated distributions by target, in its own units; NaN where no forecast is
            wanted or a window would start before the series. Of several members, their mixture.
        """
        raws = self.raw_by_member(panel, rows, inputs)
        mixed = mixture_of_members(raws, self.forms, self.target_scaler)
        return dict(zip(self.targets, mixed, strict=True))

    def raw_by_member(
        self, panel: Panel, rows: NDArray[np.bool_], inputs: np.ndarray | None = None
    ) -> list[np.ndarray]:
        """Compute raw outputs (N, R) of each member, shrunk alike; of the base without members."""
        inputs = self.reader.inputs(panel) if inputs is None else inputs
        base = self.reader.base_outputs(inputs)
        if not self.networks:
            return [np.where(rows[:, None], base, np.nan)]
        each = (
            forecast_rows(network, torch.from_numpy(inputs), panel.offsets, self.lookback, rows)
            for network in self.networks
        )
        return [shrink(raw, base, self.forms, self.shrinkage) for raw in each]

    def calibrated(self, target: str, forecast: Predictive, tickers: np.ndarray) -> Quantiles:
        """Calibrate n distributions of some tickers (n,) by their own or the pooled scores."""
        return recalibrated(forecast, tickers, self.calibration.get(target, {}), self.levels)

    def served_intervals(
        self,
        panel: Panel,
        target: str,
        forecasts: Predictive,
        rows: np.ndarray,
        coverages: tuple[float, ...] = COVERAGES,
    ) -> Intervals:
        """Compute the intervals of some rows (n,) that `predict` serves, from N distributions.

        Those of the validation days stand in where the adaptive ones have too few outcomes.
        """
        until = self.split.train_until
        drawn = adaptive_intervals(panel, target, forecasts, until, coverages).bounds
        tickers = np.array(panel.tickers)[panel.series[rows]]
        calibrated = self.calibrated(target, forecasts.take(rows), tickers)
        fixed = uncalibrated_intervals(calibrated, coverages)
        return Intervals(
            {
                coverage: np.where(np.isnan(drawn[coverage][rows]), ends, drawn[coverage][rows])
                for coverage, ends in fixed.bounds.items()
            }
        )

    def absurd(self, panel: Panel, centers: Mapping[str, np.ndarray]) -> dict[str, str]:
        """Explain, by ticker, which next-session forecasts are absurd; see `absurd_forecasts`.

        Raises:
            ArtifactError: most of them are.
        """
        able = self.forecastable(panel)[panel.newest]
        found = absurd_forecasts(panel, centers, able)
        refuse_damaged(self.version, found.values(), int(able.sum()))
        return found

    def too_short(self, ticker: str, targets: Sequence[str]) -> str:
        """Explain why a ticker has no forecast of some targets."""
        return (
            f"{ticker}: no forecast of {', '.join(targets)}; version {self.version} reads "
            f"{self.lookback} days before it and needs their values among the last 22"
        )


def shrink(
    raw: np.ndarray, base: np.ndarray | float, forms: Sequence[Form], factors: np.ndarray
) -> np.ndarray:
    """Multiply the distances of locations in `raw` (N, R) from the base's by factors (K,)."""
    columns, shrunk = location_columns(forms), raw.copy()
    base_locations = np.broadcast_to(base, raw.shape)[:, columns]
    shrunk[:, columns] = base_locations + factors * (raw[:, columns] - base_locations)
    return shrunk


def location_columns(forms: Sequence[Form]) -> NDArray[np.int64]:
    """Return the number of each target's raw output that is its location, the first: (K,)."""
    return np.cumsum([0, *(form.width for form in forms)])[:-1]


def mixture_of_members(
    raws: Sequence[np.ndarray], forms: Sequence[Form], target_scaler: Scaler
) -> tuple[Predictive, ...]:
    """Convert each member's raw outputs (N, R) to one distribution per target, of all members."""
    widths = [form.width for form in forms]
    split = (torch.split(torch.from_numpy(raw), widths, dim=-1) for raw in raws)
    by_target = zip(*split, strict=True)
    scales = zip(target_scaler.mean, target_scaler.scale, strict=True)
    return tuple(
        mixture([form.distribution(part, mean, scale) for part in parts])
        for form, parts, (mean, scale) in zip(forms, by_target, scales, strict=True)
    )


def forecastable_rows(offsets: NDArray[np.int64], lookback: int | str) -> NDArray[np.bool_]:
    """Select the rows (N,) with a complete window behind them; all rows for whole histories."""
    rows = np.ones(offsets[-1], dtype=np.bool_)
    if not isinstance(lookback, int):
        return rows
    complete = np.zeros_like(rows)
    complete[window_ends(offsets, lookback, rows)] = True
    return complete


def forecast_rows(
    network: Network,
    inputs: torch.Tensor,
    offsets: NDArray[np.int64],
    lookback: int | str,
    rows: NDArray[np.bool_],
) -> np.ndarray:
    """Forecast (N, R) the chosen rows from whole histories or windows; NaN on all others."""
    if not isinstance(lookback, int):
        return np.where(rows[:, None], forecast_histories(network, inputs, offsets), np.nan)
    ends = window_ends(offsets, lookback, rows)
    values = forecast_windows(network, inputs, ends, lookback)
    forecasts = np.full((len(inputs), values.shape[1]), np.nan)
    forecasts[ends] = values
    return forecasts


def set_weights(network: Network, weights: Weights, subject: str) -> None:
    """Load stored weights into a network; raise ArtifactError of `subject` if they do not fit."""
    check_shapes(network, weights, subject)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})


def check_shapes(network: Network, weights: Weights, subject: str) -> None:
    """Refuse weights that are not a network's; see `set_weights`."""
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: value.shape for name, value in weights.items()}
    if expected != found:
        raise ArtifactError(
            f"{subject}: the weights have other names or shapes than the network described; "
            "train again."
        )


def weights_of(network: Network) -> Weights:
    """Copy a network's weights to numpy arrays by name."""
    return {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}


def ensemble_weights(networks: Sequence[Network]) -> Weights:
    """Copy all members' weights into one set; names of the later members start with "2/", "3/"."""
    return {
        f"{member}/{name}" if member > 1 else name: value
        for member, network in enumerate(networks, start=1)
        for name, value in weights_of(network).items()
    }


def member_weights(member: int, weights: Weights | None) -> Weights | None:
    """Select the weights of a member, counted from 0, from `ensemble_weights`'."""
    if weights is None:
        return None
    mine = str(member + 1) if member else ""
    parts = ((name.rpartition("/"), value) for name, value in weights.items())
    return {own: value for (whose, _, own), value in parts if whose == mine}
