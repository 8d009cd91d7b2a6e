"""The prices of the tickers that a version was trained on."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

import forecaster
from forecaster.data.derived_features import derived_names
from forecaster.data.history import History, fingerprint
from forecaster.data.loading import held_tickers, load_histories
from forecaster.data.panel import Panel, build_panel
from forecaster.errors import ArtifactError, DataError, name_some
from forecaster.evaluation.distributions import Predictive
from forecaster.evaluation.quantiles import Quantiles
from forecaster.evaluation.recalibration import recalibrated
from forecaster.forecasting.fitted_model import (
    Fitted,
    Reader,
    Weights,
    fill,
    forms_of,
    refuse_other_shapes,
)
from forecaster.forecasting.model_manifest import base_of, check_numbers, scaler_of
from forecaster.models.network import Architecture, Network, build_network
from forecaster.registry.manifest import Manifest
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


def load_model(home: Path, manifest: Manifest) -> Trained:
    """Rebuild a version's networks and fill in its verified weights.

    Torch then works on as many threads as it was trained with: left to itself it takes one
    per core, and on a shared machine those wait for each other.

    Raises:
        ArtifactError: the manifest contradicts itself; a weights file is damaged or does not fit
            the network described.
    """
    forms = forms_of(manifest.network.heads, manifest.network.point_loss)
    check_numbers(manifest, forms)
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
            base=base_of(manifest.base),
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
        Architecture(
            model=part.model,
            inputs=len(manifest.inputs),
            hidden=part.hidden,
            layers=part.layers,
            dropout=part.dropout,
            input_dropout=part.input_dropout,
            forms=forms_of(part.heads, part.point_loss),
            has_base=manifest.base is not None,
            learned_start=part.learned_start,
            bidirectional=part.bidirectional,
        )
    )


log = logging.getLogger(__name__)


def version_histories(
    manifest: Manifest, bars: pd.DataFrame | None, home: Path, as_of: date | None
) -> tuple[list[History], tuple[str, ...]]:
    """Read the tickers that a version was trained on, and name those that are gone.

    Raises:
        DataError: none is left.
    """
    seen = {history.listing.ticker: history for history in load_histories(bars, home, (), as_of)}
    trained, held = manifest.data.tickers, held_tickers(bars, home)
    if not any(ticker in seen for ticker in trained):
        raise DataError(
            f"Version {manifest.version} was trained on {name_some(trained)}; none of them has "
            f"prices here{f' until {as_of}' if as_of else ''}. Fetch them."
        )
    missing = tuple(ticker for ticker in trained if ticker not in held)
    if missing:
        log.warning(
            "%s: trained on, but without prices here any more; left out", name_some(missing)
        )
    return [seen[ticker] for ticker in trained if ticker in seen], missing


def warn_of_changed_bars(manifest: Manifest, histories: list[History]) -> None:
    """Say when the bars that the version was trained on have changed since."""
    last = pd.Timestamp(manifest.data.blocks.last)
    seen = [History(listing=h.listing, bars=h.bars[h.bars["session"] <= last]) for h in histories]
    if fingerprint(seen) != manifest.data.fingerprint:
        log.warning(
            "the bars until %s are not the ones that version %s was trained on",
            *(last.date(), manifest.version),
        )
