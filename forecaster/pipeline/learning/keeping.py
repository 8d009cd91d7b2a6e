"""Who keeps what a training has done, so that one that was stopped goes on where it was.

Values and an interface; writes no file (see `checkpoints.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from forecaster.models.network import Network
from forecaster.pipeline.learning.fitted import Weights, weights_of
from forecaster.training.checkpoint import Checkpoint
from forecaster.training.trainer import Evaluated

OnUpdate = Callable[[int, Evaluated | None], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Done:
    """A member's weights, by name, and its looks at the select block."""

    weights: Weights
    looks: tuple[Evaluated, ...]


class Keeper(Protocol):
    """What a fitting asks and tells; members are counted from 0 and come in order."""

    def finished(self, member: int) -> Done | None:
        """Return a member that was finished before, or None."""

    def left(self) -> Checkpoint | None:
        """Return where the member that begins now was left, or None."""

    def boundary(self, checkpoint: Callable[[], Checkpoint]) -> None:
        """Hear that an update is done; may keep it, and may raise to end the training there."""

    def finish(self, done: Done) -> None:
        """Hear that a member is done."""

    def fail(self, best: Done | None) -> None:
        """Hear that a member failed, and what its best look was, if it had any."""


class _Nobody:
    """Keeps nothing."""

    def finished(self, member: int) -> Done | None:
        """Return None."""

    def left(self) -> Checkpoint | None:
        """Return None."""

    def boundary(self, checkpoint: Callable[[], Checkpoint]) -> None:
        """Do nothing."""

    def finish(self, done: Done) -> None:
        """Do nothing."""

    def fail(self, best: Done | None) -> None:
        """Do nothing."""


def keeps_nothing() -> Keeper:
    """Return a keeper for trainings that start afresh and leave nothing behind."""
    return _Nobody()


class Watched:
    """Passes updates on, and remembers the looks and the best weights should training fail."""

    def __init__(self, network: Network, resume: Checkpoint | None, on_update: OnUpdate) -> None:
        self._network, self._on_update = network, on_update
        self.update = 0
        self._looks: list[Evaluated] = []
        self._weights: Weights = {}
        if resume is not None:
            self.update = resume.facts["update"]
            self._looks = [Evaluated(**look) for look in resume.facts["looks"]]
            self._weights = {name: t.numpy() for name, t in resume.group("best").items()}

    def __call__(self, update: int, look: Evaluated | None) -> None:
        """Take note of an update, and of its look at the select block if there was one."""
        self.update = update
        if look is not None:
            self._looks.append(look)
            if look.best:
                self._weights = {k: v.copy() for k, v in weights_of(self._network).items()}
        self._on_update(update, look)

    @property
    def best(self) -> Done | None:
        """What the best look so far saw; None before the first."""
        if not self._looks:
            return None
        return Done(weights=self._weights, looks=tuple(self._looks))
