"""Train one version: prices -> panel -> data set -> fitted model -> registry."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Unpack

import pandas as pd

from forecaster import clock
from forecaster.clock import Day
from forecaster.data.loading import Bars
from forecaster.errors import name_some
from forecaster.forecasting.fitting import OnStep, Validation
from forecaster.forecasting.tracking import tracked
from forecaster.forecasting.training_log import log_result
from forecaster.forecasting.version_training import train_version
from forecaster.operations.clock_check import refuse_clock_behind
from forecaster.registry.manifest import Manifest
from forecaster.registry.promotion import register
from forecaster.registry.registry_file import check_name, check_registry
from forecaster.registry.versions import check_writable, save_version
from forecaster.settings import Home, TrainSettings, resolve_home
from forecaster.settings.keywords import TrainKeywords, settings_from

__all__ = ["TrainReport", "Validation", "train"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainReport:
    """A trained version: its manifest, each member's validations, the tickers left out."""

    manifest: Manifest
    validations: pd.DataFrame
    skipped: tuple[str, ...]

    @property
    def version(self) -> str:
        """The version's id, and the name of its folder under `models/`."""
        return self.manifest.version

    def __repr__(self) -> str:
        scores = "".join(f"\n{name}  {one:.6g}" for name, one in self.manifest.metrics.items())
        tickers = name_some(self.manifest.data.tickers)
        return f"TrainReport: version {self.version} on {tickers}{scores}"


def train(
    bars: Bars | None = None,
    *,
    settings: TrainSettings | TrainKeywords | None = None,
    tickers: str | Sequence[str] = (),
    home: Home | None = None,
    as_of: Day | None = None,
    name: str | None = None,
    tracker: str | None = None,
    on_step: OnStep = lambda step, validation: None,
    **keywords: Unpack[TrainKeywords],
) -> TrainReport:
    """Train one version and write it to the registry, as a challenger without a promotion test.

    Args:
        bars: a frame of bars (ticker, session, open, high, low, close, and optionally
            volume, dividend, split, basis, calendar; other usual names and shapes are read, too:
            see docs/guide.md), or a frame for each ticker; None for the store of the home.
        settings: what to train, as a value or a dict; None for the defaults.
        tickers: none means all there are.
        home: the workspace; None as the command line resolves it.
        as_of: last session to be seen, as text or a date; None for all.
        name: the model name whose champion it may become; None for its targets.
        tracker: "tensorboard" or "mlflow", which then gets losses, gradient norms, settings and
            scores (docs/guide.md); None for none.
        keywords: settings that win over those of `settings`.

    Raises:
        CannotWriteError, SettingsError: the home is read-only, or its registry too new.
        DataError: too few days, or none that the lookback allows.
        DivergedError: training met a value that is not finite; nothing is written.
        UnknownNameError: a ticker is not there.
        StorageError: the registry is corrupt, or the disk failed.
        TryLaterError: the clock is behind the stored prices.
        UsageError: the device is absent, a part of the split would be empty, or
            `bptt_k2="auto"` finds a memory longer than it measures.

    Examples:
        >>> from forecaster import train
        >>> report = train(tickers="SP500", home="demo", target="range", max_steps=25)
        >>> report.manifest.data.tickers, list(report.manifest.metrics)
        (['SP500'], ['validation_mse_range'])
    """
    settings = settings_from(TrainSettings, settings, keywords)
    where, last = resolve_home(home), clock.as_day(as_of)
    name = check_name(name or ",".join(settings.targets))
    refuse_clock_behind(where)
    check_writable(where)
    check_registry(where)
    started = time.monotonic()
    with tracked(tracker, where / "logs", settings) as run:
        made = train_version(bars, where, tickers, last, settings, run.watching(on_step))
        created = datetime.fromisoformat(made.manifest.created_at)
        saved = save_version(where, made.manifest, made.weights, created)
        register(where, saved.version, name)
        run.finish(saved.version, saved.metrics)
    log_result(made.fit, made.settings)
    log.info("time    %.1f s", time.monotonic() - started)
    return TrainReport(manifest=saved, validations=made.validations, skipped=made.skipped)
