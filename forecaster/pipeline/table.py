"""The one table that evaluation, report and ledger exchange: a row per forecast and forecaster."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from forecaster.data.panel import Panel
from forecaster.registry.manifest import Manifest

FORECAST_COLUMNS = (
    *("ticker", "as_of", "session", "target", "forecaster", "forecast", "actual"),
    *("last_close", "price_forecast", "price_actual", "q10", "q90"),
)
NAMED_AT_MOST = 5  # tickers in one sentence


def forecast_table(
    manifest: Manifest,
    panel: Panel,
    target: str,
    name: str,
    values: np.ndarray,
    rows: np.ndarray,
) -> pd.DataFrame:
    """Write one forecaster's forecasts of one target into the table that all rooms exchange."""
    k = panel.targets.index(target)
    level, close = panel.level[rows, k], panel.close[rows]
    forecast, actual = values[rows] + level, panel.y[rows, k] + level
    tickers = np.array(panel.tickers)[panel.series[rows]]
    low, high = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    if name == manifest.network.model:
        low, high = interval_around(manifest, target, tickers, forecast)
    base = close if target == "return" else np.full(len(rows), np.nan)
    return pd.DataFrame(
        {
            "ticker": tickers,
            "as_of": panel.days[rows].astype("datetime64[s]"),
            "session": panel.outcome_days[rows].astype("datetime64[s]"),
            "target": target,
            "forecaster": name,
            "forecast": forecast,
            "actual": actual,
            "last_close": close,
            "price_forecast": base * np.exp(forecast),
            "price_actual": base * np.exp(actual),
            "q10": low,
            "q90": high,
        },
        columns=list(FORECAST_COLUMNS),
    )


def interval_around(
    manifest: Manifest, target: str, tickers: np.ndarray, forecast: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Add the select block's residual bounds to forecasts; NaN where there are none.

    Args:
        tickers: (n,) ticker of each forecast; one without bounds of its own takes the pooled.
        forecast: (n,) in the target's own units.

    Returns:
        Lower and upper ends, each (n,), holding `manifest.coverage` of the outcomes.
    """
    bounds = manifest.intervals.get(target, {})
    none = (float("nan"), float("nan"))
    pairs = np.array([bounds.get(t, bounds.get("", none)) for t in tickers.tolist()]).reshape(-1, 2)
    return forecast + pairs[:, 0], forecast + pairs[:, 1]


def interval_kinds(manifest: Manifest, target: str, tickers: Sequence[str]) -> list[str]:
    """Say of each ticker where its interval comes from: `own`, `pooled` or `none`."""
    bounds = manifest.intervals.get(target, {})
    others = "pooled" if "" in bounds else "none"
    return ["own" if ticker in bounds else others for ticker in tickers]


def some(tickers: Sequence[str]) -> str:
    """Name a few tickers and count the rest, for one line of text."""
    more = len(tickers) - NAMED_AT_MOST
    return ", ".join(tickers[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
