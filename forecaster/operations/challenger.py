"""Train a challenger in a night: blocks counted from the evening, stopped and resumed at will.

The last days are left to the gate, those before them select, the rest is fitted on.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

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
from forecaster.forecasting.data_set import Dataset, prepare_dataset
from forecaster.forecasting.fitted_model import Weights, ensemble_weights, weights_of
from forecaster.forecasting.fitting import (
    FittedMember,
    accepts_weights,
    calibrate,
    fit_ensemble,
    plan_of,
)
from forecaster.forecasting.loading import load_model
from forecaster.forecasting.memory import with_bptt_horizon
from forecaster.forecasting.model_manifest import make_manifest
from forecaster.forecasting.training_log import log_header, log_result
from forecaster.forecasting.training_panel import training_panel
from forecaster.operations.checkpoint_file import CheckpointFile, signals_wait
from forecaster.registry.champion_history import champion_status
from forecaster.registry.manifest import Manifest
from forecaster.registry.promotion import fail, register
from forecaster.registry.run_history import begin_training, finish_training
from forecaster.registry.versions import check_writable, read_manifest, save_version
from forecaster.settings import Home, TrainSettings, resolve_home
from forecaster.training.device import choose_device, is_out_of_memory

__all__ = ["RollingSplit", "train_challenger"]

log = logging.getLogger(__name__)

Start = Literal["cold", "warm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingSplit:
    """Trading days that are kept for the gate, and those before them that select.

    The fit block is what lies before both, at least as long as the select block.
    """

    gate: int = 126
    select: int = 252

    def settings(self, days: np.ndarray, settings: TrainSettings) -> TrainSettings:
        """Set the blocks of a training by the days of its panel.

        Args:
            days: (N,) of all rows, any order, repeats allowed.
            settings: whose own blocks, if any, give way.

        Raises:
            DataError: there are too few days.
        """
        distinct = np.unique(days)
        needed = self.gate + 2 * self.select
        if len(distinct) < needed:
            raise DataError(
                f"{len(distinct)} trading days; a challenger needs {needed}: {self.gate} for the "
                f"gate, {self.select} that select, {self.select} or more to fit. Fetch a longer "
                "period; the champion forecasts meanwhile."
            )
        validation_until, train_until = (
            distinct[-self.gate - 1],
            distinct[-self.gate - self.select - 1],
        )
        return settings.model_copy(
            update={"train_until": train_until.item(), "validation_until": validation_until.item()}
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Task:
    """What is trained: for which name and evening, from which weights."""

    home: Path
    name: str
    session: date | None
    dataset: Dataset
    settings: TrainSettings
    device: torch.device
    fingerprint: str
    began: str
    weights: Weights | None

    @property
    def about(self) -> dict[str, Any]:
        """Everything that the weights depend on, by subject."""
        return {
            "prices": self.fingerprint,
            "settings": self.settings.model_dump(mode="json"),
            "start": self.began,
            "code": [forecaster.__version__, str(torch.__version__), self.device.type],
        }


def train_challenger(
    home: Home | None,
    name: str,
    settings: TrainSettings,
    tickers: Sequence[str] = (),
    as_of: date | None = None,
    *,
    start: Start = "cold",
    checkpoint_every: int = 50,
    blocks: RollingSplit | None = None,
) -> str:
    """Train a version and register it as the challenger of a model name.

    A training that was stopped by a signal, or killed, is gone on with, as long as prices and
    settings are the same; on a CPU it ends with the weights that it would have had, bit for bit.
    The run, and a failure with its reason, are stored in the registry here; nobody else needs to.

    Args:
        home: the workspace; None as the command line resolves it.
        name: of the model.
        settings: what to train; its blocks of time give way to those of the night.
        tickers: which; none means all there are.
        as_of: last session to be seen; None for all.
        start: "warm" from the champion's weights, where there are any of the same shape.
        checkpoint_every: updates between two checkpoints.
        blocks: how many days are kept for gate and select; None for 126 and 252.

    Returns:
        The version.

    Raises:
        CannotWriteError: the home is missing or read-only; found out before any work.
        DataError: too few days, or none that the lookback allows.
        DivergedError: training met a value that is not finite. What the best look saw is kept
            as a failed version; the champion stays.
        OutOfMemoryError: there is too little memory; likewise.
        StorageError: the version could not be written; the checkpoint is left.
        UnknownNameError: a ticker is not there.
        UsageError: the device is absent, or `name` is none.
    """
    where = resolve_home(home)
    check_writable(where)
    run = begin_training(where, name, start, as_of)
    try:
        task = _task(where, name, settings, tickers, as_of, start, blocks or RollingSplit())
        return _train(task, run, checkpoint_every)
    except BaseException as error:
        known = _known(error)
        with suppress(ForecasterError):
            _finish_badly(where, run, known)
        if known is error:
            raise
        raise known from error


def _known(error: BaseException) -> BaseException:
    """Turn what libraries raise for want of memory into our own error."""
    if isinstance(error, MemoryError | RuntimeError) and is_out_of_memory(error):
        return OutOfMemoryError(
            "Training found too little memory before or after its updates; train fewer tickers or "
            "give it more."
        )
    return error


def _finish_badly(home: Path, run: int, error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt | SystemExit):
        finish_training(
            home, run, state="stopped", reason="stopped by a signal; it can be gone on with"
        )
    else:
        reason = str(error) if isinstance(error, ForecasterError) else repr(error)
        finish_training(home, run, state="failed", reason=reason)


def _task(
    home: Path,
    name: str,
    settings: TrainSettings,
    tickers: Sequence[str],
    as_of: date | None,
    start: Start,
    blocks: RollingSplit,
) -> _Task:
    """Read the prices, cut the blocks, find the weights to begin from."""
    device = choose_device(settings.device)
    seen = training_panel(None, home, tickers, as_of, settings)
    settings = blocks.settings(seen.panel.days, settings)
    dataset = prepare_dataset(seen.panel, settings)
    settings = with_bptt_horizon(dataset, settings, device)
    began, weights = "cold", None
    if start == "warm":
        began, weights = _champion(home, name, dataset, settings)
    log_header(dataset, settings, device, plan_of(settings))
    log.info("start   %s", began)
    return _Task(
        home=home,
        name=name,
        session=as_of,
        dataset=dataset,
        settings=settings,
        device=device,
        fingerprint=seen.fingerprint,
        began=began,
        weights=weights,
    )


def _champion(
    home: Path, name: str, dataset: Dataset, settings: TrainSettings
) -> tuple[str, Weights | None]:
    """Take the champion's weights; say why where they cannot be taken."""
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


