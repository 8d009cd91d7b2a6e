"""The panel: the rows of many tickers in flat arrays, one series after another.

Each series is split into segments at its gaps; nothing is computed across their borders.

Shape letters: N rows of the panel, S series, P segments, K targets, D days of one series.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final, Literal

import numpy as np

from forecaster.data.columns import (
    CALENDAR_INPUTS,
    MARKET_COLUMNS,
    TRAILING_DAYS,
    DailyMeans,
    DayColumn,
    SharedDays,
    market_columns,
    own_columns,
    scheduled_inputs,
    trailing_mean,
)
from forecaster.data.features import (
    FEATURES,
    NETWORK_FEATURES,
    NETWORK_TARGET_FEATURES,
    OWN_FEATURES,
    SegmentRows,
    target_features,
)
from forecaster.data.history import History, Listing
from forecaster.data.sessions import segments
from forecaster.errors import UsageError

TARGETS = ("return", "range", "volume")
MOST_EQUAL: Final = 0.5  # share of equal outcomes beyond which a series is constant
MIN_OUTCOMES: Final = 20  # of fewer, nothing is concluded
Column = np.ndarray | DayColumn


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The rows of all series, one series after another, oldest first.

    Each series begins at its row of `series_offsets` (S + 1,), each segment at its row of
    `offsets` (P + 1,), which is where a model that reads days in sequence resets its state.
    `columns` (N,) each, by name, are unscaled, NaN where missing. `today` (N, K) is the target
    quantity of the day itself; `level` (N, K) its trailing 22-day mean (0 for returns),
    from which `y` (N, K) is the deviation of the *next* day; NaN in `y` means not
    scored: missing, in the first 22 days of a segment, or not known yet.
    `outcome_days` (N,) is the day of the next bar, NaT on a segment's last row.
    """

    tickers: tuple[str, ...]
    series_offsets: np.ndarray
    offsets: np.ndarray
    days: np.ndarray
    outcome_days: np.ndarray
    close: np.ndarray
    columns: dict[str, Column]
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
        """(N, C) float64, the calendar and market columns."""
        names = (*CALENDAR_INPUTS, *(name for name in MARKET_COLUMNS if name in self.columns))
        return np.column_stack([self.columns[name].astype(np.float64) for name in names])

    def equal_shares(self, rows: np.ndarray) -> np.ndarray:
        """Return which share of a series' outcomes on some rows equals their median, (S, K).

        A share above one half is that of a single value. 0 for fewer than `MIN_OUTCOMES`.
        """
        shares = np.zeros((len(self.tickers), len(self.targets)))
        for number, (start, stop) in enumerate(pairwise(self.series_offsets)):
            chosen = np.flatnonzero(rows[start:stop]) + start
            for k, values in enumerate((self.y[chosen] + self.level[chosen]).T):
                known = values[np.isfinite(values)]
                if len(known) >= MIN_OUTCOMES:
                    shares[number, k] = np.isclose(known, np.median(known), rtol=1e-9).mean()
        return shares

    def har_terms(self, target: str) -> np.ndarray:
        """Return the 1-, 5- and 22-day means of a target quantity, (N, 3).

        The first two as deviation from the third; a missing day counts as its trailing mean.
        """
        return self._har_terms(self.today[:, self.targets.index(target)])

    @property
    def range_terms(self) -> np.ndarray:
        """The terms of `har_terms` of the price range, (N, 3), whatever the targets are."""
        return self._har_terms(self.columns["log_range"].astype(np.float64))

    def _har_terms(self, today: np.ndarray) -> np.ndarray:
        month, week = _means(today, self.offsets, TRAILING_DAYS), _means(today, self.offsets, 5)
        terms = np.column_stack([today - month, week - month, month])
        finite: np.ndarray = np.nan_to_num(terms, nan=0.0)
        return finite

    def lags(self, target: str, count: int) -> np.ndarray:
        """Return a target quantity of the day itself and the `count - 1` before, (N, count).

        A day before the segment's start, or a missing one, counts as 0.
        """
        k = self.targets.index(target)
        columns = np.zeros((len(self.days), count))
        for start, stop in pairwise(self.offsets):
            values = np.nan_to_num(self.today[start:stop, k])
            for lag in range(min(count, stop - start)):
                columns[start + lag : stop, lag] = values[: len(values) - lag]
        return columns


