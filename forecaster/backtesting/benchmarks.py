"""Benchmark forecasters, fitted on the same days as the version and forecasting the same rows.

Each fit is a task of its own, for as many processes as there are jobs.

Shape letters: N rows of the panel, n rows that are forecast.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from forecaster.backtesting.walk_forward import fan_out, rows_forecast
from forecaster.data.panel import TARGETS, Panel, features_of_rows
from forecaster.errors import DataError
from forecaster.evaluation import regression
from forecaster.evaluation.distributions import Point, Predictive
from forecaster.evaluation.mixture import assemble
from forecaster.evaluation.splits import Fold
from forecaster.evaluation.volatility import ewma_student, garch, historical_simulation, refit_days
from forecaster.forecasting.base_model import MOST_ROWS

log = logging.getLogger(__name__)

AR_LAGS = 5
BenchmarkKind = Literal["quick", "all"]
GarchKind = Literal["garch", "egarch"]
YEAR = 252  # trading days between two fits of GARCH, unless the network is fitted more often


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkOptions:
    """Which benchmarks to fit: "quick" leaves out boosted trees, GARCH and EGARCH.

    The latter two are fitted again every `refit_every` trading days, a year at most.
    """

    kind: BenchmarkKind = "all"
    refit_every: int | None = None
    jobs: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkForecasts:
    """Forecasts of the panel's `rows` (n,) by target and name, NaN outside the test days.

    The first of each target is the naive forecast. `choices` are, by target and name, the variants
    that the last fold's validation days chose; `notes` what could not be fitted, and why.
    """

    rows: np.ndarray
    forecasts: dict[str, dict[str, Predictive]]
    choices: dict[str, dict[str, str]]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fitted:
    """What a task has made: forecasts of some `rows` by name.

    `choices` are the variants that validation days chose, `counts` the fits, the failed ones and
    the forecasts replaced, `problem` why there is no forecast.
    """

    rows: np.ndarray
    forecasts: dict[str, Predictive]
    choices: dict[str, str]
    counts: tuple[int, int, int] = (0, 0, 0)
    problem: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """One fit of a benchmark, by a function of a module: another process can import it."""

    target: str
    name: str
    fit: Callable[[Panel], _Fitted]


def fit_benchmarks(
    panel: Panel,
    targets: Sequence[str],
    folds: Sequence[Fold],
    able: np.ndarray,
    inputs: Sequence[str],
    options: BenchmarkOptions,
) -> BenchmarkForecasts:
    """Fit every benchmark of every target, fold by fold, and forecast.

    `able` (N,) are the rows that the network can forecast, from `inputs`: all are fitted on the
    same days.

    Raises:
        DataError: the prices have no training or no validation day.
    """
    rows, tasks = rows_forecast(panel, folds), list[_Task]()
    for target in targets:
        for fold in folds:
            _require_days(panel, target, fold, able)
            tasks += _regression_tasks(target, fold, able, inputs, options)
        if target == "return":
            tasks += _volatility_tasks(panel, folds, able, options)
    done: dict[str, dict[str, list[_Fitted]]] = {target: {} for target in targets}
    waiting = Counter((task.target, task.name) for task in tasks)
    results = fan_out(_run, [(panel, task) for task in tasks], options.jobs)
    for task, one in zip(tasks, results, strict=True):
        parts = done[task.target].setdefault(task.name, [])
        parts.append(one)
        waiting[task.target, task.name] -= 1
        if not waiting[task.target, task.name]:
            words = (task.target, ", ".join(one.forecasts) or task.name)
            log.info("benchmarks  %s: %s, %.1f s", *words, sum(part.seconds for part in parts))
    forecasts: dict[str, dict[str, Predictive]] = {target: {} for target in targets}
    choices: dict[str, dict[str, str]] = {target: {} for target in targets}
    notes = []
    for target, by_name in done.items():
        for name, parts in by_name.items():
            problem = next((part.problem for part in parts if part.problem), "")
            notes += [f"{name} is left out: {problem}"] if problem else _failures(name, parts)
            if not problem:
                forecasts[target] |= _joined(parts, rows)
                choices[target] |= parts[-1].choices
    return BenchmarkForecasts(rows=rows, forecasts=forecasts, choices=choices, notes=tuple(notes))


def _run(panel: Panel, task: _Task) -> _Fitted:
    started = time.monotonic()
    return replace(task.fit(panel), seconds=time.monotonic() - started)


def _joined(parts: Sequence[_Fitted], rows: np.ndarray) -> dict[str, Predictive]:
    """Assemble the forecasts of all tasks of one benchmark on all `rows` (n,)."""
    found: dict[str, Predictive] = {}
    for name, first in parts[0].forecasts.items():
        of_parts = [(part.rows, (part.forecasts[name],)) for part in parts]
        whole = len(parts) == 1 and len(parts[0].rows) == len(rows)
        found[name] = first if whole else assemble(of_parts, rows)[0]
    return found


def _failures(name: str, parts: Sequence[_Fitted]) -> list[str]:
    fits, failed, replaced = map(sum, zip(*(part.counts for part in parts), strict=True))
    reason = f"{failed} of {fits} fits failed" if fits else "too few days to fit"
    note = (
        f"{name}: {reason}; {replaced:,} forecasts are replaced by those "
        "of an exponentially weighted normal distribution"
    )
    return [note] if failed or replaced else []


def _require_days(panel: Panel, target: str, fold: Fold, able: np.ndarray) -> None:
    """Raise a DataError if a target has no training or no validation day in a fold."""
    scored = able & np.isfinite(panel.y[:, panel.targets.index(target)])
    for part, mask in zip(("training", "validation"), fold.masks(panel.outcome_days), strict=False):
        if not (mask & scored).any():
            raise DataError(
                f"No {part} day of {target} (trained until {fold.split.train_until}, validated "
                f"until {fold.split.validation_until}) in these prices, which begin "
                f"{panel.days.min()}; the benchmarks are fitted there. Fetch a longer period."
            )


def _regression_tasks(
    target: str, fold: Fold, able: np.ndarray, inputs: Sequence[str], options: BenchmarkOptions
) -> Iterator[_Task]:
    """Yield the tasks of a fold that forecast numbers, as deviation from the panel's level."""
    of_fold = partial(_on_own_past, target=target, fold=fold, able=able)
    yield _Task(target=target, name="regressions", fit=of_fold)
    for name in ("ridge", "trees") if options.kind == "all" else ("ridge",):
        fit = partial(_on_inputs, name=name, target=target, fold=fold, able=able, inputs=inputs)
        yield _Task(target=target, name=name, fit=fit)


