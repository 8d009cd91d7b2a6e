"""Walk-forward: folds and seeds fitted in sequence or in parallel, resumed after a stop.

Tasks take arrays and return results; only the driver here writes, after every batch.

Shape letters: n rows that are forecast, K targets.
"""

import hashlib
import itertools
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from forecaster.backtesting.fold import FoldForecasts, FoldTask, Kind, forecast_fold, run_fold
from forecaster.data.panel import Panel
from forecaster.errors import ArtifactError, UsageError
from forecaster.evaluation.distributions import Predictive
from forecaster.evaluation.mixture import assemble
from forecaster.evaluation.splits import Backend, Fold, Walk
from forecaster.files import atomic_file, make_private, to_json
from forecaster.forecasting.fitted_model import FittedModel, Weights
from forecaster.registry.versions import UNFINISHED
from forecaster.settings import TrainSettings

log = logging.getLogger(__name__)

Done = dict[str, FoldForecasts]
Result = TypeVar("Result")
# An actor that dies is restarted and its task repeated: by default Ray gives up on both.
RESTARTS = {"max_restarts": 3, "max_task_retries": 3}
SAFE_PATH = "PYTHONSAFEPATH"


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkForecasts:
    """Forecasts of the panel's `rows` (n,) per target (see `rows_forecast`).

    `by_seed` are the version's, its own seed first; `same_inputs` are benchmarks with its inputs.
    """

    rows: np.ndarray
    by_seed: dict[int, tuple[Predictive, ...]]
    same_inputs: dict[str, tuple[Predictive, ...]]


class WorkFolder:
    """A folder under `models/.unfinished/`, named by a hash of what its results depend on."""

    def __init__(self, home: Path, about: Mapping[str, object]) -> None:
        """Choose the folder for results that depend on `about`; it is made with the first one."""
        self._about = to_json(about, sort_keys=True).encode()
        name = f"evaluate-{hashlib.sha256(self._about).hexdigest()[:24]}"
        self.folder = home / "models" / UNFINISHED / name
        self._writable = True

    def save(self, task: FoldTask, found: FoldForecasts) -> None:
        """Write one result; where that fails, warn once and write no more."""
        if not self._writable:
            return
        # safetensors writes memory as it lies: a transposed view would come back scrambled.
        arrays = {name: np.ascontiguousarray(array) for name, array in found.arrays().items()}
        try:
            make_private(self.folder)
            with atomic_file(self.folder / "about.json") as file:
                file.write(self._about)
            with atomic_file(self.folder / f"{task.name}.safetensors") as file:
                file.write(save_tensors(arrays))
        except OSError as error:
            self._writable = False
            log.warning("%s: %s; finished folds cannot be resumed", self.folder, error.strerror)

    def load(self, task: FoldTask) -> FoldForecasts | None:
        """Read one result; None where there is none or it is corrupt."""
        try:
            content = (self.folder / f"{task.name}.safetensors").read_bytes()
            return FoldForecasts.from_arrays(load_tensors(content))
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, ArtifactError) as error:
            log.warning("%s is corrupt (%s) and fitted again", task.name, type(error).__name__)
            return None

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def rows_forecast(panel: Panel, folds: Sequence[Fold]) -> np.ndarray:
    """Number the rows (n,) of the test days of all folds, and of the first's validation days."""
    masks = [fold.masks(panel.outcome_days) for fold in folds]
    return np.flatnonzero(np.any([masks[0][1], *(test for _, _, test in masks)], axis=0))


