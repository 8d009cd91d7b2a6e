"""Served bars on their way into the store: rows left out, tickers refused.

A row that cannot be a bar is left out; a ticker with bars that break a rule of severity `error`,
or whose answer contradicts the stored past, stays as it is stored.
"""

import logging
from collections.abc import Sequence, Set
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from forecaster.data import checks
from forecaster.data.event_rules import SPLIT_SESSIONS
from forecaster.data.filled_days import FILLED_DAY, filled_days
from forecaster.data.history import (
    BAD_DATE,
    UNREADABLE_VALUE,
    Flaw,
    History,
    flaws,
    is_too_flawed,
    most_flawed,
    place_of,
    validate_bars,
)
from forecaster.data.quarantine import (
    DUPLICATE_DAY,
    FUTURE_DAY,
    ROW_RULES,
    Entry,
    Scope,
    entries_of,
    entry_of,
    values_of,
)
from forecaster.data.revisions import OTHER_MOVES, REVISION_RULES, Overlap, contradictions
from forecaster.data.series import MEMORY
from forecaster.data.trading_calendar import trading_calendar
from forecaster.errors import DataError

if TYPE_CHECKING:
    from forecaster.data.store import PriceStore

# Stored bars that give the same findings as the whole history.
CONTEXT: Final = MEMORY + SPLIT_SESSIONS
BASIS: Final = "basis"  # what a file is asked about, of a source
_FAR: Final = timedelta(days=8)
_FILLED_REASON: Final = "no session, and it only repeats the bar before"
_DUPLICATE_REASON: Final = "a later row of this day has other numbers"
log = logging.getLogger(__name__)


def without_future_days(store: "PriceStore", history: History, now: datetime) -> History:
    """Quarantine and leave out a few rows of days that lie far in the future.

    Many such rows, those of the next days or with a dividend or split are left in: a clock that is
    behind has them.
    """
    ticker, bars = history.listing.ticker, history.bars
    far = (bars["session"] > pd.Timestamp((now + _FAR).date())).to_numpy(np.bool_)
    has_event = (bars["dividend"] > 0) | (bars["split"] != 1.0)
    if far.all() or far.sum() > most_flawed(len(bars)) or has_event[far].any():
        return history
    found = [
        entry_of(ticker, bars, row, FUTURE_DAY, f"{place_of(bars, row)}the day lies in the future")
        for row in np.flatnonzero(far).tolist()
    ]
    any_day = Scope(ticker=ticker, first=date.min, last=date.max, rules=frozenset({FUTURE_DAY}))
    _warn_of_left_out(store.quarantine.record(found, any_day, now))
    return replace(history, bars=bars[~far]) if found else history


def _warn_of_left_out(new: Sequence[Entry]) -> None:
    if new:
        log.warning(
            "%s: %s rows left out and put in quarantine (first %s, %s: %s). See: forecaster data "
            "quarantine list",
            *(new[0].ticker, f"{len(new):,}", new[0].session, new[0].rule, new[0].reason),
        )


def screen(store: "PriceStore", history: History, now: datetime) -> History:
    """Quarantine and leave out rows that cannot be bars, days that were filled, and dropped bars.

    Rows are in order of days; of two of one day the later is kept.

    Raises:
        DataError: an impossible date; more flaws than a good source has; a flaw on the day of a
            dividend or split, which would be lost with it.
    """
    ticker, quarantine = history.listing.ticker, store.quarantine
    if history.bars.empty:
        return history
    bars, duplicates = _one_bar_per_day(ticker, history.bars)
    found = flaws(bars)
    if any(flaw.rule == BAD_DATE for flaw in found):
        validate_bars(ticker, bars)
    if found and is_too_flawed(bars, found):
        _refuse_many(ticker, bars, found)
    bad = [_entry_of_flaw(history, bars, flaw) for flaw in found]
    filled = _filled(store, replace(history, bars=bars))
    noted = [*duplicates, *bad, *filled.values()]
    new = quarantine.record(noted, _scope(ticker, bars, ROW_RULES), now)
    dropped = _dropped(quarantine.entries(ticker), bars)
    out = {flaw.row for flaw in found}
    _refuse_lost_action(ticker, bars, sorted(out - dropped))
    _warn_of_left_out(new)
    unaccepted = quarantine.unreleased([*filled.values()]) if filled else []
    out_of_session = {row for row, entry in filled.items() if entry in unaccepted}
    if left_out := out | dropped | out_of_session:
        kept = bars.iloc[np.delete(np.arange(len(bars)), sorted(left_out))]
        if kept.empty and out:
            _refuse_many(ticker, bars, found)
        bars = kept
    return replace(history, bars=bars.reset_index(drop=True), notes={})


