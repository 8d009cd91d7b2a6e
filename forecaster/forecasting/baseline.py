"""The baseline that is champion until a version passes the gate: no network, fitted each night.

Tomorrow's return is 0 with a Student-t around it, as wide as the last days were (EWMA). Range and
volume are Corsi's regression on the day, week and month, with its residuals' quantiles.

Shape letters: N rows of the panel, n rows forecast.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from forecaster.data.history import fingerprint, normalise_tickers
from forecaster.data.loading import load_histories
from forecaster.data.panel import Panel, build_panel
from forecaster.errors import DataError
from forecaster.evaluation.benchmark_models import least_squares
from forecaster.evaluation.conformal import uncalibrated_intervals
from forecaster.evaluation.distributions import Point, Predictive, StudentT
from forecaster.evaluation.recalibration import recalibrated, scores_by_series
from forecaster.evaluation.volatility import WARM_UP, ewma_normal, ewma_student
from forecaster.forecasting.forecast_tables import (
    PredictedRows,
    Prediction,
    interval_ends,
    next_sessions,
    stale_tickers,
)
from forecaster.models.heads import LEVELS
from forecaster.settings import Home, PredictSettings, resolve_home

log = logging.getLogger(__name__)

BASELINE = "baseline"  # in place of a version's name
LEAST_ROWS = 50  # that Corsi's regression is fitted on; with fewer, tomorrow = today


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stated:
    """What the baseline says of n rows, as deviation from the panel's level.

    `center` (n,) is the forecast itself, `predictive` its distribution, NaN where there is none;
    `interval` (n,) says whose residuals that rests on: `own`, `pooled` or `none`.
    """

    name: str
    center: np.ndarray
    predictive: Predictive
    interval: tuple[str, ...]


def forecast_baseline(panel: Panel, target: str, fit: np.ndarray, rows: np.ndarray) -> Stated:
    """Fit the baseline of a target and forecast some rows.

    Args:
        panel: all N rows.
        target: one of the panel's.
        fit: (N,) rows to learn from; those without outcome are left out.
        rows: (n,) numbers of the rows to forecast.
    """
    return _ewma(panel, fit, rows) if target == "return" else _har(panel, target, fit, rows)


def _ewma(panel: Panel, fit: np.ndarray, rows: np.ndarray) -> Stated:
    k = panel.targets.index("return")
    returns, y, series = panel.today[:, k], panel.y[:, k], panel.series
    try:
        found = ewma_student(returns, series, y, fit)
    except DataError:  # too few days to tell tails from a normal's
        found = ewma_normal(returns, series)
    center = np.where(np.isfinite(found.scale), 0.0, np.nan)
    whole = StudentT(center, found.scale, found.df)
    kinds = np.where(np.isfinite(center[rows]), "own", "none")
    return Stated(
        name="ewma-t",
        center=center[rows],
        predictive=whole.take(rows),
        interval=tuple(kinds.tolist()),
    )


def _har(panel: Panel, target: str, fit: np.ndarray, rows: np.ndarray) -> Stated:
    y, terms = panel.y[:, panel.targets.index(target)], panel.har_terms(target)
    learnt = fit & np.isfinite(y)
    enough = int(learnt.sum()) >= LEAST_ROWS
    center = least_squares(terms, y, learnt) if enough else terms[:, 0]
    numbers = scores_by_series((y - center)[learnt], panel.series[learnt], panel.tickers, LEVELS)
    tickers = np.array(panel.tickers)[panel.series[rows]]
    others = "pooled" if "" in numbers else "none"
    return Stated(
        name="har" if enough else "persistence",
        center=center[rows],
        predictive=recalibrated(Point(center[rows]), tickers, numbers, LEVELS),
        interval=tuple("own" if ticker in numbers else others for ticker in tickers.tolist()),
    )


def predict_baseline(
    targets: Sequence[str],
    *,
    tickers: str | Sequence[str] = (),
    bars: pd.DataFrame | None = None,
    home: Home | None = None,
    as_of: date | None = None,
    settings: PredictSettings | None = None,
) -> Prediction:
    """Forecast the session after each ticker's last final bar, as long as no version does.

    What it is fitted on are all days that are known, of all tickers there are.

    Args:
        targets: what to forecast.
        tickers: which; none means all there are.
        bars: a caller's own long table (see `train`), or None for the store of the home.
        home: the workspace; None as the command line resolves it.
        as_of: forecast as after the close of this day; None for now.
        settings: when to refuse; None for the defaults.

    Returns:
        As `predict`; `version` is "baseline".

    Raises:
        DataError: no ticker can be forecast: stale, or too short.
        UnknownNameError: no such ticker.
        UsageError: `as_of` is no date or lies in the future; a malformed ticker.
    """
    where, wanted = resolve_home(home), set(normalise_tickers(tickers))
    if wanted:
        load_histories(bars, where, sorted(wanted), as_of)  # a wrong name is said before any work
    histories = load_histories(bars, where, (), as_of)
    panel = build_panel(histories, targets, universe=None)
    stale = stale_tickers(histories, as_of, (settings or PredictSettings()).max_stale)
    newest, fit = panel.newest, ~np.isnat(panel.outcome_days)
    stated = {target: forecast_baseline(panel, target, fit, newest) for target in targets}
    able = np.all(
        [np.isfinite(one.center + _level(panel, t, newest)) for t, one in stated.items()], axis=0
    )
    asked = [name for name in panel.tickers if not wanted or name in wanted]
    fresh = np.isin(panel.tickers, asked) & ~np.isin(panel.tickers, list(stale))
    chosen = np.flatnonzero(able & fresh)
    kept = {panel.tickers[number] for number in chosen}
    skipped = tuple(name for name in asked if name not in kept)
    said = [stale.get(name) or _too_short(name, targets) for name in skipped]
    if not kept:
        raise DataError(said[0] + (f" (and {len(said) - 1} more tickers)" if said[1:] else ""))
    for text in said:
        log.warning("%s", text)
    following = next_sessions(panel, newest[chosen], histories)
    tables = [_table(panel, target, stated[target], chosen, following) for target in targets]
    return Prediction(
        version=BASELINE,
        forecasts=pd.concat(tables, ignore_index=True),
        skipped=skipped,
        missing=(),
        in_sample=False,
        fingerprint=fingerprint(histories),
    )


def _level(panel: Panel, target: str, rows: np.ndarray) -> np.ndarray:
    level: np.ndarray = panel.level[rows, panel.targets.index(target)]
    return level


def _too_short(ticker: str, targets: Sequence[str]) -> str:
    return (
        f"{ticker}: no forecast; the baseline of {', '.join(targets)} needs {WARM_UP} days of it, "
        "the last ones without a hole"
    )


def _table(
    panel: Panel, target: str, stated: Stated, chosen: np.ndarray, following: Sequence[date]
) -> pd.DataFrame:
    rows = panel.newest[chosen]
    level, predictive = _level(panel, target, rows), stated.predictive.take(chosen)
    frame = PredictedRows(panel=panel, rows=rows, sessions=following, target=target)
    return frame.table(
        forecast=stated.center[chosen] + level,
        ends=interval_ends(uncalibrated_intervals(predictive), level),
        prob_up=predictive.probability_above(0.0),
        forecaster=stated.name,
        version=BASELINE,
        interval=[stated.interval[number] for number in chosen],
        trained_on=True,
    )
