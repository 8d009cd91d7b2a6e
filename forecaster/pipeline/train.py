"""Train one version: prices -> panel -> blocks of time -> scales -> network -> registry."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import forecaster
from forecaster import clock
from forecaster.data.bars import History
from forecaster.data.features import TRAILING_DAYS
from forecaster.data.fingerprint import fingerprint
from forecaster.data.lanes import Lanes, pack_lanes
from forecaster.data.panel import Panel, build_panel
from forecaster.data.scaling import Scaler
from forecaster.data.windows import WindowBatches, window_ends, window_rows
from forecaster.errors import DataError
from forecaster.evaluation.intervals import bounds_by_series
from forecaster.evaluation.splits import Split, split_by_time
from forecaster.models.network import Network, build_network
from forecaster.pipeline.prices import load_histories
from forecaster.pipeline.trained import forecast_rows, scaler_part, weights_of
from forecaster.registry.manifest import (
    BlocksPart,
    DataPart,
    Manifest,
    MemberPart,
    NetworkPart,
)
from forecaster.registry.versions import check_writable, save_version
from forecaster.settings import TrainSettings, resolve_home
from forecaster.training.device import choose_device
from forecaster.training.forecasting import forecast_windows
from forecaster.training.plan import BPTTPlan
from forecaster.training.trainer import Evaluated, Options, Segments, TrainingArrays
from forecaster.training.trainer import train as run_training

log = logging.getLogger(__name__)

COVERAGE = 0.8
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Material:
    """A panel with its blocks of time and everything scaled on the fit block.

    `usable` (N,) marks rows whose forecast the network can make: all rows, or those with
    a whole window behind them.
    """

    panel: Panel
    split: Split
    scaler: Scaler
    target_scaler: Scaler
    usable: np.ndarray

    def rows(self, block: int) -> np.ndarray:
        """(N, K) True where block 0 (fit), 1 (select) or 2 (report) has a known outcome."""
        chosen = self.split.masks(self.panel.outcome_days)[block] & self.usable
        return chosen[:, None] & np.isfinite(self.panel.y)


def train(
    bars: pd.DataFrame | None = None,
    *,
    settings: TrainSettings | None = None,
    tickers: Sequence[str] = (),
    home: Path | None = None,
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
        UsageError: the device is absent, or a block of time would be empty.
    """
    settings = settings or TrainSettings()
    where = resolve_home(home)
    check_writable(where)
    device = choose_device(settings.device)
    histories, skipped = _long_enough(load_histories(bars, where, tickers, as_of), settings)
    material = _prepare(histories, settings)
    _announce(material, settings, device)
    started = time.monotonic()
    network, looks = _fit_network(material, settings, device, on_update)
    forecast = _select_forecast(network.cpu(), material, settings)
    manifest = _manifest(material, settings, histories, looks, forecast)
    created = clock.now()
    manifest = manifest.model_copy(update={"created_at": created.isoformat(timespec="seconds")})
    saved = save_version(where, manifest, [weights_of(network)], created)
    log.info("time    %.1f s", time.monotonic() - started)
    table = pd.DataFrame([asdict(look) for look in looks])
    return TrainReport(manifest=saved, looks=table, skipped=tuple(skipped))


def _long_enough(
    histories: list[History], settings: TrainSettings
) -> tuple[list[History], list[str]]:
    """Leave out, by name, the histories too short for one scored window."""
    lookback = settings.lookback if isinstance(settings.lookback, int) else 0
    needed = max(lookback, TRAILING_DAYS) + 1
    kept = [history for history in histories if len(history.bars) >= needed]
    short = [history for history in histories if len(history.bars) < needed]
    texts = [f"{h.listing.ticker}: {len(h.bars)} trading days" for h in short]
    remedy = "Fetch a longer period or lower --lookback."
    if not kept:
        raise DataError(
            f"{'; '.join(texts[:3])}; --lookback {settings.lookback} needs at least {needed}. {remedy}"
        )
    for text in texts:
        log.warning("%s, too few for %d; left out. %s", text, needed, remedy)
    return kept, [history.listing.ticker for history in short]


