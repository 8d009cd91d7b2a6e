"""One fold fitted and forecast: arrays in, arrays out, nothing written.

Runs in whatever process it is sent to; everything that goes in and comes out pickles.

Shape letters: N rows of the panel, n rows forecast, K targets.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from forecaster.backtesting import benchmarks
from forecaster.backtesting.benchmarks import MEMORYLESS
from forecaster.data.panel import Panel, cut
from forecaster.errors import ArtifactError
from forecaster.evaluation.distributions import Predictive
from forecaster.evaluation.mixture import Arrays, arrays_of, from_arrays
from forecaster.evaluation.splits import Fold
from forecaster.forecasting.fitted_model import FittedModel, Weights, ensemble_weights
from forecaster.forecasting.fitting import fit_panel
from forecaster.settings import TrainSettings

Kind = Literal["model", "mlp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What one process does at a time: a kind of network, a fold, a seed.

    The first seed's `model` forecasts with its linear twin too.
    """

    kind: Kind
    fold: Fold
    seed: int
    with_linear: bool = False

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.kind}-fold{self.fold.number:03d}-seed{self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """A unit's forecasts of the panel's rows `rows` (n,), one per target.

    `linear` are those of the linear model on the same inputs, or None; `weights` the networks',
    for a warm start.
    """

    rows: np.ndarray
    forecasts: tuple[Predictive, ...]
    linear: tuple[Predictive, ...] | None
    weights: Weights
    seconds: float


def rows_of(fold: Fold, panel: Panel) -> np.ndarray:
    """(N,) True on rows that a fold forecasts: its report days, the first its select days too.

    Intervals learn from the first fold's select block; later ones from the days between.
    """
    days = panel.outcome_days
    rows = fold.report(days)
    return rows | fold.select(days) if fold.number == 0 else rows


def run_unit(
    panel: Panel, unit: Unit, recipe: TrainSettings, start: Weights | None = None
) -> Walked:
    """Fit, select and calibrate on days before the fold's report days, then forecast those.

    Nothing later than the select block's last day is handed to the fitting, and nothing later
    than the fold's last day to the forecasting, which is one forward over each history.

    Args:
        panel: all rows there are.
        unit: which network, fold and seed.
        recipe: the version's settings.
        start: weights to begin from; None for fresh ones.

    Raises:
        DataError: a block has nothing to score.
        DivergedError: the fitting met a value that is not finite.
    """
    began = time.monotonic()
    known, _ = cut(panel, first=unit.fold.train_from, last=unit.fold.split.validation_until)
    settings = settings_for(unit, recipe)
    fitted = fit_panel(known, unit.fold.split, settings, start=start).model
    linear = linear_of(fitted, panel, unit.fold, settings) if unit.with_linear else None
    rows, forecasts, alone = forecast_fold(panel, unit.fold, fitted, linear)
    return Walked(
        rows=rows,
        forecasts=forecasts,
        linear=alone,
        weights=ensemble_weights(fitted.networks),
        seconds=time.monotonic() - began,
    )


def settings_for(unit: Unit, recipe: TrainSettings) -> TrainSettings:
    """Give a unit its seed and its network; one thread, as everywhere that folds are run."""
    changed: dict[str, object] = {"seed": unit.seed, "threads": 1, "workers": 1}
    if unit.kind == "mlp":
        changed |= {"model": MEMORYLESS, "initial_state": "zeros", "bidirectional": False}
    return recipe.model_copy(update=changed)


def linear_of(
    fitted: FittedModel, panel: Panel, fold: Fold, settings: TrainSettings
) -> FittedModel:
    """Return the linear model on all inputs: the network's own base where that is it.

    Args:
        fitted: the network.
        panel: all rows; those after the fold's select block are not looked at.
        fold: whose fit block is fitted on.
        settings: of the network.
    """
    reader = fitted.reader
    if reader.base is not None and reader.base.kind == "linear":
        return replace(fitted, networks=())
    known, _ = cut(panel, first=fold.train_from, last=fold.split.validation_until)
    return benchmarks.linear_twin(known, fold.split, settings)


def forecast_fold(
    panel: Panel, fold: Fold, fitted: FittedModel, linear: FittedModel | None
) -> tuple[np.ndarray, tuple[Predictive, ...], tuple[Predictive, ...] | None]:
    """Forecast a fold's rows: their numbers (n,), the network's forecasts, the linear model's."""
    seen, numbers = cut(panel, last=fold.until)
    wanted = rows_of(fold, panel)[numbers]
    found = [
        None
        if one is None
        else tuple(part.take(wanted) for part in one.distributions(seen, wanted).values())
        for one in (fitted, linear)
    ]
    return numbers[wanted], found[0] or (), found[1]


def walked_arrays(walked: Walked) -> Arrays:
    """Write a unit's result as arrays by name, to be kept on disk."""
    found: Arrays = {"rows": walked.rows, "seconds": np.array([walked.seconds])}
    found |= {f"weight/{name}": array for name, array in walked.weights.items()}
    for label, parts in (("model", walked.forecasts), ("linear", walked.linear or ())):
        for k, part in enumerate(parts):
            found |= {f"{label}/{k}/{name}": array for name, array in arrays_of(part).items()}
    return found


def from_walked_arrays(arrays: Arrays) -> Walked:
    """Read a unit's result back.

    Raises:
        ArtifactError: it is not one.
    """
    if not {"rows", "seconds"} <= set(arrays):
        raise ArtifactError("Arrays of no fold; delete models/.unfinished and run again.")
    linear = _parts(arrays, "linear")
    return Walked(
        rows=arrays["rows"],
        forecasts=_parts(arrays, "model"),
        linear=linear or None,
        weights=_below(arrays, "weight/"),
        seconds=float(arrays["seconds"][0]),
    )


def _parts(arrays: Arrays, label: str) -> tuple[Predictive, ...]:
    numbers: Sequence[str] = sorted({key.split("/")[1] for key in _below(arrays, f"{label}/", "")})
    return tuple(from_arrays(_below(arrays, f"{label}/{k}/")) for k in numbers)


def _below(arrays: Arrays, prefix: str, instead: str | None = None) -> Arrays:
    keep = prefix if instead is None else ""
    return {key.removeprefix(keep): a for key, a in arrays.items() if key.startswith(prefix)}
