"""The progress of a training while it runs, on stderr; knows no result."""

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forecaster.pipeline.train import Validation
    from forecaster.settings import TrainSettings

LINES_EVERY = 100  # optimizer steps between two lines where there is no terminal


def progress(settings: "TrainSettings", quiet: bool) -> AbstractContextManager[Any]:
    """Return a callback for optimizer steps: a bar on a terminal, lines elsewhere."""
    if quiet:
        return nullcontext(lambda step, validation: None)
    if sys.stderr.isatty():
        return _Bar(settings.max_steps, settings.members)
    return nullcontext(_Lines(settings.members))


class _Members:
    """The number of the member being trained: steps of the next one start at 1 again."""

    def __init__(self, members: int) -> None:
        self._members, self._member, self._step = members, 1, 0

    def __call__(self, step: int) -> str:
        """Return the member that took a step; empty for a single one."""
        self._member += step <= self._step
        self._step = step
        return f"member {self._member}/{self._members}" if self._members > 1 else ""


class _Lines:
    """A line now and then, for logs and pipes."""

    def __init__(self, members: int) -> None:
        self._member_of = _Members(members)

    def __call__(self, step: int, validation: "Validation | None") -> None:
        member = self._member_of(step)
        if validation is None or validation.step % LINES_EVERY:
            return
        if validation.step == LINES_EVERY:
            print("epoch    step  train loss   val loss    time", file=sys.stderr)
        best = "  best" if validation.best else ""
        line = (
            f"{validation.epoch:>5}  {validation.step:>6}  {validation.train_loss:>10.4f}  "
            f"{validation.validation_loss:>9.4f}  {validation.seconds:>4.1f} s{best}"
        )
        print("  ".join(filter(None, (line, member))), file=sys.stderr)


class _Bar(AbstractContextManager["_Bar"]):
    """A progress bar on a terminal."""

    def __init__(self, steps: int, members: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._member_of = _Members(members)
        columns = (
            TextColumn("{task.fields[member]}"),
            TextColumn("step"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
        )
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task("", total=steps, member="")

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def __call__(self, step: int, validation: "Validation | None") -> None:
        self._progress.update(self._task, completed=step, member=self._member_of(step))
        if validation is not None:
            text = f"train {validation.train_loss:.4f}  val {validation.validation_loss:.4f}"
            self._progress.update(self._task, description=text)
