"""Adaptive conformal prediction intervals: coverage corrected day by day.

A forecast distribution ranks days by width; the scores of earlier outcomes say by how much all of
its intervals are stretched. Rows may be in any order.

Shape letters: N forecasts, S series.
"""

from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from forecaster.errors import DataError
from forecaster.evaluation.distributions import Predictive

COVERAGES = (0.80, 0.95)
POOLED_WINDOWS = 10  # of one series: the last outcomes of all series that count


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptive:
    """Settings of adaptive conformal intervals.

    `window`: last outcomes of a series that count; with fewer than `least` of them the outcomes
    of all series are pooled, and with fewer than `least` of those the uncalibrated interval is
    used. `coverages` are the nominal ones, rising. `rate`, times the square root of a tail's
    probability, is the step of its level after a miss: larger rates keep coverage over shorter
    periods, with wider jumps after a miss.
    """

    window: int = 500
    least: int = 100
    rate: float = 0.08
    coverages: tuple[float, ...] = COVERAGES


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """Lower and upper ends by nominal coverage, nested: `bounds[0.8]` is (N, 2)."""

    bounds: dict[float, np.ndarray]

    def take(self, rows: np.ndarray) -> "Intervals":
        """Return those of some rows."""
        return Intervals({coverage: ends[rows] for coverage, ends in self.bounds.items()})

    def inside(self, y: np.ndarray, coverage: float) -> np.ndarray:
        """Return 1 where outcomes (N,) lie inside, 0 elsewhere, NaN where either is unknown."""
        low, high = self.bounds[coverage].T
        known = np.isfinite(y) & np.isfinite(low) & np.isfinite(high)
        return np.where(known, (y >= low) & (y <= high), np.nan)


def uncalibrated_intervals(raw: Predictive, coverages: Sequence[float] = COVERAGES) -> Intervals:
    """Return the uncalibrated central intervals of a distribution."""
    return Intervals({coverage: raw.interval(coverage) for coverage in coverages})


def adaptive_conformal(
    raw: Predictive,
    y: np.ndarray,
    series: np.ndarray,
    made: np.ndarray,
    known: np.ndarray,
    settings: Adaptive | None = None,
) -> Intervals:
    """Calibrate each interval on the outcomes of the same series' earlier forecasts.

    Each tail of each series has a level a, which starts at the tail's probability p (10 % for an
    80 % interval) and after every outcome moves by rate sqrt(p) (p - missed). The bound is the
    (n + 1) a-th smallest score of the last `window` outcomes, at most their extreme. An outcome
    is used from the day on which it became known; nothing of a row's own day or later is read.

    Args:
        raw: N forecasts of validation and test days.
        y: (N,) outcomes, NaN where unknown or excluded.
        series: (N,) number of the series of each row.
        made: (N,) day of each forecast.
        known: (N,) day on which each outcome became known; NaT if unknown.
        settings: None for the defaults.

    Raises:
        DataError: an outcome was known before its forecast was made.

    Source: Gibbs and Candes (2021), "Adaptive Conformal Inference Under Distribution Shift",
        eq. 2. Deviations: separate tails, with a step that grows with the tail's probability; a
        rolling window of scores; an interval that would be infinite ends at the extreme score.
    """
    settings = settings or Adaptive()
    widths = _half_widths(raw, settings.coverages)
    adapted = _adapt(widths, y, series, made, known, settings, [])
    return _stretched(widths, {coverage: stretch for coverage, (stretch, _, _) in adapted.items()})


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """The past of one series' intervals: what the next ones depend on.

    `known` (n,) are the days on which its outcomes became known, oldest first; by nominal coverage,
    `scores` (n,) are theirs and `levels` (2,) those of its tails.
    """

    known: np.ndarray
    scores: dict[float, np.ndarray]
    levels: dict[float, np.ndarray]

    @classmethod
    def empty(cls) -> "Track":
        """Return the track of a series without an outcome."""
        tails = {coverage: np.full(2, (1.0 - coverage) / 2.0) for coverage in COVERAGES}
        return cls(
            known=np.empty(0, "datetime64[D]"),
            scores={coverage: np.empty(0) for coverage in COVERAGES},
            levels=tails,
        )

    def last(self, count: int) -> "Track":
        """Return the track with its last scores only."""
        scores = {coverage: values[-count:] for coverage, values in self.scores.items()}
        return Track(self.known[-count:], scores, self.levels)