def build_panel(
    histories: Iterable[History],
    targets: Sequence[str],
    *,
    universe: Collection[str] | Literal["all"] | None,
    market: Mapping[str, DailyMeans] | None = None,
) -> Panel:
    """Concatenate histories of unequal length and pair each day with the next session's bar.

    Args:
        histories: at least one, each with at least one bar; read once.
        targets: names out of `TARGETS` or of own columns, in the order of the columns of `y`.
        universe: tickers whose daily means become the market columns; "all" for those of the
            panel where they are several; None for a panel without market columns. Each
            exchange is averaged by itself.
        market: means by calendar that are known already, in place of a universe.

    Raises:
        DataError: a value of an own column that is forecast is not above 0.
        UsageError: an own column has a name that inputs have.
    """
    named = own_targets(targets)
    _check_own_names(named)
    listings, lengths = list[Listing](), list[list[int]]()
    arrays, columns = _GrowingArrays(), _GrowingArrays()
    means: dict[str, DailyMeans] = defaultdict(DailyMeans)
    for history in histories:
        calendar = history.listing.calendar
        parts = [own_columns(segment, named) for segment in segments(history)]
        own = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        listings.append(history.listing)
        lengths.append([len(part["log_return"]) for part in parts])
        rows = _rows(history, own, _offsets(lengths[-1]), targets)
        arrays.append(rows)
        columns.append(own)
        if universe == "all" or history.listing.ticker in (universe or ()):
            means[calendar].add(own, rows["days"])
    made, series_offsets = arrays.take(), _offsets([sum(parts) for parts in lengths])
    calendars = [listing.calendar for listing in listings]
    shared = SharedDays.of(calendars, made["days"], series_offsets)
    # Scheduled inputs are small integers.
    scheduled = (scheduled_inputs(*each).astype(np.int16) for each in shared.days.items())
    table: dict[str, Column] = {**columns.take(), **shared.columns(CALENDAR_INPUTS, scheduled)}
    several = universe is not None and (universe != "all" or len(listings) > 1)
    if several or market is not None:
        table |= market_columns(market or means, shared)
    return Panel(
        tickers=tuple(listing.ticker for listing in listings),
        series_offsets=series_offsets,
        offsets=_offsets([length for parts in lengths for length in parts]),
        columns=table,
        targets=tuple(targets),
        **made,
    )


@dataclass(slots=True)
class _GrowingArrays:
    """Arrays by name that grow at their ends in place: a large panel is never in memory twice."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    size: int = 0

    def append(self, added: dict[str, np.ndarray]) -> None:
        start, stop = self.size, self.size + len(next(iter(added.values())))
        for name, values in added.items():
            array = self.arrays.setdefault(name, values[:0].copy())
            if stop > len(array):
                rows = max(stop, start + start // 32)
                array.resize((rows, *values.shape[1:]), refcheck=False)
            array[start:stop] = values
        self.size = stop

    def take(self) -> dict[str, np.ndarray]:
        """Return the arrays, cut to their size."""
        for array in self.arrays.values():
            array.resize((self.size, *array.shape[1:]), refcheck=False)
        return self.arrays


def _rows(
    history: History, own: dict[str, np.ndarray], offsets: np.ndarray, targets: Sequence[str]
) -> dict[str, np.ndarray]:
    """Compute the arrays of a `Panel` other than its columns, for one series."""
    days = history.days
    outcome_days = np.append(days[1:], np.datetime64("NaT", "D"))
    outcome_days[offsets[1:] - 1] = np.datetime64("NaT")
    close = history.bars["close"].to_numpy(np.float64)
    arrays = (days, outcome_days, close, *_targets(own, offsets, targets))
    return dict(zip(("days", "outcome_days", "close", "today", "level", "y"), arrays, strict=True))


def _targets(
    columns: dict[str, np.ndarray], offsets: np.ndarray, targets: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return today's quantity, its trailing level and the next day's deviation, each (D, K)."""
    today = np.column_stack([columns[f"log_{name}"] for name in targets])
    level, y = np.zeros_like(today), np.full_like(today, np.nan)
    for k, name in enumerate(targets):
        if name != "return":
            level[:, k] = _means(today[:, k], offsets, TRAILING_DAYS)
    for start, stop in pairwise(offsets):
        first = start + TRAILING_DAYS - 1
        if stop - first >= 2:
            y[first : stop - 1] = today[first + 1 : stop] - level[first : stop - 1]
    return today, level, y


def _means(values: np.ndarray, offsets: np.ndarray, days: int) -> np.ndarray:
    """Average each day with those before it in its segment."""
    parts = [trailing_mean(values[start:stop], days) for start, stop in pairwise(offsets)]
    return np.concatenate(parts)


