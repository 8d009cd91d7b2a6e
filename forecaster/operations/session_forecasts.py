"""The forecasts of a night: by the champion as it stands, each remembered once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import pandas as pd

from forecaster.data.sessions import close_of
from forecaster.forecasting.baseline import BASELINE
from forecaster.forecasting.next_session import (
    ForecastRequest,
    forecast_next_session,
    load_forecaster,
)
from forecaster.operations.due_sessions import accepted_age
from forecaster.registry.champion import Choice, champion_at_session_start, named_version
from forecaster.registry.forecast_log import read_forecasts, record_forecasts
from forecaster.settings import PredictSettings

_KEYS = ("ticker", "target", "as_of")


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecasts:
    """What a night forecast: the rows (PREDICTION_COLUMNS), by whom, who was left out.

    `new` counts the rows that were not in the ledger. `age` is the sessions since the version's
    training, 0 of the baseline. `trouble` is why the champion does not serve, if it does not.
    """

    rows: pd.DataFrame
    version: str
    skipped: tuple[str, ...]
    new: int
    age: int
    trouble: str | None


def forecast_session(
    home: Path,
    name: str,
    targets: Sequence[str],
    *,
    day: date,
    tickers: Sequence[str],
    calendars: dict[str, str],
    made_at: datetime,
    settings: PredictSettings,
    by: str | None = None,
) -> Forecasts:
    """Forecast the session after a night with the champion, and remember it.

    A forecast that a night made before, by whatever version, stays the night's own.

    Args:
        home: the workspace.
        name: whose champion.
        targets: what is forecast.
        day: the night.
        tickers: which, at least one.
        calendars: of each ticker.
        made_at: the instant at which this really happens.
        settings: when a ticker's last bar, or the version, is too old.
        by: the version or "baseline" that forecast the night's other tickers; None for the
            champion.

    Raises:
        ArtifactError, UnknownNameError: the version `by` is damaged or gone.
        TooOldError: the version is.
        DataError: no ticker can be forecast.
    """
    choice = champion_at_session_start(home, name, day) if by is None else _by(home, name, by)
    age = 0
    if choice.manifest is not None:
        age = accepted_age(choice.manifest, calendars.values(), day, settings.max_model_age)
    if choice.manifest is not None:
        targets = choice.manifest.targets
    model = load_forecaster(home, choice.manifest, targets)
    request = ForecastRequest.of(home, tickers, None, day, settings.max_stale)
    made = forecast_next_session(model, name, targets, request)
    rows = made.forecasts
    fresh = rows[~_made_before(home, name, rows, day)]
    closes = [
        close_of(calendars[ticker], session.date())
        for ticker, session in zip(fresh["ticker"], fresh["session"], strict=True)
    ]
    new = record_forecasts(
        home,
        name,
        fresh.assign(late=[made_at > close for close in closes]),
        fingerprint=made.fingerprint,
        made_at=made_at,
        scheduled=True,
    )
    return Forecasts(
        rows=rows,
        version=made.version,
        skipped=made.skipped,
        new=new,
        age=age,
        trouble=choice.trouble,
    )


def _by(home: Path, name: str, version: str) -> Choice:
    if version == BASELINE:
        return Choice(manifest=None, name=name)
    return named_version(home, version)[0]


def _made_before(home: Path, name: str, rows: pd.DataFrame, day: date) -> pd.Series:
    """Tell which rows a night has forecast already, (n,) bool."""
    first = min(rows["as_of"].min().date(), day)
    known = read_forecasts(home, name, first)
    known = known[known["scheduled"]]
    made = set(zip(*(known[key] for key in _KEYS), strict=True))
    keys = zip(*(rows[key] for key in _KEYS), strict=True)
    return pd.Series([key in made for key in keys], rows.index)
