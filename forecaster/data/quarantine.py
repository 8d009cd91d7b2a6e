"""Bars in quarantine: the rule that each broke, and the decision of a manual review.

Entries in, entries out; knows no rules and no source.  A table of the price store (see
`store_rows.py`).  An entry is *held* until a review *releases* it (the bar is accepted) or
*drops* it (the bar is rejected and left out from then on), or until the source corrects it.
"""

import math
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final, Literal

import pandas as pd

from forecaster import database
from forecaster.data import store_rows
from forecaster.data.history import BAR_COLUMNS

State = Literal["held", "released", "dropped"]

_VALUES: Final = BAR_COLUMNS[1:]
_COLUMNS: Final = f"ticker, session, rule, reason, state, {', '.join(_VALUES)}, noted_at"
_SELECT: Final = f"SELECT {_COLUMNS} FROM quarantine {{}} ORDER BY ticker, session, rule"
_OF_ALL: Final = _SELECT.format("")
_OF_TICKER: Final = _SELECT.format("WHERE ticker = ?")
# Rules of 0.1.0: read under their new names, and renamed with the first write.
_RENAMED: Final = {"doubled-day": "duplicate-day"}
_RENAME: Final = "UPDATE OR REPLACE quarantine SET rule = ? WHERE rule = ?"
_WRITE: Final = f"""
    INSERT OR REPLACE INTO quarantine ({_COLUMNS})
    VALUES ({", ".join("?" * (6 + len(_VALUES)))})
"""
_DELETE: Final = "DELETE FROM quarantine WHERE ticker = ? AND session = ? AND rule = ?"
_BAR: Final = f"SELECT {', '.join(_VALUES)} FROM bars WHERE ticker = ? AND session = ?"
_DELETE_BAR: Final = "DELETE FROM bars WHERE ticker = ? AND session = ?"
# Identical calls to a source differ by less.
_SAME_VALUE: Final = 1e-4


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

    def covers(self, entry: Entry) -> bool:
        """Whether the check would have found an entry again."""
        return self.first <= entry.session <= self.last and entry.rule in self.rules


def entry_of(ticker: str, bars: pd.DataFrame, row: int, rule: str, reason: str) -> Entry:
    """Build the entry of one bar."""
    session: date = bars["session"].iloc[row].date()
    values = values_of(bars, row)
    return Entry(ticker=ticker, session=session, rule=rule, reason=reason, values=values)


def values_of(bars: pd.DataFrame, row: int) -> tuple[float, ...]:
    """Read one bar's values, in the order of BAR_COLUMNS without the session."""
    return tuple(bars[name].iloc[row].item() for name in _VALUES)


class Quarantine:
    """The quarantine of an open store; see `PriceStore.quarantine`."""

    def __init__(self, connection: sqlite3.Connection, file: database.Database) -> None:
        self._connection, self._file = connection, file

    def entries(self, ticker: str = "") -> list[Entry]:
        """List the entries of one ticker, or of all, by ticker, day and rule."""
        with database.translated_errors(self._file):
            found = self._connection.execute(*((_OF_TICKER, (ticker,)) if ticker else (_OF_ALL,)))
            return [_entry(row) for row in found]

    def record(self, found: Sequence[Entry], scope: Scope, now: datetime) -> list[Entry]:
        """Replace the held entries of a scope by what a check found in it.

        What is no longer found was corrected by the source.  Decisions stay, unless the prices
        differ from those that were decided on.

        Args:
            found: what the check found.
            scope: which bars it checked, by which rules.
            now: aware instant.

        Returns:
            The entries that were not known before.
        """
        known = {entry.key: entry for entry in self.entries(scope.ticker)}
        wanted = {entry.key for entry in found}
        corrected = [
            key
            for key, entry in known.items()
            if key not in wanted and entry.state == "held" and scope.covers(entry)
        ]
        new = [
            entry
            for entry in found
            if entry.key not in known or not known[entry.key].is_about(entry.values)
        ]
        if corrected or new:
            with self._writing():
                self._connection.executemany(_DELETE, corrected)
                self._write(new, now)
        return new

    def decide(self, entries: Collection[Entry], state: State, now: datetime) -> None:
        """Record a decision; a stored bar that is dropped is removed from the store.

        Args:
            entries: those decided on; they need not have been held.
            state: the decision.
            now: aware instant.
        """
        with self._writing():
            self._write([replace(entry, state=state) for entry in entries], now)
            if state == "dropped":
                self._remove_bars(entries, store_rows.instant_text(now))

    def _remove_bars(self, entries: Collection[Entry], instant: str) -> None:
        gone: dict[str, list[str]] = {}
        for entry in entries:
            ticker, session, _ = entry.key
            stored = self._connection.execute(_BAR, (ticker, session)).fetchone()
            # A bar stored since with other prices was not decided on.
            if stored and entry.is_about(stored):
                self._connection.execute(_DELETE_BAR, (ticker, session))
                gone.setdefault(ticker, []).append(session)
        for ticker, sessions in gone.items():
            reason = f"{len(sessions):,} bars dropped by hand (first {min(sessions)})"
            self._connection.execute(store_rows.RAISE_REVISION, (ticker, reason, instant))

    def _write(self, entries: Sequence[Entry], now: datetime) -> None:
        instant = store_rows.instant_text(now)
        rows = [(*one.key, one.reason, one.state, *one.values, instant) for one in entries]
        self._connection.executemany(_WRITE, rows)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with database.translated_errors(self._file), database.transaction(self._connection):
            self._connection.executemany(_RENAME, [(new, old) for old, new in _RENAMED.items()])
            yield


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
