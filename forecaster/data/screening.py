"""What stands between a source and the store: rows that cannot be bars, tickers in doubt.

A row that cannot be a bar is left out and goes to quarantine.  A ticker whose numbers cannot be
right stays as it is stored, until the source mends them or a person decides.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Final

import pandas as pd

from forecaster.data.checks import ERRORS, MOVE_RULES, SPLIT_SESSIONS, Finding, check_history
from forecaster.data.history import (
    BAD_DATE,
    FLAWS,
    History,
    flaws,
    is_too_flawed,
    validate_bars,
)
from forecaster.data.quarantine import Entry, Look, Quarantine, values_of
from forecaster.data.store import PriceStore
from forecaster.errors import DataError

log = logging.getLogger(__name__)

DOUBLED_DAY: Final = "doubled-day"
# No rule looks further back than a split's ten sessions; a few weeks hold them over holidays.
CONTEXT: Final = timedelta(days=45)
_ROW_RULES: Final = frozenset({DOUBLED_DAY, *FLAWS})


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
    """Leave out what cannot be a bar, and what was dropped by hand, and put it in quarantine.

    Of two rows of one day the later is taken.

    Args:
        store: open for writing.
        history: as served, in order.
        now: aware instant.

    Raises:
        DataError: a date that cannot be; more flaws than a good source has; a flaw on the day
            of a dividend or split, which would be lost with it.
    """
    ticker, quarantine = history.listing.ticker, store.quarantine
    if history.bars.empty:
        return history
    bars, doubled = _one_bar_per_day(ticker, history.bars)
    found = flaws(bars)
    if any(flaw.rule == BAD_DATE for flaw in found) or is_too_flawed(bars, found):
        validate_bars(ticker, bars)
    bad = [_entry(ticker, bars, flaw.row, flaw.rule, flaw.reason) for flaw in found]
    fresh = quarantine.hold([*doubled, *bad], _look(ticker, bars, _ROW_RULES), now)
    dropped = _dropped(quarantine, ticker, bars)
    out = {flaw.row for flaw in found}.union(dropped)
    _refuse_lost_action(ticker, bars, sorted(out.difference(dropped)))
    if fresh:
        log.warning("%s", _left_out(fresh))
    if out:
        bars = bars.drop(index=sorted(out)).reset_index(drop=True)
    return replace(history, bars=bars)


def refuse_doubt(store: PriceStore, served: History, now: datetime) -> None:
    """Refuse bars that a rule of severity `error` speaks against, beside those stored.

    Of warnings about prices that are new the first is told.

    Args:
        store: open for writing.
        served: bars that `screen` has passed, about to be stored.
        now: aware instant.

    Raises:
        DataError: the ticker is in doubt; what was found is in quarantine.
    """
    if served.bars.empty:
        return
    ticker, quarantine = served.listing.ticker, store.quarantine
    both = _with_context(store, served)
    look = _look(ticker, served.bars, ERRORS)
    told = [one for one in check_history(both, rules=MOVE_RULES) if one.session >= look.first]
    found = [_entry_of(one, both) for one in told if one.severity == "error"]
    quarantine.hold(found, look, now)
    doubts = open_entries(quarantine, found)
    if doubts:
        raise DataError(_in_doubt(store, doubts))
    _warn(store, [one for one in told if one.severity == "warning"])


def open_entries(quarantine: Quarantine, found: Sequence[Entry]) -> list[Entry]:
    """Keep what nobody has released on the prices that it has now."""
    tickers = sorted({entry.ticker for entry in found})
    released = {
        entry.key: entry
        for ticker in tickers
        for entry in quarantine.entries(ticker)
        if entry.state == "released"
    }
    return [
        entry
        for entry in found
        if entry.key not in released or not released[entry.key].is_about(entry.values)
    ]


def _warn(store: PriceStore, odd: Sequence[Finding]) -> None:
    """Tell of what may be true, once: when its bars are new."""
    span = store.span(odd[0].ticker) if odd else None
    new = [one for one in odd if span is None or one.session > span.last]
    if new:
        log.warning("%s (%d such). See: forecaster data check %s", new[0], len(new), new[0].ticker)


def _with_context(store: PriceStore, served: History) -> History:
    """Put the bars in the place that they would have in the store, with some before them.

    Bars that begin with enough stored ones bring their own context, as those of a fetch do.
    """
    ticker, first = served.listing.ticker, served.bars["session"].iloc[0]
    span = store.span(ticker)
    if span is None or (served.bars["session"] <= pd.Timestamp(span.last)).sum() >= SPLIT_SESSIONS:
        return served
    stored = store.bars(ticker, since=(first - CONTEXT).date())
    kept = stored[~stored["session"].isin(served.bars["session"])]
    bars = pd.concat([kept, served.bars]).sort_values("session", ignore_index=True)
    return replace(served, bars=bars)


def _one_bar_per_day(ticker: str, bars: pd.DataFrame) -> tuple[pd.DataFrame, list[Entry]]:
    """Keep the last row of each day; tell of those rows that said something else."""
    earlier = bars["session"].duplicated(keep="last") & bars["session"].notna()
    if not earlier.any():
        return bars, []
    same = bars.duplicated(keep="last")
    doubled = [
        _entry(ticker, bars, row, DOUBLED_DAY, "a later row of this day has other numbers")
        for row in (earlier & ~same).to_numpy().nonzero()[0].tolist()
    ]
    return bars[~earlier].reset_index(drop=True), doubled


def _dropped(quarantine: Quarantine, ticker: str, bars: pd.DataFrame) -> list[int]:
    """Find the rows that a person has dropped, as long as they come with the same prices."""
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
            f"{ticker}: in doubt, kept as stored: the bar of {lost['session'].iloc[0]:%Y-%m-%d} "
            "cannot be used, and a dividend or split would be lost with it. Fetch again "
            f"tomorrow; or leave it out all the same: forecaster data quarantine drop {ticker} "
            f"{lost['session'].iloc[0]:%Y-%m-%d}"
        )


def _entry_of(one: Finding, history: History) -> Entry:
    row = int(history.bars["session"].searchsorted(pd.Timestamp(one.session)))
    return _entry(one.ticker, history.bars, row, one.rule, one.reason)


def _entry(ticker: str, bars: pd.DataFrame, row: int, rule: str, reason: str) -> Entry:
    session: date = bars["session"].iloc[row].date()
    return Entry(
        ticker=ticker, session=session, rule=rule, reason=reason, values=values_of(bars, row)
    )


def _look(ticker: str, bars: pd.DataFrame, rules: frozenset[str]) -> Look:
    first, last = bars["session"].iloc[0].date(), bars["session"].iloc[-1].date()
    return Look(ticker=ticker, first=first, last=last, rules=rules)


def _left_out(fresh: Sequence[Entry]) -> str:
    first = fresh[0]
    return (
        f"{first.ticker}: {len(fresh):,} rows left out and put in quarantine (first "
        f"{first.session}, {first.rule}: {first.reason}). See: forecaster data quarantine list"
    )


def _in_doubt(store: PriceStore, doubts: Sequence[Entry]) -> str:
    first = doubts[0]
    span = store.span(first.ticker)
    kept = f"kept as stored, up to {span.last}" if span else "not stored"
    more = f" ({len(doubts):,} such)" if len(doubts) > 1 else ""
    return (
        f"{first.ticker}: in doubt, {kept}: {first.session} {first.rule}: {first.reason}{more}. "
        f"If the bars are right: forecaster data quarantine release {first.ticker}; if not, "
        "drop them by date, or wait until the source mends them."
    )
