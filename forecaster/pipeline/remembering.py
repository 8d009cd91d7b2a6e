"""Forecasts into the ledger: who made them, from which bars, and whether in time."""

import logging
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

from forecaster import clock
from forecaster.data.sessions import is_final
from forecaster.data.store import PriceStore
from forecaster.errors import CannotWriteError, SettingsError, StorageError, TryLaterError
from forecaster.pipeline.prediction import Prediction
from forecaster.registry.ledger import remember

log = logging.getLogger(__name__)

Maker = Literal["by-hand", "night"]


def remembered(home: Path, made: Prediction, maker: Maker) -> Prediction:
    """Write forecasts into the ledger of a home, and say in them how many were new.

    Raises:
        CannotWriteError, SettingsError, StorageError, TryLaterError: the ledger cannot be
            written, and the night made them. A person is told so aloud instead, in one line.
    """
    try:
        count = _remember(home, made, night=maker == "night")
    except CannotWriteError as error:
        if maker == "night":
            raise
        log.info("these forecasts are not remembered: %s", error)
        return made
    except (SettingsError, StorageError, TryLaterError) as error:
        if maker == "night":
            raise
        log.warning("these forecasts are not remembered: %s", error)
        return replace(made, troubles=(*made.troubles, "these forecasts are not remembered"))
    return replace(made, remembered=count)


def _remember(home: Path, made: Prediction, *, night: bool) -> int:
    now, table = clock.now(), made.forecasts
    with PriceStore.open_for_reading(home) as store:
        calendars = {name: store.listing(name).calendar for name in set(table["ticker"])}
    pairs = zip(table["ticker"], table["session"], strict=True)
    late = [is_final(calendars[name], day.date(), now, timedelta(0)) for name, day in pairs]
    return remember(
        home,
        made.name,
        table,
        fingerprint=made.fingerprint,
        made_at=now,
        night=night,
        late=late,
    )
