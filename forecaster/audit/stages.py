"""What the pipeline computes day by day, as values that no later bar may change.

Shape letters: N rows of the panel, K targets.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, time, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from forecaster import clock
from forecaster.audit.alterations import after_day, as_date
from forecaster.audit.comparison import Values
from forecaster.data.features import MARKET_COLUMNS
from forecaster.data.history import BAR_COLUMNS, History
from forecaster.data.ingest import admit, store_news
from forecaster.data.loading import as_table, load_histories
from forecaster.data.panel import Panel, build_panel, compute_features, feature_names
from forecaster.data.sessions import CALENDAR_INPUTS, next_session, timezone_of
from forecaster.data.store import PriceStore
from forecaster.errors import DataError
from forecaster.evaluation.distributions import Predictive
from forecaster.forecasting.fitted_model import FittedModel
from forecaster.forecasting.forecast_tables import adaptive_intervals

BARS: Final = "bars"
STORED_DAYS = 60  # of each ticker; what lies further back is stored alike


def bars_up_to(histories: Sequence[History], cut: np.datetime64) -> Values:
    """Name every value of the bars up to a date, as they are in the histories."""
    return _bar_values(
        [History(listing=h.listing, bars=h.bars[~after_day(h, cut)]) for h in histories]
    )


def bars_as_of(histories: Sequence[History], cut: np.datetime64) -> Values:
    """Read all bars through the door that every command uses, as of a date."""
    last = max(history.bars["session"].iloc[-1] for history in histories)
    later = datetime.combine(last.date() + timedelta(days=10), time(), ZoneInfo("UTC"))
    with quiet(), clock.as_if(later):
        return _bar_values(load_histories(as_table(histories), Path(), (), as_date(cut)))


def bars_before_the_close(histories: Sequence[History], cut: np.datetime64) -> Values:
    """Read bars through the same door on the session after a date, while it trades."""
    found: list[History] = []
    for served, noon in _sessions_after(histories, cut):
        with quiet(), clock.as_if(noon):
            found += load_histories(as_table(served), Path(), (), None)
    return _bar_values(found)


def bars_stored_before_the_close(histories: Sequence[History], cut: np.datetime64) -> Values:
    """Store the last bars while the session after a date trades, and read them back.

    A ticker whose numbers are in doubt is not stored, with or without that session's bar.
    """
    found: list[History] = []
    for served, noon in _sessions_after(histories, cut):
        with TemporaryDirectory() as folder, quiet(), clock.as_if(noon):
            home = Path(folder)
            if _stored(home, served, cut, noon):
                found += load_histories(None, home, (), None)
    return _bar_values(found)


def _stored(home: Path, histories: Sequence[History], cut: np.datetime64, now: datetime) -> int:
    """Store what may be stored; count the tickers."""
    count = 0
    with PriceStore.open_for_writing(home) as store:
        for history in histories:
            first = max(int((~after_day(history, cut)).sum()) - STORED_DAYS, 0)
            recent = history.bars.iloc[first:].reset_index(drop=True)
            served = History(listing=history.listing, bars=recent)
            try:
                count += store_news(store, None, admit(store, served, now), now) > 0
            except DataError:
                continue
    return count


def _sessions_after(
    histories: Sequence[History], cut: np.datetime64
) -> Iterator[tuple[list[History], datetime]]:
    """Give, by calendar, all bars up to the session after a date, and the noon of that session."""
    for calendar in sorted({history.listing.calendar for history in histories}):
        session = next_session(calendar, as_date(cut))
        noon = datetime.combine(session, time(12), ZoneInfo(timezone_of(calendar)))
        served = [
            History(listing=h.listing, bars=h.bars[~after_day(h, np.datetime64(session, "D"))])
            for h in histories
            if h.listing.calendar == calendar
        ]
        served = [history for history in served if len(history.bars)]
        if served:
            yield served, noon


@contextmanager
def quiet() -> Iterator[None]:
    """Read without the notices that a person's own file would deserve."""
    logger = logging.getLogger("forecaster")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _bar_values(histories: Sequence[History]) -> Values:
    names = BAR_COLUMNS[1:]
    ordered = sorted(histories, key=lambda history: history.listing.ticker)
    bars = [history.bars for history in ordered]
    count = [len(part) for part in bars]
    table = pd.concat(bars) if bars else pd.DataFrame(columns=list(BAR_COLUMNS), dtype="float64")
    return Values(
        columns=names,
        values=table[list(names)].to_numpy(np.float64),
        tickers=np.repeat([history.listing.ticker for history in ordered], count).astype(str),
        days=table["session"].to_numpy("datetime64[D]"),
    )


