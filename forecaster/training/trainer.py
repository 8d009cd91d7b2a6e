"""The training loop: updates, validation, early stopping.

Arrays and row numbers in, trained weights out; knows no ticker, no file and no target.
The panel moves to the device once.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from forecaster.bptt.chunks import BlockGradients
from forecaster.bptt.plan import BPTTPlan
from forecaster.errors import DivergedError
from forecaster.models.base import RecurrentState
from forecaster.models.network import Network
from forecaster.training.checkpoint import (
    Checkpoint,
    optimizer_facts,
    optimizer_tensors,
    random_tensors,
    restore_optimizer,
    restore_random,
)
from forecaster.training.epoch import (
    Place,
    Reading,
    Segments,
    TrainingArrays,
    Watched,
    pass_gradients,
)
from forecaster.training.micro_batches import workers_of

SPIKE: Final = 10.0
RECENT: Final = 100
# A median of fewer is not one to hold others against.
FEWEST: Final = 20


class GradientNorms:
    """Counts, over a training, gradients that were clipped or that leapt.

    Norms are only noted as they come, and counted when a look at the select block is due.
    """

    def __init__(self, clip: float) -> None:
        self._clip = clip
        self._recent: list[float] = []
        self._uncounted: list[float] = []
        self.clipped = 0
        self.spikes = 0

    @property
    def last(self) -> float:
        """The norm noted last; NaN before the first."""
        return (self._uncounted or self._recent or [float("nan")])[-1]

    def note(self, norm: float) -> None:
        """Take note of a finite norm."""
        self._uncounted.append(norm)

    def count(self) -> None:
        """Bring `clipped` and `leaps` up to the last norm noted."""
        norms = np.array([*self._recent, *self._uncounted])
        for at in range(len(self._recent), len(norms)):
            self.clipped += bool(norms[at] > self._clip)
            before = norms[max(0, at - RECENT) : at]
            self.spikes += bool(len(before) >= FEWEST and norms[at] > SPIKE * np.median(before))
        self._recent, self._uncounted = norms[-RECENT:].tolist(), []

    def facts(self) -> dict[str, int | list[float]]:
        """Return all that counting goes on from."""
        return {
            "recent": list(self._recent),
            "uncounted": list(self._uncounted),
            "clipped": self.clipped,
            "spikes": self.spikes,
        }

    def restore(self, facts: dict[str, int | list[float]]) -> None:
        """Go back to where `facts` were taken."""
        self._recent, self._uncounted = list(facts["recent"]), list(facts["uncounted"])  # type: ignore[arg-type]
        self.clipped, self.spikes = facts["clipped"], facts["spikes"]  # type: ignore[assignment]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the weights move and when to stop.

    Args:
        max_steps: optimizer steps at most; the learning-rate cycle spans all of them.
        learning_rate: peak of the one-cycle schedule.
        weight_decay: of AdamW.
        clip_grad: largest norm of a gradient.
        evaluate_every: updates between two looks at the select block.
        patience: looks without improvement before stopping.
    """

    max_steps: int
    learning_rate: float
    weight_decay: float
    clip_grad: float
    evaluate_every: int
    patience: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """One look at the select block; losses are means per scored outcome, in scaled units.

    `clipped` and `leaps` count the gradients until here that were too long (see `norms.py`).
    """

    step: int
    epoch: int
    train_loss: float
    validation_loss: float
    best: bool
    seconds: float
    clipped: int
    spikes: int


