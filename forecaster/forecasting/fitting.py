"""Fit networks on prepared material: arrays in, a fitted ensemble, mostly of one, out.

Writes no file, reads no home and knows no version: a walk-forward fold in a worker process
and `train` fit by the same code. Everything that goes in and comes out pickles.

Shape letters: N rows of the panel, K targets.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from forecaster.bptt.plan import BPTTPlan
from forecaster.data.panel import Panel
from forecaster.errors import ArtifactError, DivergedError, OutOfMemoryError
from forecaster.evaluation.recalibration import scores_of, shrinkage
from forecaster.evaluation.splits import Split
from forecaster.forecasting.data_set import Dataset, build_dataset, epoch_segments, validation_loss
from forecaster.forecasting.fitted_model import (
    Fitted,
    Weights,
    fill,
    forecast_rows,
    location_columns,
    shrunk,
    start_of,
    together,
    weights_of,
)
from forecaster.forecasting.memory import with_measured_horizon
from forecaster.models.network import Architecture, Network, build_network
from forecaster.settings import TrainSettings
from forecaster.training.checkpoint import Checkpoint
from forecaster.training.device import choose_device, is_of_memory
from forecaster.training.epoch import Reading, TrainingArrays
from forecaster.training.trainer import Options, Validation
from forecaster.training.trainer import train as run_training

OnStep = Callable[[int, Validation | None], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedMember:
    """A member's weights, by name, and its looks at the select block."""

    weights: Weights
    looks: tuple[Validation, ...]


class Checkpointer(Protocol):
    """What a fitting asks and tells; members are counted from 0 and come in order."""

    def finished(self, member: int) -> FittedMember | None:
        """Return a member that was finished before, or None."""

    def left(self) -> Checkpoint | None:
        """Return where the member that begins now was left, or None."""

    def boundary(self, checkpoint: Callable[[], Checkpoint]) -> None:
        """Hear that an update is done; may keep it, and may raise to end the training there."""

    def finish(self, done: FittedMember) -> None:
        """Hear that a member is done."""

    def fail(self, best: FittedMember | None) -> None:
        """Hear that a member failed, and what its best look was, if it had any."""


class _Nobody:
    """Keeps nothing."""

    def finished(self, member: int) -> FittedMember | None:
        """Return None."""

    def left(self) -> Checkpoint | None:
        """Return None."""

    def boundary(self, checkpoint: Callable[[], Checkpoint]) -> None:
        """Do nothing."""

    def finish(self, done: FittedMember) -> None:
        """Do nothing."""

    def fail(self, best: FittedMember | None) -> None:
        """Do nothing."""


def no_checkpoints() -> Checkpointer:
    """Return a keeper for trainings that start afresh and leave nothing behind."""
    return _Nobody()


class Watched:
    """Passes updates on, and remembers the looks and the best weights should training fail."""

    def __init__(self, network: Network, resume: Checkpoint | None, on_step: OnStep) -> None:
        self._network, self._on_update = network, on_step
        self.update = 0
        self._looks: list[Validation] = []
        self._weights: Weights = {}
        if resume is not None:
            self.update = resume.facts["step"]
            self._looks = [Validation(**look) for look in resume.facts["validations"]]
            self._weights = {name: t.numpy() for name, t in resume.group("best").items()}

    def __call__(self, update: int, look: Validation | None) -> None:
        """Take note of an update, and of its look at the select block if there was one."""
        self.update = update
        if look is not None:
            self._looks.append(look)
            if look.best:
                self._weights = {k: v.copy() for k, v in weights_of(self._network).items()}
        self._on_update(update, look)

    @property
    def best(self) -> FittedMember | None:
        """What the best look so far saw; None before the first."""
        if not self._looks:
            return None
        return FittedMember(weights=self._weights, looks=tuple(self._looks))


