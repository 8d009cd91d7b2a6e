"""Train one version: prices -> panel -> blocks of time -> scales -> network -> registry."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date

import numpy as np
import pandas as pd
import torch

from forecaster import clock
from forecaster.errors import DivergedError
from forecaster.models.network import Network, build_network
from forecaster.pipeline.describe import calibrate, describe
from forecaster.pipeline.header import announce
from forecaster.pipeline.material import Material, long_enough, passes_over, prepare, select_loss
from forecaster.pipeline.prices import load_histories
from forecaster.pipeline.reach import with_measured_reach
from forecaster.pipeline.trained import weights_of
from forecaster.registry.manifest import Manifest
from forecaster.registry.versions import check_writable, save_version
from forecaster.settings import Home, TrainSettings, resolve_home
from forecaster.training.device import choose_device
from forecaster.training.passes import Reading, TrainingArrays
from forecaster.training.plan import BPTTPlan
from forecaster.training.trainer import Evaluated, Options
from forecaster.training.trainer import train as run_training

__all__ = ["Evaluated", "TrainReport", "train"]

log = logging.getLogger(__name__)

OnUpdate = Callable[[int, Evaluated | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainReport:
    """What a training made: its manifest, its looks at the select block, who was left out."""

    manifest: Manifest
    looks: pd.DataFrame
    skipped: tuple[str, ...]

    @property
    def version(self) -> str:
        """Name of the version, and of its folder under `models/`."""
        return self.manifest.version


def train(
    bars: pd.DataFrame | None = None,
    *,
    settings: TrainSettings | None = None,
    tickers: Sequence[str] = (),
    home: Home | None = None,
    as_of: date | None = None,
    on_update: OnUpdate = lambda update, look: None,
) -> TrainReport:
    """Train one version and write it to the registry.

    Args:
        bars: long table of bars (`ticker, session, open, high, low, close` and optionally
            `volume, dividend, split, basis, calendar`), or None for the store of the home.
        settings: what to train; None for the defaults.
        tickers: which tickers; none means all there are.
        home: the workspace; None as the command line resolves it.
        as_of: last session to be seen; None for all.
        on_update: called after each optimizer step.

    Returns:
        The report, with the manifest as written.

    Raises:
        CannotWriteError: the home is missing or read-only; found out before any work.
        DataError: too few days, or none that the lookback allows.
        DivergedError: training met a value that is not finite; nothing is written.
        UnknownNameError: a ticker is not there.
        UsageError: the device is absent, a block of time would be empty, or
            `bptt_steps="auto"` finds a memory longer than it measures.
    """
    settings = settings or TrainSettings()
    where = resolve_home(home)
    check_writable(where)
    device = choose_device(settings.device)
    histories, skipped = long_enough(load_histories(bars, where, tickers, as_of), settings)
    material = prepare(histories, settings)
    started = time.monotonic()
    try:
        if settings.bptt_steps == "auto":
            settings = with_measured_reach(
                material, settings, lambda first: _first_stage(material, first, device)
            )
        plan = _plan_of(settings)
        announce(material, settings, device, plan)
        network, looks = _fit_network(material, settings, device, plan, on_update)
    except DivergedError as error:
        raise DivergedError(f"{_where(material, error)}{error}", error.rows) from error
    calibration = calibrate(network.cpu(), material, settings)
    created = clock.now()
    manifest = describe(material, settings, histories, looks, calibration, created)
    saved = save_version(where, manifest, [weights_of(network)], created)
    for name, share in zip(settings.target, saved.shrinkage, strict=True):
        log.info(
            "belief  %s: the select block bears out %.0f %% of the forecast", name, 100 * share
        )
    log.info("time    %.1f s", time.monotonic() - started)
    table = pd.DataFrame([asdict(look) for look in looks])
    return TrainReport(manifest=saved, looks=table, skipped=tuple(skipped))


def _where(material: Material, error: DivergedError) -> str:
    """Name the tickers and the days that the failing update had read."""
    if not len(error.rows):
        return ""
    rows, panel = np.array(error.rows), material.panel
    tickers = [panel.tickers[number] for number in np.unique(panel.series[rows])]
    named = ", ".join(tickers[:3]) + (f" and {len(tickers) - 3} more" if len(tickers) > 3 else "")
    return f"{named}, {panel.days[rows].min()}..{panel.days[rows].max()}: "


def _fit_network(
    material: Material,
    settings: TrainSettings,
    device: torch.device,
    plan: BPTTPlan,
    on_update: OnUpdate,
) -> tuple[Network, list[Evaluated]]:
    """Train a fresh network on the fit block; the select block chooses its weights."""
    panel = material.panel
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    network = build_network(
        settings.model,
        inputs=panel.inputs.shape[1],
        targets=len(panel.targets),
        hidden=settings.hidden,
        layers=settings.layers,
        dropout=settings.dropout,
        learned_start=settings.initial_state == "learned",
        bidirectional=settings.bidirectional,
    ).to(device)
    scaled_y = material.target_scaler.apply_target(panel.y)
    inputs = material.scaler.apply(panel.inputs)
    arrays = TrainingArrays.on(device, inputs, scaled_y, material.rows(0))
    looks = run_training(
        network,
        arrays,
        passes_over(material, settings),
        plan,
        Options(
            max_updates=settings.max_updates,
            learning_rate=settings.lr,
            weight_decay=settings.weight_decay,
            clip_grad=settings.clip_grad,
            evaluate_every=settings.evaluate_every,
            patience=settings.patience,
        ),
        Reading(
            last_day_only=not settings.scores_each_day,
            burn_in=settings.days_before_scoring,
            workers=settings.workers,
        ),
        validate=select_loss(material, settings, arrays.inputs, scaled_y),
        on_update=on_update,
    )
    return network, looks


def _first_stage(material: Material, settings: TrainSettings, device: torch.device) -> Network:
    """Train a network that is measured and thrown away."""
    plan = _plan_of(settings)
    network, _ = _fit_network(material, settings, device, plan, lambda update, look: None)
    return network


def _plan_of(settings: TrainSettings) -> BPTTPlan:
    return BPTTPlan(
        kind=settings.bptt,
        steps=settings.reach,
        stride=settings.bptt_stride,
        update=settings.bptt_update,
        memory=settings.bptt_memory,
    )
