"""The look-ahead audit: what is fitted, at which dates bars are altered, what is compared."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from forecaster.audit import values
from forecaster.audit.alterations import KINDS, Alteration, with_gaps
from forecaster.audit.comparison import Comparison, Stages, Values
from forecaster.backtesting.fold import FoldTask, run_fold
from forecaster.data.history import History
from forecaster.data.panel import Panel, build_panel
from forecaster.errors import DataError
from forecaster.evaluation.splits import Split, Walk, split_by_time, walk_folds
from forecaster.forecasting.base_model import Base
from forecaster.forecasting.data_set import Dataset, build_dataset
from forecaster.forecasting.fitted_model import FittedModel
from forecaster.forecasting.fitting import FitResult, fit
from forecaster.settings import TrainSettings

log = logging.getLogger(__name__)

_VALIDATIONS = 8  # in a training that may stop early

Trained = tuple[Dataset, FitResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The bars as they are, and what is computed from them once.

    `settings` are those of short trainings. `model` is the version, or the short training where
    there is none. `unselected` is a training in which validation decides nothing, `selected` one
    in which it selects the weights.
    """

    histories: list[History]
    panel: Panel
    settings: TrainSettings
    split: Split
    model: FittedModel
    unselected: Trained
    selected: Trained

    @classmethod
    def of(
        cls,
        histories: list[History],
        settings: TrainSettings,
        version: FittedModel | None,
        max_steps: int,
    ) -> "Subject":
        """Train briefly as a version was, or by the settings where there is none yet."""
        if version is not None:
            panel, split = version.panel(histories), version.split
        else:
            panel = build_panel(histories, settings.targets, universe="all")
            split = split_by_time(panel.days)
        changed = {"max_steps": max_steps, "train_until": None, "validation_until": None}
        short = settings.model_copy(update=changed | {"device": "cpu"})
        unselected = _train(panel, split, _validated(short, 1))
        base = unselected[0].model.reader.base
        selected = _train(panel, split, _validated(short), base)
        return cls(
            histories=histories,
            panel=panel,
            settings=short,
            split=split,
            model=version or selected[1].model,
            unselected=unselected,
            selected=selected,
        )

    def altered_panel(self, change: Alteration) -> Panel:
        """Build the panel of altered bars."""
        return self.model.panel(change.of(self.histories))

    @property
    def stages(self) -> Iterator[str]:
        """Yield what can be compared, in the order of the pipeline."""
        absent = set() if self.model.cross_section else {"cross-section"}
        if self.unselected[0].model.reader.base is None:
            absent.add("base")
        yield from (stage for stage in values.STAGES if stage not in absent)


