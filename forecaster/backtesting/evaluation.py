"""A model walked forward through its test days, scored and compared with benchmarks.

Shape letters: N rows of the panel, n scored rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.backtesting.benchmarks import (
    BenchmarkForecasts,
    BenchmarkOptions,
    fit_benchmarks,
)
from forecaster.backtesting.scoring import ForecastSet, evaluate_target
from forecaster.backtesting.walk_forward import WorkFolder, walk_forward
from forecaster.data.history import History
from forecaster.data.panel import Panel
from forecaster.errors import DataError
from forecaster.evaluation.conformal import Intervals
from forecaster.evaluation.distributions import Predictive
from forecaster.evaluation.evaluation import Evaluation
from forecaster.evaluation.mixture import mixture
from forecaster.evaluation.splits import Fold, Split, Walk, walk_folds
from forecaster.forecasting.fitted_model import FittedModel
from forecaster.forecasting.forecast_tables import adaptive_intervals
from forecaster.registry.run_history import count_evaluation
from forecaster.settings import TrainSettings

# Benchmarks that need more days than the network: a row is scored without theirs.
DEMANDING = ("historical", "ewma-t", "garch-t", "egarch-t")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """A version with the rows and folds that it is evaluated on."""

    model: FittedModel
    panel: Panel
    folds: tuple[Fold, ...]
    walk: Walk
    targets: tuple[str, ...]

    @classmethod
    def of(
        cls, model: FittedModel, histories: list[History], walk: Walk, targets: tuple[str, ...]
    ) -> "Evaluator":
        """Build the version's panel and cut the folds; refuse where no test day can be scored."""
        panel = model.panel(histories)
        test = model.split.masks(panel.outcome_days)[2]
        for target in targets:
            if not np.isfinite(panel.y[test, panel.targets.index(target)]).any():
                raise _no_day(panel, model.split, target)
        folds = walk_folds(panel.outcome_days, model.split, walk)
        return cls(model=model, panel=panel, folds=folds, walk=walk, targets=targets)

    def run(
        self,
        home: Path,
        recipe: TrainSettings,
        work: WorkFolder,
        options: BenchmarkOptions,
        costs_bps: float,
    ) -> Evaluation:
        """Forecast by the version and the benchmarks, count the evaluation, score."""
        model, panel, folds = self.model, self.panel, self.folds
        seeds, same_inputs = walk_forward(panel, model, recipe, folds, self.walk, work)
        able, names = model.forecastable(panel), model.reader.names
        others = fit_benchmarks(panel, self.targets, folds, able, names, options)
        sets = {t: self._forecast_set(t, seeds, others, same_inputs) for t in self.targets}
        days = np.concatenate([one.days for one in sets.values()])
        ways = [f"{name}={value}" for name, value in self.walk.result_settings().items()]
        question = " ".join([model.version, *ways])
        count = count_evaluation(home, question, days.min().item(), days.max().item())
        by_target = {
            target: evaluate_target(
                one,
                {s: f[panel.targets.index(target)].take(one.rows) for s, f in seeds.items()},
                choices=others.choices[target],
                questions=count.questions or 1,
                costs_bps=costs_bps,
            )
            for target, one in sets.items()
        }
        return Evaluation(
            version=model.version,
            walk=self.walk,
            count=count,
            blocks=_block_days(panel, model.split),
            folds=_fold_table(folds, panel),
            by_target=by_target,
            costs_bps=costs_bps,
            notes=others.notes,
        )

    def _forecast_set(
        self,
        target: str,
        seeds: Mapping[int, tuple[Predictive, ...]],
        others: BenchmarkForecasts,
        same_inputs: Mapping[str, tuple[Predictive, ...]],
    ) -> ForecastSet:
        """Select the rows that all of a target's forecasters are scored on.

        They are test rows with an outcome that all but the demanding benchmarks forecast.
        """
        k = self.panel.targets.index(target)
        own, members = self.model.network_name, [f[k] for f in seeds.values()]
        subjects = {own: members[0]}
        if len(members) > 1:
            subjects[f"{own}-x{len(members)}"] = mixture(members)
        alike = {name: forecasts[k] for name, forecasts in same_inputs.items()}
        everyone = {**subjects, **others.forecasts[target], **alike}
        tests = [fold.masks(self.panel.outcome_days)[2] for fold in self.folds]
        scored = np.isfinite(self.panel.y[:, k]) & np.any(tests, axis=0)
        for name, forecast in everyone.items():
            if name not in DEMANDING:
                scored &= np.isfinite(forecast.mean())
        rows = np.flatnonzero(scored)
        if len(rows) == 0:
            raise _no_day(self.panel, self.model.split, target)
        intervals = {}
        for name, forecast in subjects.items():
            found = adaptive_intervals(self.panel, target, forecast, self.model.split.train_until)
            intervals[name] = Intervals({c: ends[rows] for c, ends in found.bounds.items()})
        return ForecastSet(
            target=target,
            panel=self.panel,
            rows=rows,
            y=self.panel.y[rows, k],
            days=self.panel.outcome_days[rows],
            series=self.panel.series[rows],
            forecasters={name: forecast.take(rows) for name, forecast in everyone.items()},
            subjects=tuple(subjects),
            naive=next(iter(others.forecasts[target])),
            intervals=intervals,
        )


def _no_day(panel: Panel, split: Split, target: str) -> DataError:
    return DataError(
        f"No day after {split.validation_until} can be scored for {target}: the prices end "
        f"{panel.days.max()}. Fetch newer prices, give a later --as-of, or train with an "
        "earlier --validation-until."
    )


def _fold_table(folds: Sequence[Fold], panel: Panel) -> pd.DataFrame:
    """Return one row per fit: its split, and the first and last day that it forecast."""
    rows = []
    for fold in folds:
        days = panel.outcome_days[fold.masks(panel.outcome_days)[2]]
        rows.append(
            {
                "fold": fold.number + 1,
                "train_from": (fold.train_from or panel.days.min()).item(),
                "train_until": fold.split.train_until.item(),
                "validation_until": fold.split.validation_until.item(),
                "first": days.min().item(),
                "last": days.max().item(),
            }
        )
    return pd.DataFrame(rows)


def _block_days(panel: Panel, split: Split) -> dict[str, tuple[date, date]]:
    """Return the first and last session forecast of training, validation and test."""
    known = np.isfinite(panel.y).any(axis=1)
    masks = split.masks(panel.outcome_days)
    return {
        name: (days.min().item(), days.max().item())
        for name, mask in zip(("train", "validation", "test"), masks, strict=True)
        if len(days := panel.outcome_days[mask & known])
    }