def updated_tracks(
    raw: Predictive,
    y: np.ndarray,
    series: np.ndarray,
    made: np.ndarray,
    known: np.ndarray,
    tracks: Sequence[Track],
) -> list[Track]:
    """Add the outcomes of later forecasts to the tracks of all series; see `adaptive_conformal`.

    `series` (N,) are numbers of the `tracks`. The intervals that these outcomes are compared with
    may be pooled over other series than `tracks`: no level depends on these.
    """
    adapted = _adapt(_half_widths(raw, COVERAGES), y, series, made, known, Adaptive(), tracks)
    arrived = np.flatnonzero(np.isfinite(adapted[COVERAGES[0]][1]) & ~np.isnat(known))
    arrived = arrived[np.lexsort((known[arrived], series[arrived]))]
    cuts = np.searchsorted(series[arrived], np.arange(1, len(tracks)))
    found = []
    for number, (track, rows) in enumerate(zip(tracks, np.split(arrived, cuts), strict=True)):
        scores = {
            coverage: np.concatenate([track.scores[coverage], score[rows]])
            for coverage, (_, score, _) in adapted.items()
        }
        levels = {coverage: tails[number] for coverage, (_, _, tails) in adapted.items()}
        found.append(Track(np.concatenate([track.known, known[rows]]), scores, levels))
    return found


def next_intervals(raw: Predictive, tracks: Sequence[Track], pools: Sequence[Track]) -> Intervals:
    """Calibrate the next interval of each series, S forecasts, after what is in its track.

    `pools` (S,) have the outcomes of all series that each forecast may read.
    """
    settings, stretches = Adaptive(), {}
    for coverage in COVERAGES:
        stretch = np.empty((len(tracks), 2))
        for number, (track, pool) in enumerate(zip(tracks, pools, strict=True)):
            tracker = _Tracker(settings, (1.0 - coverage) / 2.0)
            tracker.start(number, track, coverage)
            if len(track.known) < settings.least:
                tracker.pool.extend(pool.scores[coverage])
            stretch[number] = tracker.score_bounds(number)
        stretches[coverage] = stretch
    return _stretched(_half_widths(raw, COVERAGES), stretches)


def pooled(tracks: Sequence[Track], until: np.datetime64) -> Track:
    """Join the tracks of all series to that of the last outcomes known until a day."""
    known = np.concatenate([track.known for track in tracks])
    order = np.argsort(known, kind="stable")
    order = order[known[order] <= until][-POOLED_WINDOWS * Adaptive().window :]
    scores = {
        coverage: np.concatenate([track.scores[coverage] for track in tracks])[order]
        for coverage in COVERAGES
    }
    return Track(known[order], scores, {})


Adapted = dict[float, tuple[np.ndarray, np.ndarray, dict[int, np.ndarray]]]
Widths = tuple[np.ndarray, dict[float, np.ndarray]]


def _adapt(
    widths: Widths,
    y: np.ndarray,
    series: np.ndarray,
    made: np.ndarray,
    known: np.ndarray,
    settings: Adaptive,
    tracks: Sequence[Track],
) -> Adapted:
    """Return by coverage how far each interval is stretched (N, 2), each score (N,), and levels."""
    early = np.isfinite(y) & (known <= made)
    if early.any():
        row = int(np.flatnonzero(early)[0])
        raise DataError(
            f"Adaptive intervals: row {row} was forecast on {made[row]} and known on {known[row]}; "
            "an outcome comes after its forecast. Check the order of the arguments."
        )
    found: Adapted = {}
    median, by_coverage = widths
    away = y - median
    for coverage, half_widths in by_coverage.items():
        # In half-widths: -1 and 1 are the ends of the uncalibrated interval.
        score = away / np.where(away < 0.0, half_widths[:, 0], half_widths[:, 1])
        tracker = _Tracker(settings, (1.0 - coverage) / 2.0)
        for number, track in enumerate(tracks):
            tracker.start(number, track, coverage)
        stretch = _stretches(tracker, score, series, made, known)
        levels = {name: np.array(recent.levels) for name, recent in tracker.series.items()}
        found[coverage] = (stretch, score, levels)
    return found


def _half_widths(raw: Predictive, coverages: Sequence[float]) -> Widths:
    """Return the median (N,), and by coverage how far either end is from it (N, 2)."""
    median, found = raw.quantile([0.5])[:, 0], {}
    for coverage in coverages:
        half_widths = np.abs(raw.interval(coverage) - median[:, None])
        found[coverage] = np.where(half_widths == 0.0, 1.0, half_widths)
    return median, found


