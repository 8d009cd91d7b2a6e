"""What the pipeline fits, as values that no bar after the days fitted on may change.

Shape letters: N rows of the panel, K targets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from forecaster.audit.alterations import Alteration, as_date
from forecaster.audit.comparison import Values
from forecaster.audit.stages import quantile_columns, quiet
from forecaster.backtesting.benchmarks import BenchmarkForecasts, benchmarks
from forecaster.backtesting.fold import Unit, Walked, run_unit
from forecaster.data.panel import Panel
from forecaster.evaluation.distributions import Point
from forecaster.evaluation.splits import Fold, Split, split_by_time, walk_folds
from forecaster.forecasting.base_model import Base
from forecaster.forecasting.data_set import Dataset, build_dataset
from forecaster.forecasting.fitted_model import weights_of
from forecaster.forecasting.fitting import FitResult, fit
from forecaster.settings import TrainSettings

WALK: Final = "walk-forward"


@dataclass(frozen=True, slots=True, kw_only=True)
class Walker:
    """The second of two folds of the report block, and the settings that fit it.

    `every` is the length of a fold in trading days.
    """

    fold: Fold
    split: Split
    every: int
    settings: TrainSettings

    @classmethod
    def over(cls, panel: Panel, split: Split, settings: TrainSettings) -> "Walker":
        """Cut the report block in two; it has at least two days."""
        days = np.unique(panel.outcome_days[split.masks(panel.outcome_days)[2]])
        every = -(-len(days) // 2)
        fold = walk_folds(panel.outcome_days, split, refit_every=every)[-1]
        return cls(fold=fold, split=split, every=every, settings=settings)

    @property
    def evening(self) -> np.datetime64:
        """The last day that the fold may know: it ends the fold's select block."""
        return self.fold.split.validation_until

    def run(self, panel: Panel) -> Walked:
        """Fit on the fold's blocks and forecast from the fold's days, as `evaluate` does."""
        unit = Unit(kind="model", fold=self.fold, seed=self.settings.seed, with_linear=True)
        return run_unit(panel, unit, self.settings)

    def blocks(self, panel: Panel) -> Values:
        """Cut a panel's days in folds; give the last days of every block up to the evening."""
        folds = walk_folds(panel.outcome_days, self.split, refit_every=self.every)
        known = [fold.split for fold in folds if fold.split.validation_until <= self.evening]
        return Values.of_numbers(
            {
                "last fit days of the folds": [_number(split.train_until) for split in known],
                "last select days of the folds": [
                    _number(split.validation_until) for split in known
                ],
            }
        )

    def weights(self, walked: Walked) -> Values:
        """Give the fold's weights."""
        return Values.of_numbers(walked.weights)

    def forecasts(self, panel: Panel, walked: Walked) -> Values:
        """Give the fold's forecasts, and its linear twin's, made until the evening."""
        made = panel.days[walked.rows] <= self.evening
        mask = np.zeros(len(panel.days), dtype=np.bool_)
        mask[walked.rows[made]] = True
        columns: dict[str, np.ndarray] = {}
        for word, parts in (("", walked.forecasts), ("linear ", walked.linear or ())):
            for target, predictive in zip(panel.targets, parts, strict=False):
                columns |= quantile_columns(
                    f"{word}{target}", predictive.take(np.flatnonzero(made))
                )
        return Values.of_rows(panel, mask, columns)


def _number(day: np.datetime64) -> int:
    return int(day.astype("datetime64[D]").astype(np.int64))


