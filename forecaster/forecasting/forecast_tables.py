"""Forecasts with their intervals, and the result tables that all rooms exchange.

Shape letters: N rows of the panel, n chosen rows.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pandas as pd

from forecaster.data.panel import Panel
from forecaster.evaluation.conformal import (
    COVERAGES,
    Adaptive,
    Intervals,
    adaptive_conformal,
)
from forecaster.evaluation.distributions import Point, Predictive
from forecaster.evaluation.scored_forecasts import priced

PREDICTION_COLUMNS = (
    *("ticker", "as_of", "session", "target", "forecaster", "forecast"),
    *("q025", "q10", "q90", "q975", "prob_up", "last_close", "price_forecast"),
    *("price_q025", "price_q10", "price_q90", "price_q975"),
    *("interval", "trained_on", "version"),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TargetForecast:
    """Forecasts of one target from n rows of a panel, as deviation from its level.

    `center` (n,) is the forecast, NaN where there is none; `interval_source` (n,) is `own`,
    `pooled` (scores of all tickers) or `none`.
    """

    forecaster: str
    center: np.ndarray
    distribution: Predictive
    intervals: Intervals
    interval_source: np.ndarray
    trained_on: np.ndarray

    def take(self, numbers: np.ndarray) -> "TargetForecast":
        """Select forecasts by number."""
        bounds = {coverage: ends[numbers] for coverage, ends in self.intervals.bounds.items()}
        return replace(
            self,
            center=self.center[numbers],
            distribution=self.distribution.take(numbers),
            intervals=Intervals(bounds),
            interval_source=self.interval_source[numbers],
            trained_on=self.trained_on[numbers],
        )


def interval_sources(by_ticker: Collection[str], tickers: Sequence[str] | np.ndarray) -> np.ndarray:
    """Return whether each ticker's interval is its own, pooled (by the name "") or none."""
    others = "pooled" if "" in by_ticker else "none"
    return np.array(["own" if ticker in by_ticker else others for ticker in tickers])


def next_session_table(
    panel: Panel,
    target: str,
    rows: np.ndarray,
    sessions: Sequence[date],
    made: TargetForecast,
    version: str,
) -> pd.DataFrame:
    """Make the table (`PREDICTION_COLUMNS`) of n next-session forecasts of one target.

    `sessions` (n,) are those after the `rows` (n,) forecast from.
    """
    level = panel.level[rows, panel.targets.index(target)]
    price = panel.close[rows] if target == "return" else np.full(len(rows), np.nan)
    forecast = made.center + level
    ends = interval_ends(made.intervals, level)
    prob_up = made.distribution.probability_above(0.0)
    columns = {
        "ticker": np.array(panel.tickers)[panel.series[rows]],
        "as_of": panel.days[rows].astype("datetime64[s]"),
        "session": pd.to_datetime(list(sessions)).astype("datetime64[s]"),
        "target": target,
        "forecaster": made.forecaster,
        "forecast": forecast,
        **ends,
        "prob_up": np.where(np.isfinite(price), prob_up, np.nan),
        "last_close": panel.close[rows],
        "price_forecast": priced(price, forecast),
        **{f"price_{end}": priced(price, values) for end, values in ends.items()},
        "interval": list(made.interval_source),
        "trained_on": made.trained_on,
        "version": version,
    }
    return pd.DataFrame(columns, columns=list(PREDICTION_COLUMNS))


def interval_ends(intervals: Intervals, level: np.ndarray) -> dict[str, np.ndarray]:
    """Return the ends of n intervals by name, each above a level (n,)."""
    (q10, q90), (q025, q975) = (intervals.bounds[each].T + level for each in COVERAGES)
    return {"q025": q025, "q10": q10, "q90": q90, "q975": q975}


def adaptive_intervals(
    panel: Panel,
    target: str,
    forecasts: Predictive,
    train_until: np.datetime64,
    coverages: tuple[float, ...] = COVERAGES,
    rows: np.ndarray | slice = slice(None),
) -> Intervals:
    """Calibrate the intervals of a target, each by outcomes known when it was forecast.

    Outcomes until the last training day are not learned from. Of the `rows` (n,) of the panel that
    `forecasts` are of, all by default; NaN where there is no forecast, or where a number alone was
    forecast and fewer than 100 outcomes were known.
    """
    days = panel.outcome_days[rows]
    wanted = np.isfinite(forecasts.mean()) & (np.isnat(days) | (days > train_until))
    chosen = np.flatnonzero(wanted)
    part, y = forecasts.take(chosen), panel.y[rows, panel.targets.index(target)][chosen]
    made, known = panel.days[rows][chosen], days[chosen]
    settings = Adaptive(coverages=coverages)
    found = adaptive_conformal(part, y, panel.series[rows][chosen], made, known, settings)
    unknown = np.zeros(len(chosen), dtype=np.bool_)
    if isinstance(part, Point):  # nothing but outcomes determines a width
        arrived = np.sort(known[np.isfinite(y)])
        unknown = np.searchsorted(arrived, made, side="right") < Adaptive().least
    bounds = {}
    for coverage, ends in found.bounds.items():
        bounds[coverage] = np.full((len(days), 2), np.nan)
        bounds[coverage][chosen] = np.where(unknown[:, None], np.nan, ends)
    return Intervals(bounds)