def _prepare(histories: list[History], settings: TrainSettings) -> _Material:
    """Build the panel, cut the blocks of time, fit the scales on the fit block."""
    names = [history.listing.ticker for history in histories]
    panel = build_panel(histories, settings.target, universe=names if len(names) > 1 else None)
    split = split_by_time(
        panel.days, fit_until=settings.fit_until, select_until=settings.select_until
    )
    usable = np.ones(len(panel.days), dtype=np.bool_)
    if isinstance(settings.lookback, int):
        usable[:] = False
        usable[window_ends(panel.offsets, settings.lookback, ~usable)] = True
    fit, select, _ = split.masks(panel.outcome_days)
    for block, rows in (("fit", fit), ("select", select)):
        if not (rows & usable & np.isfinite(panel.y).all(axis=1)).any():
            raise DataError(
                f"The {block} block (fit until {split.fit_until}, select until "
                f"{split.select_until}) has no day to score: after {TRAILING_DAYS} days of warm-up "
                f"and --lookback {settings.lookback} nothing is left. Fetch a longer period, lower "
                "--lookback or move --fit-until."
            )
    return _Material(
        panel=panel,
        split=split,
        scaler=Scaler.fit(panel.inputs, panel.days <= split.fit_until),
        target_scaler=Scaler.fit(panel.y, fit & usable),
        usable=usable,
    )


def _announce(material: _Material, settings: TrainSettings, device: torch.device) -> None:
    panel, split = material.panel, material.split
    fit, select, report = (int(material.rows(block).any(axis=1).sum()) for block in range(3))
    log.info(
        "data    %d tickers, %s days %s..%s   fit %s until %s, select %s until %s, report %s",
        *(len(panel.tickers), f"{len(panel.days):,}", panel.days.min(), panel.days.max()),
        *(f"{fit:,}", split.fit_until, f"{select:,}", split.select_until, f"{report:,}"),
    )
    log.info(
        "model   %s, %d hidden, %d inputs, target %s, %s%s",
        *(settings.model.upper(), settings.hidden, panel.inputs.shape[1]),
        *(", ".join(settings.target), device),
        " (--device auto found no GPU)" if settings.device == "auto" and device.type == "cpu" else "",
    )
    log.info("bptt    %s", _plan_of(settings).describe())
    if isinstance(settings.lookback, int) and (settings.reach or 0) >= settings.lookback:
        log.info(
            "        truncation at %d days is not shorter than the %d-day windows: this is full BPTT",
            *(settings.reach, settings.lookback),
        )


def _plan_of(settings: TrainSettings) -> BPTTPlan:
    return BPTTPlan.full() if settings.reach is None else BPTTPlan.truncated(steps=settings.reach)


def _fit_network(
    material: _Material, settings: TrainSettings, device: torch.device, on_update: OnUpdate
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
    ).to(device)
    scaled_y = material.target_scaler.apply_target(panel.y)
    inputs = material.scaler.apply(panel.inputs)
    arrays = TrainingArrays.on(device, inputs, scaled_y, material.rows(0))
    looks = run_training(
        network,
        arrays,
        _passes(material, settings),
        _plan_of(settings),
        Options(
            max_updates=settings.max_updates,
            learning_rate=settings.lr,
            weight_decay=settings.weight_decay,
            clip_grad=settings.clip_grad,
            evaluate_every=settings.evaluate_every,
            patience=settings.patience,
        ),
        last_day_only=isinstance(settings.lookback, int),
        validate=_select_loss(material, settings, arrays.inputs, scaled_y),
        on_update=on_update,
    )
    return network, looks


def _passes(material: _Material, settings: TrainSettings) -> Callable[[int], Segments]:
    """Return what draws the segments of a pass: windows, or lanes of whole histories."""
    panel, scored = material.panel, material.rows(0).any(axis=1)
    generator = np.random.default_rng(settings.seed)
    if isinstance(settings.lookback, int):
        ends, lookback = window_ends(panel.offsets, settings.lookback, scored), settings.lookback
        return lambda number: WindowBatches.drawn(ends, lookback, settings.batch, generator)
    first, stop = panel.offsets[:-1], _stops(scored, panel.offsets)
    longest = int((stop - first).max())
    chunk = min(settings.reach or longest, longest)

    def lanes(number: int) -> Lanes:
        # A phase drawn anew each pass: else the same days always open a chunk, without reach.
        phase = chunk if settings.reach is None else int(generator.integers(1, chunk + 1))
        return pack_lanes(first, stop, settings.lanes, chunk, generator, phase)

    return lanes