def walk_forward(
    panel: Panel,
    model: FittedModel,
    recipe: TrainSettings,
    folds: Sequence[Fold],
    walk: Walk,
    work: WorkFolder,
) -> WalkForecasts:
    """Forecast every fold's test days by a network that was fitted on days before them.

    The first fold has the version's own split: with the version's seed its own weights serve,
    unless the training window rolls. `recipe` are the version's settings.
    """
    seeds = [recipe.seed + recipe.members * number for number in range(walk.seeds)]
    done: Done = {}
    base = model.reader.base if walk.train_days is None else None
    if walk.train_days is None:
        own = FoldTask(kind="model", fold=folds[0], seed=seeds[0])
        done[own.name] = forecast_fold(panel, folds[0], model, recipe)
    tasks = []
    for fold in folds:
        tasks.append(FoldTask(kind="model", fold=fold, seed=seeds[0], with_linear=True))
        tasks += [FoldTask(kind="model", fold=fold, seed=seed) for seed in seeds[1:]]
        if walk.same_inputs:
            known = base if fold is folds[0] else None
            tasks.append(FoldTask(kind="mlp", fold=fold, seed=seeds[0], base=known))
    tasks = [task for task in tasks if task.name not in done]
    stored = {task.name: found for task in tasks if (found := work.load(task)) is not None}
    if stored:
        log.info("resume  %d of %d fits were done before", len(stored), len(tasks))
    done |= stored
    _run(panel, recipe, tasks, done, walk, work)

    rows = rows_forecast(panel, folds)

    def assembled(kind: Kind, seed: int, *, linear: bool = False) -> tuple[Predictive, ...]:
        parts = [done[FoldTask(kind=kind, fold=fold, seed=seed).name] for fold in folds]
        forecasts = [(p.rows, (p.linear or ()) if linear else p.forecasts) for p in parts]
        return assemble(forecasts, rows)

    same_inputs = {"linear": assembled("model", seeds[0], linear=True)}
    if walk.same_inputs:
        same_inputs["mlp"] = assembled("mlp", seeds[0])
    by_seed = {seed: assembled("model", seed) for seed in seeds}
    return WalkForecasts(rows=rows, by_seed=by_seed, same_inputs=same_inputs)


def _run(
    panel: Panel,
    recipe: TrainSettings,
    tasks: Sequence[FoldTask],
    done: Done,
    walk: Walk,
    work: WorkFolder,
) -> None:
    """Run what is not done, as many at a time as there are jobs, and store each result."""
    warm = walk.weights == "warm"
    while waiting := [task for task in tasks if task.name not in done]:
        ready = [t for t in waiting if not warm or t.fold.number == 0 or _start(t, done)]
        batch = ready[: walk.jobs]
        arguments = [(panel, t, recipe, _start(t, done) if warm else None) for t in batch]
        found = fan_out(run_fold, arguments, walk.jobs, walk.backend)
        for task, one in zip(batch, found, strict=True):
            work.save(task, one)
            done[task.name] = one
            split = task.fold.split
            log.info(
                "fold    %s %d, seed %d: train until %s, validation until %s, %d forecasts, %.1f s",
                *(task.kind, task.fold.number + 1, task.seed, split.train_until),
                *(split.validation_until, len(one.rows), one.seconds),
            )


def _start(task: FoldTask, done: Done) -> Weights | None:
    """Return the weights of the same network in the fold before, or None."""
    before = done.get(f"{task.kind}-fold{task.fold.number - 1:03d}-seed{task.seed}")
    return None if before is None else before.weights


def fan_out(
    function: Callable[..., Result],
    tasks: Sequence[tuple[Any, ...]],
    jobs: int,
    backend: Backend = "loky",
) -> Iterator[Result]:
    """Call `function(*task)` for every task, here or in processes with one thread each.

    Yields the results in the order of the tasks, each as soon as it and those before are done.

    Args:
        function: of a module, so that another process can import it.
        tasks: arguments; arrays above a megabyte are shared as memory maps, not copied.
        jobs: processes; with 1 of "loky" it is this one.
        backend: processes here, or actors of a Ray cluster (RAY_ADDRESS, or one started here).

    Raises:
        UsageError: Ray is not installed.
    """
    if backend == "loky" and (jobs == 1 or len(tasks) < 2):
        yield from itertools.starmap(function, tasks)
        return
    from joblib import Parallel, delayed, parallel_config

    # Two threads in each of two processes on two cores would wait for each other every day.
    options: dict[str, Any] = {"inner_max_num_threads": 1}
    options |= {"initializer": os.chdir, "initargs": (os.sep,)}  # nothing is read from where we run
    if backend == "ray":
        options = {"ray_remote_args": RESTARTS}
        try:
            from ray.util.joblib import register_ray
        except ImportError as error:
            raise UsageError(
                "--backend ray needs Ray, which is not installed; run: "
                "pip install 'forecaster[ray]'"
            ) from error
        register_ray()
    with _safe_path(), parallel_config(backend=backend, n_jobs=jobs, **options):
        # Copy on write: torch warns of arrays that it must not write to.
        kind = "generator" if backend == "loky" else "list"
        parallel = Parallel(mmap_mode="c", return_as=kind)
        yield from parallel(delayed(function)(*task) for task in tasks)


@contextmanager
def _safe_path() -> Iterator[None]:
    """Start Python processes in which the working directory is not imported from."""
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before
