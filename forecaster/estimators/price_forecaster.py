"""The commands' training, forecasts and evaluation as one estimator in memory.

It writes nothing but what `save` is asked to.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, TypedDict, Unpack

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from forecaster import clock
from forecaster.backtesting.benchmarks import BenchmarkKind
from forecaster.backtesting.version_evaluation import EvaluationOptions, evaluate_model
from forecaster.clock import Day
from forecaster.data.loading import Bars, GivenBars, read_bars
from forecaster.errors import UsageError
from forecaster.estimators.forecasts import Forecasts
from forecaster.evaluation.evaluation import Evaluation
from forecaster.evaluation.splits import EvaluationCount, Walk
from forecaster.forecasting.fitted_model import FittedModel
from forecaster.forecasting.model_version import load_model, recipe_of, version_histories
from forecaster.forecasting.next_session import ForecastRequest, forecast_next_session
from forecaster.forecasting.ticker_state import advance, forecast_next
from forecaster.forecasting.version_training import TrainedVersion, train_version
from forecaster.registry.champion import find_version
from forecaster.registry.manifest import Manifest
from forecaster.registry.promotion import register
from forecaster.registry.registry_file import check_name, check_registry
from forecaster.registry.run_history import count_evaluation
from forecaster.registry.versions import check_writable, save_version
from forecaster.settings import Home, TrainSettings, resolve_home
from forecaster.settings.keywords import TrainKeywords, check_setting, settings_from

if TYPE_CHECKING:
    from typing import Self

UNSAVED: Final = "unsaved"  # in place of a version's name
_DEFAULTS: Final = {
    name: inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=one.annotation
    )
    for name, one in TrainSettings.model_fields.items()
}


@dataclass(frozen=True, slots=True)
class _Asked:
    """An evaluation in memory: its question, and its first and last test day."""

    question: str
    first: date
    last: date


@dataclass(slots=True)
class _Evaluations:
    """The evaluations of an estimator that is not saved: they count as those of a home do."""

    asked: list[_Asked] = field(default_factory=list)

    def count(self, question: str, first: date, last: date) -> EvaluationCount:
        """Count one more evaluation, and all whose test days overlap its own."""
        mine = _Asked(question, first, last)
        self.asked.append(mine)
        near = [one for one in self.asked if one.first <= last and first <= one.last]
        questions = len({one.question for one in near})
        return EvaluationCount(same=near.count(mine), total=len(near), questions=questions)


class RequestOptions(TypedDict, total=False):
    """Keywords of a forecast; see `PriceForecaster.predict`."""

    tickers: str | Sequence[str]
    as_of: Day | None
    max_stale: int


class PriceForecaster(BaseEstimator):  # type: ignore[misc]
    """Forecasts of the next session's return, range, volume or own column by a recurrent network.

    The parameters are the settings of `train`, with the same names, defaults and checks; the same
    bars and settings make the same forecasts, bit for bit. Whatever `fit` has read stays in
    memory; `save` registers the version in a home, `load` brings one back.

    Attributes:
        version_: the version's id, "unsaved" before `save`.
        manifest_: names and numbers of the version, as `train` stores them.
        validations_: a row per validation of the training.
        skipped_: tickers left out as too short.

    Raises:
        UsageError: a setting is unknown (also a `TypeError`), not valid, or contradicts another.

    Examples:
        >>> from forecaster import PriceForecaster, load_bars
        >>> bars = load_bars(home="demo")
        >>> model = PriceForecaster(target="range", max_steps=25).fit(bars)
        >>> model.predict_interval(0.9).frame[["ticker", "target", "coverage"]]
           ticker target  coverage
        0  NASDAQ  range       0.9
        1   SP500  range       0.9
    """

    def __init__(self, **settings: Unpack[TrainKeywords]) -> None:
        for name in settings:
            check_setting(TrainSettings, name)
        for name, parameter in _DEFAULTS.items():
            setattr(self, name, settings.get(name, parameter.default))
        self._settings()

    __init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY), *_DEFAULTS.values()]
    )

    def _settings(self) -> TrainSettings:
        """Return the parameters, which `set_params` may have changed, as validated settings."""
        changed = {
            name: getattr(self, name)
            for name, parameter in _DEFAULTS.items()
            if getattr(self, name) != parameter.default
        }
        return settings_from(TrainSettings, None, changed)

    def fit(
        self,
        bars: Bars,
        y: None = None,
        *,
        tickers: str | Sequence[str] = (),
        as_of: Day | None = None,
    ) -> "Self":
        """Train a version in memory.

        Args:
            bars: a frame of bars in any shape that `train` accepts, or a frame for each ticker.
            y: ignored; there for scikit-learn.
            tickers: none means all there are.
            as_of: last session to be seen; None for all.

        Raises:
            DataError: too few days, or none that the lookback allows.
            DivergedError: training met a value that is not finite.
            UnknownNameError: a ticker is not there.
            UsageError: a setting is not valid, or a part of the split would be empty.
        """
        settings = self._settings()
        given = read_bars(bars, tickers, own=settings.targets)
        made = train_version(given, Path(), tickers, clock.as_day(as_of), settings)
        self.version_, self.settings_ = UNSAVED, made.settings
        self.manifest_: Manifest = made.manifest.model_copy(update={"version": UNSAVED})
        self.validations_, self.skipped_ = made.validations, made.skipped
        self._made: TrainedVersion | None = made
        self._bars: GivenBars | None = given
        self._model: FittedModel = replace(made.model, version=UNSAVED)
        self._home: Path | None = None
        if not hasattr(self, "_evaluations"):  # another fit is another question on the same days
            self._evaluations = _Evaluations()
        return self

    def predict(self, bars: Bars | None = None, **options: Unpack[RequestOptions]) -> Forecasts:
        """Forecast the session after each ticker's last bar.

        Args:
            bars: None for those of `fit`, or of the home that the version was loaded from.
            options: `tickers` (none means all there are); `as_of`, to forecast as after the close
                of a day (None for the newest bar's); `max_stale`, the sessions that a ticker's
                last bar may lie behind (5).

        Raises:
            DataError: no ticker can be forecast: stale, or too short.
            UnknownNameError: no such ticker.
            UsageError: the estimator is not fitted.
        """
        return Forecasts.of(self._predicted(self._request(bars, **options)), "forecasts")

    def predict_interval(
        self, coverage: float = 0.8, bars: Bars | None = None, **options: Unpack[RequestOptions]
    ) -> Forecasts:
        """Forecast the conformal prediction interval of the next session.

        Args:
            coverage: the nominal coverage, between 0 and 1.
            bars: see `predict`.
            options: as `predict`'s.

        Raises:
            UsageError: `coverage` is not between 0 and 1; else as `predict`.
        """
        _refuse_outside([coverage], "coverage")
        request = self._request(bars, **options)
        table, model = self._predicted(request), self._model
        panel = model.panel(request.histories_for(model))
        rows, ends = panel.newest, {}
        for target, forecasts in model.distributions(
            panel, model.rows_since_training(panel)
        ).items():
            bounds = model.served_intervals(panel, target, forecasts, rows, (coverage,))
            level = panel.level[rows, panel.targets.index(target)]
            for ticker, (low, high) in zip(
                panel.tickers, bounds.bounds[coverage] + level[:, None], strict=True
            ):
                ends[ticker, target] = low, high
        keys = zip(table["ticker"], table["target"], strict=True)
        low, high = np.array([ends[key] for key in keys]).T
        table = table.assign(lower=low, upper=high, coverage=coverage)
        prices = {f"price_{end}": _price(table, table[end]) for end in ("lower", "upper")}
        return Forecasts.of(table.assign(**prices), "interval")

    def predict_quantiles(
        self,
        levels: Sequence[float] = (0.1, 0.5, 0.9),
        bars: Bars | None = None,
        **options: Unpack[RequestOptions],
    ) -> Forecasts:
        """Forecast quantiles of the next session by the distribution calibrated on validation days.

        Args:
            levels: probabilities between 0 and 1.
            bars: see `predict`.
            options: as `predict`'s.

        Raises:
            UsageError: a level is not between 0 and 1; else as `predict`.
        """
        _refuse_outside(levels, "level")
        request = self._request(bars, **options)
        table, model = self._predicted(request), self._model
        panel = model.panel(request.histories_for(model))
        values: dict[tuple[str, str], np.ndarray] = {}
        states = advance(model, panel, {})
        for target, made in forecast_next(model, states, states).items():
            level = panel.level[panel.newest, panel.targets.index(target)]
            found = made.distribution.quantile(list(levels)) + level[:, None]
            values |= {
                (ticker, target): row for ticker, row in zip(panel.tickers, found, strict=True)
            }
        keys = zip(table["ticker"], table["target"], strict=True)
        quantiles = np.array([values[key] for key in keys])
        long = table.loc[table.index.repeat(len(levels))]
        long = long.assign(level=np.tile(levels, len(table)), quantile=quantiles.ravel())
        return Forecasts.of(long.assign(price=_price(long, long["quantile"])), "quantiles")

    def evaluate(
        self,
        bars: Bars | None = None,
        *,
        targets: str | Sequence[str] = (),
        walk: Walk | None = None,
        benchmarks: BenchmarkKind = "all",
        costs_bps: float | None = None,
    ) -> Evaluation:
        """Score the forecasts on test days beside those of benchmarks; see `forecaster.evaluate`.

        Every evaluation counts: those of this estimator in memory, those of a saved version in
        its home.
        """
        self._require_fitted()
        options = EvaluationOptions(
            targets=(targets,) if isinstance(targets, str) else tuple(targets),
            walk=walk or Walk(),
            benchmarks=benchmarks,
            costs_bps=costs_bps,
        )
        chosen = self._chosen(bars, ())
        histories, missing = version_histories(self.manifest_, chosen, self._home or Path(), None)
        given = (self._model, self.settings_, histories, options)
        if self._home is not None:
            found = evaluate_model(*given, self._home, partial(count_evaluation, self._home))
        else:
            with TemporaryDirectory(prefix="forecaster-") as folder:
                found = evaluate_model(*given, Path(folder), self._evaluations.count)
        return replace(found, missing=missing)

    def save(self, home: Home | None = None, *, name: str | None = None) -> str:
        """Write the version into a home and register it as a challenger; return its id.

        Args:
            home: the workspace; None as the command line resolves it.
            name: the model name whose champion it may become; None for its targets.

        Raises:
            CannotWriteError, SettingsError: the home is read-only, or its registry too new.
            StorageError: the registry is corrupt, or the disk failed.
            UsageError: the estimator is not fitted, or was loaded.
        """
        self._require_fitted()
        where = resolve_home(home)
        if self._made is None:
            raise UsageError(f"Version {self.version_} was loaded; it is saved already.")
        check_writable(where)
        check_registry(where)
        name = check_name(name or ",".join(self._model.targets))
        created = datetime.fromisoformat(self.manifest_.created_at)
        saved = save_version(where, self._made.manifest, self._made.weights, created)
        register(where, saved.version, name)
        for one in self._evaluations.asked if self._home is None else ():
            question = one.question.replace(UNSAVED, saved.version)
            count_evaluation(where, question, one.first, one.last)
        self.version_, self.manifest_, self._home = saved.version, saved, where
        self._model = replace(self._model, version=saved.version)
        return saved.version

    @classmethod
    def load(cls, home: Home | None = None, version: str | None = None) -> "Self":
        """Load a version of a home; without bars it forecasts those of the home's store.

        Args:
            home: the workspace; None as the command line resolves it.
            version: None for the newest.

        Raises:
            ArtifactError: the version is corrupt.
            UnknownNameError: no such version.
        """
        where = resolve_home(home)
        manifest = find_version(where, version)
        settings = recipe_of(manifest)
        made = cls(**settings.model_dump(exclude_unset=True))
        made.version_, made.manifest_, made.settings_ = manifest.version, manifest, settings
        made._model, made._home = load_model(where, manifest), where
        made._made, made._bars = None, None
        return made

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_model")

    def _require_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise UsageError("This PriceForecaster is not fitted; call fit(bars) or load(home).")

    def _chosen(self, bars: Bars | None, tickers: str | Sequence[str]) -> GivenBars | None:
        """Return a caller's bars, those of `fit`, or None for the store of the home."""
        if bars is None:
            return self._bars
        return read_bars(bars, tickers, own=self._model.targets)

    def _request(
        self,
        bars: Bars | None,
        tickers: str | Sequence[str] = (),
        as_of: Day | None = None,
        max_stale: int = 5,
    ) -> ForecastRequest:
        self._require_fitted()
        day, home = clock.as_day(as_of), self._home or Path()
        chosen = self._chosen(bars, tickers)
        request = ForecastRequest.of(home, tickers, chosen, day, max_stale)
        newest = max(one.days[-1] for one in request.histories).item()
        return replace(request, as_of=day or newest)

    def _predicted(self, request: ForecastRequest) -> pd.DataFrame:
        targets = self._model.targets
        made = forecast_next_session(self._model, ",".join(targets), targets, request)
        return made.forecasts.assign(version=self.version_)


def _price(table: pd.DataFrame, log_return: pd.Series) -> pd.Series:
    """Return the prices (n,) that returns lead to; NaN for other targets."""
    prices: pd.Series = table["last_close"] * np.exp(log_return)
    return prices.where(table["target"] == "return")


def _refuse_outside(values: Sequence[float], name: str) -> None:
    for value in values:
        if not 0.0 < value < 1.0:
            raise UsageError(f"{name} {value:g}: a number between 0 and 1 is needed, such as 0.9.")
