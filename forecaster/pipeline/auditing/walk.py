"""What a fold of a walk-forward fits and forecasts, as values that no later bar may change.

Shape letters: N rows of the panel.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from forecaster.data.panel import Panel
from forecaster.evaluation.folds import Fold, walk_folds
from forecaster.evaluation.splits import Split
from forecaster.pipeline.auditing.compare import Values
from forecaster.pipeline.auditing.rows import quantile_columns
from forecaster.pipeline.evaluating.fold import Unit, Walked, run_unit
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
        return self.fold.split.select_until

    def run(self, panel: Panel) -> Walked:
        """Fit on the fold's blocks and forecast from the fold's days, as `evaluate` does."""
        unit = Unit(kind="model", fold=self.fold, seed=self.settings.seed, with_linear=True)
        return run_unit(panel, unit, self.settings)

    def blocks(self, panel: Panel) -> Values:
        """Cut a panel's days in folds; give the last days of every block up to the evening."""
        folds = walk_folds(panel.outcome_days, self.split, refit_every=self.every)
        known = [fold.split for fold in folds if fold.split.select_until <= self.evening]
        return Values.of_numbers(
            {
                "last fit days of the folds": [_number(split.fit_until) for split in known],
                "last select days of the folds": [_number(split.select_until) for split in known],
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
