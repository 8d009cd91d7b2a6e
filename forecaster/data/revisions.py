"""Comparison of served bars with stored ones: what is new, what has changed.

Tables and listings in; rows and sentences out.  Knows no store, no source and no clock.

Shape letters: D stored bars, S served bars, C days that both have, V values of a bar.
"""

from dataclasses import dataclass, replace
from typing import Final, Self

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
    """Return which marks of a ticker have changed, in words; empty if none has.

    A mark that is missing on either side is no change; a name may change its case and its
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
    """Fill the marks that are missing in a served listing with the stored ones."""
    known = {mark: getattr(served, mark) or getattr(stored, mark) for mark in _MARKS}
    return replace(served, **known)


def _comparable(listing: Listing, mark: str) -> object:
    value = getattr(listing, mark)
    if mark != "name":
        return value
    return "".join(letter for letter in value.casefold() if letter.isalnum())


# Relative. Identical calls to Yahoo differ by less; a smaller difference is not written.
SAME_PRICE: Final = 1e-4
# Volume still moves by half a percent for weeks after the session.
SAME_VOLUME: Final = 5e-3

Numbers = NDArray[np.float64]

_VALUES: Final = BAR_COLUMNS[1:]
_TOLERANCES: Final = np.array([SAME_VOLUME if n == "volume" else SAME_PRICE for n in _VALUES])


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """Stored (D,) and served (S,) bars, and the values (C, V) of the days that both have."""

    stored: pd.DataFrame
    served: pd.DataFrame
    stored_rows: NDArray[np.intp]
    served_rows: NDArray[np.intp]
    old: Numbers
    new: Numbers

    @classmethod
    def of(cls, stored: pd.DataFrame, served: pd.DataFrame) -> Self:
        """Find the days that both have."""
        days = (stored["session"].to_numpy(), served["session"].to_numpy())
        _, rows, served_rows = np.intersect1d(*days, return_indices=True)
        old, new = _matrix(stored)[rows], _matrix(served)[served_rows]
        return cls(stored, served, rows, served_rows, old, new)

    def news(self) -> pd.DataFrame:
        """Return the served bars that are not stored, or differ by more than jitter."""
        is_news = np.ones(len(self.served), dtype=np.bool_)
        is_news[self.served_rows] = ~_close(self.old, self.new, _TOLERANCES).all(axis=1)
        return self.served[is_news].reset_index(drop=True)

    def changed_past(self, basis: Basis) -> str:
        """Return where closes or splits differ from those stored, in words; empty if nowhere.

        A split on a day after the stored ones rescales them where closes are split-adjusted.
        """
        close, split = self._pair("close"), self._pair("split")
        differ = ~(_close(*close, SAME_PRICE) & _close(*split, SAME_PRICE))
        if differ.any():
            row = int(differ.argmax())
            return (
                f"{differ.sum():,} of {len(differ):,} days differ (first {self._day(row)}: "
                f"close {close[0][row]:.6g}, split {split[0][row]:g} stored; "
                f"{close[1][row]:.6g} and {split[1][row]:g} served)"
            )
        if basis == "split-adjusted":
            is_later = self.served["session"].to_numpy() > self.stored["session"].max()
            splits = np.flatnonzero(is_later & (self.served["split"].to_numpy() != 1.0))
            if len(splits):
                day = self.served["session"].iloc[splits[0]]
                return f"a split of {day:%Y-%m-%d} rescales what is stored"
        return ""

    def late_dividend(self) -> str:
        """Return which stored day's dividend has changed, in words; empty if none has."""
        stored, served = self._pair("dividend")
        differ = ~_close(stored, served, SAME_PRICE)
        if not differ.any():
            return ""
        row = int(differ.argmax())
        return (
            f"a late dividend of {self._day(row)}: {stored[row]:g} stored, {served[row]:g} served"
        )

    def stranded(self) -> pd.DataFrame:
        """Return the stored bars that the answer lacks and that would be on another scale.

        A bar that the answer lacks stays stored. That is safe if the close of the nearest day
        that both have, the earlier or else the later, is unchanged. The answer must be for the
        complete stored span.
        """
        lacking = self.stored[~self.stored["session"].isin(self.served["session"])]
        if not len(self.stored_rows):
            return lacking
        same = _close(*self._pair("close"), SAME_PRICE)
        days = self.stored["session"].to_numpy()[self.stored_rows]
        before = np.searchsorted(days, lacking["session"].to_numpy()) - 1
        left: pd.DataFrame = lacking[~same[before.clip(min=0)]]
        return left

    def _pair(self, column: str) -> tuple[Numbers, Numbers]:
        number = _VALUES.index(column)
        return self.old[:, number], self.new[:, number]

    def _day(self, row: int) -> str:
        return f"{self.stored['session'].iloc[int(self.stored_rows[row])]:%Y-%m-%d}"


def _matrix(bars: pd.DataFrame) -> Numbers:
    return np.column_stack([bars[name].to_numpy(np.float64) for name in _VALUES])


def _close(old: Numbers, new: Numbers, tolerance: float | Numbers) -> NDArray[np.bool_]:
    """Return which numbers differ by no more than a relative tolerance; NaN equals nothing."""
    near: NDArray[np.bool_] = np.abs(new - old) <= tolerance * np.abs(old)
    return near