def train(
    network: Network,
    arrays: TrainingArrays,
    passes: Callable[[int], Segments],
    plan: BPTTPlan,
    options: Options,
    reading: Reading,
    *,
    validate: Callable[[Network], float],
    on_step: Callable[[int, Validation | None], None],
    on_boundary: Callable[[Callable[[], Checkpoint]], None] = lambda checkpoint: None,
    resume: Checkpoint | None = None,
) -> list[Validation]:
    """Train in place and leave the network with the weights of its best look at select.

    Args:
        network: fresh or warm; on the arrays' device.
        arrays: what is learnt from.
        passes: gives the segments of the pass with this number, first pass 1; the same ones
            whenever it is asked.
        plan: how far errors travel back inside a segment.
        options: budget, optimizer and stopping.
        reading: whether segments are windows or lanes.
        validate: the select loss at the current weights.
        on_update: called after every update, with the look at select if there was one.
        on_boundary: called after that with what makes a checkpoint of this moment; may raise
            to end the training there.
        resume: where an equal training was left; it goes on as if it had never stopped, on
            a CPU bit for bit.

    Returns:
        Every look at the select block, in order.

    Raises:
        ArtifactError: `resume` is of another training.
        DivergedError: a loss or gradient is not finite; the network holds its best weights.
        ValueError: a pass has no segments.
    """
    run = _Run(network, plan, options)
    if resume is not None:
        run.restore(resume)
    network.train()
    with workers_of(reading.workers, arrays.inputs.device) as workers:
        while not run.ended:
            segments = Watched(passes(run.epoch))
            for gradients in pass_gradients(
                network, arrays, segments, plan, reading, run.place, workers
            ):
                run.move(gradients, segments)
                look = run.look(validate) if run.look_is_due else None
                on_step(run.step, look)
                if run.ended:
                    break
                on_boundary(run.checkpoint)
            else:
                run.epoch, run.place = run.epoch + 1, Place()
    network.load_state_dict(run.best_weights)
    return run.looks


