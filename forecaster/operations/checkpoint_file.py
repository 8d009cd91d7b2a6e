"""The checkpoint file of a scheduled training, `models/.unfinished/NAME.checkpoint`.

It has the finished members and the unfinished one, and what they may be resumed with.
"""

import json
import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final

import torch

from forecaster import clock
from forecaster.errors import ArtifactError
from forecaster.files import atomic_file, make_private, sync_folder
from forecaster.forecasting.fitting import Checkpointer, FittedMember
from forecaster.registry.versions import UNFINISHED
from forecaster.training.checkpoint import Checkpoint
from forecaster.training.trainer import Validation

log = logging.getLogger(__name__)

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_DONE: Final = "done"


class DeferredSignals:
    """The first SIGINT or SIGTERM, deferred until `deliver`; the second one is not deferred."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():  # only it receives signals
            self._before = {number: signal.signal(number, self._store) for number in SIGNALS}

    def __enter__(self) -> "DeferredSignals":
        return self

    def __exit__(self, *error: object) -> None:
        self.deliver()

    def _restore(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def deliver(self) -> None:
        """Raise the deferred signal, if any, with its own handler."""
        self._restore()
        if self.number is not None:
            number, self.number = self.number, None
            signal.raise_signal(number)

    def _store(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self._restore()


class CheckpointFile(Checkpointer):
    """A checkpoint in a file, written every so many steps and when a signal is deferred."""

    def __init__(
        self, home: Path, name: str, about: dict[str, Any], *, every: int, signals: DeferredSignals
    ) -> None:
        """Read what is left of the same training; set that of another one aside.

        `about` is everything that the training depends on, in plain values by subject; `every`
        the number of optimizer steps between two checkpoints.
        """
        self.path = home / "models" / UNFINISHED / f"{name}.checkpoint"
        self.failed: FittedMember | None = None
        self._about = json.loads(json.dumps(about, default=str))
        self._every, self._signals = every, signals
        self._since, self._writable = 0, True
        self.created, self._left = clock.now(), self._read()
        self.done: list[FittedMember] = []
        if self._left is not None:
            facts = self._left.facts
            self.created = datetime.fromisoformat(facts["created"])
            self.done = _finished_members(self._left)
            self._left = self._left if "step" in facts else None
            where = f"step {facts['step']:,}" if self._left else f"member {len(self.done)}"
            log.info("resume  a training that was stopped after %s", where)

    def finished(self, member: int) -> FittedMember | None:
        """Return a member that was finished before, or None."""
        return self.done[member] if member < len(self.done) else None

    def left(self) -> Checkpoint | None:
        """Return the checkpoint that the next member resumes from, or None."""
        found, self._left, self._since = self._left, None, 0
        return found

    def boundary(self, checkpoint: Callable[[], Checkpoint]) -> None:
        """Write a checkpoint if one is due or a signal is deferred; then deliver the signal."""
        self._since += 1
        is_stopped = self._signals.number is not None
        if self._since >= self._every or is_stopped:
            self._write(checkpoint())
            self._since = 0
        if is_stopped:
            log.warning("stopped; the same command resumes from %s", self.path)
            self._signals.deliver()

    def finish(self, done: FittedMember) -> None:
        """Store a finished member."""
        self.done.append(done)
        self._write(None)

    def fail(self, best: FittedMember | None) -> None:
        """Record a failed member at its best validation, if any, and remove the file."""
        self.failed = best
        self.remove()

    def remove(self) -> None:
        """Remove the file after the end of the training."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _read(self) -> Checkpoint | None:
        try:
            if self.path.is_symlink():
                raise ArtifactError("a link")
            found = Checkpoint.from_bytes(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ArtifactError):
            self._set_aside("is corrupt, or of another version of forecaster")
            return None
        theirs = found.facts.get("about", {})
        other = [subject for subject in self._about if theirs.get(subject) != self._about[subject]]
        if other:
            self._set_aside(f"was made with other {' and '.join(other)}")
            return None
        return found

    def _set_aside(self, why: str) -> None:
        kept = self.path.with_name(f"{self.path.name}.old")
        log.warning("%s %s: renamed to %s, training starts again", self.path, why, kept.name)
        with suppress(OSError):
            os.replace(self.path, kept)

    def _write(self, left: Checkpoint | None) -> None:
        """Replace the file; after a failure the training goes on without one."""
        if not self._writable:
            return
        groups = {
            f"{_DONE}{member}": {k: torch.from_numpy(v) for k, v in done.weights.items()}
            for member, done in enumerate(self.done)
        }
        facts = {
            "about": self._about,
            "created": self.created.isoformat(timespec="microseconds"),
            "validations_done": [[asdict(one) for one in done.validations] for done in self.done],
        }
        complete = Checkpoint.of(groups, facts)
        if left is not None:
            complete = Checkpoint(complete.tensors | left.tensors, complete.facts | left.facts)
        try:
            make_private(self.path.parent)
            with atomic_file(self.path) as file:
                file.write(complete.to_bytes())
            sync_folder(self.path.parent)
        except OSError as error:
            self._writable = False
            reason = error.strerror
            log.warning("%s: %s; a training stopped now will start again", self.path, reason)


def _finished_members(found: Checkpoint) -> list[FittedMember]:
    return [
        FittedMember(
            weights={name: t.numpy() for name, t in found.group(f"{_DONE}{member}").items()},
            validations=tuple(Validation(**one) for one in validations),
        )
        for member, validations in enumerate(found.facts["validations_done"])
    ]
