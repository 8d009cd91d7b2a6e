"""The training loop: optimizer steps, validation, early stopping."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from forecaster.bptt.batch import Gradients
from forecaster.bptt.plan import Plan
from forecaster.bptt.randomness import random_state, set_random_state
from forecaster.errors import DivergedError
from forecaster.models.base import RecurrentState
from forecaster.models.network import Network
from forecaster.training.checkpoint import Checkpoint
from forecaster.training.epoch import Epoch, Position, Sampling, epoch_gradients
from forecaster.training.micro_batches import Learner, TrainingArrays, workers_of
from forecaster.training.optimizer import AdamW, one_cycle

SPIKE: Final = 10.0  # times the median of recent gradient norms
# Steps between two looks at the gradient's norms: on a CPU they cost nothing, on a GPU each one
# waits for all that was started.
READ_EVERY: Final = {"cpu": 1}
READ_EVERY_ON_GPU: Final = 20
RECENT: Final = 100
MIN_RECENT: Final = 20  # the median of fewer is no measure


@dataclass(slots=True)
class GradientNorms:
    """Counts, over a training, of gradients that were clipped and of gradient spikes.

    Finite norms are appended to `uncounted`; those counted last are `recent`.
    """

    recent: list[float] = field(default_factory=list)
    uncounted: list[float] = field(default_factory=list)
    clipped: int = 0
    spikes: int = 0

    @property
    def last(self) -> float:
        """The last norm; NaN before the first."""
        return (self.uncounted or self.recent or [float("nan")])[-1]

    def count(self, clip: float) -> None:
        """Update `clipped` and `spikes` with the norms recorded since the last count."""
        norms = np.array([*self.recent, *self.uncounted])
        for at in range(len(self.recent), len(norms)):
            self.clipped += bool(norms[at] > clip)
            before = norms[max(0, at - RECENT) : at]
            self.spikes += bool(len(before) >= MIN_RECENT and norms[at] > SPIKE * np.median(before))
        self.recent, self.uncounted = norms[-RECENT:].tolist(), []


@dataclass(frozen=True, slots=True, eq=False)
class StepTaken:
    """An optimizer step, with the gradient's norm still on the device, and the rows it read."""

    step: int
    epoch: int
    norm: Tensor
    read: tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a network is trained and when training stops.

    The one-cycle schedule of the learning rate, which is its peak, spans all `max_steps`. After
    `patience` validations without improvement the training stops. Any number of `workers`,
    threads on a CPU that share a step, gives the same weights.
    """

    plan: Plan
    sampling: Sampling
    max_steps: int
    learning_rate: float
    weight_decay: float
    clip_grad: float
    evaluate_every: int
    patience: int
    workers: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """One validation; losses are means per scored outcome, in scaled units."""

    step: int
    epoch: int
    train_loss: float
    validation_loss: float
    best: bool
    seconds: float
    clipped: int
    spikes: int
    gradient_norm: float | None = None  # the last; None in checkpoints made before it was kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """Functions that a training calls.

    `on_step` is called after every optimizer step, with the validation if there was one; then
    `on_boundary`, with a function that makes a checkpoint of this moment, may raise to end it.
    """

    validate: Callable[[Network], float]
    on_step: Callable[[int, Validation | None], None] = lambda step, validation: None
    on_boundary: Callable[[Callable[[], Checkpoint]], None] = lambda checkpoint: None


def train(
    network: Network,
    arrays: TrainingArrays,
    epochs: Callable[[int], Epoch],
    options: Options,
    callbacks: Callbacks,
    resume: Checkpoint | None = None,
) -> list[Validation]:
    """Train in place; leave the network with the weights of its best validation, come what may.

    `epochs` returns the epoch with a number, the first 1, the same one every time. A training
    resumed from an equal one's checkpoint continues it, on a CPU bit for bit.

    Raises:
        ArtifactError: `resume` is of another training.
        DivergedError: a loss or gradient is not finite.
        ValueError: an epoch has no batches.
    """
    run = _Training(network, options)
    if resume is not None:
        run.restore(resume)
    network.train()
    try:
        with workers_of(options.workers, arrays.inputs.device) as workers:
            learner = Learner(network=network, arrays=arrays, plan=options.plan, workers=workers)
            while not run.ended:
                epoch = epochs(run.epoch)
                for gradients in epoch_gradients(learner, epoch, options.sampling, run.position):
                    run.take_step(gradients)
                    callbacks.on_step(run.step, run.validate_if_due(callbacks.validate))
                    if run.ended:
                        break
                    callbacks.on_boundary(run.checkpoint)
                else:
                    run.epoch, run.position = run.epoch + 1, Position()
    finally:
        network.load_state_dict(run.best_weights)
    return run.validations


class _Training:
    """Everything that the next optimizer step depends on, but the data."""

    def __init__(self, network: Network, options: Options) -> None:
        self.network, self.options = network, options
        device = next(network.parameters()).device
        self.device, self.read_every = device, READ_EVERY.get(device.type, READ_EVERY_ON_GPU)
        self.optimizer = AdamW(network.parameters(), options.weight_decay)
        self.step, self.epoch, self.position = 0, 1, Position()
        self.best_weights = copy.deepcopy(network.state_dict())
        self.validations: list[Validation] = []
        self.losses: list[Tensor] = []
        self.unread: list[StepTaken] = []
        self.norms, self.started = GradientNorms(), time.monotonic()

    @property
    def ended(self) -> bool:
        """Whether the budget is spent, or the last `patience` validations were no better."""
        recent = self.validations[-self.options.patience :]
        stale = len(self.validations) > self.options.patience and not any(v.best for v in recent)
        return self.step == self.options.max_steps or stale

    def take_step(self, gradients: Gradients) -> None:
        """Take one optimizer step, and look at the norms of the last ones if that is due."""
        rates = one_cycle(self.step, self.options.max_steps, self.options.learning_rate)
        norm = _step(self.optimizer, gradients, self.options.clip_grad, *rates)
        self.step += 1
        self.unread.append(StepTaken(self.step, self.epoch, norm, tuple(self.position.read)))
        self.position.read.clear()
        self.losses.append(gradients.loss)
        if len(self.unread) >= self.read_every:
            self._read_norms()

    def _read_norms(self) -> None:
        """Record the norms of the steps not looked at; raise DivergedError if one is not finite."""
        steps, self.unread = self.unread, []
        norms = torch.stack([taken.norm for taken in steps]).cpu().tolist() if steps else []
        for taken, norm in zip(steps, norms, strict=True):
            if not np.isfinite(norm):
                rows = np.concatenate([rows[rows >= 0] for rows in taken.read])
                what = f"a gradient of norm {norm}"
                raise self._diverged(what, rows.tolist(), taken.step, taken.epoch)
            self.norms.uncounted.append(norm)

    def validate_if_due(self, loss_of: Callable[[Network], float]) -> Validation | None:
        """Measure the validation loss if due; keep the weights if it is the best one."""
        if self.step % self.options.evaluate_every and self.step < self.options.max_steps:
            return None
        self._read_norms()
        loss = loss_of(self.network)
        if not np.isfinite(loss):
            raise self._diverged(f"a validation loss of {loss}", (), self.step, self.epoch)
        self.norms.count(self.options.clip_grad)
        best = loss < min((past.validation_loss for past in self.validations), default=np.inf)
        validation = Validation(
            step=self.step,
            epoch=self.epoch,
            train_loss=float(torch.stack(self.losses).mean()),
            validation_loss=loss,
            best=best,
            seconds=time.monotonic() - self.started,
            clipped=self.norms.clipped,
            spikes=self.norms.spikes,
            gradient_norm=self.norms.last,
        )
        self.validations.append(validation)
        self.losses = []
        if best:
            self.best_weights = copy.deepcopy(self.network.state_dict())
        return validation

    def _diverged(self, what: str, rows: Sequence[int], step: int, epoch: int) -> DivergedError:
        norm = self.norms.last
        before = "" if np.isnan(norm) else f" (the last finite gradient had norm {norm:.3g})"
        return DivergedError(
            f"Optimizer step {step} in epoch {epoch} had {what}{before}; lower --lr or "
            "--clip-grad. `forecaster memory` shows how the errors of an earlier version grow.",
            rows,
        )

    def checkpoint(self) -> Checkpoint:
        """Copy all that the next optimizer step depends on; DivergedError if it diverged."""
        self._read_norms()
        carried = () if self.position.state is None else self.position.state.tensors
        losses = (torch.stack(self.losses),) if self.losses else ()
        groups = {
            "weights": self.network.state_dict(),
            "best": self.best_weights,
            "adam": self.optimizer.state(),
            "carried": {str(number): tensor for number, tensor in enumerate(carried)},
            "losses": {str(number): tensor for number, tensor in enumerate(losses)},
            "random": random_state(self.device),
        }
        facts = {
            "training": self._identity(),
            "step": self.step,
            "epoch": self.epoch,
            "done": self.position.done,
            "norms": asdict(self.norms),
            "seconds": time.monotonic() - self.started,
            "validations": [asdict(validation) for validation in self.validations],
        }
        return Checkpoint.of(groups, facts)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint; raise ArtifactError if another training made it."""
        facts = checkpoint.facts
        checkpoint.require(self._identity(), self.network.state_dict())
        self.network.load_state_dict(checkpoint.group("weights"))
        self.best_weights = checkpoint.group("best")
        self.optimizer.restore(checkpoint.group("adam"))
        set_random_state(checkpoint.group("random"), self.device)
        self.step, self.epoch = facts["step"], facts["epoch"]
        carried = tuple(tensor.to(self.device) for tensor in checkpoint.group("carried").values())
        self.position = Position(facts["done"], RecurrentState(carried) if carried else None)
        self.losses = [loss for part in checkpoint.group("losses").values() for loss in part]
        self.validations = [Validation(**validation) for validation in facts["validations"]]
        self.norms = GradientNorms(**facts["norms"])
        self.started = time.monotonic() - facts["seconds"]

    def _identity(self) -> dict[str, Any]:
        """Return what a checkpoint must have in common with a training that continues it."""
        return asdict(replace(self.options, workers=1))


def _step(
    optimizer: AdamW, block: Gradients, clip: float, learning_rate: float, first_decay: float
) -> Tensor:
    """Take one optimizer step, on the device alone; return the gradient norm before clipping.

    The host may look later whether it was finite: until then no step changes anything.
    """
    total, gradients = block.norm, list(block.values)
    factor = (clip / (total + 1e-6)).clamp_(max=1.0)  # as torch.nn.utils.clip_grad_norm_
    torch._foreach_mul_(gradients, factor)
    optimizer.found_inf.masked_fill_(total.isfinite().logical_not_(), 1.0)
    optimizer.step(gradients, learning_rate, first_decay)
    return total
