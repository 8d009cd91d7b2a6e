"""Forecasters of the same test rows, scored and compared; nothing is fitted.

Shape letters: N rows of the panel, n scored rows.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from forecaster.backtesting.benchmarks import BenchmarkForecasts
from forecaster.backtesting.walk_forward import WalkForecasts
from forecaster.data.panel import MOST_EQUAL, TARGETS, Panel
from forecaster.errors import DataError, name_some
from forecaster.evaluation.calibration import interval_scores, mean_by, pit_histogram
from forecaster.evaluation.conformal import COVERAGES, Intervals, uncalibrated_intervals
from forecaster.evaluation.direction import backtest, directional_accuracy_test
from forecaster.evaluation.distributions import Point, Predictive
from forecaster.evaluation.evaluation import Comparisons, TargetEvaluation
from forecaster.evaluation.mixture import mixture
from forecaster.evaluation.scored_forecasts import ScoredForecasts
from forecaster.evaluation.scores import Outcomes, Score, qlike, score
from forecaster.evaluation.significance import (
    Comparison,
    adjust,
    block_length,
    compare_losses,
    daily,
    day_weights,
    model_confidence_set,
    superior_predictive_ability,
)
from forecaster.evaluation.splits import Fold, Split
from forecaster.forecasting.fitted_model import FittedModel
from forecaster.forecasting.forecast_tables import adaptive_intervals, interval_ends

log = logging.getLogger(__name__)

Losses = dict[str, np.ndarray]
UNITS = {"MSE": "", "QLIKE": "", "CRPS": "", "log loss": "nats"}
SAME_INPUTS = ("mlp", "linear")  # benchmarks with the version's inputs, in order of interest
# These need more days than the network: a row is scored without their forecasts.
DEMANDING = ("historical", "ewma-t", "garch-t", "egarch-t")
SCORE_COLUMNS = (
    *("target", "forecaster", "metric", "value", "low", "high", "days", "forecasts", "reason"),
)
SEED_COLUMNS = ("target", "metric", "seeds", "mean", "sd", "min", "max")
COVERAGE_COLUMNS = (
    *("target", "forecaster", "intervals", "by", "key"),
    *("nominal", "coverage", "forecasts", "interval_score"),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForecastSet:
    """One target's forecasters on the n rows that all of them are scored on.

    `forecasters` by name, the version's `own` first; `subjects`, the version and its ensemble, are
    compared with all others and have conformal `intervals`. `choices` are the variants of
    benchmarks that the validation days chose. `rows` (n,) number the panel's rows; `y`, `days` and
    `series` (n,) are their outcomes, as deviation from the panel's level, days and tickers.
    """

    target: str
    panel: Panel
    rows: np.ndarray
    y: np.ndarray
    days: np.ndarray
    series: np.ndarray
    forecasters: dict[str, Predictive]
    own: str
    naive: str
    subjects: tuple[str, ...]
    intervals: dict[str, Intervals]
    by_seed: dict[int, Predictive]
    choices: dict[str, str]

    def outcomes(self, name: str) -> Outcomes:
        """Return a forecaster's forecasts with their outcomes."""
        return Outcomes(
            predictive=self.forecasters[name],
            y=self.y,
            days=self.days,
            reference=self.forecasters[self.naive].mean(),
            intervals=self.intervals.get(name),
            has_qlike=self.target not in TARGETS,
        )

    def rows_by_ticker(self) -> dict[str, np.ndarray]:
        """Return the numbers, of n, of each ticker's rows."""
        numbers, first = np.unique(self.series, return_index=True)
        parts = np.split(np.arange(len(self.series)), first[1:])
        return {self.panel.tickers[n]: part for n, part in zip(numbers, parts, strict=True)}

    def losses(self, loss: str) -> Losses:
        """Return the losses (n,) of every forecaster that has this one on some row."""
        found = {}
        for name, forecast in self.forecasters.items():
            if loss == "MSE":
                values = (forecast.mean() - self.y) ** 2
            elif loss == "QLIKE":
                if self.target in TARGETS:
                    continue
                values = qlike(forecast.mean(), self.y)
            elif isinstance(forecast, Point):
                continue
            elif loss == "CRPS":
                values = forecast.crps(self.y)
            else:
                values = -forecast.log_density(self.y)
            if np.isfinite(values).any():
                found[name] = values
        return found


