"""A fitted model scored on its test days beside benchmarks: from histories to an `Evaluation`."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import numpy as np

import forecaster
from forecaster.backtesting import scoring
from forecaster.backtesting.benchmarks import BenchmarkKind, BenchmarkOptions, fit_benchmarks
from forecaster.backtesting.fold import MEMORYLESS
from forecaster.backtesting.walk_forward import WorkFolder, walk_forward
from forecaster.data.calendar_names import is_index
from forecaster.data.history import History, fingerprint
from forecaster.errors import UsageError, name_some, work_without_failing
from forecaster.evaluation.evaluation import Evaluation
from forecaster.evaluation.splits import EvaluationCount, Walk, walk_folds
from forecaster.evaluation.threads import one_thread
from forecaster.forecasting.fitted_model import FittedModel
from forecaster.settings import TrainSettings

log = logging.getLogger(__name__)

COSTS_BPS = 5.0  # per side

# Counts an evaluation by its question and its first and last test day.
Count = Callable[[str, date, date], EvaluationCount]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """What is evaluated and how; no targets mean all of the model.

    `costs_bps` are those of the backtest, per side; None means 5, and no backtest where a ticker
    is an index, which cannot be traded.
    """

    targets: tuple[str, ...] = ()
    walk: Walk = field(default_factory=Walk)
    benchmarks: BenchmarkKind = "all"
    costs_bps: float | None = None


@one_thread()
def evaluate_model(
    model: FittedModel,
    recipe: TrainSettings,
    histories: Sequence[History],
    options: EvaluationOptions,
    home: Path,
    count: Count,
) -> Evaluation:
    """Score a model's forecasts beside those of benchmarks, all on the same test days.

    Finished folds are kept in the home until the evaluation is complete. A ticker whose bars
    cause an unexpected exception is left out.

    Raises:
        BugError, TickerBugError: no ticker is left.
        DataError: no test day can be scored, or there is no training or validation day to fit and
            choose the benchmarks.
        DivergedError: a fold's training met a value that is not finite.
        UsageError: the model does not forecast a target asked for.
    """
    check_targets(model.version, model.targets, options.targets)
    walk, chosen = options.walk, options.targets or model.targets
    if model.network_name == MEMORYLESS["model"]:
        walk = replace(walk, same_inputs=False)
    by_ticker = {history.listing.ticker: history for history in histories}
    panel, bugs = work_without_failing(
        [*by_ticker], lambda names: model.panel([by_ticker[name] for name in names])
    )
    for error in bugs.values():
        log.warning("%s; left out", error)
    for target in chosen:
        test = model.split.masks(panel.outcome_days)[2]
        outcomes = panel.y[:, panel.targets.index(target)]
        scoring.require_scored(test & np.isfinite(outcomes), panel, target, model.split)
    folds = walk_folds(panel.outcome_days, model.split, walk)
    about = {"version": model.version, "code": forecaster.__version__}
    about |= {"data": fingerprint(histories)}
    work = WorkFolder(home, about | walk.result_settings())
    walked = walk_forward(panel, model, recipe, folds, walk, work)
    asked = BenchmarkOptions(kind=options.benchmarks, refit_every=walk.refit_every, jobs=walk.jobs)
    able, inputs = model.forecastable(panel), model.reader.names
    others = fit_benchmarks(panel, chosen, folds, able, inputs, asked)
    sets = {t: scoring.select_forecasts(panel, t, model, folds, walked, others) for t in chosen}
    days = np.concatenate([one.days for one in sets.values()])
    ways = [f"{name}={value}" for name, value in walk.result_settings().items()]
    question = " ".join([model.version, *ways])
    counted = count(question, days.min().item(), days.max().item())
    questions, (costs, untraded) = counted.questions or 1, _backtest_costs(options, by_ticker)
    found = Evaluation(
        version=model.version,
        walk=walk,
        count=counted,
        blocks=scoring.block_days(panel, model.split),
        folds=scoring.fold_table(folds, panel),
        by_target={
            t: scoring.evaluate_target(one, questions=questions, costs_bps=costs)
            for t, one in sets.items()
        },
        costs_bps=COSTS_BPS if costs is None else costs,
        notes=(*others.notes, *untraded),
        missing=tuple(bugs),
    )
    work.remove()
    return found


def _backtest_costs(
    options: EvaluationOptions, tickers: Iterable[str]
) -> tuple[float | None, tuple[str, ...]]:
    """Return the costs per side, None for no backtest, and a note of why there is none."""
    indices = sorted(filter(is_index, tickers))
    if options.costs_bps is not None or not indices:
        return COSTS_BPS if options.costs_bps is None else options.costs_bps, ()
    noun = "an index" if len(indices) == 1 else "indices"
    note = (
        f"no backtest, since {name_some(indices)} cannot be traded ({noun}); --costs-bps "
        f"{COSTS_BPS:g} makes it all the same"
    )
    return None, (note,)


def check_targets(version: str, known: Sequence[str], targets: Sequence[str]) -> None:
    """Raise UsageError for a target that a version does not forecast."""
    unknown = [name for name in targets if name not in known]
    if unknown:
        raise UsageError(
            f"Version {version} forecasts {', '.join(known)}, not {', '.join(unknown)}; train one "
            f"with --target {','.join(unknown)}."
        )
