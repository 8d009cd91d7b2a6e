"""Forecast the next session of each ticker with the champions or a chosen version."""

import logging
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Unpack

import pandas as pd

from forecaster import clock
from forecaster.clock import Day
from forecaster.data.export import write_table
from forecaster.data.loading import Bars, warn_of_unread
from forecaster.files import output_file, to_json
from forecaster.forecasting.forecast_tables import PREDICTION_COLUMNS
from forecaster.forecasting.next_session import (
    ForecastRequest,
    Prediction,
    StateUse,
)
from forecaster.operations.clock_check import refuse_clock_behind
from forecaster.operations.due_sessions import check_age
from forecaster.operations.forecast_recording import forecast_with, record_by_hand
from forecaster.pipeline.arguments import check_model
from forecaster.registry.champion import Choice, find_champion, find_champions, named_version
from forecaster.settings import Home, PredictSettings, resolve_home
from forecaster.settings.keywords import PredictKeywords, settings_from

__all__ = ["PREDICTION_COLUMNS", "Prediction", "predict", "write_forecasts"]

log = logging.getLogger(__name__)


def write_forecasts(made: Prediction, file: Path) -> None:
    """Write the forecasts, every column, as .csv, .parquet or .json (a list of rows).

    Raises:
        UsageError: another ending, or pyarrow is not installed.
        CannotWriteError, StorageError: as for `output_file`.
    """
    if file.suffix.lower() != ".json":
        write_table(made.forecasts, file)
        return
    with output_file(file) as stream:
        stream.write(to_json(made.forecasts, indent=2).encode())


def predict(
    tickers: str | Sequence[str] = (),
    *,
    version: str | None = None,
    target: str | None = None,
    name: str | None = None,
    bars: Bars | None = None,
    home: Home | None = None,
    as_of: Day | None = None,
    settings: PredictSettings | PredictKeywords | None = None,
    record: bool = True,
    **keywords: Unpack[PredictKeywords],
) -> Prediction:
    """Forecast the session after each ticker's last final bar, and record it.

    Args:
        tickers: none means all there are.
        version: None for the champions: the baseline where that is champion, the newest version
            where there was no promotion test yet.
        target: None for all targets of the version or the champions.
        name: the champion of this model name; None for any.
        bars: a caller's own bars (see `train`), or None for the store of the home.
        home: the workspace; None as the command line resolves it.
        as_of: forecast as after the close of this day, text or a date; None for now.
        settings: when to refuse, as a value or a dict; None for the defaults.
        record: whether to record the forecasts in the home's log, except of a caller's own bars.
        keywords: settings that win over those of `settings`.

    Returns:
        One row per ticker and target. `forecast` and the quantiles are in the target's
        units, prices in the listing's currency, empty for range and volume.

    Raises:
        ArtifactError: the version is corrupt.
        DataError: no ticker can be forecast: stale, or too short.
        TooOldError: the champion is, and no version was chosen.
        TryLaterError: the clock is behind the stored prices.
        UnknownNameError: no such ticker or version, or none that old.
        UsageError: `as_of` is no date or lies in the future; a malformed ticker; the version
            has no such target; both `version` and `name`; two champions for one target.

    Examples:
        >>> from forecaster import predict
        >>> made = predict("SP500", home="demo", as_of="2018-12-31")
        >>> made.forecasts[["ticker", "session", "target"]]
          ticker    session target
        0  SP500 2019-01-02  range
    """
    check_model(version, name, target)
    where, last = resolve_home(home), clock.as_day(as_of)
    settings = settings_from(PredictSettings, settings, keywords)
    if bars is None:
        refuse_clock_behind(where)
    # Loaded first: an unknown ticker is reported before any work.
    states: StateUse = "none" if last else "write" if record else "read"
    request = ForecastRequest.of(where, tickers, bars, last, settings.max_stale, states)
    parts = []
    for choice, targets in _choices(where, version, target, last, name):
        if choice.manifest is None:
            log.info("the baseline forecasts: it is champion of %s", choice.name)
        elif version is None:
            calendars = {history.listing.calendar for history in request.histories}
            newest = max(h.bars["session"].iloc[-1] for h in request.histories).date()
            check_age(choice.manifest, calendars, newest, settings.max_model_age)
        part = forecast_with(where, choice, targets, request, replaceable=version is None)[1]
        parts.append(record_by_hand(where, part) if record and bars is None else part)
    if request.bars is not None:
        read = {name for part in parts for name in part.forecasts["target"]}
        warn_of_unread(request.bars.histories.values(), read)
    return parts[0] if len(parts) == 1 else _joined(parts)


def _choices(
    home: Path, version: str | None, target: str | None, as_of: date | None, name: str | None
) -> list[tuple[Choice, tuple[str, ...]]]:
    """Choose the version or the baseline that forecasts which targets."""
    if version is None:
        if target is not None:
            return [(find_champion(home, target, as_of, name), (target,))]
        return find_champions(home, as_of, name)
    return [named_version(home, version, target)]


def _joined(parts: Sequence[Prediction]) -> Prediction:
    """Join the forecasts of several models."""
    counts = [part.recorded for part in parts if part.recorded is not None]
    return Prediction(
        forecasts=pd.concat([part.forecasts for part in parts], ignore_index=True),
        models={name: version for part in parts for name, version in part.models.items()},
        skipped=tuple(sorted({ticker for part in parts for ticker in part.skipped})),
        missing=tuple(sorted({ticker for part in parts for ticker in part.missing})),
        in_sample=any(part.in_sample for part in parts),
        recorded=sum(counts) if counts else None,
        troubles=tuple(dict.fromkeys(text for part in parts for text in part.troubles)),
    )