__all__ = ["FitResult", "OnStep", "Validation", "fit", "fit_panel", "plan_of"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """What a fitting made.

    `looks_by_member` are each network's at the select block; `residuals` (N, K) actual minus mean
    forecast in the targets' own units, `scores` (N, K) where outcomes lie in their distributions
    (see `evaluation/recalibration.py`); both NaN outside the select block.
    """

    fitted: Fitted
    validations_by_member: tuple[tuple[Validation, ...], ...]
    residuals: np.ndarray
    scores: np.ndarray

    @property
    def looks(self) -> tuple[Validation, ...]:
        """All looks at the select block, member after member."""
        return tuple(look for looks in self.validations_by_member for look in looks)


def fit_panel(
    panel: Panel, split: Split, settings: TrainSettings, *, start: Weights | None = None
) -> FitResult:
    """Fit on the fit block of a split, stop and calibrate on its select block.

    Args:
        panel: of the settings' targets; rows after the select block change nothing.
        split: the blocks of time; the dates in `settings` have no say.
        settings: what to fit; the seed too.
        start: weights to begin from (a warm start), as `weights_of_all` names them; None for
            fresh ones.

    Raises:
        DataError: a block of time has nothing to score.
        DivergedError: the fitting met a value that is not finite.
    """
    dataset = build_dataset(panel, split, settings)
    device = choose_device(settings.device)
    return fit(dataset, with_bptt_horizon(dataset, settings, device), device, start=start)


def fit(
    dataset: Dataset,
    settings: TrainSettings,
    device: torch.device,
    *,
    start: Weights | None = None,
    on_step: OnStep = lambda update, look: None,
) -> FitResult:
    """Fit the members and calibrate them together; see `fit_members`."""
    done = fit_ensemble(dataset, settings, device, start=start, on_step=on_step)
    return calibrate(done, dataset, settings)


def fit_ensemble(
    dataset: Dataset,
    settings: TrainSettings,
    device: torch.device,
    *,
    start: Weights | None = None,
    on_step: OnStep = lambda update, look: None,
    keeper: Checkpointer | None = None,
) -> list[FittedMember]:
    """Fit the members one after another, each stopped by itself.

    Args:
        material: a panel with its blocks and scales.
        settings: with `bptt_k2` a number (see `measured`); member m has the m-th next seed.
        device: where to compute; the networks come back to the CPU.
        start: weights to begin from, as `weights_of_all` names them; None for fresh ones.
        on_update: called after each optimizer step of each member.
        keeper: who has what was done before, and is told what is done now; None for nobody.

    Returns:
        Weights and looks of each member.

    Raises:
        ArtifactError: `start` is of another network.
        DivergedError: a loss or a gradient is not finite; says of which tickers and days.
        OutOfMemoryError: there is less memory than the training needs.
    """
    keeper, members = keeper or no_checkpoints(), []
    for member in range(settings.members):
        seeded = settings.model_copy(update={"seed": settings.seed + member})
        if settings.members > 1:
            log.info("member  %d of %d, seed %d", member + 1, settings.members, seeded.seed)
        done = keeper.finished(member)
        if done is None:
            own = start_of(member, start)
            done = _trained(dataset, seeded, device, own, on_step, keeper)
            keeper.finish(done)
        members.append(done)
    return members


def accepts_weights(dataset: Dataset, settings: TrainSettings, start: Weights) -> bool:
    """Say whether every member could begin from weights that were kept of another training."""
    try:
        for member in range(settings.members):
            _new_network(dataset, settings, start_of(member, start))
    except ArtifactError:
        return False
    return True


def with_bptt_horizon(
    dataset: Dataset, settings: TrainSettings, device: torch.device
) -> TrainSettings:
    """Replace `bptt_k2 = "auto"` by what a first, short training shows.

    Raises:
        UsageError: the memory exceeds what was measured; the text names what to give instead.
    """
    if settings.bptt_k2 != "auto":
        return settings

    def first_stage(first: TrainSettings) -> Network:
        silent, nobody = (lambda update, look: None), no_checkpoints()
        done = _trained(dataset, first, device, None, silent, nobody)
        return _new_network(dataset, first, done.weights).to(device)

    return with_measured_horizon(dataset, settings, first_stage)


def plan_of(settings: TrainSettings) -> BPTTPlan:
    """Read the BPTT plan from the settings."""
    return BPTTPlan(
        kind=settings.bptt,
        k2=settings.horizon,
        k1=settings.bptt_k1,
        step_per=settings.step_per,
        memory=settings.bptt_memory,
    )


def _trained(
    dataset: Dataset,
    settings: TrainSettings,
    device: torch.device,
    start: Weights | None,
    on_step: OnStep,
    keeper: Checkpointer,
) -> FittedMember:
    """Train a network on the fit block; the select block chooses its weights."""
    network = _new_network(dataset, settings, start).to(device)
    arrays = TrainingArrays.on(device, dataset.inputs, dataset.y, dataset.rows(0))
    resume = keeper.left()
    watched = Watched(network, resume, on_step)
    try:
        looks = run_training(
            network,
            arrays,
            epoch_segments(dataset, settings),
            plan_of(settings),
            _options(settings),
            Reading(
                last_day_only=not settings.scores_each_day,
                burn_in=settings.days_before_scoring,
                workers=settings.workers,
            ),
            validate=validation_loss(dataset, settings, arrays.inputs, dataset.y),
            on_step=watched,
            on_boundary=keeper.boundary,
            resume=resume,
        )
    except DivergedError as error:
        keeper.fail(watched.best)
        raise DivergedError(f"{_where(dataset.panel, error)}{error}", error.rows) from error
    except (MemoryError, RuntimeError) as error:
        if not is_of_memory(error):
            raise
        keeper.fail(watched.best)
        raise OutOfMemoryError(
            f"Training ran out of memory after step {watched.update}; lower --batch-rows or "
            "--hidden, or give --bptt-memory recompute."
        ) from error
    return FittedMember(weights=weights_of(network), looks=tuple(looks))


def _new_network(dataset: Dataset, settings: TrainSettings, start: Weights | None) -> Network:
    """Draw fresh weights, or take those given."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    network = build_network(
        Architecture(
            model=settings.model,
            inputs=len(dataset.reader.names),
            hidden=settings.hidden,
            layers=settings.layers,
            dropout=settings.dropout,
            input_dropout=settings.input_dropout,
            forms=dataset.forms,
            has_base=dataset.reader.base is not None,
            learned_start=settings.initial_state == "learned",
            bidirectional=settings.bidirectional,
        )
    )
    if start is not None:
        fill(network, start, "The weights to start from")
    return network


def _options(settings: TrainSettings) -> Options:
    return Options(
        max_steps=settings.max_steps,
        learning_rate=settings.lr,
        weight_decay=settings.weight_decay,
        clip_grad=settings.clip_grad,
        evaluate_every=settings.evaluate_every,
        patience=settings.patience,
    )


def _where(panel: Panel, error: DivergedError) -> str:
    """Name the tickers and the days that the failing update had read."""
    if not len(error.rows):
        return ""
    rows = np.array(error.rows)
    tickers = [panel.tickers[number] for number in np.unique(panel.series[rows])]
    named = ", ".join(tickers[:3]) + (f" and {len(tickers) - 3} more" if len(tickers) > 3 else "")
    return f"{named}, {panel.days[rows].min()}..{panel.days[rows].max()}: "


def calibrate(
    members: Sequence[FittedMember], dataset: Dataset, settings: TrainSettings
) -> FitResult:
    """Compare the forecasts that all members make of the select block with what came."""
    networks = [_new_network(dataset, settings, done.weights).eval() for done in members]
    panel, scored, forms = dataset.panel, dataset.rows(1), dataset.forms
    rows = np.asarray(scored.any(axis=1))
    inputs = torch.from_numpy(dataset.inputs)
    each = [forecast_rows(n, inputs, panel.offsets, settings.lookback, rows) for n in networks]
    raw = np.mean(each, axis=0)
    base = dataset.base_outputs
    places = location_columns(forms)
    held = np.broadcast_to(base, raw.shape)[:, places]
    shares = shrinkage(raw[:, places] - held, np.where(scored, dataset.y - held, np.nan))
    moved = [shrunk(one, base, forms, shares) for one in each]
    found = together(moved, forms, dataset.target_scaler)
    y = np.where(scored, panel.y, np.nan)
    fitted = Fitted(
        networks=tuple(networks),
        lookback=settings.lookback,
        reader=dataset.reader,
        target_scaler=dataset.target_scaler,
        forms=forms,
        shrinkage=shares,
    )
    return FitResult(
        fitted=fitted,
        validations_by_member=tuple(done.looks for done in members),
        residuals=y - np.column_stack([part.mean() for part in found]),
        scores=np.column_stack([scores_of(*pair) for pair in zip(found, y.T, strict=True)]),
    )