def _on_inputs(
    panel: Panel,
    *,
    name: str,
    target: str,
    fold: Fold,
    able: np.ndarray,
    inputs: Sequence[str],
) -> _Fitted:
    """Forecast by a regression on the network's own inputs."""
    y = panel.y[:, panel.targets.index(target)]
    scored = able & np.isfinite(y)
    train, validation, test = fold.masks(panel.outcome_days)
    # Every n-th training row where there are too many, as the base model has them.
    fitted, validated = np.flatnonzero(train & scored), validation & scored
    train = np.zeros(len(y), dtype=np.bool_)
    train[fitted[:: -(-len(fitted) // MOST_ROWS) or 1]] = True
    rows = np.flatnonzero(train | validated | test)
    x, tested = features_of_rows(panel, inputs, rows), test[rows]
    fitter = {"ridge": regression.ridge, "trees": regression.boosted_trees}[name]
    found = fitter(x, y[rows], train[rows], validated[rows])[tested]
    return _Fitted(rows=rows[tested], forecasts={name: Point(found)}, choices={})


def _on_own_past(panel: Panel, *, target: str, fold: Fold, able: np.ndarray) -> _Fitted:
    """Forecast by the naive forecast, which is first, the mean and regressions on the past.

    The validation rows choose a variant of each regression, pooled or per ticker.
    """
    k, masks = panel.targets.index(target), fold.masks(panel.outcome_days)
    train, validation, rows = masks[0] & able, masks[1] & able, np.flatnonzero(masks[2])
    y = panel.y[:, k]
    mean = regression.train_mean(y + panel.level[:, k], train) - panel.level[:, k]
    if target == "return":
        found = {"zero-return": np.zeros(len(y)), "mean": mean}
        regressors = {f"ar{AR_LAGS}": panel.lags(target, AR_LAGS)}
    else:
        terms = panel.har_terms(target)
        found = {"persistence": terms[:, 0], "mean": mean}
        further = panel.range_terms if target not in TARGETS else panel.shared_inputs
        known = np.nan_to_num(further, nan=0.0)
        regressors = {"har": terms, "har-x": np.column_stack([terms, known])}
    choices = {}
    for name, x in regressors.items():
        fitter = regression.least_squares
        by_ticker = regression.per_series(fitter, x, y, train, panel.series)
        variants = {"pooled": fitter(x, y, train), "per ticker": by_ticker}
        choices[name], found[name] = regression.better_on_validation(variants, y, validation)
    forecasts: dict[str, Predictive] = {name: Point(each[rows]) for name, each in found.items()}
    return _Fitted(rows=rows, forecasts=forecasts, choices=choices)


def _volatility_tasks(
    panel: Panel, folds: Sequence[Fold], able: np.ndarray, options: BenchmarkOptions
) -> Iterator[_Task]:
    """Yield the tasks that forecast the distribution of returns by volatility alone."""
    rows = rows_forecast(panel, folds)
    yield _Task(target="return", name="historical", fit=partial(_historical, rows=rows))
    for fold in folds:
        yield _Task(target="return", name="ewma-t", fit=partial(_ewma, fold=fold, able=able))
    if options.kind == "quick":
        return
    every = min(options.refit_every or YEAR, YEAR)
    refits = refit_days(panel.days, folds[0].split.validation_until, every)
    tickers = np.arange(len(panel.tickers))
    groups = np.array_split(tickers, min(4 * options.jobs, len(tickers)))
    kinds: tuple[GarchKind, ...] = ("garch", "egarch")
    for kind in kinds:
        for group in groups:
            series = slice(panel.series_offsets[group[0]], panel.series_offsets[group[-1] + 1])
            fit = partial(_garch, rows=rows, series=series, refits=refits, kind=kind)
            yield _Task(target="return", name=f"{kind}-t", fit=fit)


def _historical(panel: Panel, *, rows: np.ndarray) -> _Fitted:
    returns = panel.today[:, panel.targets.index("return")]
    found = historical_simulation(returns, panel.series).take(rows)
    return _Fitted(rows=rows, forecasts={"historical": found}, choices={})


def _ewma(panel: Panel, *, fold: Fold, able: np.ndarray) -> _Fitted:
    k = panel.targets.index("return")
    train, _, test = fold.masks(panel.outcome_days)
    rows, forecasts, problem = np.flatnonzero(test), dict[str, Predictive](), ""
    try:
        found = ewma_student(panel.today[:, k], panel.series, panel.y[:, k], train & able)
        forecasts["ewma-t"] = found.take(rows)
    except DataError as error:
        problem = str(error)
    return _Fitted(rows=rows, forecasts=forecasts, choices={}, problem=problem)


def _garch(
    panel: Panel, *, rows: np.ndarray, series: slice, refits: np.ndarray, kind: GarchKind
) -> _Fitted:
    """Fit every ticker of some rows; count how often that failed."""
    returns = panel.today[series, panel.targets.index("return")]
    found = garch(returns, panel.series[series], panel.days[series], refits, kind=kind)
    mine = rows[np.searchsorted(rows, series.start) : np.searchsorted(rows, series.stop)]
    forecasts: dict[str, Predictive] = {f"{kind}-t": found.predictive.take(mine - series.start)}
    counts = (found.fits, found.failed, found.replaced)
    return _Fitted(rows=mine, forecasts=forecasts, choices={}, counts=counts)
