"""Bars that the last night lacked, asked for again by every run until the next night."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from forecaster.errors import ForecasterError
from forecaster.pipeline.ingesting.ingest import FetchReport
from forecaster.pipeline.nightly.evenings import SOURCE_FAILS, Due, Held
from forecaster.registry.nights import nights

log = logging.getLogger(__name__)

# Fetches some tickers; tells what became of them, or why nothing did.
Fetch = Callable[[tuple[str, ...]], tuple[FetchReport | None, ForecasterError | None]]


def lacking(home: Path, name: str, stored: Held, due: Due) -> tuple[str, ...]:
    """Name the tickers whose bar the last night lacked, as long as no newer night is known of."""
    if due.last is None or due.nights or due.is_waiting:
        return ()
    (last,) = (one for one in nights(home, name) if one.night == due.last)
    return tuple(one for one in last.summary.get("behind", ()) if one in stored.calendars)


def ask_again(tickers: Sequence[str], fetch: Fetch) -> None:
    """Fetch each by itself, which says nothing of those that fail: the night has said it.

    Stops where the source itself fails.
    """
    for ticker in tickers:
        fetched, trouble = fetch((ticker,))
        failed = fetched.failures.get(ticker) if fetched is not None else trouble
        if failed:
            log.info("%s", failed)
        if isinstance(failed, SOURCE_FAILS):
            return
