"""What the pipeline computes day by day, as values that no later bar may change.

Shape letters: N rows of the panel, K targets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from forecaster.data.bars import History
from forecaster.data.derived import derived_inputs, derived_names
from forecaster.data.features import OWN_FEATURES
from forecaster.data.panel import CROSS_SECTION, Panel, build_panel
from forecaster.data.sessions import CALENDAR_INPUTS
from forecaster.evaluation.distributions import Predictive
from forecaster.evaluation.recalibration import recalibrated
from forecaster.pipeline.adaptive import adaptive_intervals
from forecaster.pipeline.auditing.compare import Values
from forecaster.pipeline.learning.fitted import Fitted

ROW_STAGES: Final = ("features", "cross-section", "calendar", "targets", "inputs")
FORECASTS: Final = "forecasts"
INTERVALS: Final = "intervals"
LEVELS: Final = (0.025, 0.1, 0.5, 0.9, 0.975)

_PANEL_STAGES = {
    "features": OWN_FEATURES,
    "cross-section": CROSS_SECTION,
    "calendar": CALENDAR_INPUTS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecaster:
    """What forecasts: a fitted network, the targets and tickers it knows, its calibration.

    `calibration` maps target and ticker to numbers as a manifest does; `levels` are theirs.
    """

    fitted: Fitted
    targets: tuple[str, ...]
    universe: tuple[str, ...] | None
    calibration: Mapping[str, Mapping[str, Sequence[float]]]
    levels: Sequence[float]


def panel_of(histories: Sequence[History], forecaster: Forecaster) -> Panel:
    """Build the panel that a forecaster reads."""
    return build_panel(histories, forecaster.targets, universe=forecaster.universe)


def row_values(panel: Panel, cut: np.datetime64) -> dict[str, Values]:
    """Give everything that was known at the close of each day up to a date, by stage."""
    known, outcome = panel.days <= cut, panel.outcome_days <= cut
    inputs = dict(zip(panel.input_names, panel.inputs[known].T, strict=True))
    found = {}
    for stage, names in _PANEL_STAGES.items():
        columns = {name: inputs[name] for name in names if name in inputs}
        if stage == "features":
            columns |= {"close": panel.close[known]} | _per_target(
                panel, " today", panel.today[known]
            )
        if columns:
            found[stage] = Values.of_rows(panel, known, columns)
    columns = _per_target(panel, "", panel.y[outcome])
    columns |= _per_target(panel, " level", panel.level[outcome])
    columns["outcome day"] = panel.outcome_days[outcome].astype(np.int64)
    found["targets"] = Values.of_rows(panel, outcome, columns)
    names = derived_names(panel)
    columns = dict(zip(names, derived_inputs(panel, names)[known].T, strict=True))
    found["inputs"] = Values.of_rows(panel, known, columns)
    return found


def stated(panel: Panel, forecaster: Forecaster) -> tuple[Predictive, ...]:
    """Forecast from every day there is, N distributions per target."""
    return forecaster.fitted.predictive(panel, np.ones(len(panel.days), dtype=np.bool_))


def forecast_values(
    panel: Panel, forecaster: Forecaster, made: Sequence[Predictive], cut: np.datetime64
) -> Values:
    """Give the forecasts of each day up to a date: mean and quantiles, stated and calibrated."""
    known = panel.days <= cut
    rows = np.flatnonzero(known)
    tickers = np.array(panel.tickers)[panel.series[rows]]
    columns: dict[str, np.ndarray] = {}
    for target, predictive in zip(forecaster.targets, made, strict=True):
        mine = predictive.take(rows)
        columns |= quantile_columns(target, mine)
        numbers = forecaster.calibration.get(target, {})
        held = recalibrated(mine, tickers, numbers, forecaster.levels)
        columns |= quantile_columns(f"calibrated {target}", held)
    return Values.of_rows(panel, known, columns)


def interval_values(
    panel: Panel, made: Sequence[Predictive], fit_until: np.datetime64, cut: np.datetime64
) -> Values:
    """Give the intervals of each day up to a date, which learn from what came of earlier ones."""
    known = panel.days <= cut
    columns: dict[str, np.ndarray] = {}
    for target, predictive in zip(panel.targets, made, strict=True):
        found = adaptive_intervals(panel, target, predictive, fit_until)
        for coverage, ends in found.bounds.items():
            columns |= {f"{target} {coverage:.0%} lower": ends[known, 0]}
            columns |= {f"{target} {coverage:.0%} upper": ends[known, 1]}
    return Values.of_rows(panel, known, columns)


def quantile_columns(name: str, predictive: Predictive) -> dict[str, np.ndarray]:
    """Describe n distributions by their means and quantiles, (n,) each."""
    values = predictive.quantile(LEVELS)
    return {f"{name} mean": predictive.mean()} | {
        f"{name} q{level:g}": values[:, q] for q, level in enumerate(LEVELS)
    }


def _per_target(panel: Panel, word: str, table: np.ndarray) -> dict[str, np.ndarray]:
    return {f"{name}{word}": table[:, k] for k, name in enumerate(panel.targets)}
