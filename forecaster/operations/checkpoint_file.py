"""The file that a stopped training goes on from: whole or not there, and of that training alone.

It lies at `models/.unfinished/NAME.checkpoint` and holds the members that are done and the one
under way. What it may be resumed with, prices and settings, is written into it.
"""

import json
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import uuid4

import torch

from forecaster import clock
from forecaster.database import sync_folder
from forecaster.errors import ArtifactError
from forecaster.forecasting.fitting import Checkpointer, FittedMember
from forecaster.registry.versions import UNFINISHED
from forecaster.training.checkpoint import Checkpoint
from forecaster.training.trainer import Validation

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Waiting:
    """Holds the first signal back until `deliver`; the second one is not held."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def hold(self) -> None:
        """Begin to hold signals back; nothing outside the main thread, which alone gets them."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def release(self) -> None:
        """Let signals do again what they did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def deliver(self) -> None:
        """Let the signal that came, if one did, do what it would have done."""
        self.release()
        if self.number is not None:
            number, self.number = self.number, None
            signal.raise_signal(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self.release()


@contextmanager
def signals_wait() -> Iterator[Waiting]:
    """Hold the first SIGINT or SIGTERM back inside the block, at most until its end."""
    waiting = Waiting()
    waiting.hold()
    try:
        yield waiting
    finally:
        waiting.deliver()


log = logging.getLogger(__name__)

_DONE = "done"


class CheckpointFile(Checkpointer):
    """Keeps a training in a file (a `Keeper`), every so many updates and when a signal waits."""

    def __init__(
        self, home: Path, name: str, about: Mapping[str, Any], *, every: int, waiting: Waiting
    ) -> None:
        """Take up what was left of the same training; put aside what was left of another.

        Args:
            home: the workspace.
            name: of the model, checked.
            about: everything that the training depends on, in plain values by subject.
            every: updates between two writings.
            waiting: tells whether a signal waits to be delivered.
        """
        self.path = home / "models" / UNFINISHED / f"{name}.checkpoint"
        self.failed: FittedMember | None = None
        self._about = json.loads(json.dumps(about, default=str))
        self._every, self._waiting = every, waiting
        self._since, self._writable = 0, True
        found = self._found()
        facts = found.facts if found else {}
        self.created = datetime.fromisoformat(facts["created"]) if found else clock.now()
        self._done = _done_of(found) if found else []
        self._left = found if found and "step" in facts else None
        if found:
            log.info(
                "resume  a training that was stopped after %s",
                f"update {facts['step']:,}" if self._left else f"member {len(self._done)}",
            )

    @property
    def done(self) -> list[FittedMember]:
        """The members that are done, in order."""
        return list(self._done)

    def finished(self, member: int) -> FittedMember | None:
        """Return a member that was done before."""
        return self._done[member] if member < len(self._done) else None

    def left(self) -> Checkpoint | None:
        """Return where the member that begins now was left."""
        found, self._left, self._since = self._left, None, 0
        return found

    def boundary(self, checkpoint: Callable[[], Checkpoint]) -> None:
        """Write where the training is, if it is time or a signal waits; then let that through."""
        self._since += 1
        stopped = self._waiting.number is not None
        if self._since >= self._every or stopped:
            self._write(checkpoint())
            self._since = 0
        if stopped:
            log.warning("stopped; the same command goes on from %s", self.path)
            self._waiting.deliver()

    def finish(self, done: FittedMember) -> None:
        """Write that a member is done."""
        self._done.append(done)
        self._write(None)

    def fail(self, best: FittedMember | None) -> None:
        """Remember what a failed member had found, and do not come back to it."""
        self.failed = best
        self.remove()

    def remove(self) -> None:
        """Delete the file: what it was for is over."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _found(self) -> Checkpoint | None:
        try:
            if self.path.is_symlink():
                raise ArtifactError("a link")
            found = Checkpoint.from_bytes(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ArtifactError):
            self._put_aside("is damaged, or of another forecaster")
            return None
        theirs = found.facts.get("about", {})
        other = [subject for subject in self._about if theirs.get(subject) != self._about[subject]]
        if other:
            self._put_aside(f"was made with other {' and '.join(other)}")
            return None
        return found

    def _put_aside(self, why: str) -> None:
        kept = self.path.with_name(f"{self.path.name}.old")
        log.warning("%s %s: put aside as %s, training begins anew", self.path, why, kept.name)
        with suppress(OSError):
            os.replace(self.path, kept)

    def _write(self, left: Checkpoint | None) -> None:
        """Write the file anew beside its place and move it there."""
        if not self._writable:
            return
        groups = {
            f"{_DONE}{member}": {k: torch.from_numpy(v) for k, v in done.weights.items()}
            for member, done in enumerate(self._done)
        }
        facts = {
            "about": self._about,
            "created": self.created.isoformat(timespec="microseconds"),
            "validations_done": [[asdict(one) for one in done.validations] for done in self._done],
        }
        whole = Checkpoint.of(groups, facts)
        if left is not None:
            whole = Checkpoint(whole.tensors | left.tensors, whole.facts | left.facts)
        side = self.path.with_name(f"{self.path.name}.{uuid4().hex}.part")
        try:
            side.parent.mkdir(parents=True, exist_ok=True)
            with side.open("xb") as file:
                file.write(whole.to_bytes())
                file.flush()
                os.fsync(file.fileno())
            os.replace(side, self.path)
            sync_folder(side.parent)
        except OSError as error:
            self._writable = False
            log.warning("%s: %s; if it is stopped now, it begins anew", self.path, error.strerror)
            with suppress(OSError):
                side.unlink(missing_ok=True)


def _done_of(found: Checkpoint) -> list[FittedMember]:
    return [
        FittedMember(
            weights={name: t.numpy() for name, t in found.group(f"{_DONE}{member}").items()},
            validations=tuple(Validation(**one) for one in validations),
        )
        for member, validations in enumerate(found.facts["validations_done"])
    ]