class _Run:
    """A training under way: everything that the next update depends on, but the data."""

    def __init__(self, network: Network, plan: BPTTPlan, options: Options) -> None:
        self.network, self.plan, self.options = network, plan, options
        self.optimizer = torch.optim.AdamW(
            network.parameters(),
            lr=options.learning_rate,
            weight_decay=options.weight_decay,
            fused=True,  # a third of the time, which small networks feel
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=options.learning_rate,
            total_steps=max(options.max_steps, 2),  # a cycle of one step is its end: no rate
        )
        self.step, self.epoch, self.place = 0, 1, Place()
        self.best_weights = copy.deepcopy(network.state_dict())
        self.looks: list[Validation] = []
        self.losses: list[Tensor] = []
        self.norms, self.started = GradientNorms(options.clip_grad), time.monotonic()

    @property
    def look_is_due(self) -> bool:
        """Say whether the select block is to be looked at after this update."""
        last = self.step == self.options.max_steps
        return last or self.step % self.options.evaluate_every == 0

    @property
    def ended(self) -> bool:
        """Say whether the budget is spent, or the last `patience` looks brought no better one."""
        recent = self.looks[-self.options.patience :]
        stale = len(self.looks) > self.options.patience and not any(look.best for look in recent)
        return self.step == self.options.max_steps or stale

    def move(self, gradients: BlockGradients, segments: Watched) -> None:
        """Move the weights once.

        Raises:
            DivergedError: the gradient is not finite.
        """
        norm = _step(self.optimizer, gradients, self.options.clip_grad)
        self.step += 1
        if not np.isfinite(norm):
            raise self._diverged(f"a gradient of norm {norm}", segments.rows)
        if self.step < self.options.max_steps:  # a step more than its cycle has is an error
            self.schedule.step()
        segments.forget()
        self.norms.note(norm)
        self.losses.append(gradients.loss_sum)

    def look(self, validate: Callable[[Network], float]) -> Validation:
        """Measure the select loss; remember the weights if it is the best one.

        Raises:
            DivergedError: it is not finite.
        """
        validation_loss = validate(self.network)
        if not np.isfinite(validation_loss):
            raise self._diverged(f"a select loss of {validation_loss}")
        self.norms.count()
        best = validation_loss < min((past.validation_loss for past in self.looks), default=np.inf)
        look = Validation(
            step=self.step,
            epoch=self.epoch,
            train_loss=float(torch.stack(self.losses).mean()),
            validation_loss=validation_loss,
            best=best,
            seconds=time.monotonic() - self.started,
            clipped=self.norms.clipped,
            spikes=self.norms.spikes,
        )
        self.looks.append(look)
        self.losses = []
        if best:
            self.best_weights = copy.deepcopy(self.network.state_dict())
        return look

    def _diverged(self, what: str, rows: Sequence[int] = ()) -> DivergedError:
        self.network.load_state_dict(self.best_weights)
        norm = self.norms.last
        before = "" if np.isnan(norm) else f" (the last finite gradient had norm {norm:.3g})"
        return DivergedError(
            f"Update {self.step} in pass {self.epoch} met {what}{before}; lower --lr or "
            "--clip-grad. `forecaster memory` tells of an earlier version how errors grow.",
            rows,
        )

    def checkpoint(self) -> Checkpoint:
        """Copy all that the next update depends on."""
        carried = () if self.place.state is None else self.place.state.tensors
        losses = (torch.stack(self.losses),) if self.losses else ()
        groups = {
            "weights": self.network.state_dict(),
            "best": self.best_weights,
            "adam": optimizer_tensors(self.optimizer),
            "carried": {str(number): tensor for number, tensor in enumerate(carried)},
            "losses": {str(number): tensor for number, tensor in enumerate(losses)},
            "random": random_tensors(next(self.network.parameters()).device),
        }
        facts = {
            "training": self._identity(),
            "step": self.step,
            "epoch": self.epoch,
            "done": self.place.done,
            "rates": optimizer_facts(self.optimizer),
            "schedule": self.schedule.state_dict(),
            "norms": self.norms.facts(),
            "seconds": time.monotonic() - self.started,
            "validations": [asdict(look) for look in self.looks],
        }
        return Checkpoint.of(groups, facts)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where a checkpoint was made.

        Raises:
            ArtifactError: it was made by another training.
        """
        facts = checkpoint.facts
        checkpoint.require(self._identity(), self.network.state_dict())
        self.network.load_state_dict(checkpoint.group("weights"))
        self.best_weights = checkpoint.group("best")
        restore_optimizer(self.optimizer, checkpoint.group("adam"), facts["rates"])
        self.schedule.load_state_dict(facts["schedule"])
        device = next(self.network.parameters()).device
        restore_random(checkpoint.group("random"), device)
        self.step, self.epoch = facts["step"], facts["epoch"]
        carried = tuple(tensor.to(device) for tensor in checkpoint.group("carried").values())
        self.place = Place(facts["done"], RecurrentState(carried) if carried else None)
        self.losses = [loss for part in checkpoint.group("losses").values() for loss in part]
        self.looks = [Validation(**look) for look in facts["validations"]]
        self.norms.restore(facts["norms"])
        self.started = time.monotonic() - facts["seconds"]

    def _identity(self) -> dict[str, object]:
        """Say what a checkpoint must have in common with a training that goes on from it."""
        return {"plan": asdict(self.plan), "options": asdict(self.options)}


def _step(optimizer: torch.optim.Optimizer, block: BlockGradients, clip: float) -> float:
    """Move the weights once, unless the gradient is not finite; return its norm."""
    parameters = optimizer.param_groups[0]["params"]
    for parameter, gradient in zip(parameters, block.gradients, strict=True):
        parameter.grad = gradient
    # As torch.nn.utils.get_total_norm, which spends more on sorting a few tensors by device.
    each = [torch.linalg.vector_norm(gradient) for gradient in block.gradients]
    total = torch.linalg.vector_norm(torch.stack(each))
    norm = float(total)
    if np.isfinite(norm):
        if norm > clip:
            torch.nn.utils.clip_grads_with_norm_(parameters, clip, total)
        optimizer.step()
    return norm
