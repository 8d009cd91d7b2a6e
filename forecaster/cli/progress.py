"""What a training shows while it runs, on stderr; knows no result."""

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forecaster.pipeline.train import Validation
    from forecaster.settings import TrainSettings

LINES_EVERY = 100  # updates between two lines where there is no terminal


def progress(settings: "TrainSettings", quiet: bool) -> AbstractContextManager[Any]:
    """Give what is called after each update: it shows a bar on a terminal, lines elsewhere."""
    if quiet:
        return nullcontext(lambda update, look: None)
    if sys.stderr.isatty():
        return _Bar(settings.max_steps, settings.members)
    return nullcontext(_Lines(settings.members))


class _Members:
    """Tells which member is at work: the updates of the next one begin anew."""

    def __init__(self, members: int) -> None:
        self._members, self._member, self._update = members, 1, 0

    def __call__(self, update: int) -> str:
        """Name the member that made an update; empty where there is but one."""
        self._member += update <= self._update
        self._update = update
        return f"member {self._member}/{self._members}" if self._members > 1 else ""


class _Lines:
    """A line now and then, for logs and pipes."""

    def __init__(self, members: int) -> None:
        self._named = _Members(members)

    def __call__(self, update: int, look: "Validation | None") -> None:
        member = self._named(update)
        if look is None or look.step % LINES_EVERY:
            return
        if look.step == LINES_EVERY:
            print("pass  update  fit loss  select loss    time", file=sys.stderr)
        print("  ".join(filter(None, (_line(look), member))), file=sys.stderr)


class _Bar(AbstractContextManager["_Bar"]):
    """A progress bar on a terminal."""

    def __init__(self, updates: int, members: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._named = _Members(members)
        columns = (
            TextColumn("{task.fields[member]}"),
            TextColumn("update"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
        )
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task("", total=updates, member="")

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def __call__(self, update: int, look: "Validation | None") -> None:
        self._progress.update(self._task, completed=update, member=self._named(update))
        if look is not None:
            text = f"fit {look.train_loss:.4f}  select {look.validation_loss:.4f}"
            self._progress.update(self._task, description=text)


def _line(look: "Validation") -> str:
    best = "  best" if look.best else ""
    return (
        f"{look.epoch:>4}  {look.step:>6}  {look.train_loss:>8.4f}  "
        f"{look.validation_loss:>11.4f}  {look.seconds:>4.1f} s{best}"
    )