def _train(task: _Task, run: int, every: int) -> str:
    with signals_wait() as waiting:
        keeper = CheckpointFile(task.home, task.name, task.about, every=every, waiting=waiting)
        try:
            done = fit_ensemble(
                task.dataset, task.settings, task.device, start=task.weights, checkpointer=keeper
            )
        except TrainingFailedError as error:
            _keep_failed(task, keeper, error)
            raise
    saved = _save(task, keeper, done)
    told = saved.training["steps"]
    register(
        task.home,
        saved.version,
        task.name,
        reason=f"trained {task.began} for the gate",
        training=run,
        steps=told if isinstance(told, int) else None,
    )
    keeper.remove()
    return saved.version


def _save(task: _Task, keeper: CheckpointFile, done: Sequence[FittedMember]) -> Manifest:
    """Calibrate the members and write the version; one that was written before is the same."""
    settings = task.settings.model_copy(update={"members": len(done)})
    made = calibrate(done, task.dataset, settings)
    log_result(made, settings)
    manifest = make_manifest(task.dataset, settings, task.fingerprint, made, keeper.created)
    told = manifest.model_copy(update={"training": {**manifest.training, "start": task.began}})
    weights = [weights_of(network) for network in made.model.networks]
    return save_version(task.home, told, weights, keeper.created)


def _keep_failed(task: _Task, keeper: CheckpointFile, error: TrainingFailedError) -> None:
    """Keep what there is as a failed version, which never serves; store why it failed."""
    version, done = None, [*keeper.done, *([keeper.failed] if keeper.failed else [])]
    if done:
        try:
            version = _save(task, keeper, done).version
        except (ForecasterError, MemoryError, RuntimeError) as further:
            log.warning("the best weights could not be kept: %s", further)
    with suppress(ForecasterError):
        fail(task.home, task.name, reason=str(error), version=version, session=task.session)
