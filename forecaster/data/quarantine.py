"""Bars that break a rule: checked between source and store, and kept until a review decides.

A row that cannot be a bar is left out; a ticker with bars that break a rule of severity `error`
stays as it is stored.  An entry is *held* until a review *releases* it (the bar is accepted) or
*drops* it (the bar is left out from then on), or until the source corrects it.
"""

import logging
import math
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from forecaster import database
from forecaster.data import checks, store_rows
from forecaster.data.history import (
    BAD_DATE,
    BAR_COLUMNS,
    FLAWS,
    UNREADABLE_VALUE,
    Flaw,
    History,
    flaws,
    is_too_flawed,
    place_of,
    validate_bars,
)
from forecaster.errors import DataError

if TYPE_CHECKING:
    from forecaster.data.store import PriceStore

State = Literal["held", "released", "dropped"]
DUPLICATE_DAY: Final = "duplicate-day"
# No rule looks further back than a split's ten sessions; 45 days contain them over any holidays.
CONTEXT: Final = timedelta(days=45)
_ROW_RULES: Final = frozenset({DUPLICATE_DAY, *FLAWS})
_DUPLICATE_REASON: Final = "a later row of this day has other numbers"
_VALUES: Final = BAR_COLUMNS[1:]
_COLUMNS: Final = f"ticker, session, rule, reason, state, {', '.join(_VALUES)}, noted_at"
_SELECT: Final = f"""
    SELECT {_COLUMNS} FROM quarantine WHERE ?1 IN ('', ticker) ORDER BY ticker, session, rule
"""
# Rules of 0.1.0: read under their new names, and renamed with the first write.
_RENAMED: Final = {"doubled-day": DUPLICATE_DAY}
_RENAME: Final = "UPDATE OR REPLACE quarantine SET rule = ? WHERE rule = ?"
_WRITE: Final = f"""
    INSERT OR REPLACE INTO quarantine ({_COLUMNS})
    VALUES ({", ".join("?" * (6 + len(_VALUES)))})
"""
_DELETE: Final = "DELETE FROM quarantine WHERE ticker = ? AND session = ? AND rule = ?"
_BAR: Final = f"SELECT {', '.join(_VALUES)} FROM bars WHERE ticker = ? AND session = ?"
_DELETE_BAR: Final = "DELETE FROM bars WHERE ticker = ? AND session = ?"
_SAME_VALUE: Final = 1e-4  # identical calls to a source differ by less
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One bar and one rule; `values` as served, in the order of BAR_COLUMNS, NaN where missing."""

    ticker: str
    session: date
    rule: str
    reason: str
    values: tuple[float, ...]
    state: State = "held"
    noted_at: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """Ticker, ISO session and rule: the primary key."""
        return self.ticker, self.session.isoformat(), self.rule

    def is_about(self, values: Sequence[float]) -> bool:
        """Whether it is about these prices and not about others of the same day."""
        return all(
            math.isclose(mine, other, rel_tol=_SAME_VALUE)
            or (math.isnan(mine) and math.isnan(other))
            for mine, other in zip(self.values[:4], values[:4], strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The bars and rules of one check: a ticker, its first and last session, rule names."""

    ticker: str
    first: date
    last: date
    rules: frozenset[str]


def entry_of(ticker: str, bars: pd.DataFrame, row: int, rule: str, reason: str) -> Entry:
    """Build the entry of one bar."""
    session, values = bars["session"].iloc[row].date(), _values_of(bars, row)
    return Entry(ticker=ticker, session=session, rule=rule, reason=reason, values=values)


def entries_of(history: History, findings: Sequence[checks.Finding]) -> list[Entry]:
    """Convert findings about the bars of a history to entries."""
    sessions = history.bars["session"]
    rows = [int(sessions.searchsorted(pd.Timestamp(one.session))) for one in findings]
    return [
        entry_of(one.ticker, history.bars, row, one.rule, one.reason)
        for one, row in zip(findings, rows, strict=True)
    ]


def _values_of(bars: pd.DataFrame, row: int) -> tuple[float, ...]:
    return tuple(bars[name].iloc[row].item() for name in _VALUES)


class Quarantine:
    """The quarantine of an open store; see `PriceStore.quarantine`."""

    def __init__(self, connection: sqlite3.Connection, file: database.Database) -> None:
        self._connection, self._file = connection, file

    def entries(self, ticker: str = "") -> list[Entry]:
        """List the entries of one ticker, or of all, by ticker, day and rule."""
        with database.translated_errors(self._file):
            return [_entry(row) for row in self._connection.execute(_SELECT, (ticker,))]

    def record(self, found: Sequence[Entry], scope: Scope, now: datetime) -> list[Entry]:
        """Replace the held entries of a scope by what a check found; return those not known before.

        What is no longer found was corrected by the source.  Decisions stay, unless the prices
        differ from those that were decided on.
        """
        known = {entry.key: entry for entry in self.entries(scope.ticker)}
        wanted = {entry.key for entry in found}
        corrected = [
            key
            for key, entry in known.items()
            if key not in wanted
            and entry.state == "held"
            and scope.first <= entry.session <= scope.last
            and entry.rule in scope.rules
        ]
        new = _without(known, found)
        if corrected or new:
            with self._writing():
                self._connection.executemany(_DELETE, corrected)
                self._write(new, now)
        return new

    def decide(self, entries: Collection[Entry], state: State, now: datetime) -> None:
        """Record a decision on entries, held or not; remove stored bars that are dropped."""
        with self._writing():
            self._write([replace(entry, state=state) for entry in entries], now)
            gone: dict[str, list[str]] = {}
            for entry in entries if state == "dropped" else ():
                ticker, session, _ = entry.key
                stored = self._connection.execute(_BAR, (ticker, session)).fetchone()
                # A bar stored since with other prices was not decided on.
                if stored and entry.is_about(stored):
                    self._connection.execute(_DELETE_BAR, (ticker, session))
                    gone.setdefault(ticker, []).append(session)
            for ticker, sessions in gone.items():
                reason = f"{len(sessions):,} bars dropped by hand (first {min(sessions)})"
                raised = (ticker, reason, store_rows.instant_text(now))
                self._connection.execute(store_rows.RAISE_REVISION, raised)

    def unreleased(self, found: Sequence[Entry]) -> list[Entry]:
        """Return the entries that were not released with the prices that they have now."""
        tickers = sorted({entry.ticker for entry in found})
        known = [entry for ticker in tickers for entry in self.entries(ticker)]
        return _without({one.key: one for one in known if one.state == "released"}, found)

    def _write(self, entries: Sequence[Entry], now: datetime) -> None:
        instant = store_rows.instant_text(now)
        rows = [(*one.key, one.reason, one.state, *one.values, instant) for one in entries]
        self._connection.executemany(_WRITE, rows)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with database.translated_errors(self._file), database.transaction(self._connection):
            self._connection.executemany(_RENAME, [(new, old) for old, new in _RENAMED.items()])
            yield


