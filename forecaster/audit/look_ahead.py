"""The audit at work: what is read and fitted, at which dates it is altered, what is compared."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from forecaster.audit import fits as audit_fits
from forecaster.audit import stages as audit_bars
from forecaster.audit import stages as audit_rows
from forecaster.audit.alterations import KINDS, Alteration, with_gaps
from forecaster.audit.comparison import Tallies
from forecaster.audit.fits import WALK, Recipe, Walker
from forecaster.audit.stages import panel_of
from forecaster.backtesting.benchmarks import BenchmarkForecasts
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
    """The bars as they are, and what is computed of them once.

    `still` is a training that the select block has no say in, `chosen` one where it has.
    """

    histories: list[History]
    panel: Panel
    recipe: Recipe
    forecaster: FittedModel
    still: tuple[Dataset, FitResult]
    chosen: tuple[Dataset, FitResult]

    @classmethod
    def of(
        cls,
        histories: list[History],
        settings: TrainSettings,
        trained: FittedModel | None,
        updates: int,
    ) -> "Subject":
        """Train shortly as a version was, or by the settings where there is none yet.

        Raises:
            DataError: a block of time has nothing to score.
        """
        universe = _universe(histories, trained)
        panel = build_panel(histories, settings.target, universe=universe)
        recipe = Recipe.short(settings, _split(panel, trained), updates)
        still = recipe.without_select(panel)
        chosen = recipe.with_select(panel, still[0].reader.base)
        forecaster = trained or chosen[1].model
        return cls(
            histories=histories,
            panel=panel,
            recipe=recipe,
            forecaster=forecaster,
            still=still,
            chosen=chosen,
        )

    def benchmarks(self, panel: Panel) -> BenchmarkForecasts:
        """Let the quick rivals fit and forecast."""
        fitted = self.forecaster
        names = fitted.reader.names
        return audit_fits.baselines_of(panel, self.recipe.split, fitted.forecastable(panel), names)

    @property
    def stages(self) -> Iterator[str]:
        """Name what can be compared, in the order of the pipeline."""
        yield audit_bars.BARS
        for stage in audit_rows.ROW_STAGES:
            if stage != "cross-section" or self.forecaster.universe is not None:
                yield stage
        yield audit_fits.BLOCKS
        for stage in audit_fits.TRAIN_STAGES:
            if stage != "base" or self.still[0].reader.base is not None:
                yield stage
        yield from (audit_fits.CALIBRATION, audit_fits.BASELINES)
        yield from (audit_rows.FORECASTS, audit_rows.INTERVALS, WALK)


def _universe(histories: Sequence[History], trained: FittedModel | None) -> tuple[str, ...] | None:
    if trained is not None:
        return trained.universe
    return tuple(h.listing.ticker for h in histories) if len(histories) > 1 else None


def _split(panel: Panel, trained: FittedModel | None) -> Split:
    if trained is None:
        return split_by_time(panel.days)
    return trained.split


def some_of(histories: list[History], most: int) -> list[History]:
    """Choose the longest history, the shortest, and evenly many between, by name."""
    by_length = sorted(histories, key=lambda history: -len(history.bars))
    places = np.unique(np.linspace(0, len(by_length) - 1, min(most, len(by_length))).round())
    chosen = [by_length[int(place)] for place in places]
    return sorted(chosen, key=lambda history: history.listing.ticker)


def spread(days: np.ndarray, split: Split, count: int) -> list[np.datetime64]:
    """Choose days with bars, as many in each block of time, none of them the very last.

    Raises:
        DataError: fewer than two days come after the select block.
    """
    distinct = np.unique(days)
    fit, select = split.train_until, split.validation_until
    blocks = [
        distinct[distinct <= fit],
        distinct[(distinct > fit) & (distinct <= select)],
        distinct[distinct > select],
    ]
    if len(blocks[2]) < 2:
        raise DataError(
            f"The prices end {distinct[-1]}, the select block {select}; an audit changes days "
            "after it and needs at least 2. Fetch newer prices, or train with an earlier "
            "--validation-until."
        )
    found: list[np.datetime64] = []
    for number, block in enumerate(blocks):
        share = count // 3 + (number < count % 3)
        places = np.linspace(0, max(len(block) - 1, 0), share + 2)[1:-1].astype(int)
        found.extend(block[np.unique(places)] if len(block) else ())
    return found


def compare_all(subject: Subject, cuts: Sequence[np.datetime64]) -> Tallies:
    """Alter everything after each date, and compare every stage where it may not differ."""
    tallies = Tallies(subject.stages)
    for turn, cut in enumerate(cuts):
        _compare_rows(subject, cut, turn, tallies)
        log.info("rows    bars after %s cut, blanked, corrupted", cut)
    split = subject.recipe.split
    _compare_still(subject, tallies)
    log.info("fits    bars after the fit block, %s, blanked, corrupted", split.train_until)
    for cut in [split.validation_until, *(cut for cut in cuts if cut > split.validation_until)]:
        _compare_chosen(subject, cut, tallies)
        log.info("fits    bars after %s cut, blanked, corrupted", cut)
    _compare_fold(subject, tallies)
    return tallies


def _compare_rows(subject: Subject, cut: np.datetime64, turn: int, tallies: Tallies) -> None:
    """Compare all that is computed day by day, up to a date."""
    forecaster = subject.forecaster
    ground = with_gaps(subject.histories, cut, turn)
    panel = panel_of(ground, forecaster)
    rows = audit_rows.row_values(panel, cut)
    made, train_until = audit_rows.stated(panel, forecaster), subject.recipe.split.train_until
    forecasts = audit_rows.forecast_values(panel, forecaster, made, cut)
    intervals = audit_rows.interval_values(panel, made, train_until, cut)
    for kind in KINDS:
        change = Alteration(kind=kind, cut=cut, turn=turn)
        altered = change.of(ground)
        _compare_bars(ground, altered, change, tallies)
        panel = panel_of(altered, forecaster)
        found = audit_rows.row_values(panel, cut)
        for stage, values in rows.items():
            tallies.compare(stage, values, found[stage], change)
        made = audit_rows.stated(panel, forecaster)
        again = audit_rows.forecast_values(panel, forecaster, made, cut)
        tallies.compare(audit_rows.FORECASTS, forecasts, again, change, rounds=True)
        if change.keeps_rows:  # else a last bit may turn a hit into a miss
            again = audit_rows.interval_values(panel, made, train_until, cut)
            tallies.compare(audit_rows.INTERVALS, intervals, again, change)


def _compare_bars(
    ground: Sequence[History], altered: Sequence[History], change: Alteration, tallies: Tallies
) -> None:
    """Compare what is read and stored of bars up to a date."""
    cut = change.cut
    bars = audit_bars.bars_up_to(ground, cut)
    tallies.compare(audit_bars.BARS, bars, audit_bars.bars_as_of(altered, cut), change)
    if change.kind != "blanked":  # the others have no bar on the session after the date
        return
    tallies.compare(audit_bars.BARS, bars, audit_bars.bars_before_the_close(altered, cut), change)
    evening = Alteration(kind="cut", cut=cut).of(ground)
    stored, again = (audit_bars.bars_stored_before_the_close(h, cut) for h in (evening, altered))
    if len(stored.days):
        tallies.compare(audit_bars.BARS, stored, again, change)


def _compare_still(subject: Subject, tallies: Tallies) -> None:
    """Compare what the fit block alone may decide, when all after it is changed."""
    split = subject.recipe.split
    reference = audit_fits.fit_values(*subject.still, looks=False)
    for kind in KINDS[1:]:  # without any select day nothing can be trained
        change = Alteration(kind=kind, cut=split.train_until)
        panel = panel_of(change.of(subject.histories), subject.forecaster)
        _compare_blocks(subject, panel, change, tallies)
        found = audit_fits.fit_values(*subject.recipe.without_select(panel), looks=False)
        for stage, values in reference.items():
            tallies.compare(stage, values, found[stage], change)


def _compare_chosen(subject: Subject, cut: np.datetime64, tallies: Tallies) -> None:
    """Compare what fit and select block together decide, when days of the report are changed."""
    split, base = subject.recipe.split, subject.still[0].reader.base
    trains = cut == split.validation_until  # once: the days after it are all the report days
    fits = audit_fits.fit_values(*subject.chosen, looks=True)
    calibration = audit_fits.calibration_values(subject.panel, subject.chosen[1])
    benchmarks = subject.benchmarks(subject.panel)
    for kind in KINDS:
        change = Alteration(kind=kind, cut=cut)
        panel = panel_of(change.of(subject.histories), subject.forecaster)
        if kind != "cut" or not trains:
            _compare_blocks(subject, panel, change, tallies)
        before = audit_fits.baseline_values(subject.panel, benchmarks, change)
        again = audit_fits.baseline_values(panel, subject.benchmarks(panel), change)
        tallies.compare(audit_fits.BASELINES, before, again, change, rounds=True)
        if not trains:
            continue
        dataset, made = subject.recipe.with_select(panel, base)
        for stage, values in audit_fits.fit_values(dataset, made, looks=True).items():
            tallies.compare(stage, fits[stage], values, change)
        again = audit_fits.calibration_values(panel, made)
        tallies.compare(audit_fits.CALIBRATION, calibration, again, change, rounds=True)


def _compare_fold(subject: Subject, tallies: Tallies) -> None:
    """Compare what a fold of the report block fits, and forecasts on its first evening."""
    split, settings = subject.recipe.split, subject.recipe.chooses
    walker = Walker.over(subject.panel, split, settings)
    walked = walker.run(subject.panel)
    weights, forecasts = walker.weights(walked), walker.forecasts(subject.panel, walked)
    # Weights are chosen among a few looks: one other future may well choose the same ones.
    for turn, kind in enumerate((*KINDS, KINDS[-1], KINDS[-1])):
        change = Alteration(kind=kind, cut=walker.evening, turn=turn)
        panel = panel_of(change.of(subject.histories), subject.forecaster)
        again = walker.run(panel)
        tallies.compare(WALK, weights, walker.weights(again), change)
        if kind == "cut":  # which leaves the fold no day to forecast
            continue
        tallies.compare(WALK, walker.blocks(subject.panel), walker.blocks(panel), change)
        tallies.compare(WALK, forecasts, walker.forecasts(panel, again), change)
    log.info("fold    bars after %s cut, blanked, corrupted", walker.evening)


def _compare_blocks(subject: Subject, panel: Panel, change: Alteration, tallies: Tallies) -> None:
    """Compare the blocks of the altered panel with those that the dates alone give."""
    split, cut = subject.recipe.split, change.cut
    expected = audit_fits.blocks_by_date(subject.panel, split, cut)
    found = audit_fits.block_values(panel, split, cut)
    tallies.compare(audit_fits.BLOCKS, expected, found, change)
