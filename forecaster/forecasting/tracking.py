"""Experiment trackers: what a training sends to TensorBoard or MLflow, if asked to.

Each needs the extra of its name, which nothing else imports. A tracker that fails does not fail
the training.
"""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from forecaster import clock
from forecaster.errors import UsageError
from forecaster.files import make_private, touch_private
from forecaster.forecasting.fitting import OnStep, Validation
from forecaster.settings import TrainSettings

EXPERIMENT = "forecaster"

log = logging.getLogger(__name__)


class Tracker(ABC):
    """A run of a tracker, open until `close`."""

    @abstractmethod
    def add_settings(self, settings: Mapping[str, Any]) -> None:
        """Record the settings of the run."""

    @abstractmethod
    def add_numbers(self, numbers: Mapping[str, float], step: int) -> None:
        """Record numbers by name, as of an optimizer step."""

    @abstractmethod
    def close(self, version: str) -> None:
        """Record the version that was saved, "" where none was, and end the run."""


class TensorBoardTracker(Tracker):
    """Event files in a folder, one for each run: `tensorboard --logdir FOLDER` shows them."""

    def __init__(self, folder: Path, run: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard" / run))

    def add_settings(self, settings: Mapping[str, Any]) -> None:
        """Record the settings as a table; see `Tracker.add_settings`."""
        rows = (f"| {name} | {value} |" for name, value in settings.items())
        self.writer.add_text("settings", "\n".join(("| setting | value |", "|---|---|", *rows)))

    def add_numbers(self, numbers: Mapping[str, float], step: int) -> None:
        """Record a point of each curve; see `Tracker.add_numbers`."""
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step)

    def close(self, version: str) -> None:
        """Record the version as text; see `Tracker.close`."""
        self.writer.add_text("version", version or "none: the training did not end")
        self.writer.close()


class MlflowTracker(Tracker):
    """A run of the server in MLFLOW_TRACKING_URI, else of an SQLite file in a folder."""

    def __init__(self, folder: Path, run: str) -> None:
        from mlflow import MlflowClient

        own = folder / "mlflow.db"
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{own}"
        if uri.endswith(str(own)):
            touch_private(own)
        self.client = MlflowClient(tracking_uri=uri)
        known = self.client.get_experiment_by_name(EXPERIMENT)
        number = known.experiment_id if known else self.client.create_experiment(EXPERIMENT)
        self.run = self.client.create_run(number, run_name=run).info.run_id

    def add_settings(self, settings: Mapping[str, Any]) -> None:
        """Record the settings as parameters; see `Tracker.add_settings`."""
        for name, value in settings.items():
            self.client.log_param(self.run, name, value)

    def add_numbers(self, numbers: Mapping[str, float], step: int) -> None:
        """Record metrics; see `Tracker.add_numbers`."""
        for name, value in numbers.items():
            self.client.log_metric(self.run, name, value, step=step)

    def close(self, version: str) -> None:
        """Record the version as a tag and whether it was saved; see `Tracker.close`."""
        if version:
            self.client.set_tag(self.run, "version", version)
        self.client.set_terminated(self.run, "FINISHED" if version else "FAILED")


TRACKERS: dict[str, Callable[[Path, str], Tracker]] = {
    "tensorboard": TensorBoardTracker,
    "mlflow": MlflowTracker,
}


class TrackedRun:
    """What a training reports to; without a tracker it does nothing."""

    def __init__(self, tracker: Tracker | None) -> None:
        self.tracker, self.version, self.step, self.member = tracker, "", 0, 1

    def send(self, action: Callable[[Tracker], None]) -> None:
        """Send something; a tracker that fails is left out from then on, with a warning."""
        if self.tracker is None:
            return
        try:
            action(self.tracker)
        except Exception as error:  # of a server or a disk: the training is worth more
            self.tracker = None
            log.warning("the tracker failed and is left out from here on: %s", error)

    def watching(self, on_step: OnStep) -> OnStep:
        """Return a function that records each validation and calls `on_step`."""

        def record(step: int, validation: Validation | None) -> None:
            self.member += step <= self.step
            self.step = step
            if validation is not None:
                self.send(lambda tracker: tracker.add_numbers(self._curves(validation), step))
            on_step(step, validation)

        return record

    def _curves(self, validation: Validation) -> dict[str, float]:
        names = ("train_loss", "validation_loss", "gradient_norm", "clipped", "spikes")
        own = f"member{self.member}/" if self.member > 1 else ""
        return {f"{own}{name}": float(getattr(validation, name)) for name in names}

    def finish(self, version: str, scores: Mapping[str, float]) -> None:
        """Record the scores of the version that was saved."""
        self.version = version
        self.send(lambda tracker: tracker.add_numbers(scores, self.step))


@contextmanager
def tracked(name: str | None, folder: Path, settings: TrainSettings) -> Iterator[TrackedRun]:
    """Open a run of a tracker by name, None for none; close it whatever happens inside.

    Raises:
        UsageError: the name is unknown, or its extra is not installed.
    """
    run = TrackedRun(_opened(name, folder, settings) if name else None)
    run.send(lambda tracker: tracker.add_settings(settings.model_dump(mode="json")))
    try:
        yield run
    finally:
        run.send(lambda tracker: tracker.close(run.version))


def _opened(name: str, folder: Path, settings: TrainSettings) -> Tracker:
    if name not in TRACKERS:
        raise UsageError(f"--tracker {name}: is not known; choose one of {', '.join(TRACKERS)}.")
    make_private(folder)
    title = f"{'-'.join(settings.targets)}-{settings.model}-{clock.now():%Y%m%d-%H%M%S}"
    try:
        return TRACKERS[name](folder, title)
    except ImportError as error:
        raise UsageError(
            f"--tracker {name} needs further packages; in the checkout: pip install -c "
            f'constraints.txt ".[{name}]"'
        ) from error
