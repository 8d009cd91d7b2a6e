"""Many histories of unequal length as flat rows plus offsets, with inputs and targets.

`y[t]` is the outcome of day t+1: the shift is made here and nowhere else. Everything
else in row t was known when day t's session had closed.

A series is cut in pieces at the holes in its bars (see `schedule.py`), and nothing crosses a
cut: no outcome, no return, no trailing mean, no window and no network's state.

Shape letters: S series (tickers), P pieces, N rows (all days of all series), F inputs,
K targets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from forecaster.data.bars import History
from forecaster.data.cross_section import CROSS_SECTION, DailyMeans
from forecaster.data.features import OWN_FEATURES, TRAILING_DAYS
from forecaster.data.series import OWN_NAMES, TARGETS, per_piece, series_rows

__all__ = ["CROSS_SECTION", "TARGETS", "Panel", "build_panel", "offsets_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The rows of all series, one series after another, oldest first.

    Each series begins at its row of `series_offsets` (S + 1,), each piece at its row of
    `offsets` (P + 1,), which is where whoever reads days in sequence starts afresh.
    `inputs` (N, F) are unscaled, NaN where missing. `today` (N, K) is the target
    quantity of the day itself; `level` (N, K) its trailing 22-day mean (0 for returns),
    from which `y` (N, K) is the deviation of the *next* day; NaN in `y` means not
    scored: missing, in the first 22 days of a piece, or not known yet.
    `outcome_days` (N,) is the day of the next bar, NaT on a piece's last row.
    """

    tickers: tuple[str, ...]
    series_offsets: np.ndarray
    offsets: np.ndarray
    days: np.ndarray
    outcome_days: np.ndarray
    close: np.ndarray
    inputs: np.ndarray
    input_names: tuple[str, ...]
    targets: tuple[str, ...]
    today: np.ndarray
    level: np.ndarray
    y: np.ndarray

    @property
    def series(self) -> np.ndarray:
        """(N,) number of the series that each row belongs to."""
        return np.repeat(np.arange(len(self.tickers)), np.diff(self.series_offsets))

    @property
    def newest(self) -> np.ndarray:
        """(S,) row of each series' newest bar."""
        rows: np.ndarray = self.series_offsets[1:] - 1
        return rows

    @property
    def shared_inputs(self) -> np.ndarray:
        """(N, C) the calendar and cross-sectional inputs alone."""
        shared: np.ndarray = self.inputs[:, len(OWN_FEATURES) :]
        return shared

    def har_terms(self, target: str) -> np.ndarray:
        """Return the 1-, 5- and 22-day means of a target quantity, (N, 3).

        The first two as deviation from the third, like the target itself; a missing day
        counts as its trailing mean.
        """
        k = self.targets.index(target)
        today, month = self.today[:, k], per_piece(self.today[:, k], self.offsets, TRAILING_DAYS)
        week = per_piece(today, self.offsets, 5)
        terms = np.column_stack([today - month, week - month, month])
        finite: np.ndarray = np.nan_to_num(terms, nan=0.0)
        return finite

    def lags(self, target: str, count: int) -> np.ndarray:
        """Return a target quantity of the day itself and the `count - 1` before, (N, count).

        A day before the piece's start, or a missing one, counts as 0.
        """
        k = self.targets.index(target)
        columns = np.zeros((len(self.days), count))
        for start, stop in pairwise(self.offsets):
            values = np.nan_to_num(self.today[start:stop, k])
            for lag in range(min(count, stop - start)):
                columns[start + lag : stop, lag] = values[: len(values) - lag]
        return columns


def build_panel(
    histories: Sequence[History],
    targets: Sequence[str],
    *,
    universe: Sequence[str] | None,
) -> Panel:
    """Lay histories of unequal length end to end and pair each day with the next session's bar.

    Args:
        histories: at least one, each with at least one bar, oldest first.
        targets: names out of `TARGETS`, in the order of the columns of `y`.
        universe: tickers whose daily mean becomes the cross-sectional inputs, or None
            for a panel without them. Tickers of other exchanges do not mix: their
            sessions close at other hours.

    Returns:
        The panel; columns of `inputs` are `OWN_FEATURES`, the calendar of the next
        scheduled session and, with a universe, `CROSS_SECTION`.
    """
    series = [series_rows(history, targets) for history in histories]
    inputs = [one.inputs for one in series]
    names: tuple[str, ...] = OWN_NAMES
    if universe is not None:
        chosen, means = set(universe), DailyMeans()
        for one in series:
            if one.ticker in chosen:
                means.add(one)
        inputs = [np.column_stack([one.inputs, means.at(one.calendar, one.days)]) for one in series]
        names = (*OWN_NAMES, *CROSS_SECTION)
    return Panel(
        tickers=tuple(one.ticker for one in series),
        series_offsets=offsets_of([len(one.days) for one in series]),
        offsets=offsets_of([length for one in series for length in one.pieces]),
        days=np.concatenate([one.days for one in series]),
        outcome_days=np.concatenate([one.outcome_days for one in series]),
        close=np.concatenate([one.close for one in series]),
        inputs=np.concatenate(inputs),
        input_names=names,
        targets=tuple(targets),
        today=np.concatenate([one.today for one in series]),
        level=np.concatenate([one.level for one in series]),
        y=np.concatenate([one.y for one in series]),
    )


def offsets_of(lengths: Sequence[int]) -> np.ndarray:
    """Turn lengths of runs into the row that each begins at, and the row after the last."""
    return np.concatenate([[0], np.cumsum(lengths)])
