"""Registered versions: loaded as fitted models, and the prices that they were trained on."""

import logging
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from forecaster.data.history import History, fingerprint
from forecaster.data.loading import known_tickers, load_histories
from forecaster.errors import DataError, name_some
from forecaster.evaluation.splits import Split
from forecaster.forecasting.fitted_model import (
    FittedModel,
    InputReader,
    Weights,
    check_shapes,
    forms_of,
    set_weights,
)
from forecaster.forecasting.model_manifest import base_of, check_numbers, scaler_of
from forecaster.models.network import Architecture, Network, build_network
from forecaster.registry.manifest import Manifest
from forecaster.registry.versions import load_weights

log = logging.getLogger(__name__)


def load_model(home: Path, manifest: Manifest) -> FittedModel:
    """Load a version: rebuild its networks and set their verified weights.

    Torch then works on as many threads as it was trained with: by default it takes one per core,
    and on a shared machine those wait for each other.

    Raises:
        ArtifactError: the manifest contradicts itself; a weights file is corrupt or does not fit
            the network described.
    """
    forms = forms_of(manifest.network.heads, manifest.network.point_loss)
    check_numbers(manifest, forms)
    members = load_weights(home, manifest)
    threads = manifest.training.get("threads")
    torch.set_num_threads(threads if isinstance(threads, int) else 1)
    return FittedModel(
        targets=tuple(manifest.targets),
        tickers=tuple(manifest.data.tickers),
        cross_section=manifest.data.cross_section,
        split=split_of(manifest),
        network_name=manifest.network.model,
        networks=tuple(_rebuilt(manifest, weights) for weights in members),
        lookback=manifest.network.lookback,
        reader=InputReader(
            names=tuple(manifest.inputs),
            scaler=scaler_of(manifest.scaler),
            base=base_of(manifest.base),
        ),
        target_scaler=scaler_of(manifest.target_scaler),
        forms=forms,
        shrinkage=np.array(manifest.shrinkage),
        calibration=manifest.calibration,
        levels=tuple(manifest.levels),
        version=manifest.version,
    )


def split_of(manifest: Manifest) -> Split:
    """Return the dates at which a version's prices were split."""
    blocks = manifest.data.blocks
    return Split(
        train_until=np.datetime64(blocks.train_until, "D"),
        validation_until=np.datetime64(blocks.validation_until, "D"),
    )


def _rebuilt(manifest: Manifest, weights: Weights) -> Network:
    """Build the network described and set its weights, once the shapes match.

    They are compared on torch's meta device first, which stores shapes and no numbers: a forged
    manifest cannot make us allocate the memory of its network.
    """
    subject = f"Version {manifest.version} is corrupt"
    with torch.device("meta"):
        check_shapes(_built(manifest), weights, subject)
    network = _built(manifest)
    set_weights(network, weights, subject)
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


def version_histories(
    manifest: Manifest, bars: pd.DataFrame | None, home: Path, as_of: date | None
) -> tuple[list[History], tuple[str, ...]]:
    """Load the tickers that a version was trained on; list those that are no longer stored.

    Raises:
        DataError: none is left.
    """
    seen = {history.listing.ticker: history for history in load_histories(bars, home, (), as_of)}
    trained, stored = manifest.data.tickers, known_tickers(bars, home)
    if not any(ticker in seen for ticker in trained):
        raise DataError(
            f"Version {manifest.version} was trained on {name_some(trained)}; none of them has "
            f"prices here{f' until {as_of}' if as_of else ''}. Fetch them."
        )
    missing = tuple(ticker for ticker in trained if ticker not in stored)
    if missing:
        log.warning(
            "%s: trained on, but without prices here any more; left out", name_some(missing)
        )
    return [seen[ticker] for ticker in trained if ticker in seen], missing


def warn_of_changed_bars(manifest: Manifest, histories: list[History]) -> None:
    """Warn where the bars that the version was trained on have changed since."""
    last = pd.Timestamp(manifest.data.blocks.last)
    seen = [History(listing=h.listing, bars=h.bars[h.bars["session"] <= last]) for h in histories]
    if fingerprint(seen) != manifest.data.fingerprint:
        log.warning(
            "the bars until %s are not the ones that version %s was trained on",
            *(last.date(), manifest.version),
        )
