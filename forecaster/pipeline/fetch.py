"""`forecaster fetch`: bring prices from a source into the store, ticker by ticker."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import pandas as pd

from forecaster import clock
from forecaster.clock import Day
from forecaster.data.calendar_corrections import correct_calendars
from forecaster.data.history import normalise_tickers
from forecaster.data.ingest import FetchRequest, refresh
from forecaster.data.sources import Source, open_source
from forecaster.data.store import PriceStore
from forecaster.errors import (
    BugError,
    Failures,
    ForecasterError,
    PartialFailure,
    SourceDownError,
    TryLaterError,
    UsageError,
    name_some,
)
from forecaster.operations.lock import writer
from forecaster.operations.run_log import bug_log
from forecaster.settings import FetchSettings, Home, resolve_home
from forecaster.settings.keywords import FetchKeywords, settings_from

log = logging.getLogger(__name__)
MOST_DOWN: Final = 5  # tickers in a row for which the source itself failed, before giving up
FETCH_COLUMNS: Final = ("ticker", "rows_changed", "days", "first", "last", "error")
OnTicker = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class FetchReport:
    """The result for each ticker: a table (`FETCH_COLUMNS`), and the errors by ticker.

    `bug` is the one that failed all of several tickers at the same line, if any; `left_out` are
    tickers with rows that were left out for the first time.
    """

    table: pd.DataFrame
    failures: dict[str, ForecasterError]
    bug: BugError | None = None
    left_out: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"FetchReport: {len(self.table)} tickers, {len(self.failures)} failed\n" + (
            self.table.drop(columns="error").to_string(index=False, max_rows=12)
        )

    @property
    def failure(self) -> ForecasterError | None:
        """The error that decides the exit code; None if no ticker failed."""
        errors = list(self.failures.values())
        later = [error for error in errors if isinstance(error, TryLaterError)]
        if self.bug or later:
            return self.bug or later[0]
        if len(errors) < len(self.table):
            names = name_some([*self.failures])
            text = f"{len(errors)} of {len(self.table)} tickers failed: {names}."
            return PartialFailure(text) if errors else rows_left_out(self.left_out)
        return errors[0] if errors else None

    def raise_failures(self) -> None:
        """Raise the error that decides the exit code; nothing if no ticker failed."""
        if self.failure:
            raise self.failure


def rows_left_out(tickers: Sequence[str]) -> PartialFailure | None:
    """Return the failure that rows of some tickers were left out; None of no ticker."""
    if not tickers:
        return None
    names = name_some(tickers)
    return PartialFailure(f"rows left out of {names}; see: forecaster data quarantine list")


def report_of(
    store: PriceStore,
    changed: dict[str, int],
    failures: dict[str, ForecasterError],
    bug: BugError | None = None,
) -> FetchReport:
    """Build the report of a fetch or import; `changed` has the number of new bars by ticker."""
    rows = []
    for ticker, count in changed.items():
        span, error = store.span(ticker), failures.get(ticker)
        ends = (pd.Timestamp(span.first), pd.Timestamp(span.last)) if span else (pd.NaT, pd.NaT)
        days = span.days if span else 0
        rows.append((ticker, count, days, *ends, str(error) if error else None))
    table = pd.DataFrame(rows, columns=list(FETCH_COLUMNS))
    return FetchReport(table, failures, bug)


def fetch(
    tickers: str | Sequence[str] = (),
    *,
    settings: FetchSettings | FetchKeywords | None = None,
    start: Day | None = None,
    end: Day | None = None,
    home: Home | None = None,
    source: Source | str | None = None,
    compare_all_days: int | None = None,
    accept_identity: bool = False,
    on_ticker: OnTicker = lambda ticker, number, of: None,
) -> FetchReport:
    """Download missing prices, check and store them, each ticker completely or not at all.

    The last two weeks of a stored ticker are fetched again, with what is missing. If those
    weeks no longer agree with the store, or contain a split, the complete history is fetched
    and becomes a new revision, because the source has changed the past. Every few weeks
    (`compare_all_days`) the complete history is fetched and compared instead.

    Args:
        tickers: which; none means everything in the store, or all that the source serves.
        start: first session; None for the oldest of a new ticker, the last two weeks of a stored.
        end: last session; None for the newest final one.
        settings: where from, as a value or a dict; None for the defaults.
        source: instead of the one in the settings.
        compare_all_days: likewise.
        accept_identity: continue with tickers whose name, exchange, currency or first trade
            date has changed, instead of stopping them.
        on_ticker: called before each ticker with its number, from 1, and how many there are.

    Returns:
        The report; a ticker that fails is in it and leaves the store as it was.

    Raises:
        CannotWriteError, StorageError: the home is read-only, or the disk failed.
        SourceDownError: the source failed ticker after ticker.
        TryLaterError: another process is writing.
        UsageError: `start` after `end`, a malformed ticker or none at all, an unknown source.

    Examples:
        >>> from forecaster import fetch
        >>> report = fetch(source="sample", home="demo")
        >>> report.table[["ticker", "days"]]
           ticker  days
        0  NASDAQ  5031
        1   SP500  5031
    """
    first, last = clock.as_day(start, "start"), clock.as_day(end, "end")
    if first and last and first > last:
        raise UsageError(f"--start {first} is after --end {last}; swap them.")
    where = resolve_home(home)
    if accept_identity and not tickers:
        raise UsageError("--accept-identity: name the tickers that are still the same security.")
    keywords: FetchKeywords = {"source": source} if isinstance(source, str) else {}
    if compare_all_days is not None:
        keywords["compare_all_days"] = compare_all_days
    settings = settings_from(FetchSettings, settings, keywords)
    request = FetchRequest(first, last, accept_identity, settings.compare_all_days)
    wanted = list(dict.fromkeys(normalise_tickers(tickers)))
    with (
        writer(where, "forecaster fetch"),
        bug_log(where),
        PriceStore.open_for_writing(where) as store,
    ):
        store.defer_sync()  # a ticker that a power failure loses is fetched again
        if source is None or isinstance(source, str):
            source = open_source(settings.source, where)
        wanted = wanted or list(source.tickers()) or store.tickers(source.name)
        if not wanted:
            raise UsageError("No ticker given and none stored; for example: forecaster fetch AAPL")
        return _fetch_all(store, source, wanted, request, on_ticker)


def _fetch_all(
    store: PriceStore, source: Source, tickers: list[str], request: FetchRequest, announce: OnTicker
) -> FetchReport:
    """Fetch one ticker after another; one that fails does not stop the others."""
    changed, down, failures = dict.fromkeys(tickers, 0), 0, Failures()
    began: datetime | None = None
    for number, ticker in enumerate(tickers, start=1):
        announce(ticker, number, len(tickers))
        # Read before asking: a session that closes while the source makes us wait is not final.
        now = clock.now()
        began = began or now
        try:
            with failures.of(ticker):
                changed[ticker] = refresh(store, source, ticker, request, now)
        except TryLaterError as limit:  # neither source nor store serves the tickers after it
            failures.errors[ticker] = limit
            for later in tickers[number:]:
                failures.errors[later] = TryLaterError(f"{later}: not asked, since {limit}")
        error = failures.errors.get(ticker)
        down = down + 1 if isinstance(error, SourceDownError) else 0
        if error and len(tickers) > 1:  # the caller reports the error of a single ticker
            log.warning("%s", error)
        if error and down == MOST_DOWN:
            raise error
        if isinstance(error, TryLaterError):
            break
    correct_calendars(store, changed, clock.now())
    report = report_of(store, changed, failures.errors, failures.common_bug(len(tickers)))
    left_out = store.quarantine.left_out_since(began) if began else []
    return replace(report, left_out=tuple(left_out))
