"""`forecaster fetch`: bring prices from a source into the store, ticker by ticker."""

import logging
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Final

from forecaster import clock
from forecaster.data.history import normalise_tickers
from forecaster.data.ingest import FetchReport as FetchReport
from forecaster.data.ingest import FetchRequest, refresh, report_of
from forecaster.data.sources import Source, open_source
from forecaster.data.store import PriceStore
from forecaster.errors import (
    CannotWriteError,
    ForecasterError,
    SourceDownError,
    StorageError,
    UsageError,
)
from forecaster.operations.lock import writer
from forecaster.settings import FetchSettings, resolve_home

__all__ = ["FetchReport", "fetch"]

log = logging.getLogger(__name__)

MOST_DOWN: Final = 5  # tickers in a row for which the source itself failed, before giving up
OnTicker = Callable[[str, int, int], None]


def fetch(
    tickers: str | Sequence[str] = (),
    *,
    settings: FetchSettings | None = None,
    start: date | None = None,
    end: date | None = None,
    home: Path | None = None,
    source: Source | None = None,
    accept_identity: bool = False,
    on_ticker: OnTicker = lambda ticker, number, of: None,
) -> FetchReport:
    """Download missing prices, check and store them, each ticker completely or not at all.

    The last two weeks of a stored ticker are fetched again, with what is missing. If those
    weeks no longer agree with the store, or contain a split, the complete history is fetched
    and becomes a new revision, because the source has changed the past. Every few weeks
    (`compare_all_days`) the complete history is fetched and compared instead.

    Args:
        tickers: which; none means everything in the store, or all that the source serves.
        settings: which source, and how often to compare all; None for the defaults.
        start: first session wanted; None for the oldest of a new ticker, and for the last
            two weeks of a stored one.
        end: last session wanted; None for the newest final one.
        home: the workspace; None as the command line resolves it.
        source: a source to use instead of the one in the settings.
        accept_identity: continue with tickers whose name, exchange, currency or first trade
            date has changed, instead of stopping them.
        on_ticker: called before each ticker with its number, from 1, and how many there are.

    Returns:
        The report. A ticker that fails is in it and leaves the store as it was.

    Raises:
        CannotWriteError: the home is missing or read-only; raised before any work.
        SourceDownError: the source failed ticker after ticker.
        StorageError: the disk failed; tickers stored before stay stored.
        TryLaterError: another process is writing.
        UsageError: a malformed ticker, `start` after `end`, no ticker at all, an unknown
            source, or a changed identity accepted without listing the tickers.
    """
    if start and end and start > end:
        raise UsageError(f"--start {start} is after --end {end}; swap them.")
    where = resolve_home(home)
    if accept_identity and not tickers:
        raise UsageError("--accept-identity: name the tickers that are still the same security.")
    settings = settings or FetchSettings()
    request = FetchRequest(
        start=start,
        end=end,
        accept_identity=accept_identity,
        compare_all_days=settings.compare_all_days,
    )
    wanted = list(dict.fromkeys(normalise_tickers(tickers)))
    with writer(where, "forecaster fetch"), PriceStore.open_for_writing(where) as store:
        store.defer_sync()  # a ticker that a power failure loses is fetched again
        chosen = source or open_source(settings.source, where)
        wanted = wanted or list(chosen.tickers()) or store.tickers(chosen.name)
        if not wanted:
            raise UsageError("No ticker given and none stored; for example: forecaster fetch AAPL")
        return _fetch_all(store, chosen, wanted, request, on_ticker)


def _fetch_all(
    store: PriceStore,
    source: Source,
    tickers: list[str],
    request: FetchRequest,
    on_ticker: OnTicker,
) -> FetchReport:
    """Fetch one ticker after another; one that fails does not stop the others."""
    changed = dict.fromkeys(tickers, 0)
    failures: dict[str, ForecasterError] = {}
    down = 0
    for number, ticker in enumerate(tickers, start=1):
        on_ticker(ticker, number, len(tickers))
        # Read before asking: a session that closes while the source makes us wait is not final.
        now = clock.now()
        try:
            changed[ticker] = refresh(store, source, ticker, request, now)
            down = 0
        except (StorageError, CannotWriteError):
            raise
        except ForecasterError as error:
            if len(tickers) > 1:  # the caller reports the error of a single ticker
                log.warning("%s", error)
            failures[ticker] = error
            down = down + 1 if isinstance(error, SourceDownError) else 0
            if down == MOST_DOWN:
                raise
    return report_of(store, changed, failures)
