"""Everything that no later bar may change, as values by stage: daily ones, and what is fitted.

Shape letters: N rows of the panel, n chosen rows.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, time, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from forecaster import clock
from forecaster.audit.alterations import Alteration
from forecaster.audit.comparison import Stages, Values
from forecaster.backtesting.benchmarks import (
    BenchmarkForecasts,
    BenchmarkOptions,
    fit_benchmarks,
)
from forecaster.backtesting.fold import FoldForecasts
from forecaster.data.columns import CALENDAR_INPUTS, MARKET_COLUMNS
from forecaster.data.history import BAR_COLUMNS, History, own_names
from forecaster.data.ingest import admit, store_news
from forecaster.data.loading import as_table, load_histories
from forecaster.data.panel import Panel, compute_features, feature_names
from forecaster.data.scaling import Scaler
from forecaster.data.sessions import as_date, next_session, timezone_of
from forecaster.data.store import PriceStore
from forecaster.errors import DataError
from forecaster.evaluation.distributions import Point, Predictive
from forecaster.evaluation.splits import Split, Walk, split_by_time, walk_folds
from forecaster.forecasting.data_set import Dataset
from forecaster.forecasting.fitted_model import FittedModel, weights_of
from forecaster.forecasting.fitting import FitResult
from forecaster.forecasting.forecast_tables import adaptive_intervals

BARS: Final = "bars"
SPLIT: Final = "split"
TRAIN_STAGES: Final = ("scales", "base", "training")
CALIBRATION: Final = "calibration"
BENCHMARKS: Final = "benchmarks"
FORECASTS: Final = "forecasts"
INTERVALS: Final = "intervals"
WALK_FORWARD: Final = "walk-forward"
# In the order of the pipeline.
STAGES: Final = (
    *(BARS, "features", "cross-section", "calendar", "targets", "inputs", SPLIT, *TRAIN_STAGES),
    *(CALIBRATION, BENCHMARKS, FORECASTS, INTERVALS, WALK_FORWARD),
)
LEVELS: Final = (0.025, 0.1, 0.5, 0.9, 0.975)
_STORED_DAYS: Final = 60  # of each ticker; older bars are stored alike

Numbers = dict[str, np.ndarray | float]


def bars_as_of(histories: Sequence[History], cut: np.datetime64) -> Values:
    """Read the bars as of a date, by the function that every command uses."""
    last = max(history.bars["session"].iloc[-1] for history in histories)
    later = datetime.combine(last.date() + timedelta(days=10), time(), ZoneInfo("UTC"))
    with quiet(), clock.as_if(later):
        return bar_values(load_histories(as_table(histories), Path(), (), as_date(cut)))


def bars_before_the_close(histories: Sequence[History], cut: np.datetime64) -> Values:
    """Read the bars by the same function on the session after a date, while it trades."""
    found: list[History] = []
    for served, noon in _sessions_after(histories, cut):
        with quiet(), clock.as_if(noon):
            found += load_histories(as_table(served), Path(), (), None)
    return bar_values(found)


def bars_stored_before_the_close(histories: Sequence[History], cut: np.datetime64) -> Values:
    """Store the last bars while the session after a date trades, and read them back."""
    found: list[History] = []
    for served, noon in _sessions_after(histories, cut):
        with TemporaryDirectory() as folder, quiet(), clock.as_if(noon):
            stored = 0
            with PriceStore.open_for_writing(Path(folder)) as store:
                for history in served:
                    first = max(int((history.days <= cut).sum()) - _STORED_DAYS, 0)
                    recent = history.bars.iloc[first:].reset_index(drop=True)
                    with suppress(DataError):
                        given = admit(store, replace(history, bars=recent), noon)
                        stored += store_news(store, None, given, noon)
            if stored:
                found += load_histories(None, Path(folder), (), None)
    return bar_values(found)


def _sessions_after(
    histories: Sequence[History], cut: np.datetime64
) -> Iterator[tuple[list[History], datetime]]:
    """Yield, by calendar, all bars up to the session after a date, and noon of that session."""
    for calendar in sorted({history.listing.calendar for history in histories}):
        session = next_session(calendar, as_date(cut))
        traded = [history for history in histories if history.listing.calendar == calendar]
        served = Alteration(kind="cut", cut=np.datetime64(session, "D")).of(traded)
        if served:
            yield served, datetime.combine(session, time(12), ZoneInfo(timezone_of(calendar)))


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the warnings that a user's own prices would cause."""
    logger = logging.getLogger("forecaster")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def bar_values(histories: Sequence[History]) -> Values:
    """Return bars as they are in histories."""
    own = dict.fromkeys(name for history in histories for name in own_names(history.bars))
    names = (*BAR_COLUMNS[1:], *own)
    ordered = sorted(histories, key=lambda history: history.listing.ticker)
    bars = [history.bars for history in ordered]
    table = pd.concat(bars) if bars else pd.DataFrame(columns=list(BAR_COLUMNS), dtype="float64")
    tickers = [history.listing.ticker for history in ordered]
    return Values(
        columns=names,
        values=table[list(names)].to_numpy(np.float64),
        tickers=np.repeat(tickers, [len(part) for part in bars]).astype(str),
        days=table["session"].to_numpy("datetime64[D]"),
    )


