"""The one table that evaluation, report and ledger exchange: a row per forecast and forecaster."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from forecaster.data.panel import Panel
from forecaster.evaluation.distributions import Predictive
from forecaster.registry.manifest import Manifest

FORECAST_COLUMNS = (
    *("ticker", "as_of", "session", "target", "forecaster", "forecast", "actual"),
    *("last_close", "price_forecast", "price_actual"),
    *("q025", "q10", "q90", "q975"),
)
NAMED_AT_MOST = 5  # tickers in one sentence


def forecast_table(
    panel: Panel,
    target: str,
    name: str,
    values: np.ndarray,
    rows: np.ndarray,
    quantiles: Predictive | None = None,
) -> pd.DataFrame:
    """Write one forecaster's forecasts of one target into the table that all rooms exchange.

    Args:
        panel: what the rows are of.
        target: what is forecast.
        name: of the forecaster.
        values: (N,) forecasts as deviation from the panel's level.
        rows: (n,) numbers of the rows to write.
        quantiles: n distributions of the same, for the ends of the intervals; None for none.
    """
    k = panel.targets.index(target)
    level, close = panel.level[rows, k], panel.close[rows]
    forecast, actual = values[rows] + level, panel.y[rows, k] + level
    base = close if target == "return" else np.full(len(rows), np.nan)
    return pd.DataFrame(
        {
            "ticker": np.array(panel.tickers)[panel.series[rows]],
            "as_of": panel.days[rows].astype("datetime64[s]"),
            "session": panel.outcome_days[rows].astype("datetime64[s]"),
            "target": target,
            "forecaster": name,
            "forecast": forecast,
            "actual": actual,
            "last_close": close,
            "price_forecast": base * np.exp(forecast),
            "price_actual": base * np.exp(actual),
            **interval_ends(quantiles, level),
        },
        columns=list(FORECAST_COLUMNS),
    )


def interval_ends(predictive: Predictive | None, level: np.ndarray) -> dict[str, np.ndarray]:
    """Give the ends of the 80 and the 95 % interval, each (n,), by column name.

    Args:
        predictive: n distributions of the deviation from a level; None for unknown ends.
        level: (n,) what they deviate from.
    """
    names = [f"q{share}" for share in ("025", "10", "90", "975")]
    if predictive is None:
        return {name: np.full(len(level), np.nan) for name in names}
    ends = predictive.quantile([0.025, 0.1, 0.9, 0.975]) + level[:, None]
    return dict(zip(names, ends.T, strict=True))


def interval_kinds(manifest: Manifest, target: str, tickers: Sequence[str]) -> list[str]:
    """Say of each ticker where its interval comes from: `own`, `pooled` or `none`."""
    bounds = manifest.calibration.get(target, {})
    others = "pooled" if "" in bounds else "none"
    return ["own" if ticker in bounds else others for ticker in tickers]


def some(tickers: Sequence[str]) -> str:
    """Name a few tickers and count the rest, for one line of text."""
    more = len(tickers) - NAMED_AT_MOST
    return ", ".join(tickers[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
