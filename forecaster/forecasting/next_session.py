"""Forecasts of each ticker's next session, by a fitted model or the baseline alike.

`predict` and the daily run forecast by this code; it records nothing.

Shape letters: S series of the panel.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster import clock
from forecaster.data import sessions
from forecaster.data.history import History, fingerprint, normalise_tickers
from forecaster.data.loading import known_tickers, load_histories
from forecaster.data.panel import Panel
from forecaster.errors import NAMED_AT_MOST, DataError, name_some
from forecaster.forecasting.baseline import Baseline
from forecaster.forecasting.fitted_model import FittedModel
from forecaster.forecasting.forecast_tables import TargetForecast, next_session_table
from forecaster.forecasting.loading import load_model
from forecaster.registry.manifest import Manifest

log = logging.getLogger(__name__)


Model = FittedModel | Baseline


def load_forecaster(home: Path, manifest: Manifest | None, targets: Sequence[str]) -> Model:
    """Load a version, or make the baseline of some targets where the manifest is None.

    Raises:
        ArtifactError: the version is corrupt.
    """
    return Baseline(targets=tuple(targets)) if manifest is None else load_model(home, manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastRequest:
    """Which tickers to forecast (none means all), from which prices, as of which close.

    `histories` are those of the tickers asked for, `max_stale` sessions that may be missing.
    """

    home: Path
    tickers: tuple[str, ...]
    bars: pd.DataFrame | None
    as_of: date | None
    max_stale: int
    histories: tuple[History, ...]

    @classmethod
    def of(
        cls,
        home: Path,
        tickers: str | Sequence[str],
        bars: pd.DataFrame | None,
        as_of: date | None,
        max_stale: int,
    ) -> "ForecastRequest":
        """Load the histories asked for.

        Raises:
            DataError: a ticker has no bar until `as_of`.
            UnknownNameError: no such ticker, or none at all.
            UsageError: `as_of` is no date or lies in the future; a malformed ticker.
        """
        wanted = normalise_tickers(tickers)
        histories = tuple(load_histories(bars, home, wanted, as_of))
        return cls(
            home=home,
            tickers=tuple(wanted),
            bars=bars,
            as_of=as_of,
            max_stale=max_stale,
            histories=histories,
        )

    def histories_for(self, model: Model) -> list[History]:
        """Load the histories that a model reads to forecast these tickers."""
        found = {history.listing.ticker: history for history in self.histories}
        if self.tickers:
            for history in load_histories(self.bars, self.home, (), self.as_of):
                if model.reads(history.listing.ticker):
                    found.setdefault(history.listing.ticker, history)
        return [found[ticker] for ticker in sorted(found)]

    def stale(self) -> dict[str, str]:
        """Explain, by ticker, which last bars are too old to forecast from."""
        found = {}
        for history in self.histories:
            ticker, calendar = history.listing.ticker, history.listing.calendar
            last = history.bars["session"].iloc[-1].date()
            newest = self.as_of or sessions.last_final_session(calendar, clock.now())
            missed = sessions.count_sessions(calendar, last, newest) - 1 if newest > last else 0
            if missed > self.max_stale:
                found[ticker] = (
                    f"{ticker}: the last bar is of {last}, {missed} sessions before {newest}; at "
                    f"most {self.max_stale} may be missing. Run: forecaster fetch {ticker}, or use "
                    f"--as-of {last}"
                )
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The next session's forecasts (`PREDICTION_COLUMNS`) and what to know of them.

    `q10` and `q90` are the ends of the 80 % interval, `q025` and `q975` of the 95 % one, `prob_up`
    the probability of a positive return (returns only). `interval` is `own`, `pooled` (over all
    tickers trained on) or `none`. `models` maps model names to the versions that forecast.
    `skipped` are the tickers left out, `missing` those trained on without prices here, so that the
    cross-section's mean lacks them. `in_sample`: a forecast session is one that the version was
    trained or validated on. `fingerprint` is the hash of the bars used, `recorded` how many
    forecasts are new in the forecast log (None: not recorded), `troubles` what needs attention.
    """

    forecasts: pd.DataFrame
    models: Mapping[str, str]
    skipped: tuple[str, ...]
    missing: tuple[str, ...]
    in_sample: bool
    fingerprint: str = ""
    recorded: int | None = None
    troubles: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """The version that forecasts, or "baseline"; several are joined by commas."""
        return ", ".join(dict.fromkeys(self.models.values()))

    @property
    def name(self) -> str:
        """The model name of the forecasts; several are joined by commas."""
        return ", ".join(self.models)


def forecast_next_session(
    model: Model, name: str, targets: Sequence[str], request: ForecastRequest
) -> Prediction:
    """Forecast the session after each ticker's last final bar.

    Args:
        model: a version or the baseline.
        name: the model name that the forecasts belong to.
        targets: some of the model's.
        request: tickers and prices.

    Raises:
        DataError: no ticker can be forecast: stale, or too short.
    """
    histories = request.histories_for(model)
    panel, stale = model.panel(histories), request.stale()
    fresh = [history.listing.ticker for history in request.histories]
    fresh = [ticker for ticker in fresh if ticker not in stale]
    made = model.next_session(panel)
    tables = [_table(model, panel, histories, target, made[target], fresh) for target in targets]
    table = pd.concat(tables, ignore_index=True)
    done = set(zip(table["ticker"], table["target"], strict=True))
    lacking = {
        ticker: [target for target in targets if (ticker, target) not in done]
        for ticker in (history.listing.ticker for history in request.histories)
    }
    skipped = tuple(ticker for ticker, left in lacking.items() if left)
    reasons = [stale.get(name) or model.too_short(name, lacking[name]) for name in skipped]
    if table.empty:
        more = f" (and {len(reasons) - 1} more tickers)" if len(reasons) > 1 else ""
        raise DataError(reasons[0] + more)
    for reason in reasons:
        log.warning("%s", reason)
    missing: tuple[str, ...] = ()
    if model.tickers:
        stored = known_tickers(request.bars, request.home)
        missing = tuple(ticker for ticker in model.tickers if ticker not in stored)
    in_sample = bool((table["session"] <= pd.Timestamp(model.known_until)).any())
    _warn(model, table, missing, in_sample)
    return Prediction(
        forecasts=table,
        models={name: model.version},
        skipped=skipped,
        missing=missing,
        in_sample=in_sample,
        fingerprint=fingerprint(histories),
    )


def _table(
    model: Model,
    panel: Panel,
    histories: Sequence[History],
    target: str,
    made: TargetForecast,
    tickers: Sequence[str],
) -> pd.DataFrame:
    """Make the table of those of the given tickers that have a finite forecast."""
    level = panel.level[panel.newest, panel.targets.index(target)]
    finite = np.isfinite(made.center + level)
    chosen = np.flatnonzero(finite & np.isin(panel.tickers, tickers))
    following = [
        sessions.next_session(histories[int(number)].listing.calendar, day.item())
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