def _stops(scored: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(S,) flat row after each series' last scored day; its first row where there is none."""
    last = np.where(scored, np.arange(1, len(scored) + 1), 0)
    return np.maximum(np.maximum.reduceat(last, offsets[:-1]), offsets[:-1])


def _select_loss(
    material: _Material, settings: TrainSettings, inputs: torch.Tensor, y: np.ndarray
) -> Callable[[Network], float]:
    """Return what measures the mean squared error on the select block, in scaled units."""
    panel, rows = material.panel, material.rows(1)
    if isinstance(settings.lookback, int):
        ends = window_ends(panel.offsets, settings.lookback, rows.any(axis=1))
        windows, known, outcomes = window_rows(ends, settings.lookback), rows[ends], y[ends]
        return lambda network: _mean_square(
            forecast_windows(network, inputs, windows), outcomes, known
        )
    # Rows after the select block would be forecast for nothing.
    stop = _stops(rows.any(axis=1), panel.offsets)
    keep = np.flatnonzero(np.arange(len(rows)) < np.repeat(stop, np.diff(panel.offsets)))
    lengths = stop - panel.offsets[:-1]
    offsets = np.concatenate([[0], np.cumsum(lengths[lengths > 0])])
    seen, known, outcomes = inputs[torch.from_numpy(keep)], rows[keep], y[keep]
    return lambda network: _mean_square(
        forecast_rows(network, seen, offsets, "all"), outcomes, known
    )


def _mean_square(forecast: np.ndarray, outcome: np.ndarray, known: np.ndarray) -> float:
    return float(np.mean((forecast[known] - outcome[known]) ** 2))


def _select_forecast(
    network: Network, material: _Material, settings: TrainSettings
) -> np.ndarray:
    """(N, K) forecasts of the trained network in the targets' own units."""
    inputs = torch.from_numpy(material.scaler.apply(material.panel.inputs))
    scaled = forecast_rows(network, inputs, material.panel.offsets, settings.lookback)
    return material.target_scaler.undo(scaled)


def _manifest(
    material: _Material,
    settings: TrainSettings,
    histories: list[History],
    looks: list[Evaluated],
    forecast: np.ndarray,
) -> Manifest:
    """Write down everything that a later evaluation or forecast needs."""
    panel, split = material.panel, material.split
    residuals = np.where(material.rows(1), panel.y - forecast, np.nan)
    best = next(look for look in reversed(looks) if look.best)
    return Manifest(
        created_at="",
        code_version=forecaster.__version__,
        torch_version=str(torch.__version__),
        targets=list(panel.targets),
        inputs=list(panel.input_names),
        network=NetworkPart(
            model=settings.model,
            hidden=settings.hidden,
            layers=settings.layers,
            dropout=settings.dropout,
            lookback=settings.lookback,
        ),
        members=[MemberPart(weights="weights.safetensors", seed=settings.seed)],
        scaler=scaler_part(material.scaler),
        target_scaler=scaler_part(material.target_scaler),
        data=DataPart(
            tickers=list(panel.tickers),
            cross_section=len(panel.tickers) > 1,
            fingerprint=fingerprint(histories),
            days=len(panel.days),
            blocks=BlocksPart(
                first=panel.days.min().item(),
                fit_until=split.fit_until.item(),
                select_until=split.select_until.item(),
                last=panel.days.max().item(),
            ),
        ),
        training={
            **settings.model_dump(mode="json", exclude={"target", "lookback"}),
            "bptt_steps": settings.reach,
            "updates": looks[-1].update,
            "passes": looks[-1].passes,
            "best_update": best.update,
        },
        metrics={f"select_mse_{name}": float(np.nanmean(residuals[:, k] ** 2)) for k, name in enumerate(panel.targets)},
        coverage=COVERAGE,
        intervals={
            name: bounds_by_series(residuals[:, k], panel.series, panel.tickers, COVERAGE)
            for k, name in enumerate(panel.targets)
        },
        files={},
    )
