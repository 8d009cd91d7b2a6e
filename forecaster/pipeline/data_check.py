"""What is wrong with stored prices, what is in quarantine, and what a person decides of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import pandas as pd

from forecaster import clock
from forecaster.data.checks import Finding, check_history
from forecaster.data.history import FLAWS, History, normalise_ticker, normalise_tickers
from forecaster.data.quarantine import Entry, State, values_of
from forecaster.data.screening import unreleased
from forecaster.data.store import PriceStore
from forecaster.errors import DataError, UnknownNameError, UsageError
from forecaster.operations.lock import writer
from forecaster.settings import Home, resolve_home

CHECK_COLUMNS: Final = ("ticker", "session", "rule", "severity", "where", "reason")
QUARANTINE_COLUMNS: Final = (
    *("ticker", "session", "rule", "state", "open", "high", "low", "close", "noted_at", "reason"),
)
BY_HAND: Final = "by-hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What the rules found: a table (CHECK_COLUMNS), errors first, and how much was looked at."""

    table: pd.DataFrame
    tickers: int
    bars: int

    def count(self, severity: str) -> int:
        """Count the findings of a severity."""
        return int((self.table["severity"] == severity).sum())

    def raise_errors(self) -> None:
        """Raise DataError where a person is needed: for findings of severity `error`."""
        errors = self.table[self.table["severity"] == "error"]
        if len(errors):
            names = sorted(set(errors["ticker"]))
            raise DataError(
                f"{len(errors):,} errors in {', '.join(names[:10])}{' ...' * (len(names) > 10)} "
                "need a person: release what is right, drop what is not (forecaster data "
                "quarantine --help)."
            )


def check_prices(tickers: str | Sequence[str] = (), *, home: Home | None = None) -> CheckReport:
    """Apply every rule to stored histories, and add what is held in quarantine.

    Args:
        tickers: which; none means everything in the store and in quarantine.
        home: the workspace; None as the command line resolves it.

    Raises:
        UnknownNameError: a ticker is neither stored nor in quarantine, or nothing is.
    """
    now = clock.now()
    with PriceStore.open_for_reading(resolve_home(home)) as store:
        held = [entry for entry in store.quarantine.entries() if entry.state == "held"]
        names = _names(store, normalise_tickers(tickers), held)
        rows, bars = [_held_row(entry) for entry in held if entry.ticker in names], 0
        known = {entry.key for entry in held}
        for ticker in names & set(store.tickers()):
            history = store.history(ticker)
            bars += len(history.bars)
            found = check_history(history, now) if len(history.bars) else []
            rows += [_row(one) for one in _open(store, history, found) if _key(one) not in known]
    table = pd.DataFrame(rows, columns=list(CHECK_COLUMNS))
    ordered = table.sort_values(["severity", "ticker", "session"], ignore_index=True)
    return CheckReport(table=ordered, tickers=len(names), bars=bars)


def quarantine_table(
    tickers: str | Sequence[str] = (), *, home: Home | None = None
) -> pd.DataFrame:
    """List what is in quarantine, decided or not; see QUARANTINE_COLUMNS."""
    wanted = set(normalise_tickers(tickers))
    with PriceStore.open_for_reading(resolve_home(home)) as store:
        entries = store.quarantine.entries()
    rows = [_entry_row(one) for one in entries if not wanted or one.ticker in wanted]
    return pd.DataFrame(rows, columns=list(QUARANTINE_COLUMNS))


def release(ticker: str, sessions: Sequence[date] = (), *, home: Home | None = None) -> int:
    """Take bars for right: they are stored with the next fetch or import, and found no more.

    Args:
        ticker: whose.
        sessions: which days; none means all of the ticker.
        home: the workspace; None as the command line resolves it.

    Returns:
        How many findings were released.

    Raises:
        UnknownNameError: nothing is held or found there.
        UsageError: a row that cannot be a bar.
    """
    return _decide(ticker, sessions, "released", resolve_home(home))