def select_forecasts(
    panel: Panel,
    target: str,
    model: FittedModel,
    folds: Sequence[Fold],
    walked: WalkForecasts,
    others: BenchmarkForecasts,
) -> ForecastSet:
    """Select the test rows with an outcome that all but the demanding benchmarks forecast.

    Raises:
        DataError: there is none.
    """
    k, own, rows = panel.targets.index(target), model.network_name, walked.rows
    by_seed = {seed: forecasts[k] for seed, forecasts in walked.by_seed.items()}
    subjects = {own: next(iter(by_seed.values()))}
    if len(by_seed) > 1:
        subjects[f"{own}-x{len(by_seed)}"] = mixture(list(by_seed.values()))
    alike = {name: forecasts[k] for name, forecasts in walked.same_inputs.items()}
    forecasters = {**subjects, **others.forecasts[target], **alike}
    tests = [fold.masks(panel.outcome_days[rows])[2] for fold in folds]
    scored = np.isfinite(panel.y[rows, k]) & np.any(tests, axis=0)
    for name, forecast in forecasters.items():
        if name not in DEMANDING:
            scored &= np.isfinite(forecast.mean())
    require_scored(scored, panel, target, model.split)
    tested = np.zeros(len(panel.days), dtype=np.bool_)
    tested[rows[scored]] = True
    constant = panel.equal_shares(tested)[:, k] > MOST_EQUAL
    scored &= ~constant[panel.series[rows]]
    if not scored.any():
        names = name_some(np.array(panel.tickers)[constant].tolist())
        raise DataError(
            f"{names}: {target} has one value on most of the test days, of which nothing can be "
            "concluded. Fetch newer prices."
        )
    chosen = np.flatnonzero(scored)
    until = model.split.train_until
    intervals = {
        name: adaptive_intervals(panel, target, one, until, rows=rows).take(chosen)
        for name, one in subjects.items()
    }
    rows = rows[chosen]
    return ForecastSet(
        target=target,
        panel=panel,
        rows=rows,
        y=panel.y[rows, k],
        days=panel.outcome_days[rows],
        series=panel.series[rows],
        forecasters={name: forecast.take(chosen) for name, forecast in forecasters.items()},
        own=own,
        naive=next(iter(others.forecasts[target])),
        subjects=tuple(subjects),
        intervals=intervals,
        by_seed={seed: forecast.take(chosen) for seed, forecast in by_seed.items()},
        choices=others.choices[target],
    )


def require_scored(scored: np.ndarray, panel: Panel, target: str, split: Split) -> None:
    """Raise a DataError if none of some rows is `scored`."""
    if not scored.any():
        raise DataError(
            f"No day after {split.validation_until} can be scored for {target}: the prices end "
            f"{panel.days.max()}. Fetch newer prices, give a later --as-of, or train with an "
            "earlier --validation-until."
        )


def evaluate_target(
    given: ForecastSet, *, questions: int, costs_bps: float | None
) -> TargetEvaluation:
    """Score a target's forecasters and test them against each other.

    `questions` is the number of different questions asked of these test days so far, `costs_bps`
    the costs of the backtest per side, None for no backtest.
    """
    rows = _scored_forecasts(given)
    unscored = tuple(sorted({*rows.tickers} - {*rows.scored}, key=rows.tickers.index))
    if unscored:
        log.warning("%s: no test day can be scored for %s", name_some(unscored), given.target)
    naive = given.forecasters[given.naive].mean()
    means = {name: given.forecasters[name].mean() for name in given.subjects}
    # The backtest by the mean is mostly buy and hold.
    traded = means | {"mean": given.forecasters["mean"].mean()} if given.target == "return" else {}
    return TargetEvaluation(
        target=given.target,
        forecaster=given.own,
        scores=_scores(given),
        scores_by_ticker=_scores_by_ticker(given),
        scores_by_seed=_scores_by_seed(given),
        coverage=_coverage(given),
        rows=rows,
        comparisons=_comparisons(given, questions),
        direction={
            name: directional_accuracy_test(mean - naive, given.y - naive, given.days)
            for name, mean in means.items()
        },
        backtests={
            name: backtest(mean, given.y, given.series, given.days, cost_bps=costs_bps)
            for name, mean in traded.items()
            if costs_bps is not None
        },
        pit={
            name: pit_histogram(forecast.cdf(given.y)).tolist()
            for name, forecast in given.forecasters.items()
            if not isinstance(forecast, Point)
        },
        choices=given.choices,
        unscored=unscored,
    )


