"""Scores, coverage and trades of forecasters on the same report days, as tables.

Forecasts in, tables out; fits nothing.

Shape letters: n scored rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from forecaster.data.panel import Panel
from forecaster.evaluation.backtest import StrategyResult, trade
from forecaster.evaluation.conformal import COVERAGES, Intervals, uncalibrated_intervals
from forecaster.evaluation.coverage import coverage_by, pit_histogram
from forecaster.evaluation.distributions import Point, Predictive
from forecaster.evaluation.multiple_comparisons import block_length, day_weights
from forecaster.evaluation.scores import Outcomes, Score, score
from forecaster.evaluation.significance import daily

Losses = dict[str, np.ndarray]
UNITS = {"MSE": "", "CRPS": "", "log loss": "nats"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Card:
    """One target's forecasters on the rows that all of them are scored on.

    `forecasters` by name, n rows each, the version's own first, then "tomorrow = today";
    `subjects` are those that are compared with all others: the version, its ensemble;
    `intervals` the calibrated ones of some. `rows` (n,) number the panel's rows, whose outcomes
    are `y`, as deviation from the panel's level.
    """

    target: str
    panel: Panel
    rows: np.ndarray
    forecasters: dict[str, Predictive]
    subjects: tuple[str, ...]
    intervals: dict[str, Intervals]

    @property
    def y(self) -> np.ndarray:
        """(n,) outcomes."""
        values: np.ndarray = self.panel.y[self.rows, self.panel.targets.index(self.target)]
        return values

    @property
    def days(self) -> np.ndarray:
        """(n,) their days."""
        days: np.ndarray = self.panel.outcome_days[self.rows]
        return days

    @property
    def series(self) -> np.ndarray:
        """(n,) numbers of their tickers."""
        numbers: np.ndarray = self.panel.series[self.rows]
        return numbers

    @property
    def own(self) -> str:
        """Name of the version's network."""
        return self.subjects[0]

    @property
    def reference(self) -> str:
        """Name of "tomorrow = today"."""
        return list(self.forecasters)[len(self.subjects)]

    def outcomes(self, name: str) -> Outcomes:
        """Put one forecaster beside what came."""
        return Outcomes(
            predictive=self.forecasters[name],
            y=self.y,
            days=self.days,
            reference=self.forecasters[self.reference].mean(),
            intervals=self.intervals.get(name),
        )

    def losses(self, loss: str) -> Losses:
        """Give the losses (n,) of every forecaster that has this one."""
        found = {}
        for name, forecast in self.forecasters.items():
            values = _loss(forecast, self.y, loss)
            if values is not None:
                found[name] = values
        return found


def _loss(forecast: Predictive, y: np.ndarray, loss: str) -> np.ndarray | None:
    """(n,) losses; None where the forecaster has none of this kind on any row."""
    if loss != "MSE" and isinstance(forecast, Point):
        return None
    if loss == "log loss":
        values = -forecast.log_density(y)
    else:
        values = forecast.crps(y) if loss == "CRPS" else (forecast.mean() - y) ** 2
    return values if np.isfinite(values).any() else None


def primary_loss(card: Card) -> str:
    """Name the loss by which a target's own forecaster is judged: that of its distribution."""
    return "log loss" if "log loss" in losses_of(card) else "MSE"


def losses_of(card: Card) -> list[str]:
    """Name the losses that the version's own forecasts have."""
    return [loss for loss in UNITS if card.own in card.losses(loss)]


SCORE_COLUMNS = (
    *("target", "forecaster", "metric", "value", "low", "high", "days", "forecasts", "reason"),
)


def score_table(card: Card, *, seed: int = 0) -> pd.DataFrame:
    """Score every forecaster, with 95 % bootstrap intervals (`SCORE_COLUMNS`)."""
    losses, rows = card.losses("MSE"), []
    gap = daily(losses[card.own] - losses[card.reference], card.days)
    weights = day_weights(len(gap), block_length(gap), seed=seed)
    for name in card.forecasters:
        outcomes = card.outcomes(name)
        known = np.isfinite(outcomes.predictive.mean())
        whole = len(np.unique(card.days[known])) == len(gap)
        found = score(outcomes, weights if whole else None)
        if not known.any():
            found = tuple(replace(one, reason="it has no forecast of these rows") for one in found)
        rows += [_row(card, name, one) for one in found]
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def ticker_table(card: Card) -> pd.DataFrame:
    """Score the subjects and "tomorrow = today" on each ticker alone."""
    rows = []
    for number in np.unique(card.series):
        mine = card.series == number
        for name in (*card.subjects, card.reference):
            found = score(card.outcomes(name).take(np.flatnonzero(mine)))
            ticker = card.panel.tickers[number]
            rows += [{"ticker": ticker, **_row(card, name, one)} for one in found]
    return pd.DataFrame(rows, columns=["target", "ticker", *SCORE_COLUMNS[1:]])


