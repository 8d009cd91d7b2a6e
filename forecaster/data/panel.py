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
import pandas as pd

from forecaster.data.bars import History
from forecaster.data.features import OWN_FEATURES, TRAILING_DAYS, own_features, trailing_mean
from forecaster.data.schedule import pieces
from forecaster.data.sessions import scheduled_inputs

TARGETS = ("return", "range", "volume")
_QUANTITY = {"return": "log_return", "range": "log_range", "volume": "log_volume"}
_AVERAGED = ("log_return", "overnight", "intraday", "range_deviation", "volume_deviation")
CROSS_SECTION = (*(f"panel_{name}" for name in _AVERAGED), "panel_abs_return")


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
        today, month = self.today[:, k], _per_piece(self.today[:, k], self.offsets, TRAILING_DAYS)
        week = _per_piece(today, self.offsets, 5)
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


def _per_piece(values: np.ndarray, offsets: np.ndarray, days: int) -> np.ndarray:
    parts = [trailing_mean(values[start:stop], days) for start, stop in pairwise(offsets)]
    return np.concatenate(parts)


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
    own = [own_features(piece) for history in histories for piece in pieces(history)]
    offsets = _offsets([len(part) for part in own])
    days = [history.bars["session"].to_numpy("datetime64[D]") for history in histories]
    calendars = [
        scheduled_inputs(history.listing.calendar, day)
        for history, day in zip(histories, days, strict=True)
    ]
    rows, flat_days = np.concatenate(own), np.concatenate(days)
    blocks = [rows, np.concatenate([block for block, _ in calendars])]
    names = (*OWN_FEATURES, *calendars[0][1])
    if universe is not None:
        blocks.append(_cross_section(histories, rows, flat_days, universe))
        names = (*names, *CROSS_SECTION)
    today, level, y = _targets(rows, offsets, targets)
    return Panel(
        tickers=tuple(history.listing.ticker for history in histories),
        series_offsets=_offsets([len(history.bars) for history in histories]),
        offsets=offsets,
        days=flat_days,
        outcome_days=_next_days(flat_days, offsets),
        close=np.concatenate([h.bars["close"].to_numpy(np.float64) for h in histories]),
        inputs=np.column_stack(blocks),
        input_names=names,
        targets=tuple(targets),
        today=today,
        level=level,
        y=y,
    )


def _offsets(lengths: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)])


def _cross_section(
    histories: Sequence[History], rows: np.ndarray, days: np.ndarray, universe: Sequence[str]
) -> np.ndarray:
    """Average the universe's features by exchange calendar and day; NaN where it has no bar."""
    lengths = [len(history.bars) for history in histories]
    columns = [OWN_FEATURES.index(name) for name in _AVERAGED]
    frame = pd.DataFrame(rows[:, columns], columns=list(_AVERAGED))
    frame["abs_return"] = np.abs(rows[:, OWN_FEATURES.index("log_return")])
    keys = pd.DataFrame(
        {"calendar": np.repeat([h.listing.calendar for h in histories], lengths), "day": days}
    )
    chosen = set(universe)
    inside = np.repeat([history.listing.ticker in chosen for history in histories], lengths)
    by_day = frame[inside].groupby([keys["calendar"][inside], keys["day"][inside]]).mean()
    return by_day.reindex(pd.MultiIndex.from_frame(keys)).to_numpy()


def _targets(
    rows: np.ndarray, offsets: np.ndarray, targets: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return today's quantity, its trailing level and the next day's deviation, each (N, K)."""
    today = np.column_stack([rows[:, OWN_FEATURES.index(_QUANTITY[name])] for name in targets])
    level, y = np.zeros_like(today), np.full_like(today, np.nan)
    for k, name in enumerate(targets):
        if name != "return":
            level[:, k] = _per_piece(today[:, k], offsets, TRAILING_DAYS)
    for start, stop in pairwise(offsets):
        first = start + TRAILING_DAYS - 1
        if stop - first >= 2:
            y[first : stop - 1] = today[first + 1 : stop] - level[first : stop - 1]
    return today, level, y


def _next_days(days: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    outcome = np.full(len(days), np.datetime64("NaT"), dtype="datetime64[D]")
    outcome[:-1] = days[1:]
    outcome[offsets[1:] - 1] = np.datetime64("NaT")
    return outcome
