"""The quarantine of a store: bars that break a rule, kept until they are decided on.

An entry is *held* until a person *releases* it (the bar is accepted) or *drops* it (the bar is left
out from then on), or until the rule no longer finds it. A held entry that `blocks` keeps its ticker
as it is stored; other rows are left out by themselves.
"""

import math
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final, Literal

import pandas as pd

from forecaster import database
from forecaster.data import checks, store_rows
from forecaster.data.filled_days import FILLED_DAY
from forecaster.data.history import BAR_COLUMNS, FLAWS, History

State = Literal["held", "released", "dropped"]
DUPLICATE_DAY: Final = "duplicate-day"
FUTURE_DAY: Final = "future-day"
REFUSED: Final = "refused"  # an answer of a ticker as a whole, not one of its bars
# What cannot be stored, and with it what is left out unless a person releases it.
UNUSABLE: Final = frozenset({DUPLICATE_DAY, FUTURE_DAY, *FLAWS})
ROW_RULES: Final = UNUSABLE | {FILLED_DAY}
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
_UPDATE_REASON: Final = """
    UPDATE quarantine SET reason = ? WHERE ticker = ? AND session = ? AND rule = ?
"""
_NO_VALUES: Final = (math.nan,) * len(_VALUES)
_SAME_VALUE: Final = 1e-4  # identical calls to a source differ by less


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

    @property
    def blocks(self) -> bool:
        """Whether it is held and keeps its ticker as it is stored."""
        *_, dividend, split = self.values
        has_event = dividend > 0 or (split != 1.0 and not math.isnan(split))
        if self.rule == FILLED_DAY:  # an event in it repeats that of the bar before
            return False
        return self.state == "held" and (self.rule not in ROW_RULES or has_event)

    @property
    def since(self) -> str:
        """The ISO day on which it was noted."""
        return self.noted_at[:10]

    @property
    def remedy(self) -> str:
        """What a person does about it, in words; empty where the reason has it."""
        quarantine = "forecaster data quarantine"
        if self.rule == REFUSED:
            return ""
        if self.rule in ROW_RULES:
            return f"To leave the bar out: {quarantine} drop {self.ticker} {self.session}"
        return (
            f"If it is right: {quarantine} release {self.ticker}; to look at it: {quarantine} "
            f"show {self.ticker}"
        )

    def __str__(self) -> str:
        """Return since when its ticker is blocked, why, and what to do, on one line."""
        day = "" if self.rule == REFUSED else f"{self.session} "
        text = f"in quarantine since {self.since}: {day}{self.rule}: {self.reason}"
        return f"{text.rstrip('.')}. {self.remedy}".rstrip()

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
    session, values = bars["session"].iloc[row].date(), values_of(bars, row)
    return Entry(ticker=ticker, session=session, rule=rule, reason=reason, values=values)


def entries_of(history: History, findings: Sequence[checks.Finding]) -> list[Entry]:
    """Convert findings about the bars of a history to entries."""
    sessions = history.bars["session"]
    rows = [int(sessions.searchsorted(pd.Timestamp(one.session))) for one in findings]
    return [
        entry_of(one.ticker, history.bars, row, one.rule, one.reason)
        for one, row in zip(findings, rows, strict=True)
    ]


def values_of(bars: pd.DataFrame, row: int) -> tuple[float, ...]:
    """Return the values of one bar, in the order of BAR_COLUMNS."""
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

    def add(self, entries: Collection[Entry], now: datetime) -> None:
        """Record entries beside those that are known."""
        if entries:
            with self._writing():
                self._write(list(entries), now)

    def blocking(self, ticker: str = "") -> dict[str, Entry]:
        """Return the oldest entry that blocks, by ticker: of one, or of all."""
        return oldest_blocking(self.entries(ticker))

    def left_out_since(self, instant: datetime) -> list[str]:
        """List the tickers with rows that were left out for the first time since an instant."""
        since = store_rows.instant_text(instant)
        found = (one for one in self.entries() if one.state == "held" and not one.blocks)
        return sorted({one.ticker for one in found if one.noted_at >= since})

    def refuse(self, ticker: str, reason: str, now: datetime) -> None:
        """Record that the answer of a ticker is refused as a whole, since the first such day."""
        reason = reason.removeprefix(f"{ticker}: ")
        for entry in self.entries(ticker):
            if entry.rule == REFUSED and entry.state == "held":
                if entry.reason != reason:
                    with self._writing():
                        self._connection.execute(_UPDATE_REASON, (reason, *entry.key))
                return
        entry = Entry(
            ticker=ticker, session=now.date(), rule=REFUSED, reason=reason, values=_NO_VALUES
        )
        with self._writing():
            self._write([entry], now)

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


def oldest_blocking(entries: Sequence[Entry]) -> dict[str, Entry]:
    """Return the oldest entry that blocks, by ticker."""
    found: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda one: one.noted_at):
        if entry.blocks:
            found.setdefault(entry.ticker, entry)
    return found


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
