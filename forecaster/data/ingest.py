"""The one road into the store: screen, compare with what is stored, check by all rules, write.

Shape letters: D stored bars, S served bars, C days that both have.
"""

import logging
import zlib
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final

import numpy as np
import pandas as pd

from forecaster.data.basis import FEWEST_EX_DATES, evidence_of
from forecaster.data.calendar_fit import describe_guess, with_learned_week
from forecaster.data.checks import Finding
from forecaster.data.history import History, Listing, validate_bars
from forecaster.data.quarantine import REFUSED, Scope
from forecaster.data.revisions import Overlap
from forecaster.data.screening import BASIS, CONTEXT, check_served, screen, without_future_days
from forecaster.data.sessions import (
    describe_gaps,
    final_part,
    last_final_session,
    new_gaps,
    sessions_between,
)
from forecaster.data.sources import Source
from forecaster.data.store import PriceStore
from forecaster.data.store_rows import Span
from forecaster.data.trading_calendar import is_guess
from forecaster.errors import DataError, ForecasterError, UnknownNameError, UsageError

OVERLAP: Final = timedelta(days=14)  # about ten sessions are fetched again and compared
# Marks of a listing whose change may mean another security.
_MARKS: Final = ("name", "exchange", "currency", "first_trade")
log = logging.getLogger(__name__)


def describe_change(stored: Listing, served: Listing) -> str:
    """Return which marks of a ticker have changed, in words; empty if none has.

    A name may change its case and punctuation; a currency may not: GBp is pence, GBP is pounds.
    """
    changes = []
    for mark in _MARKS:
        was, now = getattr(stored, mark), getattr(served, mark)
        old, new = was, now
        if mark == "name":
            old, new = ("".join(filter(str.isalnum, text.casefold())) for text in (was, now))
        if old and new and old != new:
            word = "first trade date" if mark == "first_trade" else mark
            changes.append(f"{word} was {was}, is {now}")
    return "; ".join(changes)


def keep_known(stored: Listing, served: Listing) -> Listing:
    """Fill the marks that are missing in a served listing with the stored ones.

    A stored calendar that was learned is kept, where the served one is a guess, too.
    """
    known = {mark: getattr(served, mark) or getattr(stored, mark) for mark in _MARKS}
    if is_guess(stored.calendar) and is_guess(served.calendar):
        known["calendar"] = stored.calendar
    return replace(served, **known)


def admit(store: PriceStore, history: History, served_at: datetime) -> History:
    """Return the final bars of a history, straight from its source, sorted by day.

    `served_at` is before the source was asked. A guessed calendar becomes the week of the bars.

    Raises:
        DataError: bars of the future that are many or near; rows that cannot be left out.
    """
    bars = history.bars
    if not bars["session"].is_monotonic_increasing:
        bars = bars.sort_values("session", kind="stable", ignore_index=True)
        if bars["session"].isna().any():
            validate_bars(history.listing.ticker, bars)
    calendar = store.corrections.name_of(history.listing.calendar)
    listing = replace(history.listing, calendar=calendar)
    known = without_future_days(store, replace(history, listing=listing, bars=bars), served_at)
    learned = with_learned_week(known)
    return screen(store, final_part(learned, served_at), served_at)


def store_news(
    store: PriceStore,
    overlap: Overlap | None,
    served: History,
    served_at: datetime,
    reason: str = "",
) -> int:
    """Check admitted bars by all rules; store and count the new and different ones.

    `overlap` has those stored, with what the rules need before the first served day; None for a
    new ticker. `reason` is why the past changes.

    Raises:
        DataError: the ticker is quarantined and stays as stored.
    """
    if overlap is not None and is_guess(served.listing.calendar):
        stored = store.bars(served.listing.ticker)["session"].to_numpy("datetime64[D]")
        known, served = served.listing.calendar, with_learned_week(served, stored)
        if served.listing.calendar != known:
            log.info(
                "%s: its bars follow the week %s, not %s",
                *(served.listing.ticker, served.listing.calendar, known),
            )
    check_served(store, served, served_at, overlap, _basis_doubts(served))
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


def _basis_doubts(served: History) -> list[Finding]:
    """Find that ex-dates contradict how a source says that its closes are adjusted; one for all."""
    if (served.bars["dividend"] > 0).sum() < FEWEST_EX_DATES:
        return []
    listing, first = served.listing, served.bars["session"].iloc[0].date()
    # Splits have rules of their own.
    wrong = replace(evidence_of(served), splits=0).describe(listing.basis)
    doubt = Finding(
        ticker=listing.ticker,
        rule=BASIS,
        severity="error",
        session=first,
        reason=f"{wrong}, yet the source's closes are {listing.basis}",
        known_since=first,
    )
    return [doubt] if wrong else []


