"""Intervals that learn from a version's own forecasts since its fit block, day by day.

`evaluate` and `predict` draw them by the same code: what is scored is what is given.

Shape letters: N rows of the panel.
"""

import numpy as np

from forecaster.data.panel import Panel
from forecaster.evaluation.conformal import (
    Adaptive,
    Intervals,
    adaptive_conformal,
    raw_intervals,
)
from forecaster.evaluation.distributions import Point, Predictive
from forecaster.pipeline.learning.trained import Trained


def adaptive_intervals(
    panel: Panel, target: str, predictive: Predictive, fit_until: np.datetime64
) -> Intervals:
    """Calibrate the intervals of a target, each by what came of forecasts made before it.

    Args:
        panel: all N rows.
        target: one of the panel's.
        predictive: N forecasts, as deviation from the panel's level; NaN where there is none.
        fit_until: last day that the forecaster was fitted on: outcomes until then teach nothing.

    Returns:
        Intervals of N rows; NaN where there is no forecast, or where a number alone was forecast
        and fewer than 100 outcomes had come.
    """
    days = panel.outcome_days
    wanted = np.isfinite(predictive.mean()) & (np.isnat(days) | (days > fit_until))
    rows = np.flatnonzero(wanted)
    part, y = predictive.take(rows), panel.y[rows, panel.targets.index(target)]
    made, known = panel.days[rows], days[rows]
    found = adaptive_conformal(part, y, panel.series[rows], made, known)
    blind = _blind(part, y, made, known)
    bounds = {}
    for coverage, ends in found.bounds.items():
        bounds[coverage] = np.full((len(days), 2), np.nan)
        bounds[coverage][rows] = np.where(blind[:, None], np.nan, ends)
    return Intervals(bounds)


def served_intervals(
    trained: Trained, panel: Panel, target: str, whole: Predictive, rows: np.ndarray
) -> Intervals:
    """Draw the intervals that `predict` gives and the gate judges.

    Args:
        trained: the version.
        panel: all N rows.
        target: one of the panel's.
        whole: N forecasts, as the version states them.
        rows: (n,) numbers of those that are wanted.

    Returns:
        n intervals: the adaptive ones, and those of the select block where they have too few
        outcomes to learn from.
    """
    fit_until = np.datetime64(trained.manifest.data.blocks.fit_until, "D")
    drawn = adaptive_intervals(panel, target, whole, fit_until)
    tickers = np.array(panel.tickers)[panel.series[rows]]
    fixed = raw_intervals(trained.calibrated(target, whole.take(rows), tickers)).bounds
    return Intervals(
        {
            coverage: np.where(np.isnan(ends[rows]), fixed[coverage], ends[rows])
            for coverage, ends in drawn.bounds.items()
        }
    )


def _blind(part: Predictive, y: np.ndarray, made: np.ndarray, known: np.ndarray) -> np.ndarray:
    """True where nothing says how wide an interval must be."""
    if not isinstance(part, Point):
        return np.zeros(len(y), dtype=np.bool_)
    arrived = np.sort(known[np.isfinite(y)])
    blind: np.ndarray = np.searchsorted(arrived, made, side="right") < Adaptive().least
    return blind
