"""Bars as they came held against bars as they are stored: what is new, what has changed.

Tables and listings in; rows and sentences out.  Knows no store, no source and no clock.

Shape letters: D stored bars, C bars that came, N of these that are news.
"""

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.data.bars import BAR_COLUMNS, Basis

# Relative. Identical calls to Yahoo differ by less; what differs by no more is not written.
SAME_PRICE: Final = 1e-4
# Volume still moves by half a percent for weeks after the session.
SAME_VOLUME: Final = 5e-3


def news(held: pd.DataFrame, came: pd.DataFrame) -> pd.DataFrame:
    """Keep the bars (N,) that are not stored, or differ from the stored by more than jitter.

    Args:
        held: (D,) stored bars, at least those of the days that came.
        came: (C,) bars as served, oldest first.
    """
    both = came.merge(held, on="session", how="left", suffixes=("", "_held"))
    same = np.ones(len(both), dtype=np.bool_)
    for name in BAR_COLUMNS[1:]:
        same &= _close(both[name], both[f"{name}_held"], _tolerance(name))
    return came[~same].reset_index(drop=True)


def changed_past(held: pd.DataFrame, came: pd.DataFrame, basis: Basis) -> str:
    """Say where closes or splits no longer agree with those stored; empty where they do.

    A split on a day after the stored ones rescales them where closes are split-adjusted.
    """
    both = held.merge(came, on="session", suffixes=("", "_new"))
    same_split = _close(both["split"], both["split_new"], SAME_PRICE)
    differ = both[~(_close(both["close"], both["close_new"], SAME_PRICE) & same_split)]
    if len(differ):
        first = differ.iloc[0]
        return (
            f"{len(differ):,} of {len(both):,} days differ (first {first['session']:%Y-%m-%d}: "
            f"close {first['close']:.6g}, split {first['split']:g} stored; "
            f"{first['close_new']:.6g} and {first['split_new']:g} came)"
        )
    later = came[(came["session"] > held["session"].max()) & came["split"].ne(1.0)]
    if len(later) and basis == "split-adjusted":
        return f"a split of {later['session'].iloc[0]:%Y-%m-%d} rescales what is stored"
    return ""


def late_dividend(held: pd.DataFrame, came: pd.DataFrame) -> str:
    """Say which stored day's dividend is another now; empty where none is."""
    both = held.merge(came, on="session", suffixes=("", "_new"))
    differ = both[~_close(both["dividend"], both["dividend_new"], SAME_PRICE)]
    if differ.empty:
        return ""
    first = differ.iloc[0]
    return (
        f"a late dividend of {first['session']:%Y-%m-%d}: {first['dividend']:g} stored, "
        f"{first['dividend_new']:g} came"
    )


def stranded(held: pd.DataFrame, whole: pd.DataFrame) -> pd.DataFrame:
    """Find the stored bars that a new answer lacks and that would stand on another scale.

    A bar that the answer lacks stays stored. It may, if the close of the nearest day that
    both have, the earlier or for want of one the later, is still what it was.

    Args:
        held: (D,) all stored bars.
        whole: the answer for all of their span.
    """
    lacking = held[~held["session"].isin(whole["session"])]
    both = held.merge(whole, on="session", suffixes=("", "_new"))
    if both.empty:
        return lacking
    same = _close(both["close"], both["close_new"], SAME_PRICE)
    before = np.searchsorted(both["session"].to_numpy(), lacking["session"].to_numpy()) - 1
    left: pd.DataFrame = lacking[~same[before.clip(min=0)]]
    return left


def _tolerance(column: str) -> float:
    return SAME_VOLUME if column == "volume" else SAME_PRICE


def _close(
    one: "pd.Series[float]", other: "pd.Series[float]", tolerance: float
) -> NDArray[np.bool_]:
    return np.isclose(one, other, rtol=tolerance, atol=0.0)
