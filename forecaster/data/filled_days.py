"""Days without a session that a source has filled with the bar before.

Shape letter: D bars of a history.
"""

from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd

from forecaster.data.history import BAR_COLUMNS, PRICE_COLUMNS, Flags, History
from forecaster.data.trading_calendar import trading_calendar

FILLED_DAY: Final = "filled-day"
_SAME: Final = 1e-6  # relative
_FILLED: Final = 0.9  # share of bars on no session that repeat; fewer, and they were traded
_HALTED: Final = 0.5  # share of bars on sessions that repeat; more, and repeating shows nothing


def filled_days(history: History, before: pd.DataFrame | None = None) -> Flags:
    """Return which bars (D,) are on no session and only repeat the bar before.

    They have its close and no volume, and either no range or its other prices too; or they equal it
    in every value. None is found where bars on no session were traded, or in a halt.

    Args:
        history: bars in order of days, screened or not.
        before: the bar before the first, if one is known.
    """
    table, days = trading_calendar(history.listing.calendar), history.days
    is_known = (days >= table.first_known) & (days <= table.last_known)
    off = is_known & ~np.isin(days, table.sessions)
    if not off.any():
        return off
    repeats = _repeats(history.bars, before)
    is_filled = repeats[off].mean() >= _FILLED
    is_halted = repeats[~off].any() and repeats[~off].mean() >= _HALTED
    return off & repeats if is_filled and not is_halted else np.zeros_like(off)


def without_filled_days(history: History) -> History:
    """Remove the bars that `filled_days` finds."""
    return replace(history, bars=history.bars[~filled_days(history)])


def _repeats(bars: pd.DataFrame, before: pd.DataFrame | None) -> Flags:
    values = bars[list(BAR_COLUMNS[1:])].to_numpy(np.float64)
    first = np.full((1, values.shape[1]), np.nan)
    if before is not None and len(before):
        first = before[list(BAR_COLUMNS[1:])].to_numpy(np.float64)[-1:]
    previous = np.concatenate([first, values[:-1]])
    same = np.abs(values - previous) <= _SAME * np.abs(previous)
    same_prices = same[:, : len(PRICE_COLUMNS)].all(axis=1)
    _, high, low, close, volume, dividend, split = values.T
    is_flat = high - low <= _SAME * close
    is_quiet = (volume == 0) & (dividend == 0) & (split == 1)
    same_close = same[:, PRICE_COLUMNS.index("close")]
    repeats: Flags = same.all(axis=1) | (same_close & is_quiet & (is_flat | same_prices))
    return repeats
