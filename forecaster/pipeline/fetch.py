"""Bring prices from a source into the store, ticker by ticker; say once what is odd about them."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster import clock
from forecaster.data.bars import History, Listing
from forecaster.data.identity import describe_change, keep_known
from forecaster.data.merge import changed_past, late_dividend, stranded
from forecaster.data.sessions import last_final_session, sessions_between
from forecaster.data.sources.base import Source
from forecaster.data.store import PriceStore
from forecaster.data.store_rows import Span
from forecaster.data.tickers import normalise_tickers
from forecaster.errors import (
    CannotWriteError,
    DataError,
    ForecasterError,
    SourceDownError,
    StorageError,
    UsageError,
)
from forecaster.pipeline.ingest import FETCH_COLUMNS, FetchReport, admit, put, stored_row
from forecaster.settings import FetchSettings, resolve_home

log = logging.getLogger(__name__)

OVERLAP = timedelta(days=14)  # about ten sessions are asked for again and compared
MOST_DOWN = 5  # tickers in a row that the source itself failed, before giving up
OnTicker = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What is wanted of every ticker."""

    start: date | None
    end: date | None
    accept_identity: bool


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
    """Download what is missing, check it, and store it, one transaction per ticker.

    A stored ticker is asked for its last two weeks again, and for what is missing. If those
    weeks no longer agree with the store, or bring a split, its whole history is fetched anew
    and becomes a new revision, because the source has changed the past.

    Args:
        tickers: which; none means everything in the store, or all that the source serves.
        settings: which source; None for the defaults.
        start: first session wanted; None for the oldest of a new ticker, and for the last
            two weeks of a stored one.
        end: last session wanted; None for the newest final one.
        home: the workspace; None as the command line resolves it.
        source: a source to use instead of the one that the settings name.
        accept_identity: go on with tickers whose name, exchange, currency or first trade
            date has changed, instead of stopping them.
        on_ticker: called before each ticker with its number, from 1, and how many there are.

    Returns:
        The report. A ticker that fails is in it and leaves the store as it was.

    Raises:
        CannotWriteError: the home is missing or read-only; found out before any work.
        SourceDownError: the source failed ticker after ticker.
        StorageError: the disk failed; tickers stored before stay stored.
        UsageError: a malformed ticker, `start` after `end`, no ticker at all, or a changed
            identity accepted without naming whose.
    """
    if start and end and start > end:
        raise UsageError(f"--start {start} is after --end {end}; swap them.")
    where = resolve_home(home)
    if accept_identity and not tickers:
        raise UsageError("--accept-identity: name the tickers that are still the same security.")
    wish = _Wish(start=start, end=end, accept_identity=accept_identity)
    wanted = list(dict.fromkeys(normalise_tickers(tickers)))
    with PriceStore.open_for_writing(where) as store:
        chosen = source or _open_source((settings or FetchSettings()).source, where)
        wanted = wanted or list(chosen.tickers()) or store.tickers(chosen.name)
        if not wanted:
            raise UsageError("No ticker given and none stored; for example: forecaster fetch AAPL")
        return _fetch_all(store, chosen, wanted, wish, on_ticker)


def _open_source(name: str, home: Path) -> Source:
    """Make a source by name; yfinance is imported only for its own."""
    if name == "sample":
        from forecaster.data.sources.sample import SampleSource

        return SampleSource()
    from forecaster.data.sources.yahoo import YahooSource

    return YahooSource(home / "data" / "yahoo")


def _fetch_all(
    store: PriceStore, source: Source, tickers: list[str], wish: _Wish, on_ticker: OnTicker
) -> FetchReport:
    """Fetch one ticker after another; one that fails does not stop the others."""
    rows: list[dict[str, object]] = []
    failures: dict[str, ForecasterError] = {}
    down = 0
    for number, ticker in enumerate(tickers, start=1):
        on_ticker(ticker, number, len(tickers))
        try:
            rows.append(stored_row(store, ticker, _fetch_one(store, source, ticker, wish)))
            down = 0
        except (StorageError, CannotWriteError):
            raise
        except ForecasterError as error:
            if len(tickers) > 1:  # the only one's error is told by whoever raises it
                log.warning("%s", error)
            failures[ticker] = error
            rows.append({**stored_row(store, ticker, 0), "error": str(error)})
            down = down + 1 if isinstance(error, SourceDownError) else 0
            if down == MOST_DOWN:
                raise
    return FetchReport(table=pd.DataFrame(rows, columns=list(FETCH_COLUMNS)), failures=failures)


