"""The look-ahead audit: what is fitted, at which dates bars are altered, what is compared."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from forecaster.audit import daily_values, fitted_values
from forecaster.audit.alterations import KINDS, Alteration, with_gaps
from forecaster.audit.comparison import Comparison, Stages, Values
from forecaster.audit.daily_values import BARS, FORECASTS, INTERVALS, ROW_STAGES
from forecaster.audit.fitted_values import (
    BENCHMARKS,
    CALIBRATION,
    SPLIT,
    TRAIN_STAGES,
    WALK_FORWARD,
    Recipe,
    SecondFold,
)
from forecaster.data.history import History
from forecaster.data.panel import Panel, build_panel
from forecaster.errors import DataError
from forecaster.evaluation.splits import Split, split_by_time
from forecaster.forecasting.data_set import Dataset
from forecaster.forecasting.fitted_model import FittedModel
from forecaster.forecasting.fitting import FitResult
from forecaster.settings import TrainSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The bars as they are, and what is computed from them once.

    `model` forecasts: the version, or the short training where there is none. `unselected` is a
    training in which validation decides nothing, `selected` one in which it selects the weights.
    """

    histories: list[History]
    panel: Panel
    recipe: Recipe
    model: FittedModel
    unselected: tuple[Dataset, FitResult]
    selected: tuple[Dataset, FitResult]

    @classmethod
    def of(
        cls,
        histories: list[History],
        settings: TrainSettings,
        version: FittedModel | None,
        max_steps: int,
    ) -> "Subject":
        """Train briefly as a version was, or by the settings where there is none yet.

        Raises:
            DataError: train or validation has nothing to score.
        """
        if version is not None:
            panel, split = version.panel(histories), version.split
        else:
            panel = build_panel(histories, settings.target, universe="all")
            split = split_by_time(panel.days)
        recipe = Recipe.short(settings, split, max_steps)
        unselected = recipe.train(panel, select=False)
        selected = recipe.train(panel, select=True, base=unselected[0].model.reader.base)
        return cls(
            histories=histories,
            panel=panel,
            recipe=recipe,
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
        yield BARS
        yield from (s for s in ROW_STAGES if s != "cross-section" or self.model.cross_section)
        yield SPLIT
        base = self.unselected[0].model.reader.base
        yield from (stage for stage in TRAIN_STAGES if stage != "base" or base is not None)
        yield from (CALIBRATION, BENCHMARKS, FORECASTS, INTERVALS, WALK_FORWARD)


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
    parts = [
        distinct[distinct <= split.train_until],
        distinct[(distinct > split.train_until) & (distinct <= split.validation_until)],
        distinct[distinct > split.validation_until],
    ]
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
    comparison = Comparison(subject.stages, rounds=(FORECASTS, BENCHMARKS, CALIBRATION))
    for turn, cut in enumerate(cuts):
        _compare_rows(subject, cut, turn, comparison)
        log.info("rows    bars after %s cut, blanked, corrupted", cut)
    split = subject.recipe.split
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
        _compare_bars(histories, altered, change, comparison)
        # Where rows are cut, a last bit may turn a hit of an interval into a miss.
        kept = [stage for stage in reference if stage != INTERVALS or change.keeps_rows]
        found = _row_stages(subject, altered, cut)
        comparison.compare({stage: reference[stage] for stage in kept}, found, change)


def _row_stages(subject: Subject, histories: Sequence[History], cut: np.datetime64) -> Stages:
    model, panel = subject.model, subject.model.panel(histories)
    made = model.distributions(panel, np.ones(len(panel.days), dtype=np.bool_))
    train_until = subject.recipe.split.train_until
    return daily_values.row_values(panel, cut) | {
        FORECASTS: daily_values.forecast_values(panel, model, made, cut),
        INTERVALS: daily_values.interval_values(panel, made, train_until, cut),
    }


def _compare_bars(
    histories: Sequence[History],
    altered: Sequence[History],
    change: Alteration,
    comparison: Comparison,
) -> None:
    """Compare what is read and stored of bars up to a date."""

    def compare(reference: Values, found: Values) -> None:
        comparison.compare({BARS: reference}, {BARS: found}, change)

    cut = change.cut
    bars = daily_values.bars_up_to(histories, cut)
    compare(bars, daily_values.bars_as_of(altered, cut))
    if change.kind != "blanked":  # the others have no bar on the session after the date
        return
    compare(bars, daily_values.bars_before_the_close(altered, cut))
    before = Alteration(kind="cut", cut=cut).of(histories)
    stored = daily_values.bars_stored_before_the_close(before, cut)
    if len(stored.days):
        compare(stored, daily_values.bars_stored_before_the_close(altered, cut))


def _compare_split(
    subject: Subject, panel: Panel, change: Alteration, comparison: Comparison
) -> None:
    """Compare the split of the altered panel with that by the dates alone."""
    split = subject.recipe.split
    expected = fitted_values.expected_split(subject.panel, split, change.cut)
    found = fitted_values.split_values(panel, split, change.cut)
    comparison.compare({SPLIT: expected}, {SPLIT: found}, change)


def _compare_unselected(subject: Subject, comparison: Comparison) -> None:
    """Compare what the training days alone may decide, when all after them is changed."""
    reference = fitted_values.fit_values(*subject.unselected, validation=False)
    for kind in KINDS[1:]:  # without any validation day nothing can be trained
        change = Alteration(kind=kind, cut=subject.recipe.split.train_until)
        panel = subject.altered_panel(change)
        _compare_split(subject, panel, change, comparison)
        trained = subject.recipe.train(panel, select=False)
        comparison.compare(reference, fitted_values.fit_values(*trained, validation=False), change)


def _compare_selected(subject: Subject, cut: np.datetime64, comparison: Comparison) -> None:
    """Compare what train and validation decide together, when test days are changed."""
    split, model = subject.recipe.split, subject.model
    trains = cut == split.validation_until  # once: the days after it are all the test days
    reference = _selected_stages(*subject.selected)
    made = fitted_values.fit_benchmarks(subject.panel, split, model)
    for kind in KINDS:
        change = Alteration(kind=kind, cut=cut)
        panel = subject.altered_panel(change)
        if kind != "cut" or not trains:
            _compare_split(subject, panel, change, comparison)
        again = fitted_values.fit_benchmarks(panel, split, model)
        comparison.compare(
            {BENCHMARKS: fitted_values.benchmark_values(subject.panel, made, change)},
            {BENCHMARKS: fitted_values.benchmark_values(panel, again, change)},
            change,
        )
        if trains:
            base = subject.unselected[0].model.reader.base
            trained = subject.recipe.train(panel, select=True, base=base)
            comparison.compare(reference, _selected_stages(*trained), change)


def _selected_stages(dataset: Dataset, made: FitResult) -> Stages:
    calibration = fitted_values.calibration_values(made.model)
    return fitted_values.fit_values(dataset, made, validation=True) | {CALIBRATION: calibration}


def _compare_walk(subject: Subject, comparison: Comparison) -> None:
    """Compare what a fold of the test days fits, and its forecasts on its first day."""
    walk = SecondFold.over(subject.panel, subject.recipe.split, subject.recipe.validated())
    walked = walk.run(subject.panel)
    weights, forecasts = Values.of_numbers(walked.weights), walk.forecasts(subject.panel, walked)

    def compare(reference: Values, found: Values) -> None:
        comparison.compare({WALK_FORWARD: reference}, {WALK_FORWARD: found}, change)

    # Weights are selected at a few validations: one other future may well select the same ones.
    for turn, kind in enumerate((*KINDS, KINDS[-1], KINDS[-1])):
        change = Alteration(kind=kind, cut=walk.known_until, turn=turn)
        panel = subject.altered_panel(change)
        again = walk.run(panel)
        compare(weights, Values.of_numbers(again.weights))
        if kind != "cut":  # which leaves the fold no day to forecast
            compare(walk.ends(subject.panel), walk.ends(panel))
            compare(forecasts, walk.forecasts(panel, again))
    log.info("fold    bars after %s cut, blanked, corrupted", walk.known_until)