def warn_of_calendar(before: History | None, now: History) -> None:
    """Log once that a new ticker's calendar is a guess, or that new bars leave gaps."""
    guess = describe_guess(now)
    if guess and before is None:
        log.warning("%s", guess)
    gaps = new_gaps(before, now)
    if len(gaps):
        log.warning("%s", describe_gaps(now, gaps))


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """What to fetch of every ticker: the first and last session, None for what is missing.

    The complete past is compared again every `compare_all_days`, never for 0.
    """

    start: date | None
    end: date | None
    accept_identity: bool
    compare_all_days: int


def refresh(
    store: PriceStore, source: Source, ticker: str, request: FetchRequest, now: datetime
) -> int:
    """Update one ticker; return the number of new or different bars.

    The source is asked for the overlap, and for all if that no longer agrees with the store;
    `now` is before it is asked. An answer that is refused as a whole is in quarantine until one is
    not, so that `status` and `predict` have the reason.

    Raises:
        DataError, UsageError: the ticker is quarantined, or may be another security; it stays as
            stored.
    """
    any_day = Scope(ticker=ticker, first=date.min, last=date.max, rules=frozenset({REFUSED}))
    try:
        changed = _refresh(store, source, ticker, request, now)
    except _NoAnswer as none:
        store.quarantine.record([], any_day, now)
        raise none.reason from none
    except (DataError, UsageError) as error:
        if ticker not in store.quarantine.blocking(ticker):
            store.quarantine.refuse(ticker, str(error), now)
        raise
    store.quarantine.record([], any_day, now)
    return changed


class _NoAnswer(Exception):
    """A source that has no bars, so that there is nothing to hold."""

    def __init__(self, reason: ForecasterError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def _ask(source: Source, ticker: str, begin: date | None, end: date | None) -> History:
    try:
        return source.history(ticker, begin, end)
    except (DataError, UnknownNameError, UsageError) as error:
        raise _NoAnswer(error) from error


def _refresh(
    store: PriceStore, source: Source, ticker: str, request: FetchRequest, now: datetime
) -> int:
    span = store.span(ticker)
    if span is None:
        served = admit(store, _ask(source, ticker, request.start, request.end), now)
        return store_news(store, None, served, now)
    listing = store.listing(ticker)
    if listing.source != source.name:
        raise DataError(
            f"{ticker}: is stored from {listing.source}, which does not mix with "
            f"{source.name}. Keep the two in another --home each."
        )
    begin = _first_to_ask(store, listing, span, request, now)
    if begin is None:
        return 0
    # Always up to the stored bars: a part before them might be on another scale.
    end = max(request.end, span.last) if request.end else None
    served = admit(store, _ask(source, ticker, begin, end), now)
    accepted = _accepted_identity(listing, served.listing, accept=request.accept_identity)
    served = replace(served, listing=keep_known(listing, served.listing))
    overlap = Overlap.of(
        store.bars(ticker, since=store.session_before(ticker, begin, CONTEXT)), served.bars
    )
    change = accepted or overlap.changed_past(listing.basis) or overlap.late_dividend()
    if change:
        log.warning("%s: the source has changed its past: %s; fetching all of it", ticker, change)
        if begin > span.first:
            begin = span.first
            complete = admit(store, _ask(source, ticker, begin, end), now)
            served = replace(complete, listing=keep_known(listing, complete.listing))
            overlap = Overlap.of(store.bars(ticker), served.bars)
        _refuse_stranded(ticker, overlap, change)
    changed = store_news(store, overlap, served, now, change)
    if begin <= span.first and end is None:
        store.record_comparison(ticker, now)
    return changed


def _first_to_ask(
    store: PriceStore, listing: Listing, span: Span, request: FetchRequest, now: datetime
) -> date | None:
    """Return the first day to ask for: the overlap's, a missing one, or the first stored.

    None where everything requested is stored and older than the overlap.
    """
    final = last_final_session(listing.calendar, now)
    overlap = span.last - OVERLAP
    if request.start is None and request.end is None:
        every, compared_at = request.compare_all_days, store.compared_at(listing.ticker)
        # Tickers that were first fetched on one day are spread over several.
        age = timedelta(days=every + zlib.crc32(listing.ticker.encode()) % (every // 4 + 1))
        is_due = every > 0 and (compared_at is None or now - compared_at >= age)
        return span.first if is_due else overlap
    first = max(request.start or overlap, listing.first_trade or date.min)
    stored = store.bars(listing.ticker, since=first)["session"].to_numpy("datetime64[D]")
    wanted = sessions_between(listing.calendar, first, min(request.end or final, final))
    missing = np.setdiff1d(wanted, stored)
    if len(missing):
        return min(date.fromisoformat(str(missing[0])), overlap)
    return None if request.end and request.end <= span.last else overlap


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
