"""Bars that await a person, with the rule that they broke, and what the person decided.

Entries in, entries out; knows no rules and no source.  It lies in the file of the price store
(see `store_schema.py`), beside the bars.  An entry is *held* until a person *releases* it (the
bar is right) or *drops* it (it is left out from now on), or until the source mends it.
"""

import math
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd

from forecaster import database
from forecaster.data import store_rows
from forecaster.data.history import BAR_COLUMNS

State = Literal["held", "released", "dropped"]

_VALUES: Final = BAR_COLUMNS[1:]
_COLUMNS: Final = f"ticker, session, rule, reason, state, {', '.join(_VALUES)}, noted_at"
_SELECT: Final = f"""
    SELECT {_COLUMNS} FROM quarantine WHERE ?1 IN ('', ticker) ORDER BY ticker, session, rule
"""
_WRITE: Final = f"""
    INSERT OR REPLACE INTO quarantine ({_COLUMNS})
    VALUES ({", ".join("?" * (6 + len(_VALUES)))})
"""
_FORGET: Final = "DELETE FROM quarantine WHERE ticker = ? AND session = ? AND rule = ?"
_BAR: Final = f"SELECT {', '.join(_VALUES)} FROM bars WHERE ticker = ? AND session = ?"
_DROP_BAR: Final = "DELETE FROM bars WHERE ticker = ? AND session = ?"
# Identical calls to a source differ by less.
_SAME_VALUE: Final = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One bar under one rule; `values` as served, in the order of BAR_COLUMNS, NaN missing."""

    ticker: str
    session: date
    rule: str
    reason: str
    values: tuple[float, ...]
    state: State = "held"
    noted_at: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """Ticker, ISO session and rule: what a row of the quarantine is known by."""
        return self.ticker, self.session.isoformat(), self.rule

    def is_about(self, values: Sequence[float]) -> bool:
        """Tell whether it was decided on these prices and not on others of the same day."""
        return all(
            math.isclose(mine, other, rel_tol=_SAME_VALUE)
            or (math.isnan(mine) and math.isnan(other))
            for mine, other in zip(self.values[:4], values[:4], strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Where one has looked: a ticker, its first and last session, and by which rules."""

    ticker: str
    first: date
    last: date
    rules: frozenset[str]

    def covers(self, entry: Entry) -> bool:
        """Tell whether an entry would have been found again."""
        return self.first <= entry.session <= self.last and entry.rule in self.rules


def values_of(bars: pd.DataFrame, row: int) -> tuple[float, ...]:
    """Read one bar's values, in the order of BAR_COLUMNS without the session."""
    return tuple(bars[name].iloc[row].item() for name in _VALUES)


class Quarantine:
    """The quarantine of an open store; see `PriceStore.quarantine`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def entries(self, ticker: str = "") -> list[Entry]:
        """List the entries of one ticker, or of all, by ticker, day and rule."""
        with store_rows.translated_errors(self._path):
            rows = self._connection.execute(_SELECT, (ticker,)).fetchall()
        return [_entry(row) for row in rows]

    def hold(self, found: Sequence[Entry], looked_at: Look, now: datetime) -> list[Entry]:
        """Make what is held of a ticker exactly what was found where one has looked.

        What is no longer found there has been mended by the source.  Decisions stay, unless
        what was found has other prices than those that they were made on.

        Args:
            found: what is wrong there.
            looked_at: where one has looked, and for what.
            now: aware instant.

        Returns:
            What was not known before.
        """
        known = {entry.key: entry for entry in self.entries(looked_at.ticker)}
        wanted = {entry.key for entry in found}
        mended = [
            key
            for key, entry in known.items()
            if key not in wanted and entry.state == "held" and looked_at.covers(entry)
        ]
        fresh = [
            entry
            for entry in found
            if entry.key not in known or not known[entry.key].is_about(entry.values)
        ]
        if mended or fresh:
            with self._writing():
                self._connection.executemany(_FORGET, mended)
                self._write(fresh, now)
        return fresh

    def decide(self, entries: Collection[Entry], state: State, now: datetime) -> None:
        """Write down what a person decided; a stored bar that is dropped leaves the store.

        Args:
            entries: those decided on; they need not have been held.
            state: the decision.
            now: aware instant.
        """
        with self._writing():
            self._write([replace(entry, state=state) for entry in entries], now)
            if state == "dropped":
                self._drop_bars(entries, store_rows.instant_text(now))

    def _drop_bars(self, entries: Collection[Entry], instant: str) -> None:
        gone: dict[str, list[str]] = {}
        for entry in entries:
            ticker, session, _ = entry.key
            stored = self._connection.execute(_BAR, (ticker, session)).fetchone()
            # A bar that has come since, with other prices, was not decided on.
            if stored and entry.is_about(stored):
                self._connection.execute(_DROP_BAR, (ticker, session))
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
        with (
            store_rows.translated_errors(self._path),
            database.transaction(self._connection),
        ):
            yield


def _entry(row: tuple[Any, ...]) -> Entry:
    ticker, session, rule, reason, state, *values, noted_at = row
    return Entry(
        ticker=ticker,
        session=date.fromisoformat(session),
        rule=rule,
        reason=reason,
        state=state,
        values=tuple(math.nan if value is None else value for value in values),
        noted_at=noted_at,
    )
