"""What the pipeline fits, as values that no bar after the days fitted on may change.

Shape letters: N rows of the panel, K targets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from forecaster.data.panel import Panel
from forecaster.evaluation.distributions import Point
from forecaster.evaluation.folds import walk_folds
from forecaster.evaluation.recalibration import scores_by_series
from forecaster.evaluation.splits import Split, split_by_time
from forecaster.models.forms import LEVELS
from forecaster.pipeline.auditing.alter import Alteration, as_date
from forecaster.pipeline.auditing.bars import quiet
from forecaster.pipeline.auditing.compare import Values
from forecaster.pipeline.auditing.rows import quantile_columns
from forecaster.pipeline.evaluating.rivals import Rivals, rivals
from forecaster.pipeline.learning.base import Base
from forecaster.pipeline.learning.fitted import weights_of
from forecaster.pipeline.learning.fitting import Fit, fit
from forecaster.pipeline.learning.material import Material, material_of
from forecaster.settings import TrainSettings

BLOCKS: Final = "blocks"
FIT_STAGES: Final = ("scales", "base", "training")
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
        changed = {"max_updates": updates, "device": "cpu", "fit_until": None, "select_until": None}
        return cls(settings=settings.model_copy(update=changed), split=split)

    @property
    def chooses(self) -> TrainSettings:
        """The settings of a training in which the select block chooses."""
        return self._with_looks(LOOKS)

    def _with_looks(self, looks: int) -> TrainSettings:
        every = max(self.settings.max_updates // looks, 1)
        return self.settings.model_copy(update={"evaluate_every": every})

    def without_select(self, panel: Panel) -> tuple[Material, Fit]:
        """Train so that the select block decides nothing: one look, after the last update."""
        return self._train(panel, self._with_looks(1), None)

    def with_select(self, panel: Panel, base: Base | None = None) -> tuple[Material, Fit]:
        """Train with looks at the select block, which chooses among the weights."""
        return self._train(panel, self.chooses, base)

    def _train(
        self, panel: Panel, settings: TrainSettings, base: Base | None
    ) -> tuple[Material, Fit]:
        material = material_of(panel, self.split, settings, base)
        return material, fit(material, settings, torch.device("cpu"))


def block_values(panel: Panel, split: Split, cut: np.datetime64) -> Values:
    """Cut the blocks at the split's dates; number the block of every outcome up to a date."""
    found = split_by_time(
        panel.days, fit_until=as_date(split.fit_until), select_until=as_date(split.select_until)
    )
    masks = found.masks(panel.outcome_days)
    return _block_numbers(panel, cut, masks)


def blocks_by_date(panel: Panel, split: Split, cut: np.datetime64) -> Values:
    """Number the block of every outcome by its date alone."""
    later = panel.outcome_days > split.fit_until, panel.outcome_days > split.select_until
    known = ~np.isnat(panel.outcome_days)
    return _block_numbers(panel, cut, (known & ~later[0], later[0] & ~later[1], later[1]))


def _block_numbers(
    panel: Panel, cut: np.datetime64, masks: tuple[NDArray[np.bool_], ...]
) -> Values:
    rows = panel.outcome_days <= cut
    names = ("in the fit block", "in the select block", "in the report block")
    columns = {name: mask[rows].astype(np.float64) for name, mask in zip(names, masks, strict=True)}
    return Values.of_rows(panel, rows, columns)


def fit_values(material: Material, made: Fit, *, looks: bool) -> dict[str, Values]:
    """Give what a training has fitted, by stage.

    Args:
        material: what was trained on.
        made: what the training made.
        looks: whether what it saw of the select block counts.
    """
    reader, base = material.reader, material.reader.base
    scales = {
        **_scaler("input", reader.scaler.mean, reader.scaler.scale),
        **_scaler("target", material.target_scaler.mean, material.target_scaler.scale),
    }
    numbers: dict[str, np.ndarray | float] = {}
    if base is not None:
        numbers = _scaler("base input", base.scaler.mean, base.scaler.scale)
        numbers |= {"weight": base.weights, "intercept": base.intercepts}
    trained: dict[str, np.ndarray | float] = {
        f"{name} of member {member}": value
        for member, network in enumerate(made.fitted.networks)
        for name, value in weights_of(network).items()
    }
    trained["fit loss"] = np.array([look.fit_loss for look in made.looks])
    if looks:
        trained["select loss"] = np.array([look.select_loss for look in made.looks])
    stages = dict(zip(FIT_STAGES, (scales, numbers, trained), strict=True))
    return {stage: Values.of_numbers(found) for stage, found in stages.items() if found}


def _scaler(name: str, mean: np.ndarray, scale: np.ndarray) -> dict[str, np.ndarray | float]:
    return {f"mean of {name}": mean, f"scale of {name}": scale}


def calibration_of(panel: Panel, made: Fit) -> dict[str, dict[str, list[float]]]:
    """Calibrate a training's forecasts as a manifest does, by target and ticker."""
    return {
        name: scores_by_series(made.scores[:, k], panel.series, panel.tickers, LEVELS)
        for k, name in enumerate(panel.targets)
    }


def calibration_values(panel: Panel, made: Fit) -> Values:
    """Give what the select block has said of the forecasts: belief and quantiles of scores."""
    numbers: dict[str, np.ndarray | float] = {"belief": made.fitted.shrinkage}
    for target, by_ticker in calibration_of(panel, made).items():
        numbers |= {
            f"{target} of {ticker or 'all tickers'}": np.array(values)
            for ticker, values in by_ticker.items()
        }
    return Values.of_numbers(numbers)


def baselines_of(
    panel: Panel, split: Split, able: NDArray[np.bool_], inputs: Sequence[str]
) -> Rivals:
    """Let every quick rival of `evaluate` fit and forecast."""
    folds = walk_folds(panel.outcome_days, split)
    with quiet():
        return rivals(panel, panel.targets, folds, able, inputs, baselines="quick")


def baseline_values(panel: Panel, made: Rivals, change: Alteration) -> Values:
    """Give the rivals' forecasts made up to the date, and of outcomes that are still there."""
    rows = panel.days <= change.cut
    if not change.keeps_rows:
        rows = panel.outcome_days <= change.cut
    numbers = np.flatnonzero(rows)
    columns = {
        f"{target} {name}": column
        for target, by_name in made.forecasts.items()
        for rival, predictive in by_name.items()
        for name, column in quantile_columns(rival, predictive.take(numbers)).items()
        if not isinstance(predictive, Point) or name.endswith("mean")
    }
    return Values.of_rows(panel, rows, columns)
