"""Checks between a source and the store: rows that cannot be bars, bars that break a rule.

A row that cannot be a bar is left out and quarantined.  A ticker with bars that break a rule of
severity `error` stays as it is stored, until the source corrects them or a review accepts them.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Final

import pandas as pd

from forecaster.data import checks
from forecaster.data.history import (
    BAD_DATE,
    FLAWS,
    History,
    flaws,
    is_too_flawed,
    validate_bars,
)
from forecaster.data.quarantine import Entry, Quarantine, Scope, entry_of, values_of
from forecaster.data.store import PriceStore
from forecaster.errors import DataError

log = logging.getLogger(__name__)

DUPLICATE_DAY: Final = "duplicate-day"
# No rule looks further back than a split's ten sessions; 45 days contain them over any holidays.
CONTEXT: Final = timedelta(days=45)
_ROW_RULES: Final = frozenset({DUPLICATE_DAY, *FLAWS})


def in_order(history: History) -> History:
    """Sort rows by day.

    Raises:
        DataError: a row has no date.
    """
    if history.bars["session"].is_monotonic_increasing:
        return history
    bars = history.bars.sort_values("session", kind="stable", ignore_index=True)
    if bars["session"].isna().any():
        validate_bars(history.listing.ticker, bars)
    return replace(history, bars=bars)


def screen(store: PriceStore, history: History, now: datetime) -> History:
    """Quarantine and leave out rows that cannot be bars, and bars that were dropped by hand.

    Of two rows of one day the later is kept.

    Args:
        store: open for writing.
        history: as served, in order.
        now: aware instant.

    Raises:
        DataError: an impossible date; more flaws than a good source has; a flaw on the day of a
            dividend or split, which would be lost with it.
    """
    ticker, quarantine = history.listing.ticker, store.quarantine
    if history.bars.empty:
        return history
    bars, duplicates = _one_bar_per_day(ticker, history.bars)
    found = flaws(bars)
    if any(flaw.rule == BAD_DATE for flaw in found) or is_too_flawed(bars, found):
        validate_bars(ticker, bars)
    bad = [entry_of(ticker, bars, flaw.row, flaw.rule, flaw.reason) for flaw in found]
    new = quarantine.record([*duplicates, *bad], _scope(ticker, bars, _ROW_RULES), now)
    dropped = _dropped(quarantine, ticker, bars)
    out = {flaw.row for flaw in found}.union(dropped)
    _refuse_lost_action(ticker, bars, sorted(out.difference(dropped)))
    if new:
        log.warning("%s", _describe_left_out(new))
    if out:
        bars = bars.drop(index=sorted(out)).reset_index(drop=True)
    return replace(history, bars=bars)


def check_served(store: PriceStore, served: History, now: datetime) -> None:
    """Check served bars, together with the stored ones before them, by every rule.

    Of warnings about the prices of new bars the first is logged.

    Args:
        store: open for writing.
        served: screened bars, about to be stored.
        now: aware instant.

    Raises:
        DataError: a bar breaks a rule of severity `error`; the findings are in quarantine.
    """
    if served.bars.empty:
        return
    ticker, last = served.listing.ticker, store.newest_session(served.listing.ticker)
    both = _with_context(store, served, last)
    errors = frozenset(rule.name for rule in checks.RULES if rule.severity == "error")
    scope = _scope(ticker, served.bars, errors)
    findings = [
        one for one in checks.check_history(both, rules=checks.RULES) if one.session >= scope.first
    ]
    found = entries_of(both, [one for one in findings if one.severity == "error"])
    store.quarantine.record(found, scope, now)
    open_entries = unreleased(store.quarantine, found)
    if open_entries:
        raise DataError(_describe_quarantined(open_entries, last))
    _warn([one for one in findings if last is None or one.session > last])


def unreleased(quarantine: Quarantine, found: Sequence[Entry]) -> list[Entry]:
    """Return the entries that were not released with the prices that they have now."""
    released = {
        entry.key: entry
        for ticker in sorted({entry.ticker for entry in found})
        for entry in quarantine.entries(ticker)
        if entry.state == "released"
    }
    return [
        entry
        for entry in found
        if entry.key not in released or not released[entry.key].is_about(entry.values)
    ]


def _warn(new: Sequence[checks.Finding]) -> None:
    """Log the first warning about new bars; gaps and the calendar have sentences of their own."""
    of_days = {rule.name for rule in checks.DAY_RULES}
    odd = [one for one in new if one.severity == "warning" and one.rule not in of_days]
    if odd:
        log.warning("%s (%d such). See: forecaster data check %s", odd[0], len(odd), odd[0].ticker)


def _with_context(store: PriceStore, served: History, last: date | None) -> History:
    """Return the bars in their place in the store, with some stored ones before them.

    Bars that begin with enough stored ones have their own context, as those of a fetch do.
    """
    sessions = served.bars["session"]
    if last is None or sessions.searchsorted(pd.Timestamp(last), "right") >= checks.SPLIT_SESSIONS:
        return served
    stored = store.bars(served.listing.ticker, since=(sessions.iloc[0] - CONTEXT).date())
    kept = stored[~stored["session"].isin(sessions)]
    bars = pd.concat([kept, served.bars]).sort_values("session", ignore_index=True)
    return replace(served, bars=bars)


def _one_bar_per_day(ticker: str, bars: pd.DataFrame) -> tuple[pd.DataFrame, list[Entry]]:
    """Return the last row of each day, and entries for earlier rows with other values."""
    days = bars["session"].to_numpy()
    if (days[1:] > days[:-1]).all():
        return bars, []
    earlier = bars["session"].duplicated(keep="last") & bars["session"].notna()
    same = bars.duplicated(keep="last")
    duplicates = [
        entry_of(ticker, bars, row, DUPLICATE_DAY, "a later row of this day has other numbers")
        for row in (earlier & ~same).to_numpy().nonzero()[0].tolist()
    ]
    return bars[~earlier].reset_index(drop=True), duplicates


def _dropped(quarantine: Quarantine, ticker: str, bars: pd.DataFrame) -> list[int]:
    """Find the rows that were dropped by hand and are served with the same prices."""
    entries = [entry for entry in quarantine.entries(ticker) if entry.state == "dropped"]
    if not entries:
        return []
    sessions = bars["session"].dt.date.tolist()
    rows = [(sessions.index(one.session), one) for one in entries if one.session in sessions]
    return [row for row, entry in rows if entry.is_about(values_of(bars, row))]


def _refuse_lost_action(ticker: str, bars: pd.DataFrame, rows: list[int]) -> None:
    if not rows:
        return
    flawed = bars.iloc[rows]
    lost = flawed[(flawed["dividend"] > 0) | (flawed["split"].notna() & flawed["split"].ne(1.0))]
    if len(lost):
        raise DataError(
            f"{ticker}: quarantined, kept as stored: the bar of "
            f"{lost['session'].iloc[0]:%Y-%m-%d} cannot be used, and a dividend or split would be "
            f"lost with it. Fetch again tomorrow, or leave it out anyway: forecaster data "
            f"quarantine drop {ticker} {lost['session'].iloc[0]:%Y-%m-%d}"
        )


def entries_of(history: History, findings: Sequence[checks.Finding]) -> list[Entry]:
    """Convert findings about the bars of a history to entries of the quarantine."""
    sessions = history.bars["session"]
    return [
        entry_of(
            one.ticker,
            history.bars,
            int(sessions.searchsorted(pd.Timestamp(one.session))),
            one.rule,
            one.reason,
        )
        for one in findings
    ]


def _scope(ticker: str, bars: pd.DataFrame, rules: frozenset[str]) -> Scope:
    first, last = bars["session"].iloc[0].date(), bars["session"].iloc[-1].date()
    return Scope(ticker=ticker, first=first, last=last, rules=rules)


def _describe_left_out(new: Sequence[Entry]) -> str:
    first = new[0]
    return (
        f"{first.ticker}: {len(new):,} rows left out and put in quarantine (first "
        f"{first.session}, {first.rule}: {first.reason}). See: forecaster data quarantine list"
    )


def _describe_quarantined(found: Sequence[Entry], last: date | None) -> str:
    first = found[0]
    kept = f"kept as stored, up to {last}" if last else "not stored"
    more = f" ({len(found):,} such)" if len(found) > 1 else ""
    return (
        f"{first.ticker}: quarantined, {kept}: {first.session} {first.rule}: {first.reason}{more}. "
        f"If the bars are right: forecaster data quarantine release {first.ticker}; if not, "
        "drop them by date, or wait until the source corrects them."
    )