BLOCKS: Final = "blocks"
TRAIN_STAGES: Final = ("scales", "base", "training")
CALIBRATION: Final = "calibration"
BASELINES: Final = "baselines"
LOOKS = 8  # at the select block, in a training that may stop early


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How an audit trains: a version's settings, fewer updates, fixed blocks of time."""

    settings: TrainSettings
    split: Split

    @classmethod
    def short(cls, settings: TrainSettings, split: Split, updates: int) -> "Recipe":
        """Shorten a training, on the one device that gives the same bits again."""
        changed = {
            "max_steps": updates,
            "device": "cpu",
            "train_until": None,
            "validation_until": None,
        }
        return cls(settings=settings.model_copy(update=changed), split=split)

    @property
    def chooses(self) -> TrainSettings:
        """The settings of a training in which the select block chooses."""
        return self._with_looks(LOOKS)

    def _with_looks(self, looks: int) -> TrainSettings:
        every = max(self.settings.max_steps // looks, 1)
        return self.settings.model_copy(update={"evaluate_every": every})

    def without_select(self, panel: Panel) -> tuple[Dataset, FitResult]:
        """Train so that the select block decides nothing: one look, after the last update."""
        return self._train(panel, self._with_looks(1), None)

    def with_select(self, panel: Panel, base: Base | None = None) -> tuple[Dataset, FitResult]:
        """Train with looks at the select block, which chooses among the weights."""
        return self._train(panel, self.chooses, base)

    def _train(
        self, panel: Panel, settings: TrainSettings, base: Base | None
    ) -> tuple[Dataset, FitResult]:
        dataset = build_dataset(panel, self.split, settings, base)
        return dataset, fit(dataset, settings, torch.device("cpu"))


def block_values(panel: Panel, split: Split, cut: np.datetime64) -> Values:
    """Cut the blocks at the split's dates; number the block of every outcome up to a date."""
    found = split_by_time(
        panel.days,
        train_until=as_date(split.train_until),
        validation_until=as_date(split.validation_until),
    )
    masks = found.masks(panel.outcome_days)
    return _block_numbers(panel, cut, masks)


def blocks_by_date(panel: Panel, split: Split, cut: np.datetime64) -> Values:
    """Number the block of every outcome by its date alone."""
    later = panel.outcome_days > split.train_until, panel.outcome_days > split.validation_until
    known = ~np.isnat(panel.outcome_days)
    return _block_numbers(panel, cut, (known & ~later[0], later[0] & ~later[1], later[1]))


def _block_numbers(
    panel: Panel, cut: np.datetime64, masks: tuple[NDArray[np.bool_], ...]
) -> Values:
    rows = panel.outcome_days <= cut
    names = ("in the fit block", "in the select block", "in the report block")
    columns = {name: mask[rows].astype(np.float64) for name, mask in zip(names, masks, strict=True)}
    return Values.of_rows(panel, rows, columns)


def fit_values(dataset: Dataset, made: FitResult, *, looks: bool) -> dict[str, Values]:
    """Give what a training has fitted, by stage.

    Args:
        material: what was trained on.
        made: what the training made.
        looks: whether what it saw of the select block counts.
    """
    reader, base = dataset.reader, dataset.reader.base
    scales = {
        **_scaler("input", reader.scaler.mean, reader.scaler.scale),
        **_scaler("target", dataset.target_scaler.mean, dataset.target_scaler.scale),
    }
    numbers: dict[str, np.ndarray | float] = {}
    if base is not None:
        numbers = _scaler("base input", base.scaler.mean, base.scaler.scale)
        numbers |= {"weight": base.weights, "intercept": base.intercepts}
    trained: dict[str, np.ndarray | float] = {
        f"{name} of member {member}": value
        for member, network in enumerate(made.model.networks)
        for name, value in weights_of(network).items()
    }
    trained["fit loss"] = np.array([look.train_loss for look in made.validations])
    if looks:
        trained["select loss"] = np.array([look.validation_loss for look in made.validations])
    stages = dict(zip(TRAIN_STAGES, (scales, numbers, trained), strict=True))
    return {stage: Values.of_numbers(found) for stage, found in stages.items() if found}


def _scaler(name: str, mean: np.ndarray, scale: np.ndarray) -> dict[str, np.ndarray | float]:
    return {f"mean of {name}": mean, f"scale of {name}": scale}


def calibration_values(panel: Panel, made: FitResult) -> Values:
    """Give what the select block has said of the forecasts: belief and quantiles of scores."""
    numbers: dict[str, np.ndarray | float] = {"belief": made.model.shrinkage}
    for target, by_ticker in made.model.calibration.items():
        numbers |= {
            f"{target} of {ticker or 'all tickers'}": np.array(values)
            for ticker, values in by_ticker.items()
        }
    return Values.of_numbers(numbers)


def baselines_of(
    panel: Panel, split: Split, able: NDArray[np.bool_], inputs: Sequence[str]
) -> BenchmarkForecasts:
    """Let every quick rival of `evaluate` fit and forecast."""
    folds = walk_folds(panel.outcome_days, split)
    with quiet():
        return benchmarks(panel, panel.targets, folds, able, inputs, baselines="quick")


def baseline_values(panel: Panel, made: BenchmarkForecasts, change: Alteration) -> Values:
    """Give the rivals' forecasts made up to the date, and of outcomes that are still there."""
    rows = panel.days <= change.cut
    if not change.keeps_rows:
        rows = panel.outcome_days <= change.cut
    numbers = np.flatnonzero(rows)
    columns = {
        f"{target} {name}": column
        for target, by_name in made.forecasts.items()
        for benchmark, predictive in by_name.items()
        for name, column in quantile_columns(benchmark, predictive.take(numbers)).items()
        if not isinstance(predictive, Point) or name.endswith("mean")
    }
    return Values.of_rows(panel, rows, columns)
