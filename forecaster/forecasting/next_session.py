"""Forecasts of each ticker's next session, by a fitted model or the baseline alike.

The baseline has no network and is fitted for each forecast, on all days known: a return of 0 with
a Student-t as wide as the last days were (EWMA) around it; range and volume by Corsi's regression
on the day, week and month, with its residuals' quantiles.

Shape letters: N rows of the panel, n rows forecast, S series of the panel.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
import pandas as pd

from forecaster import clock
from forecaster.data import sessions
from forecaster.data.columns import TRAILING_DAYS
from forecaster.data.history import History, fingerprint, normalise_tickers, still_sessions
from forecaster.data.loading import (
    Bars,
    GivenBars,
    known_tickers,
    load_histories,
    load_known,
    read_bars,
)
from forecaster.data.panel import Panel, build_panel, own_targets
from forecaster.data.quarantine import Entry
from forecaster.data.store import PriceStore
from forecaster.errors import (
    NAMED_AT_MOST,
    DataError,
    Failures,
    name_some,
    work_without_failing,
)
from forecaster.evaluation.calibration import recalibrated, scores_by_series
from forecaster.evaluation.conformal import uncalibrated_intervals
from forecaster.evaluation.distributions import Point, Predictive, StudentT
from forecaster.evaluation.quantiles import LEVELS
from forecaster.evaluation.regression import least_squares
from forecaster.evaluation.threads import one_thread
from forecaster.evaluation.volatility import WARM_UP, ewma_normal, ewma_student
from forecaster.forecasting.forecast_tables import (
    TargetForecast,
    interval_sources,
    next_session_table,
)
from forecaster.registry.manifest import Manifest

if TYPE_CHECKING:  # torch, which a baseline does without
    from forecaster.forecasting.carried_state import KnownBars
    from forecaster.forecasting.fitted_model import FittedModel

log = logging.getLogger(__name__)

RECENT: Final = 3 * TRAILING_DAYS  # bars of each ticker that show whether it can be forecast
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
    """Fit the baseline of a target on the rows where `train` (N,) is True; forecast `rows` (n,)."""
    k, tickers = panel.targets.index(target), np.array(panel.tickers)[panel.series[rows]]
    y, series = panel.y[:, k], panel.series
    distribution: Predictive
    if target == "return":
        name, returns = "ewma-t", panel.today[:, k]
        try:
            found = ewma_student(returns, series, y, train)
        except DataError:  # too few days to tell a Student-t's tails from a normal's
            found = ewma_normal(returns, series)
        center = np.where(np.isfinite(found.scale), 0.0, np.nan)
        distribution = StudentT(center, found.scale, found.df).take(rows)
        sources = np.where(np.isfinite(center[rows]), "own", "none")
    else:
        learned, terms = train & np.isfinite(y), panel.har_terms(target)
        enough = int(learned.sum()) >= LEAST_ROWS
        name = "har" if enough else "persistence"
        center = least_squares(terms, y, learned) if enough else terms[:, 0]
        scores = scores_by_series((y - center)[learned], series[learned], panel.tickers, LEVELS)
        distribution = recalibrated(Point(center[rows]), tickers, scores, LEVELS)
        sources = interval_sources(scores, tickers)
    return TargetForecast(
        forecaster=name,
        center=center[rows],
        distribution=distribution,
        intervals=uncalibrated_intervals(distribution),
        interval_source=sources,
        trained_on=np.ones(len(rows), dtype=np.bool_),
    )


Model: TypeAlias = "FittedModel | Baseline"


def load_forecaster(home: Path, manifest: Manifest | None, targets: Sequence[str]) -> Model:
    """Load a version, or make the baseline of some targets where the manifest is None."""
    if manifest is None:
        return Baseline(targets=tuple(targets))
    from forecaster.forecasting.model_version import load_model  # torch

    return load_model(home, manifest)


StateUse = Literal["none", "read", "write"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastRequest:
    """Tickers to forecast (none means all), their bars, sessions that may be missing.

    `histories` are those of a table, or of a store the newest bars of each; `states` whether a
    version's carried states are used, and written.
    """

    home: Path
    tickers: tuple[str, ...]
    bars: GivenBars | None
    as_of: date | None
    max_stale: int
    states: StateUse
    histories: tuple[History, ...]

    @classmethod
    def of(
        cls,
        home: Path,
        tickers: str | Sequence[str],
        bars: Bars | None,
        as_of: date | None,
        max_stale: int,
        states: StateUse = "none",
    ) -> "ForecastRequest":
        """Load the newest bars of the tickers asked for; see `load_histories`."""
        wanted = tuple(normalise_tickers(tickers))
        bars = None if bars is None else read_bars(bars, wanted, own=None)
        found = tuple(load_histories(bars, home, wanted, as_of, RECENT))
        return cls(
            home=home,
            tickers=wanted,
            bars=bars,
            as_of=as_of,
            max_stale=max_stale,
            states=states if bars is None else "none",
            histories=found,
        )

    def histories_for(self, model: "FittedModel") -> list[History]:
        """Load the whole histories that a version reads to forecast these tickers."""
        source, names = (self.bars, self.home), [one.listing.ticker for one in self.histories]
        found = [
            *load_known(*source, model.tickers, self.as_of),
            *load_histories(*source, names, self.as_of),
        ]
        by_ticker = {one.listing.ticker: one for one in found}
        return [by_ticker[ticker] for ticker in sorted(by_ticker)]

    @contextmanager
    def opened(self, tickers: Sequence[str]) -> "Iterator[KnownBars]":
        """Open the bars of these histories and of those other tickers that are there."""
        from forecaster.forecasting.carried_state import KnownBars

        if self.bars is None:
            with PriceStore.open_for_reading(self.home) as store:
                yield KnownBars(until=self.as_of, store=store)
            return
        others = load_known(self.bars, self.home, tickers, self.as_of) if self.tickers else []
        table = {one.listing.ticker: one for one in (*others, *self.histories)}
        yield KnownBars(until=self.as_of, table=table)

    def unfit(self) -> dict[str, str]:
        """Explain, by ticker, whose last bars are too old, in doubt or without any move."""
        found, failures = {}, Failures()
        blocking = self._blocking()
        for history in self.histories:
            ticker, calendar = history.listing.ticker, history.listing.calendar
            with failures.of(ticker):
                if (days := len(history.bars)) <= TRAILING_DAYS:
                    found[ticker] = (
                        f"{ticker}: no forecast from {days} trading days; at least "
                        f"{TRAILING_DAYS + 1} are needed. Fetch a longer period."
                    )
                    continue
                still = still_sessions(history)
                if still == len(history.bars):  # perhaps for longer
                    whole = load_histories(self.bars, self.home, ticker, self.as_of)
                    still = still_sessions(*whole)
                if still:
                    close, last = history.bars["close"].iloc[-1], history.days[-1]
                    found[ticker] = (
                        f"{ticker}: one price, {close:g}, on its last {still} sessions until "
                        f"{last}; no forecast until it moves. See: forecaster data show {ticker}"
                    )
                    continue
                last = history.bars["session"].iloc[-1].date()
                newest = self.as_of or sessions.last_final_session(calendar, clock.now())
                missed = sessions.count_sessions(calendar, last, newest) - 1 if newest > last else 0
                if missed and ticker in blocking:
                    found[ticker] = f"{ticker}: no forecast after {last}: {blocking[ticker]}"
                elif missed > self.max_stale:
                    found[ticker] = (
                        f"{ticker}: the last bar is of {last}, {missed} sessions before {newest}; "
                        f"at most {self.max_stale} may be missing. Run: forecaster fetch {ticker}, "
                        f"or use --as-of {last}"
                    )
        return found | {ticker: str(error) for ticker, error in failures.errors.items()}

    def lacking(self, names: Sequence[str]) -> dict[str, str]:
        """Explain, by ticker, whose newest bar lacks an own column that a model reads."""
        found = {}
        for name, history in product(names, self.histories):
            ticker, bars = history.listing.ticker, history.bars
            if len(bars) and (name not in bars or np.isnan(bars[name].iloc[-1])):
                found[ticker] = (
                    f"{ticker}: no {name} on its newest day, {history.days[-1]}; no forecast "
                    f"without. Run: forecaster data import FILE --keep {name}"
                )
        return found

    def _blocking(self) -> dict[str, Entry]:
        """Return why tickers are quarantined; none of a caller's own bars is."""
        if self.bars is not None:
            return {}
        with PriceStore.open_for_reading(self.home) as store:
            return store.quarantine.blocking()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The next session's forecasts (`PREDICTION_COLUMNS`) and what to know of them.

    `q10` and `q90` are the ends of the 80 % interval, `q025` and `q975` of the 95 % one, `prob_up`
    the probability of a positive return (returns only). `models` maps model names to versions.
    `skipped` are the tickers left out, `missing` those trained on without prices here. `in_sample`:
    a forecast session is one that the version was trained or validated on. `fingerprint` is the
    hash of the bars used, `recorded` how many forecasts are new in the log (None: not recorded).
    """

    forecasts: pd.DataFrame
    models: Mapping[str, str]
    skipped: tuple[str, ...]
    missing: tuple[str, ...]
    in_sample: bool
    fingerprint: str = ""
    recorded: int | None = None
    troubles: tuple[str, ...] = ()

    def __repr__(self) -> str:
        columns = ["ticker", "session", "target", "forecast", "q10", "q90", "prob_up"]
        table = self.forecasts[columns].to_string(index=False, max_rows=12)
        return f"Prediction by {self.version}; .forecasts has more columns\n{table}"

    @property
    def version(self) -> str:
        """The version that forecasts, or "baseline"; several are joined by commas."""
        return ", ".join(dict.fromkeys(self.models.values()))

    @property
    def name(self) -> str:
        """The model name of the forecasts; several are joined by commas."""
        return ", ".join(self.models)


@one_thread()
def forecast_next_session(
    model: Model, name: str, targets: Sequence[str], request: ForecastRequest
) -> Prediction:
    """Forecast the session after each ticker's last final bar; raise DataError if none can be.

    A ticker whose bars cause an unexpected exception is left out, and a forecast that is no
    number or far outside of what its ticker ever did.

    Raises:
        ArtifactError: most of a version's forecasts are such.
        BugError, DataError, TickerBugError: no ticker can be forecast.
    """
    unfit = request.lacking(own_targets(model.targets)) | request.unfit()
    calendars = {one.listing.ticker: one.listing.calendar for one in request.histories}
    wanted = [*calendars]
    fresh = [ticker for ticker in wanted if ticker not in unfit]

    def work(forecast: Forecast, tickers: Sequence[str]) -> tuple[pd.DataFrame, dict[str, str]]:
        panel, made, absurd = forecast(tickers)
        chosen = [ticker for ticker in fresh if ticker not in absurd]
        tables = [
            _table(model, panel, calendars, target, made[target], chosen) for target in targets
        ]
        return pd.concat(tables, ignore_index=True), absurd

    with _opened(model, request, fresh) as (names, forecast, bars_hash):
        (table, absurd), bugs = work_without_failing(names, partial(work, forecast))
        bars_fingerprint = bars_hash(bugs)
    done = set(zip(table["ticker"], table["target"], strict=True))
    lacking = {
        ticker: [target for target in targets if (ticker, target) not in done] for ticker in wanted
    }
    skipped = tuple(ticker for ticker in wanted if lacking[ticker])
    known = unfit | absurd | {ticker: str(error) for ticker, error in bugs.items()}
    reasons = [known.get(one) or model.too_short(one, lacking[one]) for one in skipped]
    if table.empty:
        more = f" (and {len(reasons) - 1} more tickers)" if len(reasons) > 1 else ""
        raise DataError(reasons[0] + more)
    for reason in reasons:
        log.warning("%s", reason)
    stored = known_tickers(request.bars, request.home) if model.tickers else ()
    missing = tuple(ticker for ticker in model.tickers if ticker not in stored)
    in_sample = bool((table["session"] <= pd.Timestamp(model.known_until)).any())
    _warn(model, table, missing, in_sample)
    return Prediction(
        forecasts=table,
        models={name: model.version},
        skipped=skipped,
        missing=missing,
        in_sample=in_sample,
        fingerprint=bars_fingerprint,
    )


# The panel with each series' newest row, forecasts by target, and why some are absurd.
Made = tuple[Panel, dict[str, TargetForecast], dict[str, str]]
Forecast = Callable[[Sequence[str]], Made]
# The tickers to work on, the work, and the hash of their bars but for some left out.
Work = tuple[list[str], Forecast, Callable[[Collection[str]], str]]


def _opened(
    model: Model, request: ForecastRequest, fresh: Collection[str]
) -> AbstractContextManager[Work]:
    if isinstance(model, Baseline):
        return _by_baseline(model, request)
    return _by_version(model, request, fresh)


@contextmanager
def _by_baseline(model: Baseline, request: ForecastRequest) -> Iterator[Work]:
    """Forecast by the baseline, which depends on every ticker: it is fitted on all."""
    histories = load_histories(request.bars, request.home, (), request.as_of)
    loaded = {history.listing.ticker: history for history in histories}

    def forecast(tickers: Sequence[str]) -> Made:
        panel = model.panel([loaded[ticker] for ticker in tickers])
        return panel, model.next_session(panel), {}

    yield [*loaded], forecast, lambda out: fingerprint([loaded[n] for n in loaded if n not in out])


@contextmanager
def _by_version(
    model: "FittedModel", request: ForecastRequest, fresh: Collection[str]
) -> Iterator[Work]:
    """Forecast by a version, from the states of the tickers alone as far as they suffice."""
    from forecaster.forecasting.carried_state import StateFile, States, forecast_tickers
    from forecaster.forecasting.ticker_state import newest_panel

    names = [history.listing.ticker for history in request.histories]
    file = StateFile(request.home, model.version, request.states == "write")
    with request.opened(model.tickers) as bars:
        states = States.of(model, bars, file if request.states != "none" else None)
        read = bars.known([*{*names, *model.tickers}])

        def forecast(tickers: Sequence[str]) -> Made:
            others = [one for one in read if one not in names]
            with np.errstate(all="ignore"):  # numbers of a corrupt version, refused as absurd
                made, absurd, found = forecast_tickers(states, tickers, others, fresh)
            return newest_panel(model.targets, found), made, absurd

        def bars_hash(out: Collection[str]) -> str:
            recent = [one for one in request.histories if one.listing.ticker not in out]
            return bars.fingerprint([one for one in read if one not in out], recent)

        yield names, forecast, bars_hash


def _table(
    model: Model,
    panel: Panel,
    calendars: Mapping[str, str],
    target: str,
    made: TargetForecast,
    tickers: Sequence[str],
) -> pd.DataFrame:
    """Make the table of those of the given tickers that have a finite forecast."""
    level = panel.level[panel.newest, panel.targets.index(target)]
    finite = np.isfinite(made.center + level)
    chosen = np.flatnonzero(finite & np.isin(panel.tickers, tickers))
    following = [
        sessions.next_session(calendars[panel.tickers[number]], day.item())
        for number, day in zip(chosen, panel.days[panel.newest[chosen]], strict=True)
    ]
    return next_session_table(
        panel, target, panel.newest[chosen], following, made.take(chosen), model.version
    )


def _warn(model: Model, table: pd.DataFrame, missing: Sequence[str], in_sample: bool) -> None:
    """Warn of what makes these forecasts worth less than they seem."""
    if in_sample:
        log.warning(
            "version %s was trained and validated on days until %s and has seen what it forecasts "
            "here from %s: these forecasts are in-sample. Choose no version, or train --as-of that "
            "day",
            *(model.version, model.known_until, table["as_of"].min().date()),
        )
    if missing and model.cross_section:
        log.warning(
            "%s: trained on, but without prices here; the panel's mean that every forecast reads "
            "lacks them. Run: forecaster fetch %s",
            *(name_some(missing), " ".join(missing[:NAMED_AT_MOST])),
        )
    unknown = table.loc[~table["trained_on"], "ticker"].unique().tolist()
    if unknown:
        log.warning("%s: version %s was not trained on it", name_some(unknown), model.version)
    pooled = table.loc[table["interval"] == "pooled", "ticker"].unique().tolist()
    if pooled:
        log.warning("%s: no interval of its own, but that of all tickers pooled", name_some(pooled))
