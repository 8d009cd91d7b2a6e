"""Forecasts into the forecast log: those by hand, and those of a session's daily run."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Final

import pandas as pd

from forecaster import clock
from forecaster.data.sessions import close_of
from forecaster.data.store import PriceStore
from forecaster.errors import (
    ArtifactError,
    CannotWriteError,
    SettingsError,
    StorageError,
    TryLaterError,
)
from forecaster.forecasting.next_session import (
    BASELINE,
    ForecastRequest,
    Prediction,
    forecast_next_session,
    load_forecaster,
)
from forecaster.operations.due_sessions import SessionWork, check_age, model_age
from forecaster.operations.run_log import bug_log
from forecaster.registry.champion import (
    Choice,
    champion_at_session_start,
    named_version,
    replacement,
)
from forecaster.registry.forecast_log import read_forecasts, record_forecasts

log = logging.getLogger(__name__)

_KEYS: Final = ("ticker", "target", "as_of")


def record_by_hand(home: Path, made: Prediction) -> Prediction:
    """Record forecasts made by hand and return them with the number of new ones.

    If they cannot be recorded, they are returned with a warning; in a read-only home with a notice.
    """
    try:
        count = _record(home, made, clock.now(), scheduled=False)
    except CannotWriteError as error:
        log.info("these forecasts are not recorded: %s", error)
        return made
    except (SettingsError, StorageError, TryLaterError) as error:
        log.warning("these forecasts are not recorded: %s", error)
        return replace(made, troubles=(*made.troubles, "these forecasts are not recorded"))
    return replace(made, recorded=count)


def forecast_with(
    home: Path,
    choice: Choice,
    targets: Sequence[str],
    request: ForecastRequest,
    *,
    replaceable: bool,
) -> tuple[Choice, Prediction]:
    """Forecast with a version or the baseline; if `replaceable` and corrupt, with its replacement.

    Returns:
        What forecasts, and its forecasts with why it should be another one.

    Raises:
        ArtifactError: the version or most of its forecasts are corrupt, and it isn't replaceable.
        BugError, DataError, TickerBugError: no ticker can be forecast.
    """
    damage: dict[str, str] = {}
    while True:
        try:
            with bug_log(home):
                model = load_forecaster(home, choice.manifest, targets)
                made = forecast_next_session(model, choice.name, targets, request)
        except ArtifactError as error:
            if choice.manifest is None or not replaceable:
                raise
            damage[choice.manifest.version] = str(error)
            choice = replacement(home, choice.name, damage)
        else:
            return choice, replace(made, troubles=(choice.trouble,) if choice.trouble else ())


def forecast_session(
    work: SessionWork, day: date, made_at: datetime, version: str | None = None
) -> tuple[Prediction, int]:
    """Forecast the session after a day with the champion, and record the forecasts.

    A forecast that a daily run has recorded before, of whatever version, is not replaced.
    `made_at` is the real time; `version` is the version or "baseline" that forecast the session's
    other tickers, None for the champion.

    Returns:
        The forecasts, and the number of sessions since the version's training, 0 of the baseline.

    Raises:
        ArtifactError, UnknownNameError, TooOldError: the version is corrupt, gone or too old.
        CannotWriteError, SettingsError, StorageError, TryLaterError: nothing can be recorded.
        DataError: no ticker can be forecast.
    """
    home, settings, calendars = work.home, work.settings.predict, work.stored.calendars.values()
    if version is None:
        choice = champion_at_session_start(home, work.name, day)
    elif version == BASELINE:
        choice = Choice(manifest=None, name=work.name)
    else:
        choice = replace(named_version(home, version)[0], name=work.name)
    targets = tuple[str, ...](work.settings.train.targets)
    if choice.manifest is not None:
        check_age(choice.manifest, calendars, day, settings.max_model_age)
        targets = tuple(choice.manifest.targets)
    known = work.stored.known_by(day)
    request = ForecastRequest.of(home, known, None, day, settings.max_stale, "write")
    is_champion = version is None
    choice, made = forecast_with(home, choice, targets, request, replaceable=is_champion)
    unrecorded = made.forecasts[~_is_recorded(work, made.forecasts, day)]
    new = _record(home, replace(made, forecasts=unrecorded), made_at, scheduled=True)
    age = model_age(choice.manifest, calendars, day) if choice.manifest else 0
    return replace(made, recorded=new), age


def _record(home: Path, made: Prediction, made_at: datetime, *, scheduled: bool) -> int:
    """Record forecasts with what the store has by now, and with the closes of their sessions."""
    rows = made.forecasts
    with PriceStore.open_for_reading(home) as store:
        stored = {one.ticker: one for one in store.states(sorted(set(rows["ticker"])))}
    pairs = zip(rows["ticker"], rows["session"], strict=True)
    closes = [close_of(stored[ticker].calendar, day.date()) for ticker, day in pairs]
    newest = pd.to_datetime(rows["ticker"].map({name: one.last for name, one in stored.items()}))
    return record_forecasts(
        home,
        made.name,
        rows.assign(newest_session=newest, session_close=pd.Series(closes, rows.index, object)),
        fingerprint=made.fingerprint,
        made_at=made_at,
        scheduled=scheduled,
    )


def _is_recorded(work: SessionWork, rows: pd.DataFrame, day: date) -> pd.Series:
    """Whether a daily run has recorded each row before, (n,) bool."""
    known = read_forecasts(work.home, work.name, min(rows["as_of"].min().date(), day))
    known = known[known["scheduled"]]
    recorded = set(zip(*(known[key] for key in _KEYS), strict=True))
    keys = zip(*(rows[key] for key in _KEYS), strict=True)
    return pd.Series([key in recorded for key in keys], rows.index)
