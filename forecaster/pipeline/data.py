"""`forecaster data`: stored prices as tables and files, and findings in them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from forecaster import clock
from forecaster.clock import Day
from forecaster.data.checks import check_history
from forecaster.data.export import write_table
from forecaster.data.history import History, fingerprint, normalise_ticker, normalise_tickers
from forecaster.data.loading import as_table, load_histories
from forecaster.data.quarantine import Entry, entries_of
from forecaster.data.sources.answers import Answers
from forecaster.data.sources.headers import MARKS
from forecaster.data.store import PriceStore
from forecaster.data.store_rows import Revision
from forecaster.data.trading_calendar import base_name
from forecaster.errors import DataError, Failures, UnknownNameError
from forecaster.operations.lock import writer
from forecaster.operations.run_log import bug_log
from forecaster.settings import Home, resolve_home

log = logging.getLogger(__name__)
CHECK_COLUMNS: Final = "ticker session rule severity where reason".split()


def load_bars(
    tickers: str | Sequence[str] = (), *, home: Home | None = None, until: Day | None = None
) -> pd.DataFrame:
    """Load stored bars as the long table that `train`, `evaluate` and `predict` take.

    No tickers mean all in the store; `until` is the last session. Columns are `ticker`, those
    of a bar, `basis` and `calendar`.

    Raises:
        UnknownNameError: a ticker is not there, or nothing is.

    Examples:
        >>> from forecaster import load_bars
        >>> load_bars("SP500", home="demo", until="1999-01-05")[["ticker", "session", "basis"]]
          ticker    session           basis
        0  SP500 1999-01-04  split-adjusted
        1  SP500 1999-01-05  split-adjusted
    """
    return as_table(load_histories(None, resolve_home(home), tickers, clock.as_day(until, "until")))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTicker:
    """One ticker as it is stored: its bars, the revision of its past, the hash of the bars.

    `answers` are the options of `data import` that its files need.
    """

    history: History
    revision: Revision
    fingerprint: str
    answers: str


def stored_ticker(
    ticker: str, *, home: Home | None = None, until: date | None = None
) -> StoredTicker:
    """Read one ticker's listing, with its calendar's plain name, bars and newest revision.

    Raises:
        UnknownNameError: nothing is stored of it.
        DataError: none of its bars is on or before `until`.
    """
    with PriceStore.open_for_reading(resolve_home(home)) as store:
        history = store.history(normalise_ticker(ticker), until)
        revision = store.revision(history.listing.ticker)
        answers = Answers.of_rows(store.answers(history.listing.ticker))
    if history.bars.empty:
        raise DataError(
            f"{history.listing.ticker}: no bar on or before {until}; choose a later day."
        )
    plain = replace(history.listing, calendar=base_name(history.listing.calendar))
    history = replace(history, listing=plain)
    return StoredTicker(
        history=history,
        revision=revision,
        fingerprint=fingerprint([history]),
        answers=str(answers),
    )


def remove(tickers: str | Sequence[str], *, home: Home | None = None) -> dict[str, int]:
    """Remove tickers from the store, with all decisions and answers; return their days.

    Raises:
        UnknownNameError: nothing is stored of one; then none is removed.
    """
    names, where = normalise_tickers(tickers), resolve_home(home)
    with writer(where, "forecaster data remove"), PriceStore.open_for_writing(where) as store:
        for name in names:
            store.listing(name)
        return {name: store.remove(name) for name in dict.fromkeys(names)}


def export_file(file: Path, tickers: Sequence[str] = (), *, home: Home | None = None) -> int:
    """Write bars in long form, with the metadata of each ticker; return the number of rows."""
    histories = load_histories(None, resolve_home(home), tickers, None)
    table = as_table(histories)
    table["calendar"] = table["calendar"].map(base_name)
    for mark in MARKS:
        values = [getattr(history.listing, mark) for history in histories]
        if any(values):
            table[mark] = np.repeat(values, [len(history.bars) for history in histories])
    write_table(table, file)
    return len(table)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """The findings: a table (CHECK_COLUMNS), errors first, and the tickers and bars checked.

    `wrong` are the errors in stored bars that are not in quarantine yet, `failures` those of the
    tickers that could not be checked.
    """

    table: pd.DataFrame
    tickers: int
    bars: int
    wrong: tuple[Entry, ...] = ()
    failures: Failures = field(default_factory=Failures)

    def count(self, severity: str) -> int:
        """Count the findings of a severity."""
        return int((self.table["severity"] == severity).sum())

    def raise_errors(self) -> None:
        """Raise DataError for findings of severity `error`, else that of an unchecked ticker."""
        errors = self.table[self.table["severity"] == "error"]
        if len(errors):
            names = sorted(set(errors["ticker"]))
            raise DataError(
                f"{len(errors):,} errors in {', '.join(names[:10])}{' ...' * (len(names) > 10)} "
                "need manual review: release what is right, drop what is not (forecaster data "
                "quarantine --help)."
            )
        unchecked = self.failures.errors
        if unchecked:
            raise self.failures.common_bug(self.tickers) or next(iter(unchecked.values()))


def check_prices(tickers: str | Sequence[str] = (), *, home: Home | None = None) -> CheckReport:
    """Check stored histories by every rule, and add what is held in quarantine.

    No tickers mean everything in the store and in quarantine.

    Raises:
        UnknownNameError: a ticker is neither stored nor in quarantine, or nothing is.
    """
    now, where = clock.now(), resolve_home(home)
    with bug_log(where), PriceStore.open_for_reading(where) as store:
        held = [entry for entry in store.quarantine.entries() if entry.state == "held"]
        there = set(store.tickers()) | {entry.ticker for entry in held}
        wanted = normalise_tickers(tickers)
        names = set(wanted) or there
        for name in wanted:
            if name not in there:
                store.listing(name)  # raises, with similar names
        if not there:
            raise UnknownNameError(f"No prices in {store.path}; run: forecaster fetch TICKER")
        rows = [_row(one, "error", "quarantine") for one in held if one.ticker in names]
        known, bars, failures = {entry.key for entry in held}, 0, Failures()
        wrong: list[Entry] = []
        for ticker in names & set(store.tickers()):
            with failures.of(ticker):
                history = store.history(ticker)
                bars += len(history.bars)
                findings = check_history(history, now) if len(history.bars) else []
                severities = {(one.session, one.rule): one.severity for one in findings}
                for one in store.quarantine.unreleased(entries_of(history, findings)):
                    if one.key not in known:
                        severity = severities[one.session, one.rule]
                        rows.append(_row(one, severity, "store"))
                        wrong += [one] * (severity == "error")
    for error in failures.errors.values():
        log.warning("%s", error)
    table = pd.DataFrame(rows, columns=CHECK_COLUMNS)
    ordered = table.sort_values(["severity", "ticker", "session"], ignore_index=True)
    return CheckReport(
        table=ordered, tickers=len(names), bars=bars, wrong=tuple(wrong), failures=failures
    )


def _row(one: Entry, severity: str, where: str) -> tuple[object, ...]:
    return one.ticker, pd.Timestamp(one.session), one.rule, severity, where, one.reason
