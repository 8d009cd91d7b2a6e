"""The baseline that serves as champion until a version passes the promotion test: no network.

The forecast return is 0 with a Student-t around it, as wide as the last days were (EWMA). Range
and volume are Corsi's regression on the day, week and month, with its residuals' quantiles.
It is fitted for each forecast, on all days known.

Shape letters: N rows of the panel, n rows forecast, S series.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecaster.data.history import History
from forecaster.data.panel import Panel, build_panel
from forecaster.errors import DataError
from forecaster.evaluation.benchmark_models import least_squares
from forecaster.evaluation.conformal import uncalibrated_intervals
from forecaster.evaluation.distributions import Point, StudentT
from forecaster.evaluation.recalibration import recalibrated, scores_by_series
from forecaster.evaluation.volatility import WARM_UP, ewma_normal, ewma_student
from forecaster.forecasting.forecast_tables import TargetForecast
from forecaster.models.heads import LEVELS

BASELINE = "baseline"  # in place of a version's name
LEAST_ROWS = 50  # to fit Corsi's regression; with fewer, the forecast is today's value


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The baseline of some targets, as a model beside `FittedModel`."""

    targets: tuple[str, ...]
    version: str = BASELINE
    tickers: tuple[str, ...] = ()  # it was trained on none before
    cross_section: bool = False

    @property
    def known_until(self) -> np.datetime64:
        """NaT: no day is in-sample, for it is fitted on days before each forecast."""
        return np.datetime64("NaT", "D")

    def panel(self, histories: Sequence[History]) -> Panel:
        """Build the panel of its targets."""
        return build_panel(histories, self.targets, universe=None)

    def reads(self, ticker: str) -> bool:
        """Whether forecasts of other tickers depend on this one: it is fitted on all."""
        return True

    def next_session(self, panel: Panel) -> dict[str, TargetForecast]:
        """Forecast the session after each series' newest row, S forecasts by target.

        A series without forecasts of all targets has none (NaN).
        """
        rows, known = panel.newest, ~np.isnat(panel.outcome_days)
        made = {name: forecast_baseline(panel, name, known, rows) for name in panel.targets}
        centers = np.column_stack([one.center for one in made.values()])
        complete = np.isfinite(centers + panel.level[rows]).all(axis=1)
        return {
            name: replace(one, center=np.where(complete, one.center, np.nan))
            for name, one in made.items()
        }

    def too_short(self, ticker: str, targets: Sequence[str]) -> str:
        """Explain why a ticker has no forecast of some targets."""
        return (
            f"{ticker}: no forecast of {', '.join(targets)}; the baseline of "
            f"{', '.join(self.targets)} needs {WARM_UP} days, the last ones without a gap"
        )


def forecast_baseline(
    panel: Panel, target: str, train: np.ndarray, rows: np.ndarray
) -> TargetForecast:
    """Fit the baseline of a target and forecast some rows.

    Args:
        panel: all N rows.
        target: one of the panel's.
        train: (N,) rows to learn from; those without outcome are left out.
        rows: (n,) numbers of the rows to forecast.
    """
    return _ewma(panel, train, rows) if target == "return" else _har(panel, target, train, rows)


def _ewma(panel: Panel, train: np.ndarray, rows: np.ndarray) -> TargetForecast:
    k = panel.targets.index("return")
    returns, y, series = panel.today[:, k], panel.y[:, k], panel.series
    try:
        found = ewma_student(returns, series, y, train)
    except DataError:  # too few days to tell a Student-t's tails from a normal's
        found = ewma_normal(returns, series)
    center = np.where(np.isfinite(found.scale), 0.0, np.nan)
    distribution = StudentT(center, found.scale, found.df).take(rows)
    return TargetForecast(
        forecaster="ewma-t",
        center=center[rows],
        distribution=distribution,
        intervals=uncalibrated_intervals(distribution),
        interval_source=np.where(np.isfinite(center[rows]), "own", "none"),
        trained_on=np.ones(len(rows), dtype=np.bool_),
    )


def _har(panel: Panel, target: str, train: np.ndarray, rows: np.ndarray) -> TargetForecast:
    y, terms = panel.y[:, panel.targets.index(target)], panel.har_terms(target)
    learned = train & np.isfinite(y)
    enough = int(learned.sum()) >= LEAST_ROWS
    center = least_squares(terms, y, learned) if enough else terms[:, 0]
    scores = scores_by_series((y - center)[learned], panel.series[learned], panel.tickers, LEVELS)
    tickers = np.array(panel.tickers)[panel.series[rows]]
    others = "pooled" if "" in scores else "none"
    distribution = recalibrated(Point(center[rows]), tickers, scores, LEVELS)
    return TargetForecast(
        forecaster="har" if enough else "persistence",
        center=center[rows],
        distribution=distribution,
        intervals=uncalibrated_intervals(distribution),
        interval_source=np.array(["own" if ticker in scores else others for ticker in tickers]),
        trained_on=np.ones(len(rows), dtype=np.bool_),
    )
