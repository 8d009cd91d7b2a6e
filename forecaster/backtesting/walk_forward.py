"""Walk-forward: folds and seeds fitted one after another or side by side, resumed where stopped.

Units take arrays and return results; only the driver here writes, after every batch.

Shape letters: N rows of the panel, K targets.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from forecaster.backtesting.fan_out import Backend, fan_out
from forecaster.backtesting.fold import (
    Unit,
    Walked,
    forecast_fold,
    from_walked_arrays,
    linear_of,
    run_unit,
    walked_arrays,
)
from forecaster.data.panel import Panel
from forecaster.errors import ArtifactError, UsageError
from forecaster.evaluation.distributions import Predictive
from forecaster.evaluation.mixture import assemble
from forecaster.evaluation.splits import Fold
from forecaster.forecasting.fitted_model import FittedModel, Weights, ensemble_weights
from forecaster.registry.versions import UNFINISHED
from forecaster.settings import TrainSettings

log = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]


class WorkFolder:
    """A folder under `models/.unfinished/`, named after everything that its results depend on."""

    def __init__(self, home: Path, about: Mapping[str, object]) -> None:
        """Choose the folder; it is made when there is something to keep.

        Args:
            home: the workspace.
            about: what the results depend on, in plain values.
        """
        text = json.dumps(about, sort_keys=True, default=str)
        name = f"evaluate-{hashlib.sha256(text.encode()).hexdigest()[:24]}"
        self.folder = home / "models" / UNFINISHED / name
        self._about = text
        self._writable = True

    def keep(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write one result whole or not at all; say once where that cannot be done."""
        if not self._writable:
            return
        side = self.folder / f"{uuid4().hex}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "about.json").write_text(self._about)
            with side.open("wb") as file:
                file.write(save_tensors(_contiguous(arrays)))
                file.flush()
                os.fsync(file.fileno())
            os.replace(side, self.folder / f"{name}.safetensors")
        except OSError as error:
            self._writable = False
            log.warning("%s: %s; what is done cannot be resumed", self.folder, error.strerror)

    def kept(self, name: str) -> Arrays | None:
        """Read one result, or None."""
        try:
            found: Arrays = load_tensors((self.folder / f"{name}.safetensors").read_bytes())
            return found
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError) as error:
            log.warning("%s is damaged (%s) and done again", name, type(error).__name__)
            return None

    def remove(self) -> None:
        """Delete everything kept: it is done."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _contiguous(arrays: Mapping[str, np.ndarray]) -> Arrays:
    # safetensors writes memory as it lies: a transposed view would come back scrambled.
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """How to walk through the report block.

    `refit_every` trading days a version's recipe is fitted anew; None for never. `train_days` is
    the length of a rolling fit block, None for all days before. With `weights` "warm" a fold
    begins from the weights of the one before. `seeds` are so many trainings, from the version's
    own seed on. `jobs` processes work side by side, here or (`backend` "ray") on a cluster. With
    `twins` a network without memory is fitted beside each fold.
    """

    refit_every: int | None = None
    train_days: int | None = None
    weights: Literal["cold", "warm"] = "cold"
    seeds: int = 1
    jobs: int = 1
    backend: Backend = "loky"
    twins: bool = True

    def __post_init__(self) -> None:
        """Refuse numbers and pairs that mean nothing."""
        least = {"refit-every": self.refit_every, "seeds": self.seeds, "jobs": self.jobs}
        for name, value in {**least, "train-window rolling:": self.train_days}.items():
            if value is not None and value < 1:
                raise UsageError(f"--{name} {value}: give at least 1.")
        if self.refit_every is None and (self.train_days is not None or self.weights == "warm"):
            raise UsageError(
                "--train-window and --weights are about fitting anew; without --refit-every the "
                "version forecasts with the weights it has. Give --refit-every 252, or drop them."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecasts:
    """Forecasts of all N rows, per target; NaN outside the first select and the report block.

    `seeds` by seed, the version's own first; `linear` and `mlp` are its twins on the same
    inputs, None where not asked for. `fits` counts trainings, `resumed` those of them that an
    earlier run had done.
    """

    seeds: dict[int, tuple[Predictive, ...]]
    linear: tuple[Predictive, ...]
    mlp: tuple[Predictive, ...] | None
    fits: int
    resumed: int


def walk_forward(
    panel: Panel,
    trained: FittedModel,
    recipe: TrainSettings,
    folds: Sequence[Fold],
    walk: Walk,
    work: WorkFolder,
) -> Forecasts:
    """Forecast every fold's report days by a network that was fitted on days before them.

    The first fold has the version's own blocks: with the version's seed its own weights serve,
    unless the fit window rolls.

    Args:
        panel: all rows.
        trained: the version.
        recipe: its settings.
        folds: from `walk_folds`.
        walk: how.
        work: where results are kept until all are there.
    """
    seeds = [recipe.seed + recipe.members * number for number in range(walk.seeds)]
    own = {} if walk.train_days is not None else {seeds[0]: _own(panel, trained, recipe, folds[0])}
    units = _units(folds, seeds, walk, set(own))
    done = {name: walked for name, walked in ((u.name, _kept(work, u)) for u in units) if walked}
    resumed = len(done)
    if resumed:
        log.info("resume  %d of %d fits were done before", resumed, len(units))
    done |= {Unit(kind="model", fold=folds[0], seed=s).name: w for s, w in own.items()}
    _run(panel, recipe, units, done, walk, work)
    return _forecasts(panel, folds, seeds, done, walk, fits=len(units), resumed=resumed)


def _own(panel: Panel, trained: FittedModel, recipe: TrainSettings, fold: Fold) -> Walked:
    """Forecast the first fold by the version as it is."""
    fitted = trained
    linear = linear_of(fitted, panel, fold, recipe)
    rows, forecasts, alone = forecast_fold(panel, fold, fitted, linear)
    weights = ensemble_weights(fitted.networks)
    return Walked(rows=rows, forecasts=forecasts, linear=alone, weights=weights, seconds=0.0)


def _units(folds: Sequence[Fold], seeds: Sequence[int], walk: Walk, own: set[int]) -> list[Unit]:
    """List what must be fitted, earlier folds first."""
    units = []
    for fold in folds:
        for seed in seeds:
            if fold.number > 0 or seed not in own:
                first = seed == seeds[0]
                units.append(Unit(kind="model", fold=fold, seed=seed, with_linear=first))
        if walk.twins:
            units.append(Unit(kind="mlp", fold=fold, seed=seeds[0]))
    return units


def _kept(work: WorkFolder, unit: Unit) -> Walked | None:
    arrays = work.kept(unit.name)
    try:
        return None if arrays is None else from_walked_arrays(arrays)
    except ArtifactError as error:
        log.warning("%s: %s", unit.name, error)
        return None


def _run(
    panel: Panel,
    recipe: TrainSettings,
    units: Sequence[Unit],
    done: dict[str, Walked],
    walk: Walk,
    work: WorkFolder,
) -> None:
    """Run what is not done, as many at a time as there are jobs, and keep each result."""
    while waiting := [unit for unit in units if unit.name not in done]:
        cold = walk.weights == "cold"
        ready = [u for u in waiting if cold or u.fold.number == 0 or _before(u, done)]
        batch = ready[: walk.jobs]
        starts = [_start(unit, done, walk) for unit in batch]
        tasks = [(panel, unit, recipe, start) for unit, start in zip(batch, starts, strict=True)]
        for unit, walked in zip(
            batch, fan_out(run_unit, tasks, walk.jobs, walk.backend), strict=True
        ):
            work.keep(unit.name, walked_arrays(walked))
            done[unit.name] = walked
            fold = unit.fold
            log.info(
                "fold    %s %d, seed %d: fitted until %s, selected until %s, %d forecasts, %.1f s",
                *(unit.kind, fold.number + 1, unit.seed, fold.split.train_until),
                *(fold.split.validation_until, len(walked.rows), walked.seconds),
            )


def _before(unit: Unit, done: dict[str, Walked]) -> Walked | None:
    """Return what came of the same network's fold before, or None."""
    return done.get(f"{unit.kind}-fold{unit.fold.number - 1:03d}-seed{unit.seed}")


def _start(unit: Unit, done: dict[str, Walked], walk: Walk) -> Weights | None:
    before = _before(unit, done) if walk.weights == "warm" else None
    return None if before is None else before.weights


def _forecasts(
    panel: Panel,
    folds: Sequence[Fold],
    seeds: Sequence[int],
    done: dict[str, Walked],
    walk: Walk,
    *,
    fits: int,
    resumed: int,
) -> Forecasts:
    def of(kind: Literal["model", "mlp"], seed: int) -> list[Walked]:
        return [done[Unit(kind=kind, fold=fold, seed=seed).name] for fold in folds]

    def whole(parts: list[Walked]) -> tuple[Predictive, ...]:
        return assemble([(one.rows, one.forecasts) for one in parts], len(panel.days))

    first = of("model", seeds[0])
    linear = [(one.rows, one.linear) for one in first if one.linear is not None]
    return Forecasts(
        seeds={seed: whole(of("model", seed)) for seed in seeds},
        linear=assemble(linear, len(panel.days)),
        mlp=whole(of("mlp", seeds[0])) if walk.twins else None,
        fits=fits,
        resumed=resumed,
    )
