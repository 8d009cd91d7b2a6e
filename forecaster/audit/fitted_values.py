"""What is fitted, as values that no bar after the days fitted on may change.

Shape letters: N rows of the panel.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from forecaster.audit.alterations import Alteration, as_date
from forecaster.audit.comparison import Stages, Values
from forecaster.audit.daily_values import quantile_columns, quiet
from forecaster.backtesting import benchmarks
from forecaster.backtesting.benchmarks import BenchmarkForecasts, BenchmarkOptions
from forecaster.backtesting.fold import FoldForecasts, FoldTask, run_fold
from forecaster.data.panel import Panel
from forecaster.evaluation.distributions import Point
from forecaster.evaluation.splits import Fold, Split, Walk, split_by_time, walk_folds
from forecaster.forecasting.base_model import Base
from forecaster.forecasting.data_set import Dataset, build_dataset
from forecaster.forecasting.fitted_model import FittedModel, weights_of
from forecaster.forecasting.fitting import FitResult, fit
from forecaster.settings import TrainSettings

SPLIT: Final = "split"
TRAIN_STAGES: Final = ("scales", "base", "training")
CALIBRATION: Final = "calibration"
BENCHMARKS: Final = "benchmarks"
WALK_FORWARD: Final = "walk-forward"
_VALIDATIONS: Final = 8  # in a training that may stop early

Numbers = dict[str, np.ndarray | float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How an audit trains: a version's settings with fewer steps, and a fixed split."""

    settings: TrainSettings
    split: Split

    @classmethod
    def short(cls, settings: TrainSettings, split: Split, max_steps: int) -> "Recipe":
        """Shorten a training, on the one device whose results are reproducible bit for bit."""
        changed = {
            "max_steps": max_steps,
            "device": "cpu",
            "train_until": None,
            "validation_until": None,
        }
        return cls(settings=settings.model_copy(update=changed), split=split)

    def validated(self, count: int = _VALIDATIONS) -> TrainSettings:
        """Return the settings of a training with so many validations."""
        every = max(self.settings.max_steps // count, 1)
        return self.settings.model_copy(update={"evaluate_every": every})

    def train(
        self, panel: Panel, *, select: bool, base: Base | None = None
    ) -> tuple[Dataset, FitResult]:
        """Train on a panel.

        Args:
            panel: the bars as they are, or altered.
            select: whether validation selects among the weights; else there is one validation,
                after the last step, which decides nothing.
            base: one fitted on the same training days, to save the work.
        """
        settings = self.validated() if select else self.validated(1)
        dataset = build_dataset(panel, self.split, settings, base)
        return dataset, fit(dataset, settings, torch.device("cpu"))


def split_values(panel: Panel, split: Split, cut: np.datetime64) -> Values:
    """Split the panel at the split's dates; return the part of every outcome up to a date."""
    found = split_by_time(
        panel.days,
        train_until=as_date(split.train_until),
        validation_until=as_date(split.validation_until),
    )
    return _parts(panel, cut, found.masks(panel.outcome_days))


def expected_split(panel: Panel, split: Split, cut: np.datetime64) -> Values:
    """Return the part of every outcome up to a date, by its date alone."""
    after_train = panel.outcome_days > split.train_until
    after_validation = panel.outcome_days > split.validation_until
    train = ~np.isnat(panel.outcome_days) & ~after_train
    return _parts(panel, cut, (train, after_train & ~after_validation, after_validation))


def _parts(panel: Panel, cut: np.datetime64, masks: tuple[NDArray[np.bool_], ...]) -> Values:
    rows = panel.outcome_days <= cut
    names = ("in train", "in validation", "in test")
    columns = {name: mask[rows].astype(np.float64) for name, mask in zip(names, masks, strict=True)}
    return Values.of_rows(panel, rows, columns)


def fit_values(dataset: Dataset, made: FitResult, *, validation: bool) -> Stages:
    """Return what a training has fitted, by stage.

    Args:
        dataset: what was trained on.
        made: its result.
        validation: whether the validation losses count.
    """
    reader, base = dataset.model.reader, dataset.model.reader.base
    scales = {
        **_scaler("input", reader.scaler.mean, reader.scaler.scale),
        **_scaler("target", dataset.model.target_scaler.mean, dataset.model.target_scaler.scale),
    }
    fitted: Numbers = {}
    if base is not None:
        fitted = _scaler("base input", base.scaler.mean, base.scaler.scale)
        fitted |= {"weight": base.weights, "intercept": base.intercepts}
    trained: Numbers = {
        f"{name} of member {member}": value
        for member, network in enumerate(made.model.networks)
        for name, value in weights_of(network).items()
    }
    validations = [one for mine in made.validations_by_member for one in mine]
    trained["train loss"] = np.array([one.train_loss for one in validations])
    if validation:
        trained["validation loss"] = np.array([one.validation_loss for one in validations])
    stages = dict(zip(TRAIN_STAGES, (scales, fitted, trained), strict=True))
    return {stage: Values.of_numbers(found) for stage, found in stages.items() if found}


def _scaler(name: str, mean: np.ndarray, scale: np.ndarray) -> Numbers:
    return {f"mean of {name}": mean, f"scale of {name}": scale}


def calibration_values(model: FittedModel) -> Values:
    """Return what was measured on validation days: shrinkage and quantiles of scores."""
    numbers: Numbers = {"shrinkage": model.shrinkage}
    for target, by_ticker in model.calibration.items():
        numbers |= {
            f"{target} of {ticker or 'all tickers'}": np.array(values)
            for ticker, values in by_ticker.items()
        }
    return Values.of_numbers(numbers)


def fit_benchmarks(panel: Panel, split: Split, model: FittedModel) -> BenchmarkForecasts:
    """Fit every quick benchmark of `evaluate`, and forecast with it."""
    folds, rows = walk_folds(panel.outcome_days, split), model.forecastable(panel)
    with quiet():
        return benchmarks.fit_benchmarks(
            panel, panel.targets, folds, rows, model.reader.names, BenchmarkOptions(kind="quick")
        )


def benchmark_values(panel: Panel, made: BenchmarkForecasts, change: Alteration) -> Values:
    """Return the benchmarks' forecasts made up to the date, where the outcome still exists."""
    rows = panel.days <= change.cut
    if not change.keeps_rows:
        rows = panel.outcome_days <= change.cut
    numbers = np.flatnonzero(rows)
    columns = {
        f"{target} {name}": column
        for target, by_name in made.forecasts.items()
        for benchmark, distributions in by_name.items()
        for name, column in quantile_columns(benchmark, distributions.take(numbers)).items()
        if not isinstance(distributions, Point) or name.endswith("mean")
    }
    return Values.of_rows(panel, rows, columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondFold:
    """The second of two folds of the test days, `every` trading days long, and its settings."""

    fold: Fold
    split: Split
    every: int
    settings: TrainSettings

    @classmethod
    def over(cls, panel: Panel, split: Split, settings: TrainSettings) -> "SecondFold":
        """Cut the test days, at least two, in two folds."""
        days = np.unique(panel.outcome_days[split.masks(panel.outcome_days)[2]])
        every = -(-len(days) // 2)
        fold = walk_folds(panel.outcome_days, split, Walk(refit_every=every))[-1]
        return cls(fold=fold, split=split, every=every, settings=settings)

    @property
    def known_until(self) -> np.datetime64:
        """The last day that the fold may read: the end of its validation days."""
        return self.fold.split.validation_until

    def run(self, panel: Panel) -> FoldForecasts:
        """Fit on the fold's training days and forecast from its test days, as `evaluate` does."""
        task = FoldTask(kind="model", fold=self.fold, seed=self.settings.seed, with_linear=True)
        return run_fold(panel, task, self.settings)

    def ends(self, panel: Panel) -> Values:
        """Return the last training and validation days of a panel's folds up to that day."""
        folds = walk_folds(panel.outcome_days, self.split, Walk(refit_every=self.every))
        known = [fold.split for fold in folds if fold.split.validation_until <= self.known_until]
        ends = {
            "last train days of the folds": [split.train_until for split in known],
            "last validation days of the folds": [split.validation_until for split in known],
        }
        return Values.of_numbers(
            {name: np.array(days, "datetime64[D]").astype(np.int64) for name, days in ends.items()}
        )

    def forecasts(self, panel: Panel, walked: FoldForecasts) -> Values:
        """Return the forecasts of the fold, and of its linear model, made until that day."""
        made = panel.days[walked.rows] <= self.known_until
        mask = np.zeros(len(panel.days), dtype=np.bool_)
        mask[walked.rows[made]] = True
        columns: dict[str, np.ndarray] = {}
        for word, parts in (("", walked.forecasts), ("linear ", walked.linear or ())):
            for target, distributions in zip(panel.targets, parts, strict=False):
                chosen = distributions.take(np.flatnonzero(made))
                columns |= quantile_columns(f"{word}{target}", chosen)
        return Values.of_rows(panel, mask, columns)
