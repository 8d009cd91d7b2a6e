"""A panel as it was on some evening, or from some morning on: rows left out, nothing changed.

Shape letters: N rows of the panel, n rows kept, S series, P pieces.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from forecaster.data.calendar_gaps import pieces
from forecaster.data.features import OWN_FEATURES, TRAILING_DAYS, own_features, trailing_mean
from forecaster.data.history import History
from forecaster.data.sessions import CALENDAR_INPUTS, scheduled_inputs
from forecaster.data.timetables import FIRST, LAST

TARGETS = ("return", "range", "volume")
OWN_NAMES = (*OWN_FEATURES, *CALENDAR_INPUTS)
_QUANTITY = {"return": "log_return", "range": "log_range", "volume": "log_volume"}


@dataclass(frozen=True, slots=True, eq=False)
class SeriesRows:
    """What a ticker's own bars and its exchange's calendar give, oldest day first.

    `pieces` are the lengths of the runs of days without a hole. The arrays are those of a
    `Panel`, `inputs` (D, F) those of `OWN_NAMES`.
    """

    ticker: str
    calendar: str
    pieces: tuple[int, ...]
    days: np.ndarray
    outcome_days: np.ndarray
    close: np.ndarray
    inputs: np.ndarray
    today: np.ndarray
    level: np.ndarray
    y: np.ndarray


def series_rows(history: History, targets: Sequence[str]) -> SeriesRows:
    """Compute the rows of one ticker.

    Args:
        history: at least one bar, oldest first.
        targets: names out of `TARGETS`, in the order of the columns of `y`.
    """
    own = [own_features(piece) for piece in pieces(history)]
    lengths = tuple(len(part) for part in own)
    rows, offsets = np.concatenate(own), np.concatenate([[0], np.cumsum(lengths)])
    days = history.bars["session"].to_numpy("datetime64[D]")
    calendar, _ = scheduled_inputs(history.listing.calendar, days)
    today, level, y = _targets(rows, offsets, targets)
    return SeriesRows(
        ticker=history.listing.ticker,
        calendar=history.listing.calendar,
        pieces=lengths,
        days=days,
        outcome_days=_next_days(days, offsets),
        close=history.bars["close"].to_numpy(np.float64),
        inputs=np.column_stack([rows, calendar]),
        today=today,
        level=level,
        y=y,
    )


def per_piece(values: np.ndarray, offsets: np.ndarray, days: int) -> np.ndarray:
    """Average each day with those before it in its piece; see `trailing_mean`."""
    parts = [trailing_mean(values[start:stop], days) for start, stop in pairwise(offsets)]
    return np.concatenate(parts)


def _targets(
    rows: np.ndarray, offsets: np.ndarray, targets: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return today's quantity, its trailing level and the next day's deviation, each (N, K)."""
    today = np.column_stack([rows[:, OWN_FEATURES.index(_QUANTITY[name])] for name in targets])
    level, y = np.zeros_like(today), np.full_like(today, np.nan)
    for k, name in enumerate(targets):
        if name != "return":
            level[:, k] = per_piece(today[:, k], offsets, TRAILING_DAYS)
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


_AVERAGED = ("log_return", "overnight", "intraday", "range_deviation", "volume_deviation")
_COLUMNS = [OWN_FEATURES.index(name) for name in _AVERAGED]
CROSS_SECTION = (*(f"panel_{name}" for name in _AVERAGED), "panel_abs_return")


class DailyMeans:
    """Means by exchange calendar and day; tickers of other exchanges do not mix.

    Source: Kahan (1965), "Further remarks on reducing truncation errors": sums that carry what
    rounding has lost, so that thousands of tickers add up as exactly as two.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def add(self, series: SeriesRows) -> None:
        """Count a ticker in on its days; a missing value counts nowhere."""
        values = series.inputs[:, _COLUMNS]
        moved = np.abs(series.inputs[:, OWN_FEATURES.index("log_return")])
        values = np.column_stack([values, moved])
        rows, known = _number(series.days), np.isfinite(values)
        total, lost, count = self._of(series.calendar)
        rest = values - lost[rows]
        added = total[rows] + rest
        lost[rows] = np.where(known, added - total[rows] - rest, lost[rows])
        total[rows] = np.where(known, added, total[rows])
        count[rows] += known

    def at(self, calendar: str, days: np.ndarray) -> np.ndarray:
        """(D, C) means of the days, in the order of `CROSS_SECTION`; NaN where no ticker counts."""
        rows = _number(days)
        total, _, count = self._of(calendar)
        shape = (len(days), len(CROSS_SECTION))
        means = np.full(shape, np.nan)
        np.divide(total[rows], count[rows], out=means, where=count[rows] > 0)
        return means

    def _of(self, calendar: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(A, C) sums, what they have lost, and counts of a calendar."""
        if calendar not in self._sums:
            shape = (len(np.arange(FIRST, LAST)) + 1, len(CROSS_SECTION))
            counts = np.zeros(shape, dtype=np.int64)
            self._sums[calendar] = (np.zeros(shape), np.zeros(shape), counts)
        return self._sums[calendar]


def _number(days: np.ndarray) -> np.ndarray:
    numbers: np.ndarray = (days.astype("datetime64[D]") - FIRST).astype(np.int64)
    return numbers


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


def cut(
    panel: Panel, *, first: np.datetime64 | None = None, last: np.datetime64 | None = None
) -> tuple[Panel, np.ndarray]:
    """Keep the days from `first` to `last`; series without any are left out.

    An outcome after `last` is not known yet. A piece that loses its beginning warms up again:
    its first 22 rows are not scored, as those of any piece.

    Args:
        panel: its inputs were computed from whole histories, and stay as they are.
        first: None for the beginning.
        last: None for the end.

    Returns:
        The smaller panel and the numbers (n,) of its rows in the larger.
    """
    kept = np.ones(len(panel.days), dtype=np.bool_)
    if first is not None:
        kept &= panel.days >= first
    if last is not None:
        kept &= panel.days <= last
    rows = np.flatnonzero(kept)
    lengths, pieces = (_lengths(kept, borders) for borders in (panel.series_offsets, panel.offsets))
    y, outcome_days = panel.y[rows], panel.outcome_days[rows]
    if last is not None:
        later = outcome_days > last
        y[later], outcome_days[later] = np.nan, np.datetime64("NaT")
    y[_cold(kept, panel.offsets)[rows]] = np.nan
    smaller = replace(
        panel,
        tickers=tuple(t for t, days in zip(panel.tickers, lengths, strict=True) if days),
        series_offsets=_offsets(lengths[lengths > 0]),
        offsets=_offsets(pieces[pieces > 0]),
        days=panel.days[rows],
        outcome_days=outcome_days,
        close=panel.close[rows],
        inputs=panel.inputs[rows],
        today=panel.today[rows],
        level=panel.level[rows],
        y=y,
    )
    return smaller, rows


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)])


def _lengths(kept: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """Count the rows kept between borders (S + 1,), (S,)."""
    counts = np.concatenate([[0], np.cumsum(kept)])
    lengths: np.ndarray = np.diff(counts[borders])
    return lengths


def _cold(kept: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(N,) True on the first rows of pieces that lost those before."""
    cold = np.zeros(len(kept), dtype=np.bool_)
    for start, stop in pairwise(offsets.tolist()):
        if not kept[start] and kept[start:stop].any():
            begin = start + int(np.argmax(kept[start:stop]))
            cold[begin : min(begin + TRAILING_DAYS - 1, stop)] = True
    return cold
