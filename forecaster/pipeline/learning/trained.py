"""A trained version at work: manifest and weights in, forecasts in the targets' own units out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import forecaster
from forecaster.data.bars import History
from forecaster.data.derived import derived_names
from forecaster.data.panel import Panel, build_panel
from forecaster.data.scaling import Scaler
from forecaster.errors import ArtifactError
from forecaster.evaluation.distributions import Predictive
from forecaster.evaluation.empirical import Quantiles
from forecaster.evaluation.recalibration import recalibrated
from forecaster.models.network import Network, build_network
from forecaster.pipeline.learning.base import Base
from forecaster.pipeline.learning.fitted import Fitted, Weights, fill, refuse_other_shapes
from forecaster.pipeline.learning.manifest_numbers import refuse_other_numbers
from forecaster.pipeline.learning.reading import Reader, forms_of
from forecaster.registry.manifest import BasePart, Manifest, ScalerPart
from forecaster.registry.versions import load_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """One version: what it says of itself, and its networks with their scales."""

    manifest: Manifest
    fitted: Fitted

    def panel(self, histories: Sequence[History]) -> Panel:
        """Build the panel that this version reads: its targets, its inputs, its universe.

        Raises:
            ArtifactError: this code makes other inputs than the version was trained on.
        """
        data = self.manifest.data
        universe = data.tickers if data.cross_section else None
        panel = build_panel(histories, self.manifest.targets, universe=universe)
        reader = self.fitted.reader
        read = {*reader.names, *(reader.base.names if reader.base else ())}
        if not read <= set(derived_names(panel)):
            raise ArtifactError(
                f"Version {self.manifest.version} reads {len(read)} inputs, this "
                f"forecaster {forecaster.__version__} makes other ones; train again."
            )
        return panel

    @property
    def networks(self) -> tuple[Network, ...]:
        """The members of the version."""
        return self.fitted.networks

    def able(self, panel: Panel) -> NDArray[np.bool_]:
        """(N,) True on rows that the version can forecast; see `Fitted.able`."""
        return self.fitted.able(panel)

    def forecast(self, panel: Panel, rows: NDArray[np.bool_]) -> np.ndarray:
        """Forecast the day after the chosen rows; see `Fitted.forecast`."""
        return self.fitted.forecast(panel, rows)

    def predictive(self, panel: Panel, rows: NDArray[np.bool_]) -> dict[str, Predictive]:
        """Forecast each target's distribution, as the networks state it; see `Fitted`."""
        found = self.fitted.predictive(panel, rows)
        return dict(zip(self.manifest.targets, found, strict=True))

    def calibrated(self, target: str, predictive: Predictive, tickers: np.ndarray) -> Quantiles:
        """Make n distributions of a target hold on the select block.

        Args:
            target: what is forecast.
            predictive: some of `predictive`'s rows.
            tickers: (n,) the ticker of each; one not calibrated by itself takes the pooled
                numbers, and NaN where there are none.
        """
        numbers = self.manifest.calibration.get(target, {})
        return recalibrated(predictive, tickers, numbers, self.manifest.levels)


def load_trained(home: Path, manifest: Manifest) -> Trained:
    """Rebuild a version's networks and fill in its verified weights.

    Torch then works on as many threads as it was trained with: left to itself it takes one
    per core, and on a shared machine those wait for each other.

    Raises:
        ArtifactError: the manifest contradicts itself; a weights file is damaged or does not fit
            the network described.
    """
    forms = forms_of(manifest.network.heads, manifest.network.point_loss)
    refuse_other_numbers(manifest, forms)
    members = load_weights(home, manifest)
    threads = manifest.training.get("threads")
    torch.set_num_threads(threads if isinstance(threads, int) else 1)
    networks = tuple(_rebuilt(manifest, weights) for weights in members)
    fitted = Fitted(
        networks=networks,
        lookback=manifest.network.lookback,
        reader=Reader(
            names=tuple(manifest.inputs),
            scaler=scaler_of(manifest.scaler),
            base=_base_of(manifest.base),
        ),
        target_scaler=scaler_of(manifest.target_scaler),
        forms=forms,
        shrinkage=np.array(manifest.shrinkage),
    )
    return Trained(manifest=manifest, fitted=fitted)


def _rebuilt(manifest: Manifest, weights: Weights) -> Network:
    """Build the network described and fill it, once its shapes are those of the weights.

    They are compared on torch's meta device first, which holds shapes and no numbers: a manifest
    that lies about its network cannot make us ask for its memory.
    """
    subject = f"Version {manifest.version} is damaged"
    with torch.device("meta"):
        refuse_other_shapes(_built(manifest), weights, subject)
    network = _built(manifest)
    fill(network, weights, subject)
    return network.eval()


def _built(manifest: Manifest) -> Network:
    part = manifest.network
    return build_network(
        part.model,
        inputs=len(manifest.inputs),
        targets=len(manifest.targets),
        hidden=part.hidden,
        layers=part.layers,
        dropout=part.dropout,
        input_dropout=part.input_dropout,
        forms=forms_of(part.heads, part.point_loss),
        has_base=manifest.base is not None,
        learned_start=part.learned_start,
        bidirectional=part.bidirectional,
    )


def scaler_of(part: ScalerPart) -> Scaler:
    """Read a scaler back from the manifest."""
    return Scaler(mean=np.array(part.mean), scale=np.array(part.scale))


def scaler_part(scaler: Scaler) -> ScalerPart:
    """Write a scaler into the manifest."""
    return ScalerPart(mean=scaler.mean.tolist(), scale=scaler.scale.tolist())


def _base_of(part: BasePart | None) -> Base | None:
    """Read a base back from the manifest."""
    if part is None:
        return None
    return Base(
        kind=part.kind,
        names=tuple(part.inputs),
        scaler=scaler_of(part.scaler),
        weights=np.array(part.weights),
        intercepts=np.array(part.intercepts),
    )


def base_part(base: Base | None) -> BasePart | None:
    """Write a base into the manifest."""
    if base is None:
        return None
    return BasePart(
        kind=base.kind,
        inputs=list(base.names),
        scaler=scaler_part(base.scaler),
        weights=base.weights.tolist(),
        intercepts=base.intercepts.tolist(),
    )