def _scored_forecasts(given: ForecastSet) -> ScoredForecasts:
    """Collect the numbers of every forecast; intervals are conformal where there are any."""
    panel, rows = given.panel, given.rows
    level = panel.level[rows, panel.targets.index(given.target)]
    columns = {}
    for name, forecast in given.forecasters.items():
        columns[name] = {"forecast": forecast.mean() + level}
        intervals = given.intervals.get(name)
        if not isinstance(forecast, Point):
            intervals = intervals or uncalibrated_intervals(forecast)
            columns[name]["log_score"] = forecast.log_density(given.y)
        if intervals is not None:
            columns[name] |= interval_ends(intervals, level)
    return ScoredForecasts(
        target=given.target,
        tickers=panel.tickers,
        series=given.series,
        as_of=panel.days[rows],
        session=given.days,
        actual=given.y + level,
        last_close=panel.close[rows],
        columns=columns,
    )


def fold_table(folds: Sequence[Fold], panel: Panel) -> pd.DataFrame:
    """Return one row per fit: its split, and the first and last day that it forecast."""
    rows = []
    for fold in folds:
        days = panel.outcome_days[fold.masks(panel.outcome_days)[2]]
        train_from = fold.train_from or panel.days.min()
        ends = (train_from, fold.split.train_until, fold.split.validation_until)
        rows.append((fold.number + 1, *(day.item() for day in (*ends, days.min(), days.max()))))
    columns = ["fold", "train_from", "train_until", "validation_until", "first", "last"]
    return pd.DataFrame(rows, columns=columns)


def block_days(panel: Panel, split: Split) -> dict[str, tuple[date, date]]:
    """Return the first and last session forecast of training, validation and test."""
    known = np.isfinite(panel.y).any(axis=1)
    masks = split.masks(panel.outcome_days)
    return {
        name: (days.min().item(), days.max().item())
        for name, mask in zip(("train", "validation", "test"), masks, strict=True)
        if len(days := panel.outcome_days[mask & known])
    }


def _scores(given: ForecastSet) -> pd.DataFrame:
    """Score every forecaster, with 95 % bootstrap intervals."""
    losses, rows = given.losses("MSE"), []
    gap = daily(losses[given.own] - losses[given.naive], given.days)
    weights = day_weights(len(gap), block_length(gap))
    for name in given.forecasters:
        outcomes = given.outcomes(name)
        known = np.isfinite(outcomes.predictive.mean())
        complete = len(np.unique(given.days[known])) == len(gap)
        found = score(outcomes, weights if complete else None)
        if not known.any():
            found = tuple(replace(one, reason="it has no forecast of these rows") for one in found)
        rows += [_score_row(given, name, one) for one in found]
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def _scores_by_ticker(given: ForecastSet) -> pd.DataFrame:
    """Score the subjects and the naive forecast on each ticker alone."""
    rows = []
    outcomes = {name: given.outcomes(name) for name in (*given.subjects, given.naive)}
    for (ticker, mine), name in product(given.rows_by_ticker().items(), outcomes):
        found = score(outcomes[name].take(mine))
        rows += [{"ticker": ticker, **_score_row(given, name, one)} for one in found]
    return pd.DataFrame(rows, columns=["target", "ticker", *SCORE_COLUMNS[1:]])


def _score_row(given: ForecastSet, name: str, one: Score) -> dict[str, object]:
    # R2 over zero says nothing of a deviation from a trailing mean.
    if one.metric == "r2_over_zero" and given.target != "return":
        one = replace(one, value=None, low=None, high=None, reason="a score of returns")
    row = {"target": given.target, "forecaster": name}
    return row | {column: getattr(one, column) for column in SCORE_COLUMNS[2:]}


def _scores_by_seed(given: ForecastSet) -> pd.DataFrame:
    """Score each seed's network by itself: mean, spread and ends of every score."""
    by_metric: dict[str, list[float]] = {}
    for forecast in given.by_seed.values():
        for one in score(replace(given.outcomes(given.own), predictive=forecast, intervals=None)):
            if one.value is not None:
                by_metric.setdefault(one.metric, []).append(one.value)
    rows = []
    for metric, values in by_metric.items():
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        ends = (min(values), max(values))
        rows.append((given.target, metric, len(values), float(np.mean(values)), spread, *ends))
    return pd.DataFrame(rows, columns=list(SEED_COLUMNS))


