"""The one road into the store: screen, compare with what is stored, check by all rules, write."""

import logging
import zlib
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final

import numpy as np
import pandas as pd

from forecaster.data.history import History, Listing
from forecaster.data.revisions import Overlap, describe_change, keep_known
from forecaster.data.screening import check_served, in_order, screen
from forecaster.data.sessions import (
    describe_gaps,
    describe_guess,
    final_part,
    last_final_session,
    new_gaps,
    sessions_between,
)
from forecaster.data.sources import Source
from forecaster.data.store import PriceStore
from forecaster.data.store_rows import TickerState
from forecaster.errors import DataError, ForecasterError, PartialFailure, TryLaterError

log = logging.getLogger(__name__)

FETCH_COLUMNS: Final = ("ticker", "rows_changed", "days", "first", "last", "error")
OVERLAP: Final = timedelta(days=14)  # about ten sessions are fetched again and compared


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchReport:
    """The result for each ticker: a table (`FETCH_COLUMNS`), and the errors by ticker."""

    table: pd.DataFrame
    failures: dict[str, ForecasterError]

    def raise_failures(self) -> None:
        """Raise the error that decides the exit code; nothing if no ticker failed."""
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


def report_of(
    store: PriceStore, changed: dict[str, int], failures: dict[str, ForecasterError]
) -> FetchReport:
    """Build the report of a fetch or import.

    Args:
        store: as it is now.
        changed: number of new or different bars by ticker, in the order of the table.
        failures: errors by ticker.
    """
    rows = []
    for ticker, count in changed.items():
        span, error = store.span(ticker), failures.get(ticker)
        ends = (pd.Timestamp(span.first), pd.Timestamp(span.last)) if span else (pd.NaT, pd.NaT)
        days = span.days if span else 0
        rows.append((ticker, count, days, *ends, str(error) if error else None))
    return FetchReport(table=pd.DataFrame(rows, columns=list(FETCH_COLUMNS)), failures=failures)


def admit(store: PriceStore, history: History, served_at: datetime) -> History:
    """Return the bars of a served history that may be stored: final ones that can be bars.

    Args:
        store: open for writing.
        history: straight from its source.
        served_at: aware instant before the source was asked.

    Raises:
        DataError: a bar of the future; rows that cannot be left out.
    """
    return screen(store, final_part(in_order(history), served_at), served_at)


def store_news(
    store: PriceStore,
    overlap: Overlap | None,
    served: History,
    served_at: datetime,
    reason: str = "",
) -> int:
    """Check admitted bars by all rules and store the new and different ones.

    Args:
        store: open for writing.
        overlap: the admitted bars compared with the stored ones from the first served day on;
            None if the ticker is not stored.
        served: the admitted bars.
        served_at: aware instant at which they were served.
        reason: why the past changes, if it does.

    Returns:
        The number of new or different bars.

    Raises:
        DataError: the ticker is quarantined and stays as stored.
    """
    check_served(store, served, served_at)
    bars = served.bars if overlap is None else overlap.news()
    changed = store.upsert(replace(served, bars=bars), served_at, reason)
    if changed:
        before, days = None, served.bars[["session"]]
        if overlap is not None:
            before = replace(served, bars=overlap.stored)
            both = np.union1d(overlap.stored["session"].to_numpy(), days["session"].to_numpy())
            days = pd.DataFrame({"session": both})
        warn_of_calendar(before, replace(served, bars=days))
    return changed


def warn_of_calendar(before: History | None, now: History) -> None:
    """Log once that a new ticker's calendar is a guess, or that new bars leave gaps."""
    guess = describe_guess(now)
    if guess and before is None:
        log.warning("%s", guess)
    gaps = new_gaps(before, now)
    if len(gaps):
        log.warning("%s", describe_gaps(now, gaps))


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRequest:
    """What to fetch of every ticker.

    `start` and `end` are the first and last session, None for what is missing; the complete past
    is compared again every `compare_all_days`, never for 0.
    """

    start: date | None
    end: date | None
    accept_identity: bool
    compare_all_days: int


