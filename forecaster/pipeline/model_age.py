"""How old a model is, in sessions: from some age on warned of, from twice as old refused."""

import logging
from collections.abc import Collection
from datetime import date

from forecaster.errors import TooOldError
from forecaster.pipeline.nightly.evenings import night_dates
from forecaster.registry.manifest import Manifest

log = logging.getLogger(__name__)


def model_age(manifest: Manifest, calendars: Collection[str], day: date) -> int:
    """Count the days with a session in any of the calendars since the last that training saw."""
    return len(night_dates(calendars, manifest.data.blocks.last, day))


def accepted_age(manifest: Manifest, calendars: Collection[str], day: date, most: int) -> int:
    """Tell a model's age on the day that it forecasts from, warning where it is above `most`.

    Raises:
        TooOldError: it is above twice as many sessions.
    """
    age = model_age(manifest, calendars, day)
    text = (
        f"version {manifest.version} was trained as of {manifest.data.blocks.last}, {age} sessions "
        f"before {day}; --max-model-age is {most}"
    )
    if age > 2 * most:
        raise TooOldError(
            f"{text}, and no forecast is made from twice as many. Train, or promote another: "
            "forecaster models promote"
        )
    if age > most:
        log.warning("%s; from twice as many no forecast is made", text)
    return age
