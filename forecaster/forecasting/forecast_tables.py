"""Intervals that learn from a version's own forecasts since its fit block, day by day.

`evaluate` and `predict` draw them by the same code: what is scored is what is given.

Shape letters: N rows of the panel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from forecaster import clock
from forecaster.data import sessions
from forecaster.data.history import History
from forecaster.data.panel import Panel
from forecaster.evaluation.conformal import (
    COVERAGES,
    Adaptive,
    Intervals,
    adaptive_conformal,
    uncalibrated_intervals,
)
from forecaster.evaluation.distributions import Point, Predictive
from forecaster.forecasting.loading import Trained
from forecaster.registry.manifest import Manifest

FORECAST_COLUMNS = (
    *("ticker", "as_of", "session", "target", "forecaster", "forecast", "actual"),
    *("last_close", "price_forecast", "price_actual"),
    *("q025", "q10", "q90", "q975", "log_score"),
)


def forecast_table(
    panel: Panel,
    target: str,
    name: str,
    forecast: Predictive,
    rows: np.ndarray,
    intervals: Intervals | None = None,
) -> pd.DataFrame:
    """Write one forecaster's forecasts of one target into the table that all rooms exchange.

    `log_score` is the log density given to what came, in nats; NaN where there is no density.

    Args:
        panel: what the rows are of.
        target: what is forecast.
        name: of the forecaster.
        forecast: n forecasts as deviation from the panel's level.
        rows: (n,) numbers of the rows to write.
        intervals: n of the same; None for those that the forecaster states, if any.
    """
    k = panel.targets.index(target)
    level, close = panel.level[rows, k], panel.close[rows]
    mean, actual = forecast.mean() + level, panel.y[rows, k] + level
    if intervals is None and not isinstance(forecast, Point):
        intervals = uncalibrated_intervals(forecast)
    base = close if target == "return" else np.full(len(rows), np.nan)
    return pd.DataFrame(
        {
            "ticker": np.array(panel.tickers)[panel.series[rows]],
            "as_of": panel.days[rows].astype("datetime64[s]"),
            "session": panel.outcome_days[rows].astype("datetime64[s]"),
            "target": target,
            "forecaster": name,
            "forecast": mean,
            "actual": actual,
            "last_close": close,
            "price_forecast": base * np.exp(mean),
            "price_actual": base * np.exp(actual),
            **interval_ends(intervals, level),
            "log_score": forecast.log_density(panel.y[rows, k]),
        },
        columns=list(FORECAST_COLUMNS),
    )


def interval_ends(intervals: Intervals | None, level: np.ndarray) -> dict[str, np.ndarray]:
    """Give the ends of the 80 and the 95 % interval, each (n,), by column name.

    Args:
        intervals: n of the deviation from a level; None for unknown ends.
        level: (n,) what they deviate from.
    """
    if intervals is None:
        return {name: np.full(len(level), np.nan) for name in ("q025", "q10", "q90", "q975")}
    (q10, q90), (q025, q975) = (intervals.bounds[coverage].T + level for coverage in COVERAGES)
    return {"q025": q025, "q10": q10, "q90": q90, "q975": q975}


def interval_kinds(manifest: Manifest, target: str, tickers: Sequence[str]) -> list[str]:
    """Say of each ticker where its interval comes from: `own`, `pooled` or `none`."""
    bounds = manifest.calibration.get(target, {})
    others = "pooled" if "" in bounds else "none"
    return ["own" if ticker in bounds else others for ticker in tickers]


PREDICTION_COLUMNS = (
    *("ticker", "as_of", "session", "target", "forecaster", "forecast"),
    *("q025", "q10", "q90", "q975", "prob_up", "last_close", "price_forecast"),
    *("price_q025", "price_q10", "price_q90", "price_q975"),
    *("interval", "trained_on", "version"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The next session's forecasts (`PREDICTION_COLUMNS`) and what to know of them.

    `q10` and `q90` are the ends of the 80 % interval, `q025` and `q975` of the 95 % one, `rise`
    the probability that the price rises (returns only). `interval` is `own`, `pooled` (over all
    tickers trained on) or `none`. `skipped` are the tickers left out, `missing` those trained on
    without prices here, so that the panel's mean lacks them. `in_sample`: a day forecast is one
    that the version was fitted or selected on. `name` is the model name whose forecasts these are,
    `fingerprint` the hash of the bars that they were made from, `remembered` how many of them are
    new in the ledger (None: not written there), `troubles` what a person should look at.
    """

    version: str
    forecasts: pd.DataFrame
    skipped: tuple[str, ...]
    missing: tuple[str, ...]
    in_sample: bool
    fingerprint: str = ""
    name: str = ""
    remembered: int | None = None
    troubles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PredictedRows:
    """Rows (n,) of a panel that are forecast from, the sessions (n,) that follow, the target."""

    panel: Panel
    rows: np.ndarray
    sessions: Sequence[date]
    target: str

    def table(
        self,
        *,
        forecast: np.ndarray,
        ends: dict[str, np.ndarray],
        prob_up: np.ndarray,
        forecaster: str,
        version: str,
        interval: Sequence[str],
        trained_on: np.ndarray | bool,
    ) -> pd.DataFrame:
        """Lay forecasts out as `PREDICTION_COLUMNS`; prices and rises belong to returns alone.

        Args:
            forecast: (n,) in the target's units.
            ends: (n,) each, of the intervals (`table.interval_ends`).
            rise: (n,) probability of a value above 0.
            forecaster: the network's or the baseline's name.
            version: whose forecasts they are.
            interval: (n,) where each interval comes from.
            trained_on: (n,) whether the forecaster learnt from the ticker.
        """
        panel, rows, close = self.panel, self.rows, self.panel.close[self.rows]
        price = close if self.target == "return" else np.full(len(close), np.nan)
        return pd.DataFrame(
            {
                "ticker": np.array(panel.tickers)[panel.series[rows]],
                "as_of": panel.days[rows].astype("datetime64[s]"),
                "session": pd.to_datetime(list(self.sessions)).astype("datetime64[s]"),
                "target": self.target,
                "forecaster": forecaster,
                "forecast": forecast,
                **ends,
                "prob_up": np.where(np.isfinite(price), prob_up, np.nan),
                "last_close": close,
                "price_forecast": _priced(price, forecast),
                **{f"price_{name}": _priced(price, end) for name, end in ends.items()},
                "interval": list(interval),
                "trained_on": trained_on,
                "version": version,
            },
            columns=list(PREDICTION_COLUMNS),
        )


