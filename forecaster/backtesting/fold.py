"""One fold fitted and forecast, in any process: everything that goes in and comes out pickles.

Shape letters: N rows of the panel, n rows forecast, K targets.
"""

import time
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from forecaster.data.panel import Panel, cut
from forecaster.errors import ArtifactError
from forecaster.evaluation.distributions import Predictive
from forecaster.evaluation.mixture import Arrays, arrays_of, from_arrays
from forecaster.evaluation.splits import Fold
from forecaster.forecasting.base_model import Base
from forecaster.forecasting.data_set import build_dataset
from forecaster.forecasting.fitted_model import FittedModel, Weights, ensemble_weights
from forecaster.forecasting.fitting import fit_panel
from forecaster.settings import TrainSettings

Kind = Literal["model", "mlp"]
# Settings that turn a version's recipe into that of the network without memory.
MEMORYLESS = {"model": "mlp", "initial_state": "zeros", "bidirectional": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldTask:
    """A network to be fitted, with `with_linear` beside the linear model with the same inputs.

    `base` is that of a network fitted on the same days, or None to fit it.
    """

    kind: Kind
    fold: Fold
    seed: int
    with_linear: bool = False
    base: Base | None = None

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.kind}-fold{self.fold.number:03d}-seed{self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldForecasts:
    """A task's forecasts of the panel's rows `rows` (n,), one per target.

    `linear` are those of the linear model, or None; `weights` are for a warm start.
    """

    rows: np.ndarray
    forecasts: tuple[Predictive, ...]
    linear: tuple[Predictive, ...] | None
    weights: Weights
    seconds: float = 0.0

    def arrays(self) -> Arrays:
        """Convert to arrays by name, to be stored."""
        found: Arrays = {"rows": self.rows, "seconds": np.array([self.seconds])}
        found |= {f"weight/{name}": array for name, array in self.weights.items()}
        for label, parts in (("model", self.forecasts), ("linear", self.linear or ())):
            for k, part in enumerate(parts):
                found |= {f"{label}/{k}/{name}": array for name, array in arrays_of(part).items()}
        return found

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "FoldForecasts":
        """Convert stored arrays back.

        Raises:
            ArtifactError: they are not a fold's.
        """
        if not {"rows", "seconds"} <= set(arrays):
            raise ArtifactError("Arrays of no fold; delete models/.unfinished and run again.")

        def below(prefix: str) -> Arrays:
            return {k.removeprefix(prefix): a for k, a in arrays.items() if k.startswith(prefix)}

        def distributions(prefix: str) -> tuple[Predictive, ...]:
            numbers = sorted({key.split("/")[0] for key in below(prefix)})
            return tuple(from_arrays(below(f"{prefix}{k}/")) for k in numbers)

        return cls(
            rows=arrays["rows"],
            forecasts=distributions("model/"),
            linear=distributions("linear/") or None,
            weights=below("weight/"),
            seconds=float(arrays["seconds"][0]),
        )


def run_fold(
    panel: Panel, task: FoldTask, recipe: TrainSettings, start: Weights | None = None
) -> FoldForecasts:
    """Fit, stop and calibrate on days before the fold's test days, then forecast those.

    Nothing later than the last validation day is passed to the fitting, and nothing later than
    the fold's last day to the forecasting. `start` are weights to start from.

    Raises:
        DataError: a part of the fold has no outcome.
        DivergedError: the training met a value that is not finite.
    """
    started = time.monotonic()
    known, _ = cut(panel, first=task.fold.train_from, last=task.fold.split.validation_until)
    changed: dict[str, object] = {"seed": task.seed, "threads": 1, "workers": 1}
    if task.kind == "mlp":
        changed |= MEMORYLESS
    settings = recipe.model_copy(update=changed)
    model = fit_panel(known, task.fold.split, settings, start=start, base=task.base).model
    found = forecast_fold(panel, task.fold, model, settings if task.with_linear else None)
    return replace(found, seconds=time.monotonic() - started)


def forecast_fold(
    panel: Panel, fold: Fold, model: FittedModel, linear: TrainSettings | None
) -> FoldForecasts:
    """Forecast a fold's test rows, in the first fold its validation rows too.

    Intervals learn from the first fold's validation days; later ones from the days between. With
    `linear`, settings of the network, the linear model with the same inputs forecasts too; it is
    the network's own base where that is linear.
    """
    seen, numbers = cut(panel, last=fold.until)
    _, validation, test = fold.masks(panel.outcome_days)
    wanted = (test | validation if fold.number == 0 else test)[numbers]
    inputs, of_linear = model.reader.inputs(seen), None
    forecasts = _taken(model, seen, wanted, inputs)
    if linear is not None:
        base, without = model.reader.base, replace(model, networks=())
        if base is None or base.kind != "linear":
            known, _ = cut(panel, first=fold.train_from, last=fold.split.validation_until)
            settings = linear.model_copy(update={"base": "linear"})
            without = build_dataset(known, fold.split, settings).model
            inputs = without.reader.inputs(seen)
        of_linear = _taken(without, seen, wanted, inputs)
    return FoldForecasts(
        rows=numbers[wanted],
        forecasts=forecasts,
        linear=of_linear,
        weights=ensemble_weights(model.networks),
    )


def _taken(
    model: FittedModel, panel: Panel, wanted: np.ndarray, inputs: np.ndarray
) -> tuple[Predictive, ...]:
    made = model.distributions(panel, wanted, inputs)
    return tuple(part.take(wanted) for part in made.values())