def _fetch_one(store: PriceStore, source: Source, ticker: str, wish: _Wish) -> int:
    """Bring one ticker up to date; return how many bars were new or different."""
    # Read before asking: a session that closes while the source makes us wait is not final.
    now = clock.now()
    span = store.span(ticker)
    if span is None:
        served = admit(store, source.history(ticker, wish.start, wish.end), now)
        return put(store, None, served, now)
    listing = store.listing(ticker)
    _refuse_other_source(listing, source)
    begin = _first_to_ask(store, listing, span, wish, now)
    if begin is None:
        return 0
    # Never a piece that does not reach the stored bars: it might be on another scale.
    end = max(wish.end, span.last) if wish.end else None
    recent = admit(store, source.history(ticker, begin, end), now)
    other = _other_identity(listing, recent.listing, accept=wish.accept_identity)
    recent = replace(recent, listing=keep_known(listing, recent.listing))
    held = History(listing=listing, bars=store.bars(ticker, since=begin))
    change = other or changed_past(held.bars, recent.bars, listing.basis)
    change = change or late_dividend(held.bars, recent.bars)
    if not change:
        return put(store, held, recent, now)
    log.warning("%s: the source has changed its past: %s; fetching all of it", ticker, change)
    if begin > span.first:
        whole = admit(store, source.history(ticker, span.first, end), now)
        recent = replace(whole, listing=keep_known(listing, whole.listing))
        held = store.history(ticker)
    _refuse_stranded(held, recent, change)
    return put(store, held, recent, now, change)


def _first_to_ask(
    store: PriceStore, listing: Listing, span: Span, wish: _Wish, now: datetime
) -> date | None:
    """Find the first day to ask for: the overlap's, or an older one that is wanted and missing.

    None where all that is wanted is stored and older than the overlap.
    """
    final = last_final_session(listing.calendar, now)
    if span.last > final:
        log.warning(
            "%s: is stored up to %s, but at %s nothing after %s can be final; not fetched. "
            "Set the clock of this machine.",
            *(listing.ticker, span.last, now.isoformat(timespec="seconds"), final),
        )
        return None
    overlap = span.last - OVERLAP
    if wish.start is None and wish.end is None:
        return overlap
    first = max(wish.start or overlap, listing.first_trade or date.min)
    held = store.bars(listing.ticker, since=first)["session"].to_numpy("datetime64[D]")
    wanted = sessions_between(listing.calendar, first, min(wish.end or final, final))
    missing = np.setdiff1d(wanted, held)
    if len(missing):
        return min(date.fromisoformat(str(missing[0])), overlap)
    return None if wish.end and wish.end <= span.last else overlap


def _refuse_other_source(listing: Listing, source: Source) -> None:
    if listing.source != source.name:
        raise DataError(
            f"{listing.ticker}: is stored from {listing.source}, which does not mix with "
            f"{source.name}. Keep the two in another --home each."
        )


def _other_identity(stored: Listing, served: Listing, *, accept: bool) -> str:
    """Tell a change of identity that is accepted; refuse one that is not."""
    change = describe_change(stored, served)
    if change and not accept:
        raise DataError(
            f"{stored.ticker}: may be another security now: {change}. Nothing was taken. If it "
            f"is still the same, run `forecaster fetch {stored.ticker} --accept-identity`; if "
            "not, fetch it into another --home."
        )
    return f"identity accepted: {change}" if change else ""


def _refuse_stranded(held: History, whole: History, change: str) -> None:
    """Refuse a changed past that leaves stored days behind on another scale."""
    left = stranded(held.bars, whole.bars)["session"]
    if len(left):
        raise DataError(
            f"{held.listing.ticker}: the source changed its past ({change}) and now lacks "
            f"{len(left):,} of the {len(held.bars):,} stored days (first {left.iloc[0]:%Y-%m-%d}), "
            "which would stay on the old scale; kept as stored. Fetch again tomorrow, or "
            "compare it in another --home."
        )
