"""One unbroken run of a ticker's days, as columns, and the trailing statistics of a column.

Arrays in, arrays out. Everything at row t is computed from rows up to t, in their order: what
follows changes no bit.

Shape letters: D days of one piece.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from forecaster.data.panel import Panel

Columns = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A piece's raw columns by name, each (D,), with its days and the next scheduled ones."""

    columns: Mapping[str, np.ndarray]
    days: np.ndarray
    next_days: np.ndarray

    def __getitem__(self, name: str) -> np.ndarray:
        """Give a raw column."""
        return self.columns[name]

    @property
    def has_market(self) -> bool:
        """Whether the panel knows the mean over its tickers."""
        return "panel_log_return" in self.columns

    @classmethod
    def of(cls, panel: Panel, start: int, stop: int) -> "Piece":
        """Take rows `start` to `stop`, which must be one piece, of a panel."""
        columns = dict(zip(panel.input_names, panel.inputs[start:stop].T, strict=True))
        days = panel.days[start:stop]
        gap = columns["gap_days"].astype(np.int64) + 1
        return cls(columns=columns, days=days, next_days=days + gap.astype("timedelta64[D]"))


def mean_of(values: np.ndarray, days: int) -> np.ndarray:
    """Average each day with the `days - 1` before it, (D,), missing days skipped.

    NaN only where every day of the window is missing.
    """
    known = np.isfinite(values)
    total = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    count = np.concatenate([[0], np.cumsum(known)])
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - days, 0)
    seen = count[last] - count[first]
    means = np.full(len(values), np.nan)
    np.divide(total[last] - total[first], seen, out=means, where=seen > 0)
    return means


def lagged(values: np.ndarray, days: int) -> np.ndarray:
    """Give the value so many rows before, (D,); NaN in the first rows."""
    before = np.full(len(values), np.nan)
    before[days:] = values[: max(len(values) - days, 0)]
    return before
