"""Bring one ticker up to date: ask for what is missing, compare, and store or refuse."""

import logging
import zlib
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import numpy as np

from forecaster.data.bars import History, Listing
from forecaster.data.identity import describe_change, keep_known
from forecaster.data.merge import changed_past, late_dividend, stranded
from forecaster.data.sessions import last_final_session, sessions_between
from forecaster.data.sources.base import Source
from forecaster.data.store import PriceStore
from forecaster.data.store_batch import Stand
from forecaster.errors import DataError
from forecaster.pipeline.ingesting.ingest import admit, put
from forecaster.pipeline.ingesting.usual import Answer, first_of_overlap

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is wanted of every ticker.

    `start` and `end` are the first and last session, None for what is missing; the whole past
    is compared again every `compare_all_days`, never for 0.
    """

    start: date | None
    end: date | None
    accept_identity: bool
    compare_all_days: int


def refresh(
    store: PriceStore,
    source: Source,
    ticker: str,
    wish: Wish,
    now: datetime,
    answer: Answer | None = None,
) -> int:
    """Bring one ticker up to date; return how many bars were new or different.

    Args:
        store: open for writing.
        source: asked for the overlap, and for all if that no longer agrees with the store.
        ticker: in Yahoo's spelling.
        wish: what is wanted.
        now: aware instant before which the source was, or will be, asked.
        answer: what it has said to the first question, if it was asked already.

    Raises:
        DataError: the ticker is in doubt, or may be another security; it stays as stored.
    """
    stand = store.batch.stands([ticker]).get(ticker)
    if stand is None:
        served = admit(store, source.history(ticker, wish.start, wish.end), now)
        return put(store, None, served, now)
    listing, span = stand.listing, stand.span
    _refuse_other_source(listing, source)
    begin = answer.begin if answer else _first_to_ask(store, stand, wish, now)
    if begin is None:
        return 0
    # Never a piece that does not reach the stored bars: it might be on another scale.
    end = max(wish.end, span.last) if wish.end else None
    served = answer.served if answer else source.history(ticker, begin, end)
    recent = admit(store, served, now)
    other = _other_identity(listing, recent.listing, accept=wish.accept_identity)
    recent = replace(recent, listing=keep_known(listing, recent.listing))
    held = History(listing=listing, bars=store.bars(ticker, since=begin))
    change = other or changed_past(held.bars, recent.bars, listing.basis)
    change = change or late_dividend(held.bars, recent.bars)
    if change:
        log.warning("%s: the source has changed its past: %s; fetching all of it", ticker, change)
        if begin > span.first:
            begin, whole = span.first, admit(store, source.history(ticker, span.first, end), now)
            recent = replace(whole, listing=keep_known(listing, whole.listing))
            held = store.history(ticker)
        _refuse_stranded(held, recent, change)
    changed = put(store, held, recent, now, change)
    if begin <= span.first and end is None:
        store.batch.note_compared(ticker, now)
    return changed


def is_due(stand: Stand, wish: Wish, now: datetime) -> bool:
    """Tell whether a ticker's whole past is to be compared again.

    Tickers that were first fetched on one night are spread over several.
    """
    if not wish.compare_all_days:
        return False
    spread = zlib.crc32(stand.listing.ticker.encode()) % (wish.compare_all_days // 4 + 1)
    age = timedelta(days=wish.compare_all_days + spread)
    return stand.compared_at is None or now - stand.compared_at >= age


def _first_to_ask(store: PriceStore, stand: Stand, wish: Wish, now: datetime) -> date | None:
    """Find the first day to ask for: the overlap's, or an older one that is wanted and missing.

    It is the first of all where the whole past is due to be compared.

    None where all that is wanted is stored and older than the overlap.
    """
    listing, span = stand.listing, stand.span
    final = last_final_session(listing.calendar, now)
    if span.last > final:
        log.warning(
            "%s: is stored up to %s, but at %s nothing after %s can be final; not fetched. "
            "Set the clock of this machine.",
            *(listing.ticker, span.last, now.isoformat(timespec="seconds"), final),
        )
        return None
    overlap = first_of_overlap(span.last)
    if wish.start is None and wish.end is None:
        return span.first if is_due(stand, wish, now) else overlap
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
