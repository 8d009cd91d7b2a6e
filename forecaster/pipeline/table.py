"""The one table that evaluation, report and ledger exchange: a row per forecast and forecaster."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from forecaster.data.panel import Panel
from forecaster.evaluation.conformal import COVERAGES, Intervals, raw_intervals
from forecaster.evaluation.distributions import Point, Predictive
from forecaster.registry.manifest import Manifest

FORECAST_COLUMNS = (
    *("ticker", "as_of", "session", "target", "forecaster", "forecast", "actual"),
    *("last_close", "price_forecast", "price_actual"),
    *("q025", "q10", "q90", "q975", "log_score"),
)
NAMED_AT_MOST = 5  # tickers in one sentence


def forecast_table(
    panel: Panel,
    target: str,
    name: str,
    forecast: Predictive,
    rows: np.ndarray,
    intervals: Intervals | None = None,
) -> pd.DataFrame:
    """Write one forecaster's forecasts of one target into the table that all rooms exchange.

    `log_score` is the log density given to what came, in nats; NaN where there is no density.

    Args:
        panel: what the rows are of.
        target: what is forecast.
        name: of the forecaster.
        forecast: n forecasts as deviation from the panel's level.
        rows: (n,) numbers of the rows to write.
        intervals: n of the same; None for those that the forecaster states, if any.
    """
    k = panel.targets.index(target)
    level, close = panel.level[rows, k], panel.close[rows]
    mean, actual = forecast.mean() + level, panel.y[rows, k] + level
    if intervals is None and not isinstance(forecast, Point):
        intervals = raw_intervals(forecast)
    base = close if target == "return" else np.full(len(rows), np.nan)
    return pd.DataFrame(
        {
            "ticker": np.array(panel.tickers)[panel.series[rows]],
            "as_of": panel.days[rows].astype("datetime64[s]"),
            "session": panel.outcome_days[rows].astype("datetime64[s]"),
            "target": target,
            "forecaster": name,
            "forecast": mean,
            "actual": actual,
            "last_close": close,
            "price_forecast": base * np.exp(mean),
            "price_actual": base * np.exp(actual),
            **interval_ends(intervals, level),
            "log_score": forecast.log_density(panel.y[rows, k]),
        },
        columns=list(FORECAST_COLUMNS),
    )


def interval_ends(intervals: Intervals | None, level: np.ndarray) -> dict[str, np.ndarray]:
    """Give the ends of the 80 and the 95 % interval, each (n,), by column name.

    Args:
        intervals: n of the deviation from a level; None for unknown ends.
        level: (n,) what they deviate from.
    """
    if intervals is None:
        return {name: np.full(len(level), np.nan) for name in ("q025", "q10", "q90", "q975")}
    (q10, q90), (q025, q975) = (intervals.bounds[coverage].T + level for coverage in COVERAGES)
    return {"q025": q025, "q10": q10, "q90": q90, "q975": q975}


def interval_kinds(manifest: Manifest, target: str, tickers: Sequence[str]) -> list[str]:
    """Say of each ticker where its interval comes from: `own`, `pooled` or `none`."""
    bounds = manifest.calibration.get(target, {})
    others = "pooled" if "" in bounds else "none"
    return ["own" if ticker in bounds else others for ticker in tickers]


def some(tickers: Sequence[str]) -> str:
    """Name a few tickers and count the rest, for one line of text."""
    more = len(tickers) - NAMED_AT_MOST
    return ", ".join(tickers[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