def refresh(
    store: PriceStore, source: Source, ticker: str, request: FetchRequest, now: datetime
) -> int:
    """Update one ticker; return the number of new or different bars.

    Args:
        store: open for writing.
        source: asked for the overlap, and for all if that no longer agrees with the store.
        ticker: in Yahoo's spelling.
        request: what to fetch.
        now: aware instant before the source is asked.

    Raises:
        DataError: the ticker is quarantined, or may be another security; it stays as stored.
    """
    state = store.state(ticker)
    if state is None:
        served = admit(store, source.history(ticker, request.start, request.end), now)
        return store_news(store, None, served, now)
    listing = state.listing
    _refuse_other_source(listing, source)
    begin = _first_to_ask(store, state, request, now)
    if begin is None:
        return 0
    # Always up to the stored bars: a part before them might be on another scale.
    end = max(request.end, state.last) if request.end else None
    served = admit(store, source.history(ticker, begin, end), now)
    accepted = _accepted_identity(listing, served.listing, accept=request.accept_identity)
    served = replace(served, listing=keep_known(listing, served.listing))
    overlap = Overlap.of(store.bars(ticker, since=begin), served.bars)
    change = accepted or overlap.changed_past(listing.basis) or overlap.late_dividend()
    if change:
        log.warning("%s: the source has changed its past: %s; fetching all of it", ticker, change)
        if begin > state.first:
            begin = state.first
            complete = admit(store, source.history(ticker, begin, end), now)
            served = replace(complete, listing=keep_known(listing, complete.listing))
            overlap = Overlap.of(store.bars(ticker), served.bars)
        _refuse_stranded(ticker, overlap, change)
    changed = store_news(store, overlap, served, now, change)
    if begin <= state.first and end is None:
        store.record_comparison(ticker, now)
    return changed


def _is_comparison_due(state: TickerState, request: FetchRequest, now: datetime) -> bool:
    """Whether a ticker's complete past is to be compared again.

    Tickers that were first fetched on one day are spread over several.
    """
    if not request.compare_all_days:
        return False
    spread = zlib.crc32(state.listing.ticker.encode()) % (request.compare_all_days // 4 + 1)
    age = timedelta(days=request.compare_all_days + spread)
    return state.compared_at is None or now - state.compared_at >= age


def _first_to_ask(
    store: PriceStore, state: TickerState, request: FetchRequest, now: datetime
) -> date | None:
    """Return the first day to ask for: the overlap's, or an older one that is missing.

    The first stored day where the complete past is due to be compared; None where everything
    requested is stored and older than the overlap.
    """
    listing = state.listing
    final = last_final_session(listing.calendar, now)
    if state.last > final:
        log.warning(
            "%s: is stored up to %s, but at %s nothing after %s can be final; not fetched. "
            "Set the clock of this machine.",
            *(listing.ticker, state.last, now.isoformat(timespec="seconds"), final),
        )
        return None
    overlap = state.last - OVERLAP
    if request.start is None and request.end is None:
        return state.first if _is_comparison_due(state, request, now) else overlap
    first = max(request.start or overlap, listing.first_trade or date.min)
    stored = store.bars(listing.ticker, since=first)["session"].to_numpy("datetime64[D]")
    wanted = sessions_between(listing.calendar, first, min(request.end or final, final))
    missing = np.setdiff1d(wanted, stored)
    if len(missing):
        return min(date.fromisoformat(str(missing[0])), overlap)
    return None if request.end and request.end <= state.last else overlap


def _refuse_other_source(listing: Listing, source: Source) -> None:
    if listing.source != source.name:
        raise DataError(
            f"{listing.ticker}: is stored from {listing.source}, which does not mix with "
            f"{source.name}. Keep the two in another --home each."
        )


def _accepted_identity(stored: Listing, served: Listing, *, accept: bool) -> str:
    """Return a change of identity that is accepted, in words; refuse one that is not."""
    change = describe_change(stored, served)
    if change and not accept:
        raise DataError(
            f"{stored.ticker}: may be another security now: {change}. Nothing was stored. If it "
            f"is still the same, run `forecaster fetch {stored.ticker} --accept-identity`; if "
            "not, fetch it into another --home."
        )
    return f"identity accepted: {change}" if change else ""


def _refuse_stranded(ticker: str, overlap: Overlap, change: str) -> None:
    """Refuse a changed past that leaves stored days on another scale."""
    left = overlap.stranded()["session"]
    if len(left):
        raise DataError(
            f"{ticker}: the source changed its past ({change}) and now lacks {len(left):,} of the "
            f"{len(overlap.stored):,} stored days (first {left.iloc[0]:%Y-%m-%d}), which would "
            "stay on the old scale; kept as stored. Fetch again tomorrow, or compare it in "
            "another --home."
        )