def _validated(settings: TrainSettings, count: int = _VALIDATIONS) -> TrainSettings:
    """Return the settings with so many validations; the only one, after the last step, is moot."""
    every = max(settings.max_steps // count, 1)
    return settings.model_copy(update={"evaluate_every": every})


def _train(
    panel: Panel, split: Split, settings: TrainSettings, base: Base | None = None
) -> Trained:
    """Train on a panel; a base fitted on the same training days saves work."""
    dataset = build_dataset(panel, split, settings, base)
    return dataset, fit(dataset, settings, torch.device("cpu"))


def select_histories(histories: list[History], most: int) -> list[History]:
    """Select the longest history, the shortest, and evenly many between, by ticker."""
    by_length = sorted(histories, key=lambda history: -len(history.bars))
    places = np.unique(np.linspace(0, len(by_length) - 1, min(most, len(by_length))).round())
    chosen = [by_length[int(place)] for place in places]
    return sorted(chosen, key=lambda history: history.listing.ticker)


def select_dates(days: np.ndarray, split: Split, count: int) -> list[np.datetime64]:
    """Select days with bars, as many in train, validation and test, never the very last.

    Raises:
        DataError: fewer than two days come after the validation days.
    """
    distinct = np.unique(days)
    ends = np.array([split.train_until, split.validation_until])
    parts = np.split(distinct, np.searchsorted(distinct, ends, side="right"))
    if len(parts[2]) < 2:
        raise DataError(
            f"The prices end {distinct[-1]}, the validation days {split.validation_until}; an "
            "audit changes days after these and needs at least 2. Fetch newer prices, or train "
            "with an earlier --validation-until."
        )
    found: list[np.datetime64] = []
    for number, part in enumerate(parts):
        share = count // 3 + (number < count % 3)
        places = np.linspace(0, max(len(part) - 1, 0), share + 2)[1:-1].astype(int)
        found.extend(part[np.unique(places)] if len(part) else ())
    return found


def compare_all(subject: Subject, cuts: Sequence[np.datetime64]) -> Comparison:
    """Alter everything after each date, and compare every stage where it may not differ."""
    rounds = (values.FORECASTS, values.BENCHMARKS, values.CALIBRATION)
    comparison = Comparison(subject.stages, rounds=rounds)
    for turn, cut in enumerate(cuts):
        _compare_rows(subject, cut, turn, comparison)
        log.info("rows    bars after %s cut, blanked, corrupted", cut)
    split = subject.split
    _compare_unselected(subject, comparison)
    log.info("fits    bars after the training days, %s, blanked, corrupted", split.train_until)
    for cut in [split.validation_until, *(cut for cut in cuts if cut > split.validation_until)]:
        _compare_selected(subject, cut, comparison)
        log.info("fits    bars after %s cut, blanked, corrupted", cut)
    _compare_walk(subject, comparison)
    return comparison


def _compare_rows(subject: Subject, cut: np.datetime64, turn: int, comparison: Comparison) -> None:
    """Compare all that is computed day by day, up to a date."""
    histories = with_gaps(subject.histories, cut, turn)
    reference = _row_stages(subject, histories, cut)
    for kind in KINDS:
        change = Alteration(kind=kind, cut=cut, turn=turn)
        altered = change.of(histories)
        for bars, same_bars in _bar_pairs(histories, altered, change):
            comparison.compare({values.BARS: bars}, {values.BARS: same_bars}, change)
        # Where rows are cut, a last bit may turn a hit of an interval into a miss.
        kept = [stage for stage in reference if stage != values.INTERVALS or change.keeps_rows]
        found = _row_stages(subject, altered, cut)
        comparison.compare({stage: reference[stage] for stage in kept}, found, change)


def _row_stages(subject: Subject, histories: Sequence[History], cut: np.datetime64) -> Stages:
    model, panel = subject.model, subject.model.panel(histories)
    made = model.distributions(panel, np.ones(len(panel.days), dtype=np.bool_))
    return values.row_values(panel, cut) | {
        values.FORECASTS: values.forecast_values(panel, model, made, cut),
        values.INTERVALS: values.interval_values(panel, made, subject.split.train_until, cut),
    }


def _bar_pairs(
    histories: Sequence[History], altered: Sequence[History], change: Alteration
) -> Iterator[tuple[Values, Values]]:
    """Yield what is read and stored of bars up to a date, and the same of altered bars."""
    before = Alteration(kind="cut", cut=change.cut).of(histories)
    bars = values.bar_values(before)
    yield bars, values.bars_as_of(altered, change.cut)
    if change.kind == "blanked":  # the others have no bar on the session after the date
        yield bars, values.bars_before_the_close(altered, change.cut)
        stored = values.bars_stored_before_the_close(before, change.cut)
        if len(stored.days):
            yield stored, values.bars_stored_before_the_close(altered, change.cut)


def _compare_split(
    subject: Subject, panel: Panel, change: Alteration, comparison: Comparison
) -> None:
    """Compare the split of the altered panel with that by the dates alone."""
    expected = values.split_values(subject.panel, subject.split, change.cut, by_date=True)
    found = values.split_values(panel, subject.split, change.cut, by_date=False)
    comparison.compare({values.SPLIT: expected}, {values.SPLIT: found}, change)


def _compare_unselected(subject: Subject, comparison: Comparison) -> None:
    """Compare what the training days alone may decide, when all after them is changed."""
    reference = values.fit_values(*subject.unselected, validation=False)
    for kind in KINDS[1:]:  # without any validation day nothing can be trained
        change = Alteration(kind=kind, cut=subject.split.train_until)
        panel = subject.altered_panel(change)
        _compare_split(subject, panel, change, comparison)
        trained = _train(panel, subject.split, _validated(subject.settings, 1))
        comparison.compare(reference, values.fit_values(*trained, validation=False), change)


def _compare_selected(subject: Subject, cut: np.datetime64, comparison: Comparison) -> None:
    """Compare what train and validation decide together, when test days are changed."""
    split, model = subject.split, subject.model
    trains = cut == split.validation_until  # once: the days after it are all the test days
    reference = values.fit_values(*subject.selected, validation=True)
    made = values.quick_benchmarks(subject.panel, split, model)
    for kind in KINDS:
        change = Alteration(kind=kind, cut=cut)
        panel = subject.altered_panel(change)
        if kind != "cut" or not trains:
            _compare_split(subject, panel, change, comparison)
        again = values.quick_benchmarks(panel, split, model)
        comparison.compare(
            {values.BENCHMARKS: values.benchmark_values(subject.panel, made, change)},
            {values.BENCHMARKS: values.benchmark_values(panel, again, change)},
            change,
        )
        if trains:
            base = subject.unselected[0].model.reader.base
            trained = _train(panel, split, _validated(subject.settings), base)
            comparison.compare(reference, values.fit_values(*trained, validation=True), change)


def _compare_walk(subject: Subject, comparison: Comparison) -> None:
    """Compare what the second of two folds of the test days fits and forecasts on its first day."""
    outcome_days, split = subject.panel.outcome_days, subject.split
    test_days = np.unique(outcome_days[split.masks(outcome_days)[2]])
    walk = Walk(refit_every=-(-len(test_days) // 2))
    fold = walk_folds(outcome_days, split, walk)[-1]
    until = fold.split.validation_until  # the last day that the fold may read
    task = FoldTask(kind="model", fold=fold, seed=subject.settings.seed, with_linear=True)

    def run(panel: Panel, *, forecasts: bool) -> list[Values]:
        made = run_fold(panel, task, _validated(subject.settings))
        weights = Values.of_numbers(made.weights)
        if not forecasts:
            return [weights]
        ends = values.fold_ends(panel, split, walk, until)
        return [weights, ends, values.fold_forecasts(panel, made, until)]

    reference = run(subject.panel, forecasts=True)
    # Weights are selected at a few validations: one other future may well select the same ones.
    for turn, kind in enumerate((*KINDS, KINDS[-1], KINDS[-1])):
        change = Alteration(kind=kind, cut=until, turn=turn)
        # A cut leaves the fold no day to forecast.
        again = run(subject.altered_panel(change), forecasts=kind != "cut")
        for before, after in zip(reference, again, strict=False):
            comparison.compare({values.WALK_FORWARD: before}, {values.WALK_FORWARD: after}, change)
    log.info("fold    bars after %s cut, blanked, corrupted", until)