def row_values(panel: Panel, cut: np.datetime64) -> Stages:
    """Return everything that was known at the close of each day up to a date, by stage."""
    known, outcome = panel.days <= cut, panel.outcome_days <= cut
    stages: dict[str, dict[str, np.ndarray]] = {"features": {}, "cross-section": {}, "calendar": {}}
    for name, values in panel.columns.items():
        shared = "calendar" if name in CALENDAR_INPUTS else "cross-section"
        own = name not in (*CALENDAR_INPUTS, *MARKET_COLUMNS)
        stages["features" if own else shared][name] = values[known]
    stages["features"]["close"] = panel.close[known]
    stages["features"] |= _by_target(panel, " today", panel.today[known])
    names = feature_names(panel)
    stages["inputs"] = dict(zip(names, compute_features(panel, names)[known].T, strict=True))
    targets = _by_target(panel, "", panel.y[outcome])
    targets |= _by_target(panel, " level", panel.level[outcome])
    targets["outcome day"] = panel.outcome_days[outcome].astype(np.int64)
    found = {stage: Values.of_rows(panel, known, part) for stage, part in stages.items() if part}
    return found | {"targets": Values.of_rows(panel, outcome, targets)}


def forecast_values(
    panel: Panel, model: FittedModel, made: dict[str, Predictive], cut: np.datetime64
) -> Values:
    """Return mean and quantiles of the uncalibrated and calibrated forecasts up to a date."""
    known = panel.days <= cut
    rows = np.flatnonzero(known)
    tickers = np.array(panel.tickers)[panel.series[rows]]
    columns: dict[str, np.ndarray] = {}
    for target, distributions in made.items():
        chosen = distributions.take(rows)
        columns |= quantile_columns(target, chosen)
        calibrated = model.calibrated(target, chosen, tickers)
        columns |= quantile_columns(f"calibrated {target}", calibrated)
    return Values.of_rows(panel, known, columns)


def interval_values(
    panel: Panel, made: dict[str, Predictive], train_until: np.datetime64, cut: np.datetime64
) -> Values:
    """Return each day's intervals up to a date, which adapt to the outcomes before."""
    known = panel.days <= cut
    columns: dict[str, np.ndarray] = {}
    for target, distributions in made.items():
        found = adaptive_intervals(panel, target, distributions, train_until)
        for coverage, ends in found.bounds.items():
            for side, name in enumerate(("lower", "upper")):
                columns[f"{target} {coverage:.0%} {name}"] = ends[known, side]
    return Values.of_rows(panel, known, columns)


def quantile_columns(name: str, distributions: Predictive) -> dict[str, np.ndarray]:
    """Return means and quantiles of n distributions, (n,) each."""
    values = distributions.quantile(LEVELS)
    return {f"{name} mean": distributions.mean()} | {
        f"{name} q{level:g}": values[:, q] for q, level in enumerate(LEVELS)
    }


def _by_target(panel: Panel, word: str, table: np.ndarray) -> dict[str, np.ndarray]:
    return {f"{name}{word}": table[:, k] for k, name in enumerate(panel.targets)}


