"""`forecaster data quarantine`: what is held, with the bars around it, and decisions about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import pandas as pd

from forecaster import clock
from forecaster.data.checks import check_history
from forecaster.data.history import BAR_COLUMNS, normalise_ticker, normalise_tickers
from forecaster.data.quarantine import REFUSED, UNUSABLE, Entry, State, entries_of, entry_of
from forecaster.data.sources.files import SOURCE as FILES
from forecaster.data.store import PriceStore
from forecaster.errors import UnknownNameError, UsageError
from forecaster.operations.lock import writer
from forecaster.settings import Home, resolve_home

QUARANTINE_COLUMNS: Final = "ticker session rule state open high low close noted_at reason".split()
AROUND: Final = 5  # stored bars that are shown before and after one in quarantine
BY_HAND: Final = "by-hand"


def quarantine_table(
    tickers: str | Sequence[str] = (), *, rule: str = "", home: Home | None = None
) -> pd.DataFrame:
    """List what is in quarantine, decided or not; see QUARANTINE_COLUMNS."""
    wanted = set(normalise_tickers(tickers))
    with PriceStore.open_for_reading(resolve_home(home)) as store:
        entries = store.quarantine.entries()
    rows = [
        (e.ticker, pd.Timestamp(e.session), e.rule, e.state, *e.values[:4], e.noted_at, e.reason)
        for e in entries
        if (not wanted or e.ticker in wanted) and rule in ("", e.rule)
    ]
    return pd.DataFrame(rows, columns=QUARANTINE_COLUMNS)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBar:
    """An entry that is held, and the bars around it: BAR_COLUMNS and `where` each bar is."""

    entry: Entry
    bars: pd.DataFrame

    @property
    def commands(self) -> list[str]:
        """The decisions that can be made about it, as they are typed."""
        typed, entry = "forecaster data quarantine", self.entry
        day = f"{entry.ticker} {entry.session}"
        may_be_right = _can_be(entry, "released")
        return [f"{typed} release {day}"] * may_be_right + [f"{typed} drop {day}"]


def held_bars(ticker: str, *, home: Home | None = None) -> list[HeldBar]:
    """Return what is held of a ticker, with the stored bars around each, oldest first.

    Raises:
        UnknownNameError: nothing of it is held.
    """
    name = normalise_ticker(ticker)
    with PriceStore.open_for_reading(resolve_home(home)) as store:
        held = [one for one in store.quarantine.entries(name) if one.state == "held"]
        if not held:
            raise UnknownNameError(
                f"{name}: nothing is held in quarantine; see: forecaster data quarantine list"
            )
        stored = store.bars(name) if store.span(name) else None
    return [HeldBar(entry=entry, bars=_around(entry, stored)) for entry in held]


def _around(entry: Entry, stored: pd.DataFrame | None) -> pd.DataFrame:
    """Return the served bar between the stored ones around it."""
    day = pd.Timestamp(entry.session)
    served = pd.DataFrame([(day, *entry.values, "served")], columns=[*BAR_COLUMNS, "where"])
    if entry.rule == REFUSED:
        served = served[:0]
    if stored is None:
        return served
    at = int(stored["session"].searchsorted(day))
    near = stored.iloc[max(at - AROUND, 0) : at + AROUND + 1].assign(where="stored")
    if served.empty:
        return near
    return pd.concat([near, served]).sort_values("session", kind="stable", ignore_index=True)


def release(
    tickers: str | Sequence[str] = (),
    sessions: Sequence[date] = (),
    *,
    rule: str = "",
    home: Home | None = None,
) -> int:
    """Accept bars, which the next fetch or import stores; return the number of findings.

    No sessions mean all that is held of the tickers; no tickers all that is held by the rule.

    Raises:
        UnknownNameError: nothing is held or found there.
        UsageError: neither tickers nor a rule are given; what is chosen cannot be accepted.
    """
    if not (tickers or rule):
        raise UsageError("release: name tickers, or --rule; for example: release AAPL.")
    return _decide(tickers, _Choice(frozenset(sessions), rule, "released"), resolve_home(home))


def drop(
    tickers: str | Sequence[str] = (),
    sessions: Sequence[date] = (),
    *,
    rule: str = "",
    home: Home | None = None,
) -> int:
    """Remove bars and leave them out while served unchanged; return the number of findings.

    Raises:
        UnknownNameError: a day is neither stored nor in quarantine.
        UsageError: neither days nor a rule are given.
    """
    if not (rule or (tickers and sessions)):
        raise UsageError("drop: name the days, or --rule; for example: drop AAPL 2024-01-05.")
    return _decide(tickers, _Choice(frozenset(sessions), rule, "dropped"), resolve_home(home))


def ways_to_store(tickers: Sequence[str], *, home: Home | None = None) -> list[str]:
    """Return the commands that store released bars, by where the tickers come from."""
    with PriceStore.open_for_reading(resolve_home(home)) as store:
        stored = {name: store.listing(name).source for name in tickers if store.span(name)}
    fetched = [name for name in tickers if stored.get(name) != FILES]
    from_files = [name for name in tickers if stored.get(name, FILES) == FILES]
    fetch = [" ".join(["fetch", *fetched])] if fetched or not tickers else []
    return fetch + ["data import FILE"] * bool(from_files)


@dataclass(frozen=True, slots=True)
class _Choice:
    """The days and the rule that a decision is about, any if empty, and the decision."""

    days: frozenset[date]
    rule: str
    state: State

    @property
    def command(self) -> str:
        return f"forecaster data quarantine {'release' if self.state == 'released' else 'drop'}"

    def includes(self, entry: Entry) -> bool:
        """Whether it is about an entry: of its days and its rule, without days a held one."""
        if self.rule not in ("", entry.rule):
            return False
        if self.days:
            return entry.session in self.days
        return entry.state == "held"


def _decide(tickers: str | Sequence[str], choice: _Choice, home: Path) -> int:
    with writer(home, choice.command), PriceStore.open_for_writing(home) as store:
        names = normalise_tickers(tickers)
        if not names:
            entries = store.quarantine.entries()
            names = sorted({one.ticker for one in entries if choice.includes(one)})
            if not names:
                raise UnknownNameError(
                    f"--rule {choice.rule}: nothing is held by it; see: forecaster data quarantine "
                    "list"
                )
        chosen = [entry for name in names for entry in _chosen(store, name, choice)]
        store.quarantine.decide(chosen, choice.state, clock.now())
    return len(chosen)


def _chosen(store: PriceStore, ticker: str, choice: _Choice) -> list[Entry]:
    """Return the entries of a ticker that a decision is about, in quarantine or found now."""
    known = {entry.key: entry for entry in store.quarantine.entries(ticker)}
    if store.span(ticker):
        history = store.history(ticker)
        errors = [one for one in check_history(history) if one.severity == "error"]
        found = entries_of(history, errors)
        # Any bar may be dropped.
        other = choice.days - {entry.session for entry in found}
        found += [
            entry_of(ticker, history.bars, row, BY_HAND, "by hand")
            for row, session in enumerate(history.bars["session"].dt.date)
            if session in other and choice.state == "dropped"
        ]
        known = {entry.key: entry for entry in found} | known
    chosen = [entry for entry in known.values() if choice.includes(entry)]
    possible = [entry for entry in chosen if _can_be(entry, choice.state)]
    lacking = sorted(choice.days - {entry.session for entry in chosen})
    if lacking or not chosen:
        where = f" of {lacking[0]}" if lacking else ""
        raise UnknownNameError(
            f"{ticker}: nothing{where} is in quarantine or found wrong; see: forecaster data "
            f"quarantine list, forecaster data check {ticker}"
        )
    if not possible or (choice.days and len(possible) < len(chosen)):
        raise _impossible(next(entry for entry in chosen if entry not in possible), choice)
    return possible


def _can_be(entry: Entry, state: State) -> bool:
    """Whether a decision can be made: neither an answer nor what cannot be a bar is released."""
    return state == "dropped" or entry.rule not in (REFUSED, *UNUSABLE)


def _impossible(entry: Entry, choice: _Choice) -> UsageError:
    day = f"{entry.ticker} {entry.session}"
    if entry.rule == REFUSED:
        return UsageError(f"{entry.ticker}: the answer was refused, not a bar: {entry.reason}")
    return UsageError(
        f"{entry.ticker}: {entry.session} cannot be a bar ({entry.reason}), so it cannot be "
        f"released. Drop it: forecaster data quarantine drop {day}"
    )
