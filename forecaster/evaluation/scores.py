"""Scores of one forecaster with bootstrap intervals, and which of them are implausibly good.

Shape letters: N forecasts, D days, B bootstrap repeats, K sums of a score.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from forecaster.evaluation.conformal import COVERAGES, Intervals, uncalibrated_intervals
from forecaster.evaluation.distributions import Point, Predictive
from forecaster.evaluation.significance import LEVEL, MIN_DAYS, interval, newey_west_t

MIN_SERIES = 5  # a correlation over fewer tickers is mostly noise
PINBALL_LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)
SCORES = (
    *("mse", "mae", "skill", "r2_over_zero", "directional_accuracy", "mcc"),
    *("ic", "ic_t", "rank_ic", "rank_ic_t", "crps", "log_score", "pinball"),
    *("coverage_80", "coverage_95", "width_80", "width_95"),
)
QLIKE = "qlike"  # after these, of logarithms of positive numbers alone
# Of these the columns of a scorecard, for points and for forecasters with a density.
POINT_METRICS = ("mse", "mae", "skill", "directional_accuracy")
DENSITY_METRICS = ("mse", "skill", "directional_accuracy", "crps", "log_score")
LEAK_LEVELS = {"skill": 0.01, "directional_accuracy": 0.55}
LEAK_MIN_DAYS = 250  # a year; below that chance alone exceeds the levels

Value = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """One forecaster's N forecasts of one target with their outcomes.

    `y` (N,) is NaN where unknown; `days` (N,) are those of the outcomes, of any kind that sorts;
    `reference` (N,) is the naive forecast; `intervals` are conformal ones, or None for those of
    the distribution. `has_qlike`: `y` is the logarithm of a positive number, scored by QLIKE, too.
    """

    predictive: Predictive
    y: np.ndarray
    days: np.ndarray
    reference: np.ndarray
    intervals: Intervals | None = None
    has_qlike: bool = False

    def take(self, rows: np.ndarray) -> "Outcomes":
        """Return some rows, given as numbers or as a mask (N,)."""
        bounds = self.intervals and self.intervals.take(rows)
        parts = {name: getattr(self, name)[rows] for name in ("y", "days", "reference")}
        return replace(self, predictive=self.predictive.take(rows), intervals=bounds, **parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A metric's value with its 95 % bootstrap interval, None where undefined (see `reason`)."""

    metric: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    days: int
    forecasts: int
    reason: str = ""


class _Sums(NamedTuple):
    """Sums of a score by forecast (N, K), its formula, and why it may be undefined."""

    terms: np.ndarray
    value: Value
    reason: str


def score(outcomes: Outcomes, weights: np.ndarray | None = None) -> tuple[Score, ...]:
    """Compute every score of `SCORES`, in order, on the rows with forecast and outcome.

    Where the outcomes have it, `qlike` is last; see `qlike`.

    `mse`, `mae`, `crps`, `pinball` (the mean over `PINBALL_LEVELS`) and the widths are in the
    target's own units (squared for mse); `skill` is 1 - mse / that of the reference;
    `r2_over_zero` 1 - mse / mean square of the outcome; `directional_accuracy` and `mcc`
    (Matthews) are about moves away from the reference, days without one left out; `ic` and
    `rank_ic` the mean over days of the correlation across series of forecast and outcome, both
    less the reference, `_t` its Newey-West t; `log_score` the mean log density in nats.

    Args:
        outcomes: the forecasts and their outcomes.
        weights: (B, D) of `day_weights` for the days of these rows, or None for no intervals.
    """
    metrics = (*SCORES, QLIKE) if outcomes.has_qlike else SCORES
    known = np.isfinite(outcomes.y) & np.isfinite(outcomes.predictive.mean())
    known &= np.isfinite(outcomes.reference)
    rows = outcomes.take(np.flatnonzero(known))
    if not known.any():
        reason = "no outcome is known yet"
        return tuple(Score(metric=name, days=0, forecasts=0, reason=reason) for name in metrics)
    parts = {**_of_the_forecast(rows), **_of_the_intervals(rows)}
    distinct, place = np.unique(rows.days, return_inverse=True)
    found = {}
    for metric, sums in parts.items():
        columns = [np.bincount(place, column, minlength=len(distinct)) for column in sums.terms.T]
        found[metric] = _finish(metric, sums, np.column_stack(columns), weights, len(place))
    found |= _across_series(rows, weights)
    return tuple(found[metric] for metric in metrics)