def split_values(panel: Panel, split: Split, cut: np.datetime64, *, by_date: bool) -> Values:
    """Return the part of every outcome up to a date: by its date alone, or as it is split."""
    days = panel.outcome_days
    if by_date:
        after_train, after_validation = days > split.train_until, days > split.validation_until
        train = ~np.isnat(days) & ~after_train
        masks = (train, after_train & ~after_validation, after_validation)
    else:
        ends = as_date(split.train_until), as_date(split.validation_until)
        again = split_by_time(panel.days, train_until=ends[0], validation_until=ends[1])
        masks = again.masks(days)
    names = ("in train", "in validation", "in test")
    parts = np.stack(masks, axis=1)[days <= cut].astype(np.float64)
    return Values.of_rows(panel, days <= cut, dict(zip(names, parts.T, strict=True)))


def fit_values(dataset: Dataset, made: FitResult, *, validation: bool) -> Stages:
    """Return what a training has fitted, by stage; what validation days give only if asked for."""
    reader, base = dataset.model.reader, dataset.model.reader.base
    scales = _scaler("input", reader.scaler) | _scaler("target", dataset.model.target_scaler)
    fitted: Numbers = {}
    if base is not None:
        fitted = _scaler("base input", base.scaler)
        fitted |= {"weight": base.weights, "intercept": base.intercepts}
    trained: Numbers = {
        f"{name} of member {member}": value
        for member, network in enumerate(made.model.networks)
        for name, value in weights_of(network).items()
    }
    validations = [one for mine in made.validations_by_member for one in mine]
    trained["train loss"] = np.array([one.train_loss for one in validations])
    stages = dict(zip(TRAIN_STAGES, (scales, fitted, trained), strict=True))
    if validation:
        trained["validation loss"] = np.array([one.validation_loss for one in validations])
        stages[CALIBRATION] = {"shrinkage": made.model.shrinkage}
        stages[CALIBRATION] |= {
            f"{target} of {ticker or 'all tickers'}": np.array(scores)
            for target, by_ticker in made.model.calibration.items()
            for ticker, scores in by_ticker.items()
        }
    return {stage: Values.of_numbers(found) for stage, found in stages.items() if found}


def _scaler(name: str, scaler: Scaler) -> Numbers:
    return {f"mean of {name}": scaler.mean, f"scale of {name}": scaler.scale}


def quick_benchmarks(panel: Panel, split: Split, model: FittedModel) -> BenchmarkForecasts:
    """Fit every quick benchmark of `evaluate`, and forecast with it."""
    folds, rows = walk_folds(panel.outcome_days, split), model.forecastable(panel)
    options = BenchmarkOptions(kind="quick")
    with quiet():
        return fit_benchmarks(panel, panel.targets, folds, rows, model.reader.names, options)


def benchmark_values(panel: Panel, made: BenchmarkForecasts, change: Alteration) -> Values:
    """Return the benchmarks' forecasts made up to the date, where the outcome still exists."""
    days = panel.days if change.keeps_rows else panel.outcome_days
    numbers = np.flatnonzero(days[made.rows] <= change.cut)
    rows = np.isin(np.arange(len(days)), made.rows[numbers])
    columns = {
        f"{target} {name}": column
        for target, by_name in made.forecasts.items()
        for benchmark, distributions in by_name.items()
        for name, column in quantile_columns(benchmark, distributions.take(numbers)).items()
        if not isinstance(distributions, Point) or name.endswith("mean")
    }
    return Values.of_rows(panel, rows, columns)


def fold_ends(panel: Panel, split: Split, walk: Walk, until: np.datetime64) -> Values:
    """Return the last training and validation days of a walk's folds known on a day."""
    splits = [fold.split for fold in walk_folds(panel.outcome_days, split, walk)]
    known = [(one.train_until, one.validation_until) for one in splits]
    ends = np.array([pair for pair in known if pair[1] <= until], "datetime64[D]").reshape(-1, 2)
    names = ("last train days of the folds", "last validation days of the folds")
    return Values.of_numbers(dict(zip(names, ends.T.astype(np.int64), strict=True)))


def fold_forecasts(panel: Panel, made: FoldForecasts, until: np.datetime64) -> Values:
    """Return the forecasts of a fold, and of its linear model, made until a day."""
    known = panel.days[made.rows] <= until
    mask = np.isin(np.arange(len(panel.days)), made.rows[known])
    columns: dict[str, np.ndarray] = {}
    for word, parts in (("", made.forecasts), ("linear ", made.linear or ())):
        for target, distributions in zip(panel.targets, parts, strict=False):
            chosen = distributions.take(np.flatnonzero(known))
            columns |= quantile_columns(f"{word}{target}", chosen)
    return Values.of_rows(panel, mask, columns)
