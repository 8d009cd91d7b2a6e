"""The forecasts of a night: by the champion as it stands, each remembered once."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

import pandas as pd

from forecaster.data.sessions import close_of
from forecaster.errors import TooOldError
from forecaster.pipeline.nightly.baseline import BASELINE, predict_baseline
from forecaster.pipeline.nightly.evenings import night_dates
from forecaster.pipeline.predict import predict
from forecaster.pipeline.prediction import Prediction
from forecaster.registry.champion import Choice, champion_as_night_began, named_version
from forecaster.registry.ledger import ledger, remember
from forecaster.registry.manifest import Manifest
from forecaster.settings import PredictSettings

log = logging.getLogger(__name__)

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


def forecast_night(
    home: Path,
    name: str,
    targets: Sequence[str],
    *,
    day: date,
    tickers: Sequence[str],
    calendars: dict[str, str],
    made_at: datetime,
    settings: PredictSettings,
    max_model_age: int,
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
        settings: when a ticker's last bar is too old.
        max_model_age: sessions after which the version is warned of; twice as many, and it is
            refused.
        by: the version or "baseline" that forecast the night's other tickers; None for the
            champion.

    Raises:
        ArtifactError, UnknownNameError: the version `by` is damaged or gone.
        TooOldError: the version is.
        DataError: no ticker can be forecast.
    """
    choice = champion_as_night_began(home, name, day) if by is None else _by(home, name, by)
    age = _age(choice, calendars.values(), day, max_model_age)
    made = _forecast(home, choice, targets, day, tickers, settings)
    rows = made.forecasts
    fresh = rows[~_made_before(home, name, rows, day)]
    closes = [
        close_of(calendars[ticker], session.date())
        for ticker, session in zip(fresh["ticker"], fresh["session"], strict=True)
    ]
    new = remember(
        home,
        name,
        fresh,
        fingerprint=made.fingerprint,
        made_at=made_at,
        night=True,
        late=[made_at > close for close in closes],
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
    return Choice(manifest=None, name=name) if version == BASELINE else named_version(home, version)


def _forecast(
    home: Path,
    choice: Choice,
    targets: Sequence[str],
    day: date,
    tickers: Sequence[str],
    settings: PredictSettings,
) -> Prediction:
    if choice.manifest is None:
        return predict_baseline(targets, tickers=tickers, home=home, as_of=day, settings=settings)
    parts = [
        predict(
            tickers,
            version=choice.manifest.version,
            target=target,
            home=home,
            as_of=day,
            settings=settings,
            ledger=None,
        )
        for target in choice.manifest.targets
    ]
    skipped = {ticker for part in parts for ticker in part.skipped}
    return replace(
        parts[0],
        forecasts=pd.concat([part.forecasts for part in parts], ignore_index=True),
        skipped=tuple(sorted(skipped)),
    )


def _made_before(home: Path, name: str, rows: pd.DataFrame, day: date) -> pd.Series:
    """Tell which rows a night has forecast already, (n,) bool."""
    first = min(rows["as_of"].min().date(), day)
    known = ledger(home, name, first)
    known = known[known["night"]]
    made = set(zip(*(known[key] for key in _KEYS), strict=True))
    keys = zip(*(rows[key] for key in _KEYS), strict=True)
    return pd.Series([key in made for key in keys], rows.index)


def _age(choice: Choice, calendars: Collection[str], day: date, most: int) -> int:
    """Count the sessions since a version was trained; warn when they are many.

    Raises:
        TooOldError: more than twice as many as allowed.
    """
    if choice.manifest is None:
        return 0
    age = model_age(choice.manifest, calendars, day)
    text = (
        f"version {choice.manifest.version} was trained as of {choice.manifest.data.blocks.last}, "
        f"{age} sessions before {day}; --max-model-age is {most}"
    )
    if age > 2 * most:
        raise TooOldError(
            f"{text}, and no forecast is made from twice as many. Train, or promote another: "
            "forecaster models promote"
        )
    if age > most:
        log.warning("%s; from twice as many no forecast is made", text)
    return age


def model_age(manifest: Manifest, calendars: Collection[str], day: date) -> int:
    """Count the night dates since the last day that a version's training saw."""
    return len(night_dates(calendars, manifest.data.blocks.last, day))
