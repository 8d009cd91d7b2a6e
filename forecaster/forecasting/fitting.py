"""Fit networks on a data set: arrays in, a fitted ensemble, mostly of one member, out.

Walk-forward folds and `train` fit by the same code. Everything that goes in and comes out pickles.

Shape letters: N rows of the panel, K targets.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from forecaster.bptt.plan import Plan
from forecaster.data.panel import Panel
from forecaster.errors import ArtifactError, DivergedError, OutOfMemoryError
from forecaster.evaluation.calibration import scores_by_series, scores_of, shrinkage
from forecaster.evaluation.quantiles import LEVELS
from forecaster.evaluation.splits import Split
from forecaster.evaluation.threads import one_thread
from forecaster.forecasting.base_model import Base
from forecaster.forecasting.data_set import Dataset, build_dataset, epoch_batches, validation_loss
from forecaster.forecasting.fitted_model import (
    FittedModel,
    InputReader,
    Weights,
    forecast_rows,
    location_columns,
    member_weights,
    mixture_of_members,
    set_weights,
    shrink,
    weights_of,
)
from forecaster.models.heads import Form
from forecaster.models.initialisation import initialise
from forecaster.models.network import Architecture, Network, build_network
from forecaster.registry.manifest import NetworkPart
from forecaster.settings import TrainSettings
from forecaster.training.checkpoint import Checkpoint
from forecaster.training.epoch import Sampling
from forecaster.training.inference import allow_tf32, choose_device, is_out_of_memory
from forecaster.training.micro_batches import TrainingArrays
from forecaster.training.trainer import Callbacks, Options, Validation
from forecaster.training.trainer import train as run_training

OnStep = Callable[[int, Validation | None], None]

__all__ = ["FitResult", "OnStep", "Validation", "fit", "fit_panel", "plan_of"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedMember:
    """Weights of an ensemble member, by name, and its validations."""

    weights: Weights
    validations: tuple[Validation, ...]


class Checkpointer:
    """Store of a training's progress, member after member from 0; this one stores nothing."""

    def finished(self, member: int) -> FittedMember | None:
        """Return a member that was finished before, or None."""
        return None

    def left(self) -> Checkpoint | None:
        """Return the checkpoint that the next member resumes from, or None."""
        return None

    def boundary(self, checkpoint: Callable[[], Checkpoint]) -> None:
        """Store a checkpoint if one is due; may raise to end the training."""

    def finish(self, done: FittedMember) -> None:
        """Store a finished member."""

    def fail(self, best: FittedMember | None) -> None:
        """Record a failed member at its best validation, if it had any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """A fitted model, its mean squared error on validation days by target, each validation."""

    model: FittedModel
    validations_by_member: tuple[tuple[Validation, ...], ...]
    validation_mse: dict[str, float]


def fit_panel(
    panel: Panel,
    split: Split,
    settings: TrainSettings,
    *,
    start: Weights | None = None,
    base: Base | None = None,
) -> FitResult:
    """Fit on the training days of a split; stop and calibrate on its validation days.

    `base` is one that was fitted on just these days, or None to fit it.

    The split overrides the dates of the settings. Raises as `build_dataset` and `fit_ensemble`.
    """
    dataset = build_dataset(panel, split, settings, base)
    return fit(dataset, settings, choose_device(settings.device), start=start)


@one_thread()
def fit(
    dataset: Dataset,
    settings: TrainSettings,
    device: torch.device,
    *,
    start: Weights | None = None,
    on_step: OnStep = lambda step, validation: None,
) -> FitResult:
    """Fit the members and calibrate them together; see `fit_ensemble`."""
    done = fit_ensemble(dataset, settings, device, start=start, on_step=on_step)
    return calibrate(done, dataset, settings)


def fit_ensemble(
    dataset: Dataset,
    settings: TrainSettings,
    device: torch.device,
    *,
    start: Weights | None = None,
    on_step: OnStep = lambda step, validation: None,
    checkpointer: Checkpointer | None = None,
) -> list[FittedMember]:
    """Fit the members one after another, each stopped by itself.

    `bptt_k2` of the settings is a number; member m has their seed plus m. The networks start from
    the weights of `ensemble_weights`, if any. `on_step` is called after each optimizer step.

    Raises:
        ArtifactError: `start` is of another network.
        DivergedError: a loss or a gradient is not finite; reports the tickers and days read.
        OutOfMemoryError: there is less memory than the training needs.
    """
    checkpointer, members = checkpointer or Checkpointer(), []
    for member in range(settings.members):
        seeded = settings.model_copy(update={"seed": settings.seed + member})
        if settings.members > 1:
            log.info("member  %d of %d, seed %d", member + 1, settings.members, seeded.seed)
        done = checkpointer.finished(member)
        if done is None:
            own = member_weights(member, start)
            done = _fit_member(dataset, seeded, device, own, on_step, checkpointer)
            checkpointer.finish(done)
        members.append(done)
    return members


def accepts_weights(dataset: Dataset, settings: TrainSettings, start: Weights) -> bool:
    """Whether every member could start from the weights of another training."""
    try:
        for member in range(settings.members):
            new_network(dataset, settings, member_weights(member, start))
    except ArtifactError:
        return False
    return True


def plan_of(settings: TrainSettings) -> Plan:
    """Return the BPTT plan of the settings."""
    return Plan(
        kind=settings.bptt,
        k2=settings.horizon,
        k1=settings.bptt_k1,
        step_per=settings.step_per,
        memory=settings.bptt_memory,
    )


def _fit_member(
    dataset: Dataset,
    settings: TrainSettings,
    device: torch.device,
    start: Weights | None,
    on_step: OnStep,
    checkpointer: Checkpointer,
) -> FittedMember:
    """Train a network on the training days; its weights are those of the best validation."""
    network = new_network(dataset, settings, start).to(device)
    arrays = TrainingArrays.on(device, dataset.inputs, dataset.y, dataset.rows(0))
    resume = checkpointer.left()
    done = resume.facts["step"] if resume else 0
    validations = [Validation(**one) for one in resume.facts["validations"]] if resume else []

    def record(step: int, validation: Validation | None) -> None:
        nonlocal done
        done = step
        if validation is not None:
            validations.append(validation)
        on_step(step, validation)

    def best() -> FittedMember:
        return FittedMember(weights=weights_of(network), validations=tuple(validations))

    callbacks = Callbacks(
        validate=validation_loss(dataset, settings, arrays.inputs, dataset.y),
        on_step=record,
        on_boundary=checkpointer.boundary,
    )
    epochs, options = epoch_batches(dataset, settings), _options(settings)
    try:
        run_training(network, arrays, epochs, options, callbacks, resume)
    except DivergedError as error:
        checkpointer.fail(best() if validations else None)
        where = _rows_read(dataset.panel, error.rows) if error.rows else ""
        raise DivergedError(f"{where}{error}", error.rows) from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        checkpointer.fail(best() if validations else None)
        raise OutOfMemoryError(
            f"Training ran out of memory after step {done}; lower --batch-rows or "
            "--hidden, or give --bptt-memory recompute."
        ) from error
    return best()


def new_network(dataset: Dataset, settings: TrainSettings, start: Weights | None) -> Network:
    """Build the network with fresh weights, or with those given."""
    torch.set_num_threads(settings.threads)
    allow_tf32(settings.tf32)
    torch.manual_seed(settings.seed)
    learned, model = settings.initial_state == "learned", dataset.model
    network = build_network(
        architecture_of(settings, model.reader, model.forms, learned_start=learned)
    )
    initialise(
        network,
        recurrent_weights=settings.recurrent_weights,
        forget_bias=settings.forget_bias,
    )
    if start is not None:
        set_weights(network, start, "The weights to start from")
    return network


def architecture_of(
    part: TrainSettings | NetworkPart,
    reader: InputReader,
    forms: tuple[Form, ...],
    *,
    learned_start: bool,
) -> Architecture:
    """Return the shape of the networks that settings or a manifest describe."""
    return Architecture(
        model=part.model,
        inputs=len(reader.names),
        hidden=part.hidden,
        layers=part.layers,
        dropout=part.dropout,
        input_dropout=part.input_dropout,
        forms=forms,
        has_base=reader.base is not None,
        learned_start=learned_start,
        bidirectional=part.bidirectional,
    )


def _options(settings: TrainSettings) -> Options:
    return Options(
        plan=plan_of(settings),
        sampling=Sampling(
            last_day_only=not settings.scores_each_day, burn_in=settings.days_before_scoring
        ),
        workers=settings.workers,
        max_steps=settings.max_steps,
        learning_rate=settings.lr,
        weight_decay=settings.weight_decay,
        clip_grad=settings.clip_grad,
        evaluate_every=settings.evaluate_every,
        patience=settings.patience,
    )


def _rows_read(panel: Panel, numbers: Sequence[int]) -> str:
    """Describe the tickers and days of some rows."""
    rows = np.array(numbers)
    tickers = [panel.tickers[number] for number in np.unique(panel.series[rows])]
    more = f" and {len(tickers) - 3} more" if len(tickers) > 3 else ""
    days = panel.days[rows]
    return f"{', '.join(tickers[:3])}{more}, {days.min()}..{days.max()}: "


def calibrate(
    members: Sequence[FittedMember], dataset: Dataset, settings: TrainSettings
) -> FitResult:
    """Calibrate the shrunk forecasts of all members together, by the validation outcomes."""
    networks = [new_network(dataset, settings, done.weights).eval() for done in members]
    panel, scored, forms = dataset.panel, dataset.rows(1), dataset.model.forms
    rows, inputs = np.asarray(scored.any(axis=1)), torch.from_numpy(dataset.inputs)
    each = [forecast_rows(n, inputs, panel.offsets, settings.lookback, rows) for n in networks]
    base = dataset.model.reader.base_outputs(dataset.inputs)
    raw, columns = np.mean(each, axis=0), location_columns(forms)
    base_locations = np.broadcast_to(base, raw.shape)[:, columns]
    factors = shrinkage(
        raw[:, columns] - base_locations, np.where(scored, dataset.y - base_locations, np.nan)
    )
    shrunk = [shrink(one, base, forms, factors) for one in each]
    forecasts = mixture_of_members(shrunk, forms, dataset.model.target_scaler)
    y = np.where(scored, panel.y, np.nan)
    residuals = y - np.column_stack([part.mean() for part in forecasts])
    calibration = {
        name: scores_by_series(scores_of(part, outcome), panel.series, panel.tickers, LEVELS)
        for name, part, outcome in zip(panel.targets, forecasts, y.T, strict=True)
    }
    return FitResult(
        model=replace(
            dataset.model, networks=tuple(networks), shrinkage=factors, calibration=calibration
        ),
        validations_by_member=tuple(done.validations for done in members),
        validation_mse={
            name: float(np.nanmean(column**2))
            for name, column in zip(panel.targets, residuals.T, strict=True)
        },
    )
