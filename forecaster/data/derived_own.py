"""Inputs from a ticker's own past and from the market's: HAR's means, parts of the day.

Shape letters as in `derived.py`.
"""

import numpy as np

from forecaster.data.features import TRAILING_DAYS
from forecaster.data.piece import Columns, Piece, lagged, mean_of

WEEK, QUARTER, YEAR = 5, 66, 250
GARMAN_KLASS = 2.0 * np.log(2.0) - 1.0


def range_group(piece: Piece) -> Columns:
    """Describe the log range: lags and means as deviation from the month's, its level, jumps.

    `gk_*` are of Garman and Klass's (1980) variance 0.5 r^2 - (2 ln 2 - 1) i^2, as half its log,
    with r the log high/low and i the intraday return. (Parkinson's is the range itself.)
    """
    value = piece["log_range"]
    month = mean_of(value, TRAILING_DAYS)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = 0.5 * np.exp(2.0 * value) - GARMAN_KLASS * piece["intraday"] ** 2
        garman_klass = 0.5 * np.log(variance)
    garman_klass[~np.isfinite(garman_klass)] = np.nan
    return {
        **_deviations("range", value, month),
        "range_level": month,
        "range_missing": piece["range_missing"],
        "gk": garman_klass - month,
        "gk_week": mean_of(garman_klass, WEEK) - month,
        "gk_month": mean_of(garman_klass, TRAILING_DAYS) - month,
    }


def volume_group(piece: Piece) -> Columns:
    """Describe log volume, free of its level: lags and means as deviation from the month's."""
    value = piece["log_volume"]
    return {
        **_deviations("volume", value, mean_of(value, TRAILING_DAYS)),
        "volume_missing": piece["volume_missing"],
    }


def _deviations(name: str, value: np.ndarray, month: np.ndarray) -> Columns:
    """Give lags, the week, the quarter and the year, all less the trailing month."""
    columns = {f"{name}_lag{lag}": lagged(value, lag) - month for lag in range(1, WEEK)}
    return {
        f"{name}_today": value - month,
        **columns,
        f"{name}_week": mean_of(value, WEEK) - month,
        f"{name}_quarter": mean_of(value, QUARTER) - month,
        f"{name}_year": mean_of(value, YEAR) - month,
    }


def return_group(piece: Piece) -> Columns:
    """Describe returns and their overnight and intraday parts: signed, absolute, falls alone."""
    columns: Columns = {}
    for name in ("log_return", "overnight", "intraday"):
        value, size = piece[name], np.abs(piece[name])
        columns |= {
            name: value,
            f"{name}_week": mean_of(value, WEEK),
            f"abs_{name}": size,
            f"abs_{name}_week": mean_of(size, WEEK),
            f"abs_{name}_month": mean_of(size, TRAILING_DAYS),
        }
    fall = np.minimum(piece["log_return"], 0.0)
    columns |= {
        "log_return_month": mean_of(piece["log_return"], TRAILING_DAYS),
        "fall": fall,
        "fall_week": mean_of(fall, WEEK),
        "fall_month": mean_of(fall, TRAILING_DAYS),
    }
    return columns


def market_group(piece: Piece) -> Columns:
    """Describe the day's mean over the panel's tickers of one exchange, and its trailing means."""
    columns = {
        name: piece[name] for name in ("panel_log_return", "panel_overnight", "panel_intraday")
    }
    for name in ("range_deviation", "volume_deviation", "abs_return"):
        value = piece[f"panel_{name}"]
        columns |= {
            f"panel_{name}": value,
            f"panel_{name}_week": mean_of(value, WEEK),
            f"panel_{name}_month": mean_of(value, TRAILING_DAYS),
        }
    for name in ("range_deviation", "volume_deviation"):
        columns[f"panel_{name}_lag1"] = lagged(piece[f"panel_{name}"], 1)
    columns["panel_fall"] = np.minimum(piece["panel_log_return"], 0.0)
    return columns