def _without(known: Mapping[tuple[str, str, str], Entry], found: Sequence[Entry]) -> list[Entry]:
    """Return the entries found that are not known with the same prices."""
    return [
        entry
        for entry in found
        if entry.key not in known or not known[entry.key].is_about(entry.values)
    ]


def _entry(row: tuple[Any, ...]) -> Entry:
    ticker, session, rule, reason, state, *values, noted_at = row
    return Entry(
        ticker=ticker,
        session=date.fromisoformat(session),
        rule=_RENAMED.get(rule, rule),
        reason=reason,
        state=state,
        values=tuple(math.nan if value is None else value for value in values),
        noted_at=noted_at,
    )


def screen(store: "PriceStore", history: History, now: datetime) -> History:
    """Quarantine and leave out rows that cannot be bars, and bars that were dropped by hand.

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
    if is_too_flawed(bars, found):
        _refuse_many(ticker, bars, found)
    bad = [_entry_of_flaw(history, bars, flaw) for flaw in found]
    new = quarantine.record([*duplicates, *bad], _scope(ticker, bars, _ROW_RULES), now)
    rejected = [entry for entry in quarantine.entries(ticker) if entry.state == "dropped"]
    sessions = bars["session"].dt.date.tolist() if rejected else []
    at = [(sessions.index(one.session), one) for one in rejected if one.session in sessions]
    dropped = {row for row, entry in at if entry.is_about(_values_of(bars, row))}
    out = {flaw.row for flaw in found}
    _refuse_lost_action(ticker, bars, sorted(out - dropped))
    if new:
        log.warning(
            "%s: %s rows left out and put in quarantine (first %s, %s: %s). See: forecaster data "
            "quarantine list",
            *(ticker, f"{len(new):,}", new[0].session, new[0].rule, new[0].reason),
        )
    kept = np.delete(np.arange(len(bars)), sorted(out | dropped))
    if len(kept) == 0 and out:
        _refuse_many(ticker, bars, found)
    return replace(history, bars=bars.iloc[kept].reset_index(drop=True), notes={})


def check_served(store: "PriceStore", served: History, now: datetime) -> None:
    """Check screened bars, with the stored ones before them, by every rule; log a first warning.

    Raises:
        DataError: a bar breaks a rule of severity `error`; the findings are in quarantine.
    """
    if served.bars.empty:
        return
    ticker, span = served.listing.ticker, store.span(served.listing.ticker)
    last = span.last if span else None
    both = _with_context(store, served, last)
    errors = frozenset(rule.name for rule in checks.RULES if rule.severity == "error")
    scope = _scope(ticker, served.bars, errors)
    findings = [one for one in checks.check_history(both) if one.session >= scope.first]
    found = entries_of(both, [one for one in findings if one.severity == "error"])
    store.quarantine.record(found, scope, now)
    wrong = store.quarantine.unreleased(found)
    if wrong:
        kept = f"kept as stored, up to {last}" if last else "not stored"
        more = f" ({len(wrong):,} such)" if len(wrong) > 1 else ""
        raise DataError(
            f"{ticker}: quarantined, {kept}: {wrong[0].session} {wrong[0].rule}: "
            f"{wrong[0].reason}{more}. If the bars are right: forecaster data quarantine release "
            f"{ticker}; if not, drop them by date, or wait until the source corrects them."
        )
    of_days = {rule.name for rule in checks.DAY_RULES}
    new = [one for one in findings if last is None or one.session > last]
    odd = [one for one in new if one.severity == "warning" and one.rule not in of_days]
    if odd:
        log.warning("%s (%d such). See: forecaster data check %s", odd[0], len(odd), ticker)


def _with_context(store: "PriceStore", served: History, last: date | None) -> History:
    """Add the stored bars before these, unless they begin with enough stored ones."""
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
        entry_of(ticker, bars, row, DUPLICATE_DAY, place_of(bars, row) + _DUPLICATE_REASON)
        for row in (earlier & ~same).to_numpy().nonzero()[0].tolist()
    ]
    return bars[~earlier], duplicates


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


def _scope(ticker: str, bars: pd.DataFrame, rules: frozenset[str]) -> Scope:
    first, last = bars["session"].iloc[0].date(), bars["session"].iloc[-1].date()
    return Scope(ticker=ticker, first=first, last=last, rules=rules)
