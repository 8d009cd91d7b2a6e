"""A version trained in memory: prices -> panel -> data set -> fitted model -> manifest."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import pandas as pd

from forecaster import clock
from forecaster.data.loading import Bars
from forecaster.forecasting.data_set import prepare_dataset, training_panel
from forecaster.forecasting.fitted_model import FittedModel, Weights, weights_of
from forecaster.forecasting.fitting import FitResult, OnStep, fit, plan_of
from forecaster.forecasting.memory import with_bptt_horizon
from forecaster.forecasting.model_version import make_manifest
from forecaster.forecasting.training_log import log_header
from forecaster.registry.manifest import Manifest
from forecaster.settings import TrainSettings
from forecaster.training.inference import choose_device

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedVersion:
    """A trained version that is not stored: `manifest` has neither an id nor files.

    `skipped` are the tickers left out: too short, or a bug.
    """

    manifest: Manifest
    fit: FitResult
    settings: TrainSettings
    skipped: tuple[str, ...]

    @property
    def model(self) -> FittedModel:
        """The fitted model."""
        return self.fit.model

    @property
    def weights(self) -> list[Weights]:
        """Each member's weights by name."""
        return [weights_of(network) for network in self.model.networks]

    @property
    def validations(self) -> pd.DataFrame:
        """A row per validation of each member."""
        rows = [
            {"member": member, **asdict(validation)}
            for member, mine in enumerate(self.fit.validations_by_member, start=1)
            for validation in mine
        ]
        return pd.DataFrame(rows)


def train_version(
    bars: Bars | None,
    home: Path,
    tickers: str | Sequence[str],
    as_of: date | None,
    settings: TrainSettings,
    on_step: OnStep = lambda step, validation: None,
) -> TrainedVersion:
    """Train on a caller's own bars, or on those of a home's store; nothing is written.

    Raises:
        DataError: too few days, or none that the lookback allows.
        DivergedError: training met a value that is not finite.
        UnknownNameError: a ticker is not there.
        UsageError: the device is absent, a part of the split would be empty, or
            `bptt_k2="auto"` finds a memory longer than it measures.
    """
    device = choose_device(settings.device)
    panel, fingerprint, skipped = training_panel(bars, home, tickers, as_of, settings)
    dataset = prepare_dataset(panel, settings)
    settings = with_bptt_horizon(dataset, settings, device)
    log_header(dataset, settings, device, plan_of(settings))
    made = fit(dataset, settings, device, on_step=on_step)
    return TrainedVersion(
        manifest=make_manifest(dataset, settings, fingerprint, made, clock.now()),
        fit=made,
        settings=settings,
        skipped=skipped,
    )