def _row(card: Card, name: str, one: Score) -> dict[str, object]:
    # R2 over zero says nothing of a deviation from a trailing mean.
    if one.metric == "r2_over_zero" and card.target != "return":
        one = replace(one, value=None, low=None, high=None, reason="a score of returns")
    return {
        "target": card.target,
        "forecaster": name,
        "metric": one.metric,
        "value": one.value,
        "low": one.low,
        "high": one.high,
        "days": one.days,
        "forecasts": one.forecasts,
        "reason": one.reason,
    }


def seed_table(card: Card, seeds: Mapping[int, Predictive]) -> pd.DataFrame:
    """Score each seed's network by itself: mean, spread and ends of every score.

    Args:
        card: the target's.
        seeds: forecasts of the card's n rows by seed.
    """
    by_metric: dict[str, list[float]] = {}
    for forecast in seeds.values():
        for one in score(replace(card.outcomes(card.own), predictive=forecast, intervals=None)):
            if one.value is not None:
                by_metric.setdefault(one.metric, []).append(one.value)
    rows = [
        {
            "target": card.target,
            "metric": metric,
            "seeds": len(values),
            "mean": float(np.mean(values)),
            "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            "min": min(values),
            "max": max(values),
        }
        for metric, values in by_metric.items()
    ]
    return pd.DataFrame(rows, columns=["target", "metric", "seeds", "mean", "sd", "min", "max"])


def strategies(card: Card, cost_bps: float) -> dict[str, StrategyResult]:
    """Trade the signs of return forecasts: of the subjects, and of the mean (buy and hold)."""
    names = [*card.subjects, *(name for name in ("mean",) if name in card.forecasters)]
    return {
        name: trade(
            card.forecasters[name].mean(), card.y, card.series, card.days, cost_bps=cost_bps
        )
        for name in names
    }


def coverage_table(card: Card) -> pd.DataFrame:
    """Say how many outcomes lay inside, in all, by ticker and by year.

    Returns:
        Rows of `target, forecaster, intervals` (`calibrated` or `raw`), `by` (`all`, `ticker`,
        `year`), `key, coverage` (what is promised), `inside` (the share that was), `forecasts`.
    """
    rows: list[dict[str, object]] = []
    years = card.days.astype("datetime64[Y]").astype(int) + 1970
    tickers = np.array(card.panel.tickers)[card.series]
    for name, forecast in card.forecasters.items():
        stated = {} if isinstance(forecast, Point) else {"raw": uncalibrated_intervals(forecast)}
        if name in card.intervals:
            stated["calibrated"] = card.intervals[name]
        for kind, intervals in stated.items():
            for coverage in COVERAGES:
                inside = intervals.inside(card.y, coverage)
                groups = {"all": np.zeros(len(inside), dtype=int), "year": years}
                if name in card.subjects:
                    groups["ticker"] = tickers
                for by, keys in groups.items():
                    for key, (share, count) in coverage_by(inside, keys).items():
                        shown = "" if by == "all" else str(key)
                        where = (card.target, name, kind, by, shown)
                        rows.append(_covered(where, coverage, share, count))
    return pd.DataFrame(rows, columns=list(COVERAGE_COLUMNS))


COVERAGE_COLUMNS = (
    *("target", "forecaster", "intervals", "by", "key"),
    *("coverage", "inside", "forecasts"),
)


def _covered(where: Sequence[str], coverage: float, share: float, count: int) -> dict[str, object]:
    return dict(zip(COVERAGE_COLUMNS, (*where, coverage, share, count), strict=True))


def pit_counts(card: Card) -> dict[str, list[int]]:
    """Count where outcomes lay in each forecaster's own distribution, in twenty equal bins."""
    return {
        name: pit_histogram(forecast.cdf(card.y)).tolist()
        for name, forecast in card.forecasters.items()
        if not isinstance(forecast, Point)
    }