def qlike(forecast: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Compute v / f - log(v / f) - 1, with f and v the exponentials of forecast and outcome (N,).

    Source: Patton (2011), "Volatility forecast comparison using imperfect volatility proxies",
    with the constants chosen so that a perfect forecast has 0.
    """
    difference = y - forecast
    losses: np.ndarray = np.expm1(difference) - difference
    return losses


def _finish(
    metric: str, sums: _Sums, table: np.ndarray, weights: np.ndarray | None, forecasts: int
) -> Score:
    """Compute a score and its interval from its sums by day (D, K)."""
    found = Score(metric=metric, days=len(table), forecasts=forecasts, reason=sums.reason)
    value = float(sums.value(table.sum(axis=0)))
    if not np.isfinite(value):
        return found
    found = replace(found, value=value, reason="")
    if weights is None:
        return found
    if len(table) < MIN_DAYS:
        reason = f"no interval: {len(table)} days; at least {MIN_DAYS} are needed"
        return replace(found, reason=reason)
    low, high = interval(table, sums.value, weights)
    if not np.isfinite(low):
        return replace(found, reason="no interval: other days would not define it")
    return replace(found, low=low, high=high)


def _ratio(sums: np.ndarray) -> np.ndarray:
    """Return the first sum over the second, NaN for nothing over nothing."""
    above, below = sums[..., 0], sums[..., 1]
    nothing = np.full(np.shape(above), np.nan)
    return np.asarray(np.divide(above, below, out=nothing, where=below > 0.0))


def _one_less_ratio(sums: np.ndarray) -> np.ndarray:
    return 1.0 - _ratio(sums)


def _matthews(sums: np.ndarray) -> np.ndarray:
    """Return Matthews' correlation of counts: true rises and falls, false rises and falls."""
    tp, tn, fp, fn = (sums[..., k] for k in range(4))
    below = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return _ratio(np.stack([tp * tn - fp * fn, below], axis=-1))


def _of_the_forecast(rows: Outcomes) -> dict[str, _Sums]:
    """Return the sums of the scores of points, and of distributions."""
    predictive, y, reference = rows.predictive, rows.y, rows.reference
    forecast = predictive.mean()
    error, base = (forecast - y) ** 2, (reference - y) ** 2
    side, actual = np.sign(forecast - reference), np.sign(y - reference)
    sided = (side != 0) & (actual != 0)
    correct, up = sided & (side == actual), side > 0
    counts = [correct & up, correct & ~up, sided & ~correct & up, sided & ~correct & ~up]
    levels = np.array(PINBALL_LEVELS)
    above = y[:, None] - predictive.quantile(levels)
    pinball = [*np.maximum(levels * above, (levels - 1.0) * above).T]
    each = np.ones(len(y))
    no_direction = "the forecaster never forecasts a direction, or nothing moved"
    no_density = "the forecast has no density, or none at an outcome"
    table: dict[str, tuple[list[np.ndarray], Value, str]] = {
        "mse": ([error, each], _ratio, ""),
        "mae": ([np.abs(forecast - y), each], _ratio, ""),
        "skill": ([error, base], _one_less_ratio, "the naive forecast makes no error"),
        "r2_over_zero": ([error, y * y], _one_less_ratio, "every outcome is zero"),
        "directional_accuracy": ([correct, sided], _ratio, no_direction),
        "mcc": (counts, _matthews, "one of the directions is never forecast or never occurs"),
        "crps": ([predictive.crps(y), each], _ratio, "the forecast has no CRPS"),
        "log_score": ([predictive.log_density(y), each], _ratio, no_density),
        "pinball": ([np.mean(pinball, axis=0), each], _ratio, "the forecast has no quantiles"),
    }
    if rows.has_qlike:
        table[QLIKE] = ([qlike(forecast, y), each], _ratio, "")
    return {
        metric: _Sums(np.column_stack(terms).astype(float), value, reason)
        for metric, (terms, value, reason) in table.items()
    }


def _of_the_intervals(rows: Outcomes) -> dict[str, _Sums]:
    has_intervals = rows.intervals is not None or not isinstance(rows.predictive, Point)
    intervals = rows.intervals or uncalibrated_intervals(rows.predictive)
    found = {}
    for coverage in COVERAGES:
        inside = intervals.inside(rows.y, coverage)
        low, high = intervals.bounds[coverage].T
        known = np.isfinite(inside) & has_intervals
        count, reason = known.astype(float), "a point forecast has no interval"
        for name, values in (("coverage", inside), ("width", high - low)):
            terms = np.column_stack([np.where(known, values, 0.0), count])
            found[f"{name}_{coverage:.0%}".rstrip("%")] = _Sums(terms, _ratio, reason)
    return found


def _across_series(rows: Outcomes, weights: np.ndarray | None) -> dict[str, Score]:
    found = {}
    forecast, y = rows.predictive.mean() - rows.reference, rows.y - rows.reference
    for name, ranks in (("ic", False), ("rank_ic", True)):
        values, reason = daily_correlations(forecast, y, rows.days, ranks=ranks)
        known = np.isfinite(values)
        table = np.column_stack([np.where(known, values, 0.0), known])
        found[name] = _finish(name, _Sums(table, _ratio, reason), table, weights, len(y))
        t = newey_west_t(values[known])
        reason = reason or f"too few days: {known.sum()}"
        of_t = Score(metric=f"{name}_t", days=len(table), forecasts=len(y), reason=reason)
        found[of_t.metric] = replace(of_t, value=t, reason="") if np.isfinite(t) else of_t
    return found


def daily_correlations(
    forecast: np.ndarray, outcome: np.ndarray, days: np.ndarray, *, ranks: bool = False
) -> tuple[np.ndarray, str]:
    """Correlate forecasts and outcomes across series on each day: the information coefficient.

    Args:
        forecast: (N,) finite.
        outcome: (N,) finite.
        days: (N,) of the outcomes.
        ranks: correlate ranks (Spearman) instead of values (Pearson).

    Returns:
        (D,) correlations by day, NaN with fewer than 5 series or where all forecasts or all
        outcomes are equal, and the reason if every day is NaN.

    Source: Grinold and Kahn (1999), "Active Portfolio Management", ch. 6.
    """
    _, place = np.unique(days, return_inverse=True)
    order = np.argsort(place, kind="stable")
    borders = np.flatnonzero(np.diff(place[order])) + 1
    groups = np.split(order, borders) if len(order) else []
    found = np.array([_correlation(forecast[here], outcome[here], ranks) for here in groups])
    if np.isfinite(found).any():
        return found, ""
    if max((len(here) for here in groups), default=0) < MIN_SERIES:
        return found, f"no day with at least {MIN_SERIES} series"
    return found, "on every day all forecasts or all outcomes are equal"


def _correlation(one: np.ndarray, other: np.ndarray, ranks: bool) -> float:
    # Equal values may differ by rounding.
    if len(one) < MIN_SERIES or any(
        np.ptp(values) <= 1e-12 * np.abs(values).max() for values in (one, other)
    ):
        return float("nan")
    if ranks:
        one, other = (pd.Series(values).rank().to_numpy() for values in (one, other))
    one, other = one - one.mean(), other - other.mean()
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A score of daily returns that is a leak until explained: above `level`."""

    forecaster: str
    metric: str
    value: float
    level: float


def implausible_scores(
    scores: pd.DataFrame, p_values: Mapping[str, float | None]
) -> tuple[Alarm, ...]:
    """Return the scores of daily returns above `LEAK_LEVELS` that chance does not explain.

    Args:
        scores: a forecaster's own rows, over at least 250 days.
        p_values: by metric, of the test that chance alone reaches such a score; None or NaN where
            it cannot, as with a forecast that never changes its sign.
    """
    table = scores[scores["value"].notna() & (scores["target"] == "return")]
    table = table[table["days"] >= LEAK_MIN_DAYS]
    return tuple(
        Alarm(forecaster=row["forecaster"], metric=metric, value=row["value"], level=level)
        for metric, level in LEAK_LEVELS.items()
        for row in table[table["metric"] == metric].to_dict("records")
        if row["value"] > level and (p := p_values.get(metric)) is not None and p < LEVEL
    )