ROW_STAGES: Final = ("features", "cross-section", "calendar", "targets", "inputs")
FORECASTS: Final = "forecasts"
INTERVALS: Final = "intervals"
LEVELS: Final = (0.025, 0.1, 0.5, 0.9, 0.975)


def panel_of(histories: Sequence[History], forecaster: FittedModel) -> Panel:
    """Build the panel that a forecaster reads."""
    return build_panel(histories, forecaster.targets, universe=forecaster.universe)


def row_values(panel: Panel, cut: np.datetime64) -> dict[str, Values]:
    """Give everything that was known at the close of each day up to a date, by stage."""
    known, outcome = panel.days <= cut, panel.outcome_days <= cut
    stages: dict[str, dict[str, np.ndarray]] = {"features": {}, "cross-section": {}, "calendar": {}}
    for name, values in panel.columns.items():
        shared = "calendar" if name in CALENDAR_INPUTS else "cross-section"
        own = name not in (*CALENDAR_INPUTS, *MARKET_COLUMNS)
        stages["features" if own else shared][name] = values[known]
    stages["features"] |= {"close": panel.close[known]}
    stages["features"] |= _per_target(panel, " today", panel.today[known])
    found = {
        stage: Values.of_rows(panel, known, columns) for stage, columns in stages.items() if columns
    }
    columns = _per_target(panel, "", panel.y[outcome])
    columns |= _per_target(panel, " level", panel.level[outcome])
    columns["outcome day"] = panel.outcome_days[outcome].astype(np.int64)
    found["targets"] = Values.of_rows(panel, outcome, columns)
    names = feature_names(panel)
    columns = dict(zip(names, compute_features(panel, names)[known].T, strict=True))
    found["inputs"] = Values.of_rows(panel, known, columns)
    return found


def stated(panel: Panel, forecaster: FittedModel) -> tuple[Predictive, ...]:
    """Forecast from every day there is, N distributions per target."""
    return tuple(forecaster.distributions(panel, np.ones(len(panel.days), dtype=np.bool_)).values())


def forecast_values(
    panel: Panel, forecaster: FittedModel, made: Sequence[Predictive], cut: np.datetime64
) -> Values:
    """Give the forecasts of each day up to a date: mean and quantiles, stated and calibrated."""
    known = panel.days <= cut
    rows = np.flatnonzero(known)
    tickers = np.array(panel.tickers)[panel.series[rows]]
    columns: dict[str, np.ndarray] = {}
    for target, predictive in zip(forecaster.targets, made, strict=True):
        mine = predictive.take(rows)
        columns |= quantile_columns(target, mine)
        calibrated = forecaster.calibrated(target, mine, tickers)
        columns |= quantile_columns(f"calibrated {target}", calibrated)
    return Values.of_rows(panel, known, columns)


def interval_values(
    panel: Panel, made: Sequence[Predictive], train_until: np.datetime64, cut: np.datetime64
) -> Values:
    """Give the intervals of each day up to a date, which learn from what came of earlier ones."""
    known = panel.days <= cut
    columns: dict[str, np.ndarray] = {}
    for target, predictive in zip(panel.targets, made, strict=True):
        found = adaptive_intervals(panel, target, predictive, train_until)
        for coverage, ends in found.bounds.items():
            columns |= {f"{target} {coverage:.0%} lower": ends[known, 0]}
            columns |= {f"{target} {coverage:.0%} upper": ends[known, 1]}
    return Values.of_rows(panel, known, columns)


def quantile_columns(name: str, predictive: Predictive) -> dict[str, np.ndarray]:
    """Describe n distributions by their means and quantiles, (n,) each."""
    values = predictive.quantile(LEVELS)
    return {f"{name} mean": predictive.mean()} | {
        f"{name} q{level:g}": values[:, q] for q, level in enumerate(LEVELS)
    }


def _per_target(panel: Panel, word: str, table: np.ndarray) -> dict[str, np.ndarray]:
    return {f"{name}{word}": table[:, k] for k, name in enumerate(panel.targets)}
