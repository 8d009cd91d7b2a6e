"""Forecasts with their intervals, and the result tables that all rooms exchange.

Shape letters: N rows of the panel, n chosen rows.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from forecaster.data.panel import Panel
from forecaster.evaluation.conformal import (
    COVERAGES,
    Adaptive,
    Intervals,
    adaptive_conformal,
    uncalibrated_intervals,
)
from forecaster.evaluation.distributions import Point, Predictive

FORECAST_COLUMNS = (
    *("ticker", "as_of", "session", "target", "forecaster", "forecast", "actual"),
    *("last_close", "price_forecast", "price_actual"),
    *("q025", "q10", "q90", "q975", "log_score"),
)
ENDS = ("q025", "q10", "q90", "q975")
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
    columns = _columns(panel, target, rows, made.center, made.intervals)
    price = _price(panel, target, rows)
    prob_up = made.distribution.probability_above(0.0)
    columns |= {
        "session": pd.to_datetime(list(sessions)).astype("datetime64[s]"),
        "forecaster": made.forecaster,
        "prob_up": np.where(np.isfinite(price), prob_up, np.nan),
        **{f"price_{end}": _priced(price, columns[end]) for end in ENDS},
        "interval": list(made.interval_source),
        "trained_on": made.trained_on,
        "version": version,
    }
    return pd.DataFrame(columns, columns=list(PREDICTION_COLUMNS))


def forecast_table(
    panel: Panel,
    target: str,
    name: str,
    forecast: Predictive,
    rows: np.ndarray,
    intervals: Intervals | None = None,
) -> pd.DataFrame:
    """Make the table (`FORECAST_COLUMNS`) of one forecaster's n past forecasts of one target.

    `forecast` and `intervals` are deviations from the panel's level on the `rows` (n,); without
    intervals the forecaster's uncalibrated ones are taken, if any. `log_score` is the log density
    at the outcome, in nats; NaN where there is no density.
    """
    k = panel.targets.index(target)
    if intervals is None and not isinstance(forecast, Point):
        intervals = uncalibrated_intervals(forecast)
    actual = panel.y[rows, k] + panel.level[rows, k]
    columns = _columns(panel, target, rows, forecast.mean(), intervals)
    columns |= {
        "session": panel.outcome_days[rows].astype("datetime64[s]"),
        "forecaster": name,
        "actual": actual,
        "price_actual": _priced(_price(panel, target, rows), actual),
        "log_score": forecast.log_density(panel.y[rows, k]),
    }
    return pd.DataFrame(columns, columns=list(FORECAST_COLUMNS))


def _columns(
    panel: Panel, target: str, rows: np.ndarray, center: np.ndarray, intervals: Intervals | None
) -> dict[str, Any]:
    """Return the columns of both tables; prices and interval ends are NaN where there are none."""
    level = panel.level[rows, panel.targets.index(target)]
    forecast, ends = center + level, dict.fromkeys(ENDS, np.full(len(rows), np.nan))
    if intervals is not None:
        (q10, q90), (q025, q975) = (intervals.bounds[each].T + level for each in COVERAGES)
        ends = {"q025": q025, "q10": q10, "q90": q90, "q975": q975}
    return {
        "ticker": np.array(panel.tickers)[panel.series[rows]],
        "as_of": panel.days[rows].astype("datetime64[s]"),
        "target": target,
        "forecast": forecast,
        "last_close": panel.close[rows],
        "price_forecast": _priced(_price(panel, target, rows), forecast),
        **ends,
    }


def _price(panel: Panel, target: str, rows: np.ndarray) -> np.ndarray:
    """Return the prices (n,) that returns apply to; NaN for other targets."""
    return panel.close[rows] if target == "return" else np.full(len(rows), np.nan)


def _priced(price: np.ndarray, log_return: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # only a forged manifest forecasts that much
        priced: np.ndarray = price * np.exp(log_return)
    return priced


def adaptive_intervals(
    panel: Panel,
    target: str,
    forecasts: Predictive,
    train_until: np.datetime64,
    coverages: tuple[float, ...] = COVERAGES,
) -> Intervals:
    """Calibrate the intervals of a target, each by outcomes known when it was forecast.

    Outcomes until the last training day are not learned from. Of N rows, NaN where there is no
    forecast, or where a number alone was forecast and fewer than 100 outcomes were known.
    """
    days = panel.outcome_days
    wanted = np.isfinite(forecasts.mean()) & (np.isnat(days) | (days > train_until))
    rows = np.flatnonzero(wanted)
    part, y = forecasts.take(rows), panel.y[rows, panel.targets.index(target)]
    made, known = panel.days[rows], days[rows]
    found = adaptive_conformal(
        part, y, panel.series[rows], made, known, Adaptive(coverages=coverages)
    )
    unknown = np.zeros(len(rows), dtype=np.bool_)
    if isinstance(part, Point):  # nothing but outcomes determines a width
        arrived = np.sort(known[np.isfinite(y)])
        unknown = np.searchsorted(arrived, made, side="right") < Adaptive().least
    bounds = {}
    for coverage, ends in found.bounds.items():
        bounds[coverage] = np.full((len(days), 2), np.nan)
        bounds[coverage][rows] = np.where(unknown[:, None], np.nan, ends)
    return Intervals(bounds)