def _offsets(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """Convert lengths of runs into the row that each begins at, and the row after the last."""
    return np.concatenate([[0], np.cumsum(lengths)])


def own_targets(targets: Iterable[str]) -> tuple[str, ...]:
    """Select the targets that are own columns."""
    return tuple(name for name in targets if name not in TARGETS)


def _check_own_names(names: Iterable[str]) -> None:
    """Refuse an own column whose features would have the names of others."""
    for name in names:
        taken = sorted({*target_features(name), f"log_{name}"} & {*FEATURES, *MARKET_COLUMNS})
        if taken:
            raise UsageError(
                f"A column {name} cannot be forecast: {taken[0]} is another input. Rename it."
            )


def feature_names(panel: Panel, among: Iterable[str] = tuple(FEATURES)) -> tuple[str, ...]:
    """List the features that can be computed from this panel, all by default.

    Those of own columns that are forecast come last; all are inputs of the linear base.
    """
    known = FEATURES if "panel_log_return" in panel.columns else OWN_FEATURES
    own = (name for target in own_targets(panel.targets) for name in target_features(target))
    return (*(name for name in among if name in known), *own)


def network_feature_names(panel: Panel) -> tuple[str, ...]:
    """List the features that a network reads."""
    own = own_targets(panel.targets)
    read = {f"{target}_{part}" for target in own for part in NETWORK_TARGET_FEATURES}
    read |= set(NETWORK_FEATURES)
    return tuple(name for name in feature_names(panel, NETWORK_FEATURES) if name in read)


def features_by_segment(panel: Panel, names: Sequence[str]) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield each segment's rows and their features (D, C), float64, NaN where missing."""
    for start, stop in pairwise(panel.offsets.tolist()):
        rows = slice(start, stop)
        columns = {name: values[rows] for name, values in panel.columns.items()}
        values = SegmentRows(columns, panel.days[rows], own_targets(panel.targets))
        yield rows, np.column_stack([values[name] for name in names])


def compute_features(panel: Panel, names: Sequence[str]) -> np.ndarray:
    """Compute features of all rows, (N, C) float32, NaN where missing."""
    values = np.empty((len(panel.days), len(names)), dtype=np.float32)
    for rows, block in features_by_segment(panel, names):
        values[rows] = block
    return values


def features_of_rows(panel: Panel, names: Sequence[str], chosen: np.ndarray) -> np.ndarray:
    """Compute features of some rows (n,), rising, without those of all: (n, C) float32."""
    values = np.empty((len(chosen), len(names)), dtype=np.float32)
    for rows, block in features_by_segment(panel, names):
        first, last = np.searchsorted(chosen, (rows.start, rows.stop))
        values[first:last] = block[chosen[first:last] - rows.start]
    return values


def cut(
    panel: Panel, *, first: np.datetime64 | None = None, last: np.datetime64 | None = None
) -> tuple[Panel, np.ndarray]:
    """Select the days from `first` to `last`; series without any are left out.

    An outcome after `last` is not known yet; a segment that loses its beginning warms up again.

    Returns:
        The smaller panel and the numbers (n,) of its rows in the larger.
    """
    kept = np.ones(len(panel.days), dtype=np.bool_)
    if first is not None:
        kept &= panel.days >= first
    if last is not None:
        kept &= panel.days <= last
    rows = np.flatnonzero(kept)
    if len(rows) == len(kept):
        return panel, rows
    count = _offsets(kept)
    series, parts = np.diff(count[panel.series_offsets]), np.diff(count[panel.offsets])
    offsets = _offsets(parts[parts > 0])
    y, outcome_days = panel.y[rows], panel.outcome_days[rows]
    if last is not None:
        later = outcome_days > last
        y[later], outcome_days[later] = np.nan, np.datetime64("NaT")
    lost = ~kept[panel.offsets[:-1]][parts > 0]
    for start, stop in zip(offsets[:-1][lost], offsets[1:][lost], strict=True):
        y[start : min(start + TRAILING_DAYS - 1, stop)] = np.nan
    smaller = replace(
        panel,
        tickers=tuple(t for t, days in zip(panel.tickers, series, strict=True) if days),
        series_offsets=_offsets(series[series > 0]),
        offsets=offsets,
        outcome_days=outcome_days,
        columns={name: values.take(rows) for name, values in panel.columns.items()},
        y=y,
        **{name: getattr(panel, name)[rows] for name in ("days", "close", "today", "level")},
    )
    return smaller, rows
