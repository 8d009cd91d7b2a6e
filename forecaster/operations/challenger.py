"""The scheduled training of a challenger: a split counted back from the last day, resumable."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import torch

import forecaster
from forecaster.errors import (
    ArtifactError,
    DataError,
    ForecasterError,
    OutOfMemoryError,
    TrainingFailedError,
)
from forecaster.forecasting.data_set import Dataset, prepare_dataset, training_panel
from forecaster.forecasting.fitted_model import Weights, ensemble_weights, weights_of
from forecaster.forecasting.fitting import (
    FittedMember,
    accepts_weights,
    calibrate,
    fit_ensemble,
    plan_of,
)
from forecaster.forecasting.memory import with_bptt_horizon
from forecaster.forecasting.model_version import load_model, make_manifest
from forecaster.forecasting.training_log import log_header, log_result
from forecaster.operations.checkpoint_file import CheckpointFile, DeferredSignals
from forecaster.registry.champion_history import champion_status
from forecaster.registry.manifest import Manifest
from forecaster.registry.promotion import NewDecision, keep_champion, register
from forecaster.registry.run_history import begin_training, finish_training
from forecaster.registry.versions import check_writable, read_manifest, save_version
from forecaster.settings import Settings, TrainSettings
from forecaster.training.inference import choose_device, is_out_of_memory

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingSplit:
    """The last trading days for the promotion test, those before them for validation.

    The days before both are trained on; at least as many as for validation.
    """

    test: int = 126
    validation: int = 252

    def settings(self, days: np.ndarray, settings: TrainSettings) -> TrainSettings:
        """Set the split of a training by the days of its panel, (N,), in any order.

        Raises:
            DataError: there are too few days.
        """
        distinct = np.unique(days)
        needed = self.test + 2 * self.validation
        if len(distinct) < needed:
            raise DataError(
                f"{len(distinct)} trading days; a challenger needs {needed}: {self.test} for the "
                f"promotion test, {self.validation} for validation, {self.validation} or more to "
                "train on. Fetch a longer period; the champion forecasts meanwhile."
            )
        validation_until = distinct[-self.test - 1].item()
        train_until = distinct[-self.test - self.validation - 1].item()
        return settings.model_copy(
            update={"train_until": train_until, "validation_until": validation_until}
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """A training: model name, session, data, settings, and the weights it starts from."""

    home: Path
    name: str
    session: date | None
    dataset: Dataset
    settings: TrainSettings
    device: torch.device
    fingerprint: str
    start: str
    weights: Weights | None


def train_challenger(
    home: Path,
    name: str,
    settings: Settings,
    tickers: Sequence[str] = (),
    as_of: date | None = None,
    split: RollingSplit | None = None,
) -> str:
    """Train a version and register it as the challenger of a model name.

    A training that was stopped by a signal, or killed, is resumed if prices and settings are the
    same; on a CPU it ends with the same weights, bit for bit. The training, and a failure with
    its reason, are recorded in the registry. The split of `settings` is replaced by `split`. No
    tickers means all that are stored, `as_of` None all sessions.

    Raises:
        CannotWriteError: the home is missing or read-only; raised before any work.
        DataError: too few days, or none that the lookback allows.
        DivergedError, OutOfMemoryError: training met a value that is not finite, or too little
            memory. The best weights are kept as a failed version; the champion stays.
        StorageError: the version could not be written; the checkpoint is left.
        UnknownNameError, UsageError: a ticker is not stored, the device absent, `name` malformed.
    """
    check_writable(home)
    training = begin_training(home, name, settings.retrain.start, as_of)
    try:
        task = _task(home, name, settings, tickers, as_of, split or RollingSplit())
        return _train(task, training, settings.retrain.checkpoint_every)
    except BaseException as error:
        known = _own_error(error)
        state: Literal["stopped", "failed"] = "failed"
        reason = str(known) if isinstance(known, ForecasterError) else repr(known)
        if isinstance(error, KeyboardInterrupt | SystemExit):
            state, reason = "stopped", "stopped by a signal; the next run resumes it"
        with suppress(ForecasterError):
            finish_training(home, training, state=state, reason=reason)
        if known is error:
            raise
        raise known from error


def _own_error(error: BaseException) -> BaseException:
    """Convert an error of a library that ran out of memory."""
    if isinstance(error, MemoryError | RuntimeError) and is_out_of_memory(error):
        return OutOfMemoryError(
            "Training ran out of memory before or after its optimizer steps; train fewer tickers "
            "or provide more."
        )
    return error


def _task(
    home: Path,
    name: str,
    settings: Settings,
    tickers: Sequence[str],
    as_of: date | None,
    split: RollingSplit,
) -> _Task:
    """Load the prices, split them, choose the weights to start from."""
    device = choose_device(settings.train.device)
    panel, fingerprint, _ = training_panel(None, home, tickers, as_of, settings.train)
    own = split.settings(panel.days, settings.train)
    dataset = prepare_dataset(panel, own)
    own = with_bptt_horizon(dataset, own, device)
    is_warm = settings.retrain.start == "warm"
    start, weights = _champion_weights(home, name, dataset, own) if is_warm else ("cold", None)
    log_header(dataset, own, device, plan_of(own))
    log.info("start   %s", start)
    return _Task(home, name, as_of, dataset, own, device, fingerprint, start, weights)


def _champion_weights(
    home: Path, name: str, dataset: Dataset, settings: TrainSettings
) -> tuple[str, Weights | None]:
    """Load the champion's weights; log why if they cannot be used."""
    champion = champion_status(home, name).champion
    if champion is None:
        log.info("start   cold: the baseline is champion, and has no weights")
        return "cold", None
    try:
        networks = load_model(home, read_manifest(home, champion)).networks
    except ArtifactError as error:
        log.warning("cold start: %s", error)
        return "cold", None
    weights = ensemble_weights(networks)
    if not accepts_weights(dataset, settings, weights):
        log.warning("cold start: the champion %s is another network", champion)
        return "cold", None
    return f"warm from {champion}", weights