def drop(ticker: str, sessions: Sequence[date], *, home: Home | None = None) -> int:
    """Take bars for wrong: they leave the store, and are left out as long as they come alike.

    Args:
        ticker: whose.
        sessions: which days, at least one; any that are stored or in quarantine.
        home: the workspace; None as the command line resolves it.

    Returns:
        How many findings were decided.

    Raises:
        UnknownNameError: a day is neither stored nor in quarantine.
        UsageError: no day is named.
    """
    if not sessions:
        raise UsageError("drop: name the days; for example: drop AAPL 2024-01-05.")
    return _decide(ticker, sessions, "dropped", resolve_home(home))


def _decide(ticker: str, sessions: Sequence[date], state: State, home: Path) -> int:
    name, days = normalise_ticker(ticker), set(sessions)
    doing = f"forecaster data quarantine {'release' if state == 'released' else 'drop'}"
    with writer(home, doing), PriceStore.open_for_writing(home) as store:
        known = {entry.key: entry for entry in store.quarantine.entries(name)}
        if name in store.tickers():
            known = _found(store, name, state, days) | known
        chosen = [entry for entry in known.values() if not days or entry.session in days]
        lacking = sorted(days - {entry.session for entry in chosen})
        if lacking or not chosen:
            where = f" of {lacking[0]}" if lacking else ""
            raise UnknownNameError(
                f"{name}: nothing{where} is in quarantine or found wrong; see: forecaster data "
                f"quarantine list, forecaster data check {name}"
            )
        if state == "released":
            _refuse_flaws(chosen)
        store.quarantine.decide(chosen, state, clock.now())
    return len(chosen)


def _found(
    store: PriceStore, ticker: str, state: State, days: set[date]
) -> dict[tuple[str, str, str], Entry]:
    """Find what can be decided of stored bars: errors, and by hand any bar that is named."""
    history = store.history(ticker)
    found = [one for one in check_history(history) if one.severity == "error"]
    entries = _entries(history, found)
    if state == "dropped":
        told = {entry.session for entry in entries}
        stored = set(history.bars["session"].dt.date)
        by_hand = [
            Finding(ticker=ticker, rule=BY_HAND, severity="error", session=day, reason="by hand")
            for day in sorted((days & stored) - told)
        ]
        entries += _entries(history, by_hand)
    return {entry.key: entry for entry in entries}


def _refuse_flaws(chosen: Sequence[Entry]) -> None:
    for entry in chosen:
        if entry.rule in FLAWS:
            raise UsageError(
                f"{entry.ticker}: {entry.session} cannot be a bar ({entry.reason}), so it cannot "
                f"be released. Drop it: forecaster data quarantine drop {entry.ticker} "
                f"{entry.session}"
            )


def _names(store: PriceStore, wanted: Sequence[str], held: Sequence[Entry]) -> set[str]:
    there = set(store.tickers()) | {entry.ticker for entry in held}
    unknown = [name for name in wanted if name not in there]
    if unknown:
        store.listing(unknown[0])  # raises, with names that are near
    if not there:
        raise UnknownNameError(f"No prices in {store.path}; run: forecaster fetch TICKER")
    return set(wanted) or there


def _open(store: PriceStore, history: History, found: Sequence[Finding]) -> list[Finding]:
    """Keep what nobody has released."""
    entries = unreleased(store.quarantine, _entries(history, found))
    still = {entry.key for entry in entries}
    return [one for one in found if _key(one) in still]


def _entries(history: History, found: Sequence[Finding]) -> list[Entry]:
    if not found:
        return []
    sessions = history.bars["session"].dt.date.tolist()
    return [
        Entry(
            ticker=one.ticker,
            session=one.session,
            rule=one.rule,
            reason=one.reason,
            values=values_of(history.bars, sessions.index(one.session)),
        )
        for one in found
    ]


def _key(one: Finding) -> tuple[str, str, str]:
    return one.ticker, one.session.isoformat(), one.rule


def _row(one: Finding) -> tuple[object, ...]:
    session = pd.Timestamp(one.session)
    return one.ticker, session, one.rule, one.severity, "store", one.reason


def _entry_row(one: Entry) -> tuple[object, ...]:
    session = pd.Timestamp(one.session)
    return one.ticker, session, one.rule, one.state, *one.values[:4], one.noted_at, one.reason


def _held_row(one: Entry) -> tuple[object, ...]:
    return one.ticker, pd.Timestamp(one.session), one.rule, "error", "quarantine", one.reason
