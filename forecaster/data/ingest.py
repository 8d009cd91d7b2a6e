"""Bring one ticker up to date: ask for what is missing, compare, and store or refuse."""

import logging
import zlib
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd

from forecaster.data.calendar_gaps import describe_guess, describe_holes, final_part, new_holes
from forecaster.data.history import History, Listing
from forecaster.data.revisions import (
    changed_past,
    describe_change,
    keep_known,
    late_dividend,
    news,
    stranded,
)
from forecaster.data.screening import in_order, refuse_doubt, screen
from forecaster.data.sessions import last_final_session, sessions_between
from forecaster.data.sources.base import Source
from forecaster.data.store import PriceStore
from forecaster.data.store_batch import Stand
from forecaster.data.usual import Answer, first_of_overlap
from forecaster.errors import DataError, ForecasterError, PartialFailure, TryLaterError

log = logging.getLogger(__name__)

FETCH_COLUMNS = ("ticker", "rows_changed", "days", "first", "last", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchReport:
    """What became of each ticker: a table (`FETCH_COLUMNS`) and the errors by ticker."""

    table: pd.DataFrame
    failures: dict[str, ForecasterError]

    def raise_failures(self) -> None:
        """Raise what the exit code should tell; nothing if every ticker went well."""
        if not self.failures:
            return
        errors = list(self.failures.values())
        later = [error for error in errors if isinstance(error, TryLaterError)]
        if later:
            raise later[0]
        if len(errors) == len(self.table):
            raise errors[0]
        raise PartialFailure(
            f"{len(errors)} of {len(self.table)} tickers failed: {', '.join(self.failures)}."
        )


def admit(store: PriceStore, history: History, served_at: datetime) -> History:
    """Keep what may be stored of a history as it was served: final bars that can be bars.

    Args:
        store: open for writing.
        history: straight from its source.
        served_at: aware instant before which its source was asked.

    Raises:
        DataError: a bar of the future; rows that cannot be left out.
    """
    return screen(store, final_part(in_order(history), served_at), served_at)


def put(
    store: PriceStore, held: History | None, served: History, served_at: datetime, reason: str = ""
) -> int:
    """Store the news in bars that were admitted, and warn of what they bring.

    Args:
        store: open for writing.
        held: the stored bars from the first day served on; None where there are none.
        served: what was admitted.
        served_at: aware instant at which it was served.
        reason: why the past changes, if it does.

    Returns:
        How many bars were new or different.

    Raises:
        DataError: the ticker is in doubt; it stays as stored.
    """
    refuse_doubt(store, served, served_at)
    bars = served.bars if held is None else news(held.bars, served.bars)
    changed = store.upsert(replace(served, bars=bars), served_at, reason)
    if changed:
        days = served.bars[["session"]]
        if held is not None:
            both = np.union1d(held.bars["session"].to_numpy(), days["session"].to_numpy())
            days = pd.DataFrame({"session": both})
        warn_of_calendar(held, replace(served, bars=days))
    return changed


def stored_history(store: PriceStore, ticker: str) -> History | None:
    """Read what is stored of a ticker; None where there is no bar."""
    return store.history(ticker) if store.span(ticker) else None


def warn_of_calendar(before: History | None, now: History) -> None:
    """Say once what a ticker's new bars brought: a calendar that is a guess, holes."""
    guess = describe_guess(now)
    if guess and before is None:
        log.warning("%s", guess)
    holes = new_holes(before, now)
    if len(holes):
        log.warning("%s", describe_holes(now, holes))


def stored_row(store: PriceStore, ticker: str, changed: int) -> dict[str, object]:
    """Tell what is stored of a ticker now; nothing is 0 days."""
    span = store.span(ticker)
    ends = (pd.Timestamp(span.first), pd.Timestamp(span.last)) if span else (pd.NaT, pd.NaT)
    counts = {"rows_changed": changed, "days": span.days if span else 0}
    return {"ticker": ticker, **counts, "first": ends[0], "last": ends[1], "error": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRequest:
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
    wish: FetchRequest,
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


def is_due(stand: Stand, wish: FetchRequest, now: datetime) -> bool:
    """Tell whether a ticker's whole past is to be compared again.

    Tickers that were first fetched on one night are spread over several.
    """
    if not wish.compare_all_days:
        return False
    spread = zlib.crc32(stand.listing.ticker.encode()) % (wish.compare_all_days // 4 + 1)
    age = timedelta(days=wish.compare_all_days + spread)
    return stand.compared_at is None or now - stand.compared_at >= age


def _first_to_ask(
    store: PriceStore, stand: Stand, wish: FetchRequest, now: datetime
) -> date | None:
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
