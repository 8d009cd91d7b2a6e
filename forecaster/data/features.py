"""Turn one ticker's bars into causal daily features: row t reads bars up to day t only.

Knows no other ticker, no target and no scale. A value that does not exist (the first
day's return, the range of a day without one) is NaN; indicators say which were missing.

Shape letters: D days of one history, F features.
"""

import numpy as np
import pandas as pd

from forecaster.data import returns
from forecaster.data.history import History

TRAILING_DAYS = 22  # about one month of sessions, the longest of HAR's three horizons

OWN_FEATURES = (
    "log_return",
    "overnight",
    "intraday",
    "log_range",
    "log_volume",
    "range_deviation",
    "volume_deviation",
    "range_missing",
    "volume_missing",
)


def trailing_mean(values: np.ndarray, days: int) -> np.ndarray:
    """Average each day with the `days - 1` before it, skipping missing days.

    Args:
        values: (D,) oldest first, NaN where missing.
        days: length of the trailing window; fewer days count at the start.

    Returns:
        (D,) means; NaN only where every day of the window is missing.
    """
    return pd.Series(values).rolling(days, min_periods=1).mean().to_numpy()


def own_features(history: History) -> np.ndarray:
    """Compute the features that a ticker's own bars give, in the order of `OWN_FEATURES`.

    Returns:
        (D, F) float64, unscaled; logs of ratios, so free of currency and basis, except
        `log_volume`, the log of close x volume in the listing's currency.
    """
    bars = history.bars
    price = {name: bars[name].to_numpy(np.float64) for name in bars.columns if name != "session"}
    total = returns.log_total_return(
        price["close"], price["dividend"], price["split"], history.listing.basis
    )
    intraday = returns.intraday(price["open"], price["close"])
    log_range = returns.log_range(price["high"], price["low"])
    log_volume = returns.log_dollar_volume(price["close"], price["volume"])
    return np.column_stack(
        [
            total,
            returns.overnight(total, price["open"], price["close"]),
            intraday,
            log_range,
            log_volume,
            log_range - trailing_mean(log_range, TRAILING_DAYS),
            log_volume - trailing_mean(log_volume, TRAILING_DAYS),
            np.isnan(log_range),
            np.isnan(log_volume),
        ]
    )
