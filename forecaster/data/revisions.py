"""Bars as they came held against bars as they are stored: what is new, what has changed.

Tables and listings in; rows and sentences out.  Knows no store, no source and no clock.

Shape letters: D stored bars, C bars that came, N of these that are news.
"""

from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.data.history import BAR_COLUMNS, Basis, Listing

_MARKS: Final = {
    "name": "name",
    "exchange": "exchange",
    "currency": "currency",
    "first_trade": "first trade date",
}


def describe_change(stored: Listing, served: Listing) -> str:
    """Say which marks of a ticker are others now; empty where none is.

    A mark that either side does not tell is no change; a name may change its case and its
    punctuation. Currencies are compared to the letter: GBp is pence, GBP is pounds.
    """
    changes = [
        f"{word} was {getattr(stored, mark)}, is {getattr(served, mark)}"
        for mark, word in _MARKS.items()
        if _comparable(stored, mark)
        and _comparable(served, mark)
        and _comparable(stored, mark) != _comparable(served, mark)
    ]
    return "; ".join(changes)


def keep_known(stored: Listing, served: Listing) -> Listing:
    """Fill the marks that a source does not tell this time with those stored."""
    known = {mark: getattr(served, mark) or getattr(stored, mark) for mark in _MARKS}
    return replace(served, **known)


def _comparable(listing: Listing, mark: str) -> object:
    value = getattr(listing, mark)
    if mark != "name":
        return value
    return "".join(letter for letter in value.casefold() if letter.isalnum())


# Relative. Identical calls to Yahoo differ by less; what differs by no more is not written.
SAME_PRICE: Final = 1e-4
# Volume still moves by half a percent for weeks after the session.
SAME_VOLUME: Final = 5e-3

Rows = NDArray[np.intp]
Numbers = NDArray[np.float64]

_VALUES: Final = list(BAR_COLUMNS[1:])
_TOLERANCES: Final = np.array([SAME_VOLUME if n == "volume" else SAME_PRICE for n in _VALUES])


def news(held: pd.DataFrame, came: pd.DataFrame) -> pd.DataFrame:
    """Keep the bars (N,) that are not stored, or differ from the stored by more than jitter.

    Args:
        held: (D,) stored bars, at least those of the days that came.
        came: (C,) bars as served, oldest first.
    """
    in_held, in_came = _common(held, came)
    old = held[_VALUES].to_numpy(np.float64)[in_held]
    new = came[_VALUES].to_numpy(np.float64)[in_came]
    is_news = np.ones(len(came), dtype=np.bool_)
    is_news[in_came] = ~are_jitter(old, new)
    return came[is_news].reset_index(drop=True)


def are_jitter(old: Numbers, new: Numbers) -> NDArray[np.bool_]:
    """(D,) True where stored and served values (D, V) differ by no more than jitter."""
    alike: NDArray[np.bool_] = np.all(_close(old, new, _TOLERANCES), axis=1)
    return alike


def changed_past(held: pd.DataFrame, came: pd.DataFrame, basis: Basis) -> str:
    """Say where closes or splits no longer agree with those stored; empty where they do.

    A split on a day after the stored ones rescales them where closes are split-adjusted.
    """
    in_held, in_came = _common(held, came)
    close, new_close = _pair(held, came, "close", in_held, in_came)
    split, new_split = _pair(held, came, "split", in_held, in_came)
    differ = ~(_close(close, new_close, SAME_PRICE) & _close(split, new_split, SAME_PRICE))
    if differ.any():
        row = int(differ.argmax())
        return (
            f"{differ.sum():,} of {len(differ):,} days differ (first {_day(held, in_held[row])}: "
            f"close {close[row]:.6g}, split {split[row]:g} stored; "
            f"{new_close[row]:.6g} and {new_split[row]:g} came)"
        )
    later = came[(came["session"] > held["session"].max()) & came["split"].ne(1.0)]
    if len(later) and basis == "split-adjusted":
        return f"a split of {later['session'].iloc[0]:%Y-%m-%d} rescales what is stored"
    return ""


def late_dividend(held: pd.DataFrame, came: pd.DataFrame) -> str:
    """Say which stored day's dividend is another now; empty where none is."""
    in_held, in_came = _common(held, came)
    dividend, new = _pair(held, came, "dividend", in_held, in_came)
    differ = ~_close(dividend, new, SAME_PRICE)
    if not differ.any():
        return ""
    row = int(differ.argmax())
    return (
        f"a late dividend of {_day(held, in_held[row])}: {dividend[row]:g} stored, "
        f"{new[row]:g} came"
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
    in_held, in_whole = _common(held, whole)
    if not len(in_held):
        return lacking
    same = _close(*_pair(held, whole, "close", in_held, in_whole), SAME_PRICE)
    days = held["session"].to_numpy()[in_held]
    before = np.searchsorted(days, lacking["session"].to_numpy()) - 1
    left: pd.DataFrame = lacking[~same[before.clip(min=0)]]
    return left


def _common(held: pd.DataFrame, came: pd.DataFrame) -> tuple[Rows, Rows]:
    """Find the rows of the days that both have, in both, oldest first."""
    days = (held["session"].to_numpy(), came["session"].to_numpy())
    _, in_held, in_came = np.intersect1d(*days, return_indices=True)
    return in_held, in_came


def _pair(
    held: pd.DataFrame, came: pd.DataFrame, column: str, in_held: Rows, in_came: Rows
) -> tuple[Numbers, Numbers]:
    return held[column].to_numpy(np.float64)[in_held], came[column].to_numpy(np.float64)[in_came]


def _close(old: Numbers, new: Numbers, tolerance: float | Numbers) -> NDArray[np.bool_]:
    """Tell which numbers differ by no more than a relative tolerance; NaN equals nothing."""
    near: NDArray[np.bool_] = np.abs(new - old) <= tolerance * np.abs(old)
    return near


def _day(bars: pd.DataFrame, row: np.intp) -> str:
    return f"{bars['session'].iloc[int(row)]:%Y-%m-%d}"
