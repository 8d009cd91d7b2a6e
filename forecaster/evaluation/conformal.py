"""Intervals that hold what they promise, day by day, without knowing tomorrow.

A raw forecast distribution says how wide an interval is *relative* to other days; what came of
earlier days says by how much all of them must be stretched. Arrays in, arrays out; knows no
network. Rows may come in any order; time is what their days say.

Shape letters: N forecasts, S series.
"""

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from crepes import ConformalPredictiveSystem

from forecaster.errors import DataError
from forecaster.evaluation.distributions import Predictive

COVERAGES = (0.80, 0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptive:
    """How intervals follow drift.

    `window` is how many of a series' last outcomes count; below `least` of them all series'
    count together, and below `least` of those the raw interval stands. `rate`, times the root
    of a tail's share, is how far its level moves on a miss: .025 for the tails of an 80 %
    interval, .013 of a 95 % one. Faster ones hold their coverage in shorter stretches, by
    intervals that leap after a miss (docs/experiments.md has the exchange).
    """

    window: int = 500
    least: int = 100
    rate: float = 0.08

    def __post_init__(self) -> None:
        """Refuse windows that hold no tail and rates that go wild."""
        if not 20 <= self.least <= self.window:
            raise DataError(
                f"Adaptive: least {self.least} of a window of {self.window} outcomes; needed is "
                "20 <= least <= window."
            )
        if not 0.0 <= self.rate <= 0.5:
            raise DataError(f"Adaptive: rate {self.rate:g}; needed is 0 to 0.5, such as 0.08.")


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """Lower and upper ends by coverage: `bounds[0.8]` is (N, 2); the wider holds the narrower."""

    bounds: dict[float, np.ndarray]

    def inside(self, y: np.ndarray, coverage: float) -> np.ndarray:
        """Return 1 where outcomes (N,) lie within, 0 elsewhere, NaN where either is unknown."""
        low, high = self.bounds[coverage].T
        known = np.isfinite(y) & np.isfinite(low) & np.isfinite(high)
        return np.where(known, (y >= low) & (y <= high), np.nan)


def raw_intervals(raw: Predictive) -> Intervals:
    """Return the central intervals as the forecaster itself states them."""
    return Intervals({coverage: raw.interval(coverage) for coverage in COVERAGES})


def split_conformal(
    raw: Predictive, y: np.ndarray, calibration: np.ndarray, series: np.ndarray
) -> Intervals:
    """Stretch intervals by what came on calibration rows, once, each series by itself.

    The score of an outcome is its distance from the median over the raw interval's reach on
    that side. Each tail has its own quantile of the scores, widened for small samples; a series
    with fewer than 100 calibrated outcomes takes the quantile of all.

    Args:
        raw: N forecasts.
        y: (N,) outcomes; only those of the calibration rows are read.
        calibration: (N,) rows to learn from, none of them fitted on.
        series: (N,) number of the series of each row.

    Raises:
        DataError: fewer than 100 calibration outcomes in all.

    Source: Vovk, Gammerman and Shafer (2005), "Algorithmic Learning in a Random World"; by
        series: Boström and Johansson (2020), "Mondrian Conformal Regressors", by crepes.
    """
    least = Adaptive().least
    median, found = raw.quantile([0.5])[:, 0], {}
    for coverage in COVERAGES:
        horizon = _reach(raw, median, coverage)
        score = _score(y, median, horizon)
        rows = np.flatnonzero(calibration & np.isfinite(score))
        if len(rows) < least:
            raise DataError(
                f"Conformal calibration: {len(rows)} outcomes; {least} are needed. Give a longer "
                "select block."
            )
        counts = np.bincount(series[rows], minlength=int(series.max()) + 1)
        bins = np.where(counts[series] >= least, series, -1)
        alone = _percentiles(score, rows, bins, coverage)
        every = _percentiles(score, rows, np.zeros(len(y), dtype=int), coverage)
        stretch = np.where((bins >= 0)[:, None], alone, every)
        found[coverage] = _bounds(median, horizon, stretch)
    return _nested(found)


def _percentiles(
    score: np.ndarray, rows: np.ndarray, bins: np.ndarray, coverage: float
) -> np.ndarray:
    """Return the calibrated lower and upper score of each row, (N, 2); NaN in bin -1."""
    tail, rows = 50.0 * (1.0 - coverage), rows[bins[rows] >= 0]
    if len(rows) == 0:
        return np.full((len(bins), 2), np.nan)
    system = ConformalPredictiveSystem().fit(score[rows], bins=bins[rows])
    known = np.isin(bins, bins[rows])
    found = np.full((len(bins), 2), np.nan)
    found[known] = system.predict_percentiles(
        np.zeros(int(known.sum())),
        bins=bins[known],
        lower_percentiles=[tail],
        higher_percentiles=[100.0 - tail],
    )
    return found


def adaptive_conformal(
    raw: Predictive,
    y: np.ndarray,
    series: np.ndarray,
    made: np.ndarray,
    known: np.ndarray,
    settings: Adaptive | None = None,
) -> Intervals:
    """Stretch each interval by what came of the same series' earlier forecasts.

    Each tail of each series keeps a level a, which starts at its share (10 % of an 80 %
    interval) and after every outcome moves by rate sqrt(share) (share - missed): a miss widens
    the next interval, a hit narrows it a little. The bound is the (n + 1) a-th smallest of the
    scores of the last `window` outcomes, at most their extreme. Nothing of a row's own day or
    later is read: an outcome serves the forecasts made on or after the day it became known.

    Args:
        raw: N forecasts of rows that were not fitted on (select and report days).
        y: (N,) outcomes, NaN where unknown or not to be learnt from.
        series: (N,) number of the series of each row.
        made: (N,) day each forecast was made.
        known: (N,) day each outcome was known; NaT where it is not.
        settings: window, least and rate.

    Raises:
        DataError: an outcome was known before its forecast was made.

    Source: Gibbs and Candes (2021), "Adaptive Conformal Inference Under Distribution Shift",
        eq. 2. Deviations: each tail by itself, with a step that grows with its share; a rolling
        window of scores; where their interval would be infinite it ends at the window's extreme.
    """
    settings = settings or Adaptive()
    early = np.isfinite(y) & (known <= made)
    if early.any():
        row = int(np.flatnonzero(early)[0])
        raise DataError(
            f"Adaptive intervals: row {row} was forecast on {made[row]} and known on {known[row]}; "
            "an outcome comes after its forecast. Check the order of the arguments."
        )
    median = raw.quantile([0.5])[:, 0]
    found = {}
    for coverage in COVERAGES:
        horizon = _reach(raw, median, coverage)
        score = _score(y, median, horizon)
        walk = _Walk(settings, (1.0 - coverage) / 2.0)
        stretch = _stretches(walk, score, series, made, known)
        found[coverage] = _bounds(median, horizon, stretch)
    return _nested(found)


def _stretches(
    walk: "_Walk", score: np.ndarray, series: np.ndarray, made: np.ndarray, known: np.ndarray
) -> np.ndarray:
    """Go through the days; return the lower and upper score of each row, (N, 2)."""
    stretch = np.full((len(score), 2), np.nan)
    asked = np.argsort(made, kind="stable")
    told = np.argsort(known, kind="stable")
    told = told[np.isfinite(score[told]) & ~np.isnat(known[told])]
    names, days, known_days = series.tolist(), made[asked], known[told]
    arrived = np.searchsorted(known_days, days, side="right")
    scores, next_told = score.tolist(), 0
    for row, until in zip(asked.tolist(), arrived.tolist(), strict=True):
        for earlier in told[next_told:until].tolist():
            walk.learn(names[earlier], scores[earlier], stretch[earlier])
        next_told = max(next_told, until)
        stretch[row] = walk.ask(names[row])
    return stretch


@dataclass(slots=True)
class _Recent:
    """The last scores of one series in the order of time and in that of size, and its levels."""

    levels: list[float]
    window: int
    queue: deque[float] = field(default_factory=deque)
    ordered: list[float] = field(default_factory=list)

    def add(self, score: float) -> None:
        self.queue.append(score)
        insort(self.ordered, score)
        if len(self.queue) > self.window:
            del self.ordered[bisect_left(self.ordered, self.queue.popleft())]

    def bounds(self, low: float, high: float) -> tuple[float, float]:
        """Return the scores with shares `low` below and `high` above, ranks rounded outwards."""
        n = len(self.ordered)
        below = int((n + 1) * low + 1e-9) - 1
        above = n - int((n + 1) * high + 1e-9)
        return self.ordered[max(below, 0)], self.ordered[min(above, n - 1)]


@dataclass(slots=True)
class _Walk:
    """What every series has learnt so far about both tails of one coverage."""

    settings: Adaptive
    tail: float
    series: dict[int, _Recent] = field(default_factory=dict)
    everyone: _Recent | None = None

    def learn(self, name: int, score: float, bounds: np.ndarray) -> None:
        """Take in an outcome's score and move the levels by whether its interval held it."""
        mine, rate = self._of(name), self.settings.rate * self.tail**0.5
        if len(mine.queue) >= self.settings.least:
            for side, missed in enumerate((score < bounds[0], score > bounds[1])):
                moved = mine.levels[side] + rate * (self.tail - float(missed))
                mine.levels[side] = min(max(moved, 0.0), 0.5)
        mine.add(score)
        self._everyone().add(score)

    def ask(self, name: int) -> tuple[float, float]:
        """Return the lower and upper score of the series' next interval."""
        mine, least = self._of(name), self.settings.least
        if len(mine.queue) >= least:
            return mine.bounds(*mine.levels)
        if len(self._everyone().queue) >= least:
            return self._everyone().bounds(self.tail, self.tail)
        return -1.0, 1.0

    def _of(self, name: int) -> _Recent:
        if name not in self.series:
            self.series[name] = _Recent([self.tail, self.tail], self.settings.window)
        return self.series[name]

    def _everyone(self) -> _Recent:
        if self.everyone is None:
            self.everyone = _Recent([self.tail, self.tail], 10 * self.settings.window)
        return self.everyone


def _reach(raw: Predictive, median: np.ndarray, coverage: float) -> np.ndarray:
    """Return how far the raw interval reaches below and above the median, (N, 2); 0 becomes 1."""
    horizon = np.abs(raw.interval(coverage) - median[:, None])
    return np.where(horizon > 0.0, horizon, np.where(np.isnan(horizon), np.nan, 1.0))


def _score(y: np.ndarray, median: np.ndarray, horizon: np.ndarray) -> np.ndarray:
    """Return outcomes (N,) in raw half-widths: -1 and 1 are the raw interval's ends."""
    away = y - median
    score: np.ndarray = away / np.where(away < 0.0, horizon[:, 0], horizon[:, 1])
    return score


def _bounds(median: np.ndarray, horizon: np.ndarray, stretch: np.ndarray) -> np.ndarray:
    """Undo `_score` for a lower and an upper score, (N, 2)."""
    sides = np.where(stretch < 0.0, horizon[:, :1], horizon[:, 1:])
    bounds: np.ndarray = median[:, None] + stretch * sides
    return bounds


def _nested(bounds: dict[float, np.ndarray]) -> Intervals:
    """Let every interval hold the narrower ones."""
    widest: np.ndarray | None = None
    found = {}
    for coverage in sorted(bounds):
        low, high = bounds[coverage].T
        if widest is not None:
            low, high = np.minimum(low, widest[:, 0]), np.maximum(high, widest[:, 1])
        widest = np.column_stack([low, high])
        found[coverage] = widest
    return Intervals(found)