def check_served(
    store: "PriceStore",
    served: History,
    now: datetime,
    overlap: Overlap | None = None,
    doubts: Sequence[checks.Finding] = (),
) -> None:
    """Check screened bars by every rule, with the stored ones before them and against these.

    `overlap` has the ticker's stored bars, `CONTEXT` of them before the served ones; None to read
    them. `doubts` are findings of the source's road alone. A new warning is logged.

    Raises:
        DataError: a bar breaks a rule of severity `error`; the findings are in quarantine.
    """
    if served.bars.empty:
        return
    ticker = served.listing.ticker
    if overlap is None and store.span(ticker):
        first = served.bars["session"].iloc[0].date()
        since = store.session_before(ticker, first, CONTEXT)
        overlap = Overlap.of(store.bars(ticker, since=since), served.bars)
    last, both, contradicted = None, served, []
    if overlap is not None and len(overlap.stored):
        last = overlap.stored["session"].iloc[-1].date()
        both = _with_context(overlap, served)
        contradicted = contradictions(overlap, served)
    errors = {rule.name for rule in checks.RULES if rule.severity == "error"}
    of_answers = {BASIS, OTHER_MOVES, *(rule.name for rule in REVISION_RULES)}
    scope = _scope(ticker, served.bars, errors | of_answers)
    findings = [one for one in checks.check_history(both) if one.known_since >= scope.first]
    found = entries_of(
        both, [*doubts, *contradicted, *(one for one in findings if one.severity == "error")]
    )
    store.quarantine.record(found, scope, now)
    wrong = store.quarantine.unreleased(found) if found else []
    if wrong:
        kept = f"kept as stored, up to {last}" if last else "not stored"
        more = f" ({len(wrong):,} such)" if len(wrong) > 1 else ""
        raise DataError(
            f"{ticker}: quarantined, {kept}: {wrong[0].session} {wrong[0].rule}: "
            f"{wrong[0].reason}{more}. If the bars are right: forecaster data quarantine release "
            f"{ticker}; if not, drop them by date, or wait until the source corrects them."
        )
    of_days = {rule.name for rule in checks.DAY_RULES}
    new = [one for one in findings if last is None or one.known_since > last]
    odd = [one for one in new if one.severity == "warning" and one.rule not in of_days]
    if odd:
        log.warning("%s (%d such). See: forecaster data check %s", odd[0], len(odd), ticker)


def _with_context(overlap: Overlap, served: History) -> History:
    """Add the stored bars that were not served to those that were."""
    kept = np.delete(np.arange(len(overlap.stored)), overlap.rows)
    if len(kept) == 0:
        return served
    bars = pd.concat([overlap.stored.iloc[kept], served.bars], ignore_index=True)
    if not bars["session"].is_monotonic_increasing:
        bars = bars.sort_values("session", ignore_index=True)
    return replace(served, bars=bars)


def _one_bar_per_day(ticker: str, bars: pd.DataFrame) -> tuple[pd.DataFrame, list[Entry]]:
    """Return the last row of each day, and entries for earlier rows with other values."""
    days = bars["session"].to_numpy()
    if (days[1:] > days[:-1]).all():
        return bars, []
    earlier = bars["session"].duplicated(keep="last") & bars["session"].notna()
    same = bars.duplicated(keep="last")
    duplicates = [
        entry_of(ticker, bars, row, DUPLICATE_DAY, place_of(bars, row) + _DUPLICATE_REASON)
        for row in (earlier & ~same).to_numpy().nonzero()[0].tolist()
    ]
    return bars[~earlier], duplicates


def _dropped(entries: Sequence[Entry], bars: pd.DataFrame) -> set[int]:
    """Return the positions of bars that were dropped by hand."""
    rejected = [entry for entry in entries if entry.state == "dropped"]
    sessions = bars["session"].dt.date.tolist() if rejected else []
    at = [(sessions.index(one.session), one) for one in rejected if one.session in sessions]
    return {row for row, entry in at if entry.is_about(values_of(bars, row))}


def _filled(store: "PriceStore", history: History) -> dict[int, Entry]:
    """Build the entries, by row, of bars on no session that repeat the bar before."""
    ticker, bars = history.listing.ticker, history.bars
    before, first = None, bars["session"].iloc[0].date()
    sessions = trading_calendar(history.listing.calendar).sessions
    if history.days[0] not in sessions and store.span(ticker):
        since = store.session_before(ticker, first, 1)
        before = store.bars(ticker, until=first - timedelta(days=1), since=since)
    return {
        row: entry_of(ticker, bars, row, FILLED_DAY, place_of(bars, row) + _FILLED_REASON)
        for row in np.flatnonzero(filled_days(history, before)).tolist()
    }


def _entry_of_flaw(history: History, bars: pd.DataFrame, flaw: Flaw) -> Entry:
    """Build the entry of a row that cannot be a bar; a file's has its line or row in the reason."""
    note = history.notes.get(bars.index[flaw.row])
    rule, reason = (UNREADABLE_VALUE, note) if note else (flaw.rule, flaw.reason)
    place = place_of(bars, flaw.row)
    return entry_of(history.listing.ticker, bars, flaw.row, rule, place + reason)


def _refuse_many(ticker: str, bars: pd.DataFrame, found: Sequence[Flaw]) -> None:
    first = found[0]
    raise DataError(
        f"{ticker}: {len(found):,} of {len(bars):,} rows cannot be bars, too many to trust the "
        f"others: {place_of(bars, first.row)}the bar of {bars['session'].iloc[first.row]:%Y-%m-%d} "
        f"has {first.reason} ({first.such:,} such). Correct or leave out these bars."
        + " Another column may be meant: --map."
        * bool(bars.index.name)
    )


def _refuse_lost_action(ticker: str, bars: pd.DataFrame, rows: list[int]) -> None:
    flawed = bars.iloc[rows]
    lost = flawed[(flawed["dividend"] > 0) | (flawed["split"].notna() & flawed["split"].ne(1.0))]
    if len(lost):
        day = f"{lost['session'].iloc[0]:%Y-%m-%d}"
        raise DataError(
            f"{ticker}: quarantined, kept as stored: {place_of(lost, 0)}the bar of {day} cannot be "
            "used, and a dividend or split would be lost with it. Correct it or fetch again "
            f"tomorrow, or leave it out anyway: forecaster data quarantine drop {ticker} {day}"
        )


def _scope(ticker: str, bars: pd.DataFrame, rules: Set[str]) -> Scope:
    first, last = bars["session"].iloc[0].date(), bars["session"].iloc[-1].date()
    return Scope(ticker=ticker, first=first, last=last, rules=frozenset(rules))