def _stretched(half: Widths, stretches: dict[float, np.ndarray]) -> Intervals:
    """Compute stretched intervals; a wide interval contains the narrow one."""
    median, by_coverage = half
    found = {}
    for coverage, half_widths in by_coverage.items():
        stretch = stretches[coverage]
        widths = np.where(stretch < 0.0, half_widths[:, :1], half_widths[:, 1:])
        found[coverage] = median[:, None] + stretch * widths
    for inner, outer in pairwise(found):
        narrow, wide = found[inner].T, found[outer].T
        ends = [np.minimum(wide[0], narrow[0]), np.maximum(wide[1], narrow[1])]
        found[outer] = np.column_stack(ends)
    return Intervals(found)


def _stretches(
    tracker: "_Tracker", score: np.ndarray, series: np.ndarray, made: np.ndarray, known: np.ndarray
) -> np.ndarray:
    """Return the lower and upper score of each row, (N, 2), going through the days in order."""
    stretch = np.full((len(score), 2), np.nan)
    requested = np.argsort(made, kind="stable")
    arrived_rows = np.argsort(known, kind="stable")
    arrived_rows = arrived_rows[np.isfinite(score[arrived_rows]) & ~np.isnat(known[arrived_rows])]
    names, days, known_days = series.tolist(), made[requested], known[arrived_rows]
    arrived = np.searchsorted(known_days, days, side="right")
    scores, next_arrived = score.tolist(), 0
    for row, until in zip(requested.tolist(), arrived.tolist(), strict=True):
        for earlier in arrived_rows[next_arrived:until].tolist():
            tracker.update(names[earlier], scores[earlier], stretch[earlier])
        next_arrived = max(next_arrived, until)
        stretch[row] = tracker.score_bounds(names[row])
    return stretch


@dataclass(slots=True)
class _Recent:
    """The last scores of one series, by time and by size, and the levels of its tails."""

    levels: list[float]
    window: int
    queue: deque[float] = field(default_factory=deque)
    ordered: list[float] = field(default_factory=list)

    def add(self, score: float) -> None:
        self.queue.append(score)
        insort(self.ordered, score)
        if len(self.queue) > self.window:
            del self.ordered[bisect_left(self.ordered, self.queue.popleft())]

    def extend(self, scores: Iterable[float]) -> None:
        """Add scores to an empty one, oldest first."""
        self.queue.extend(list(scores)[-self.window :])
        self.ordered = sorted(self.queue)

    def bounds(self, low: float, high: float) -> tuple[float, float]:
        """Return the scores at probabilities `low` and 1 - `high`, ranks rounded outwards."""
        n = len(self.ordered)
        below = int((n + 1) * low + 1e-9) - 1
        above = n - int((n + 1) * high + 1e-9)
        return self.ordered[max(below, 0)], self.ordered[min(above, n - 1)]


class _Tracker:
    """The state of every series for one nominal coverage, with `tail` beyond either end."""

    def __init__(self, settings: Adaptive, tail: float) -> None:
        self.settings, self.tail = settings, tail
        self.series = defaultdict[int, _Recent](lambda: _Recent([tail, tail], settings.window))
        self.pool = _Recent([tail, tail], POOLED_WINDOWS * settings.window)

    def start(self, name: int, track: Track, coverage: float) -> None:
        """Take over the past of a series; the pool begins without it."""
        self.series[name].levels = track.levels[coverage].tolist()
        self.series[name].extend(track.scores[coverage].tolist())

    def update(self, name: int, score: float, bounds: np.ndarray) -> None:
        """Record an outcome's score and move the levels by whether its interval covered it."""
        mine, rate = self.series[name], self.settings.rate * self.tail**0.5
        if len(mine.queue) >= self.settings.least:
            for side, missed in enumerate((score < bounds[0], score > bounds[1])):
                moved = mine.levels[side] + rate * (self.tail - float(missed))
                mine.levels[side] = min(max(moved, 0.0), 0.5)
        mine.add(score)
        self.pool.add(score)

    def score_bounds(self, name: int) -> tuple[float, float]:
        """Return the lower and upper score of the series' next interval."""
        mine, least = self.series[name], self.settings.least
        if len(mine.queue) >= least:
            return mine.bounds(*mine.levels)
        if len(self.pool.queue) >= least:
            return self.pool.bounds(self.tail, self.tail)
        return -1.0, 1.0