def _coverage(given: ForecastSet) -> pd.DataFrame:
    """Compute the coverage of every forecaster's intervals: in all, by year, by ticker."""
    rows: list[tuple[object, ...]] = []
    years = given.days.astype("datetime64[Y]").astype(int) + 1970
    tickers, places = np.unique(given.panel.tickers, return_inverse=True)
    nothing = np.zeros(len(given.y), dtype=int)
    for name, forecast in given.forecasters.items():
        kinds = {}
        if not isinstance(forecast, Point):
            kinds["uncalibrated"] = uncalibrated_intervals(forecast)
        if name in given.intervals:
            kinds["conformal"] = given.intervals[name]
        # Numbers, which sort faster than names.
        groups: dict[str, tuple[np.ndarray, Sequence[Any]]]
        groups = {"all": (nothing, [""]), "year": (years, range(years.max() + 1))}
        if name in given.subjects:
            groups["ticker"] = (places[given.series], tickers.tolist())
        for (kind, intervals), nominal in product(kinds.items(), COVERAGES):
            inside = intervals.inside(given.y, nominal)
            widths = interval_scores(intervals.bounds[nominal], given.y, nominal)
            for by, (keys, labels) in groups.items():
                scores = mean_by(widths, keys)
                for key, (share, count) in mean_by(inside, keys).items():
                    where = (given.target, name, kind, by, str(labels[key]))
                    rows.append((*where, nominal, share, count, scores[key][0]))
    return pd.DataFrame(rows, columns=list(COVERAGE_COLUMNS))


def _comparisons(given: ForecastSet, questions: int) -> Comparisons:
    """Test the subjects against every other forecaster, in each loss that both have.

    The comparisons in one loss are one family, asked of these test days by every question.
    """
    losses = {loss: found for loss in UNITS if given.own in (found := given.losses(loss))}
    pairs: list[Comparison] = []
    for loss, found in losses.items():
        others = [name for name in found if name not in given.subjects]
        family = [_compare(given, found, pair, loss) for pair in product(given.subjects, others)]
        pairs += adjust(family, questions)
    primary = "log loss" if "log loss" in losses else "MSE"
    pair, tickers = (given.own, given.naive), given.rows_by_ticker()
    by_ticker = [_compare(given, losses["MSE"], pair, "MSE", rows) for rows in tickers.values()]
    squared = _daily_losses(given, losses["MSE"])
    compared = squared if primary == "MSE" else _daily_losses(given, losses[primary])
    own = {(c.benchmark, c.loss): c for c in pairs if c.forecaster == given.own}
    alike = [name for name in SAME_INPUTS if name in given.forecasters]
    main = [own[given.naive, "MSE"]]  # then those with the best benchmark in each loss
    for loss in dict.fromkeys(one for one in ("MSE", "QLIKE", primary) if one in losses):
        names = [name for name, of in own if of == loss and name not in SAME_INPUTS]
        mean = {name: float(np.nanmean(losses[loss][name])) for name in names}
        if mean:
            main.append(own[min(mean, key=mean.__getitem__), loss])
    return Comparisons(
        all=tuple(pairs),
        main=tuple(dict.fromkeys(main)),
        same_inputs=tuple(own.get((name, primary)) or own[name, "MSE"] for name in alike),
        by_ticker=dict(zip(tickers, adjust(by_ticker, questions), strict=True)),
        spa=superior_predictive_ability(squared, given.naive),
        mcs=model_confidence_set(compared),
    )


def _compare(
    given: ForecastSet,
    losses: Losses,
    pair: tuple[str, str],
    loss: str,
    rows: np.ndarray | slice = slice(None),
) -> Comparison:
    unit, (subject, benchmark) = UNITS[loss], pair
    own, other = losses[subject][rows], losses[benchmark][rows]
    found = compare_losses(own, other, given.days[rows], relative=not unit)._asdict()
    return Comparison(
        target=given.target, forecaster=subject, benchmark=benchmark, loss=loss, unit=unit, **found
    )


def _daily_losses(given: ForecastSet, losses: Losses) -> Losses:
    """Average by day the rows that all have; forecasters of under half of them are left out."""
    known_of = {name: np.isfinite(values) for name, values in losses.items()}
    used = {n: v for n, v in losses.items() if 2 * known_of[n].sum() >= len(v)}
    known = np.column_stack([known_of[name] for name in used]).all(axis=1)
    return {name: daily(values[known], given.days[known]) for name, values in used.items()}