def _priced(price: np.ndarray, log_return: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # only a manifest that lies forecasts that much
        priced: np.ndarray = price * np.exp(log_return)
    return priced


def next_sessions(panel: Panel, rows: np.ndarray, histories: Sequence[History]) -> list[date]:
    """Name the session after each row's day, (n,), by the calendar of its ticker.

    Args:
        panel: of just these histories.
        rows: (n,) numbers of its rows.
        histories: in the panel's order.
    """
    return [
        sessions.next_session(histories[number].listing.calendar, day.item())
        for number, day in zip(panel.series[rows], panel.days[rows], strict=True)
    ]


def stale_tickers(
    histories: Sequence[History], as_of: date | None, max_stale: int
) -> dict[str, str]:
    """Explain, by ticker, which last bars are too old to forecast from.

    Args:
        histories: as they are known.
        as_of: the day whose close has just been; None for now.
        max_stale: sessions that may be missing at most.
    """
    found = {}
    for history in histories:
        ticker, calendar = history.listing.ticker, history.listing.calendar
        last = history.bars["session"].iloc[-1].date()
        newest = as_of or sessions.last_final_session(calendar, clock.now())
        missed = sessions.count_sessions(calendar, last, newest) - 1 if newest > last else 0
        if missed > max_stale:
            found[ticker] = (
                f"{ticker}: the last bar is of {last}, {missed} sessions before {newest}; at most "
                f"{max_stale} may be missing. Run: forecaster fetch {ticker}, or use --as-of {last}"
            )
    return found


def adaptive_intervals(
    panel: Panel, target: str, predictive: Predictive, train_until: np.datetime64
) -> Intervals:
    """Calibrate the intervals of a target, each by what came of forecasts made before it.

    Args:
        panel: all N rows.
        target: one of the panel's.
        predictive: N forecasts, as deviation from the panel's level; NaN where there is none.
        train_until: last day that the forecaster was fitted on: outcomes until then teach nothing.

    Returns:
        Intervals of N rows; NaN where there is no forecast, or where a number alone was forecast
        and fewer than 100 outcomes had come.
    """
    days = panel.outcome_days
    wanted = np.isfinite(predictive.mean()) & (np.isnat(days) | (days > train_until))
    rows = np.flatnonzero(wanted)
    part, y = predictive.take(rows), panel.y[rows, panel.targets.index(target)]
    made, known = panel.days[rows], days[rows]
    found = adaptive_conformal(part, y, panel.series[rows], made, known)
    blind = _blind(part, y, made, known)
    bounds = {}
    for coverage, ends in found.bounds.items():
        bounds[coverage] = np.full((len(days), 2), np.nan)
        bounds[coverage][rows] = np.where(blind[:, None], np.nan, ends)
    return Intervals(bounds)


def served_intervals(
    trained: Trained, panel: Panel, target: str, whole: Predictive, rows: np.ndarray
) -> Intervals:
    """Draw the intervals that `predict` gives and the gate judges.

    Args:
        trained: the version.
        panel: all N rows.
        target: one of the panel's.
        whole: N forecasts, as the version states them.
        rows: (n,) numbers of those that are wanted.

    Returns:
        n intervals: the adaptive ones, and those of the select block where they have too few
        outcomes to learn from.
    """
    train_until = np.datetime64(trained.manifest.data.blocks.train_until, "D")
    drawn = adaptive_intervals(panel, target, whole, train_until)
    tickers = np.array(panel.tickers)[panel.series[rows]]
    fixed = uncalibrated_intervals(trained.calibrated(target, whole.take(rows), tickers)).bounds
    return Intervals(
        {
            coverage: np.where(np.isnan(ends[rows]), fixed[coverage], ends[rows])
            for coverage, ends in drawn.bounds.items()
        }
    )


def _blind(part: Predictive, y: np.ndarray, made: np.ndarray, known: np.ndarray) -> np.ndarray:
    """True where nothing says how wide an interval must be."""
    if not isinstance(part, Point):
        return np.zeros(len(y), dtype=np.bool_)
    arrived = np.sort(known[np.isfinite(y)])
    blind: np.ndarray = np.searchsorted(arrived, made, side="right") < Adaptive().least
    return blind