def _train(task: _Task, training: int, every: int) -> str:
    about = {  # everything that the weights depend on, by subject
        "prices": task.fingerprint,
        "settings": task.settings.model_dump(mode="json"),
        "start": task.start,
        "code": [forecaster.__version__, str(torch.__version__), task.device.type],
    }
    with DeferredSignals() as signals:
        checkpoints = CheckpointFile(task.home, task.name, about, every=every, signals=signals)
        try:
            work = (task.dataset, task.settings, task.device)
            done = fit_ensemble(*work, start=task.weights, checkpointer=checkpoints)
        except TrainingFailedError as error:
            _keep_failed(task, checkpoints, error)
            raise
    saved = _save(task, checkpoints, done)
    steps, reason = saved.training["steps"], f"scheduled training, {task.start} start"
    steps = steps if isinstance(steps, int) else None
    register(task.home, saved.version, task.name, reason, training=training, steps=steps)
    checkpoints.remove()
    return saved.version


def _save(task: _Task, checkpoints: CheckpointFile, done: Sequence[FittedMember]) -> Manifest:
    """Calibrate the members and write the version. Idempotent."""
    settings = task.settings.model_copy(update={"members": len(done)})
    made = calibrate(done, task.dataset, settings)
    log_result(made, settings)
    manifest = make_manifest(task.dataset, settings, task.fingerprint, made, checkpoints.created)
    training = {**manifest.training, "start": task.start}
    weights = [weights_of(network) for network in made.model.networks]
    manifest = manifest.model_copy(update={"training": training})
    return save_version(task.home, manifest, weights, checkpoints.created)


def _keep_failed(task: _Task, checkpoints: CheckpointFile, error: TrainingFailedError) -> None:
    """Save the best weights as a failed version, which never forecasts, and record the reason."""
    version = None
    done = [*checkpoints.done, *([checkpoints.failed] if checkpoints.failed else [])]
    if done:
        try:
            version = _save(task, checkpoints, done).version
        except (ForecasterError, MemoryError, RuntimeError) as further:
            log.warning("the best weights could not be kept: %s", further)
    decision = NewDecision(task.name, "failed", str(error), version, task.session)
    with suppress(ForecasterError):
        keep_champion(task.home, decision)
