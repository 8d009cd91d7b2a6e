"""Bring prices from a source into the store, ticker by ticker; say once what is odd about them."""

import logging
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path

import pandas as pd

from forecaster import clock
from forecaster.data.history import normalise_tickers
from forecaster.data.ingest import (
    FETCH_COLUMNS,
    FetchReport,
    FetchRequest,
    is_due,
    refresh,
    stored_row,
)
from forecaster.data.sessions import last_final_session
from forecaster.data.sources.base import Source
from forecaster.data.store import PriceStore
from forecaster.data.store_batch import Stand
from forecaster.data.usual import Answer, first_of_overlap, store_usual, usual_row
from forecaster.errors import (
    CannotWriteError,
    ForecasterError,
    SourceDownError,
    StorageError,
    UsageError,
)
from forecaster.operations.lock import writer
from forecaster.settings import FetchSettings, resolve_home

log = logging.getLogger(__name__)

AT_ONCE = 100  # tickers whose new bars are stored in one transaction
LONGEST_WAIT = timedelta(seconds=30)  # for an answer to be stored; a kill costs no more than these
MOST_DOWN = 5  # tickers in a row that the source itself failed, before giving up
OnTicker = Callable[[str, int, int], None]


def fetch(
    tickers: str | Sequence[str] = (),
    *,
    settings: FetchSettings | None = None,
    start: date | None = None,
    end: date | None = None,
    home: Path | None = None,
    source: Source | None = None,
    accept_identity: bool = False,
    on_ticker: OnTicker = lambda ticker, number, of: None,
) -> FetchReport:
    """Download what is missing, check it, and store it, each ticker whole or not at all.

    A stored ticker is asked for its last two weeks again, and for what is missing. If those
    weeks no longer agree with the store, or bring a split, its whole history is fetched anew
    and becomes a new revision, because the source has changed the past. Every few weeks
    (`compare_all_days`) the whole history is asked for and compared instead.

    Args:
        tickers: which; none means everything in the store, or all that the source serves.
        settings: which source, and how often to compare all; None for the defaults.
        start: first session wanted; None for the oldest of a new ticker, and for the last
            two weeks of a stored one.
        end: last session wanted; None for the newest final one.
        home: the workspace; None as the command line resolves it.
        source: a source to use instead of the one that the settings name.
        accept_identity: go on with tickers whose name, exchange, currency or first trade
            date has changed, instead of stopping them.
        on_ticker: called before each ticker with its number, from 1, and how many there are.

    Returns:
        The report. A ticker that fails is in it and leaves the store as it was.

    Raises:
        CannotWriteError: the home is missing or read-only; found out before any work.
        SourceDownError: the source failed ticker after ticker.
        StorageError: the disk failed; tickers stored before stay stored.
        TryLaterError: another process is writing.
        UsageError: a malformed ticker, `start` after `end`, no ticker at all, or a changed
            identity accepted without naming whose.
    """
    if start and end and start > end:
        raise UsageError(f"--start {start} is after --end {end}; swap them.")
    where = resolve_home(home)
    if accept_identity and not tickers:
        raise UsageError("--accept-identity: name the tickers that are still the same security.")
    settings = settings or FetchSettings()
    wish = FetchRequest(
        start=start,
        end=end,
        accept_identity=accept_identity,
        compare_all_days=settings.compare_all_days,
    )
    wanted = list(dict.fromkeys(normalise_tickers(tickers)))
    with writer(where, "forecaster fetch"), PriceStore.open_for_writing(where) as store:
        chosen = source or _open_source(settings.source, where)
        wanted = wanted or list(chosen.tickers()) or store.tickers(chosen.name)
        if not wanted:
            raise UsageError("No ticker given and none stored; for example: forecaster fetch AAPL")
        return _fetch_all(store, chosen, wanted, wish, on_ticker)


def _open_source(name: str, home: Path) -> Source:
    """Make a source by name; yfinance is imported only for its own."""
    if name == "sample":
        from forecaster.data.sources.sample import SampleSource

        return SampleSource()
    from forecaster.data.sources.yahoo import YahooSource

    return YahooSource(home / "data" / "yahoo")


def _fetch_all(
    store: PriceStore, source: Source, tickers: list[str], wish: FetchRequest, on_ticker: OnTicker
) -> FetchReport:
    """Fetch one ticker after another; one that fails does not stop the others."""
    night = _Night(store, source, wish, alone=len(tickers) == 1)
    for number, ticker in enumerate(tickers):
        if number % AT_ONCE == 0:
            night.look_at(tickers[number : number + AT_ONCE])
        on_ticker(ticker, number + 1, len(tickers))
        try:
            night.ask(ticker)
        except BaseException:
            night.store_waiting()
            raise
        if night.is_full or number + 1 == len(tickers):
            night.settle()
    rows = [night.rows[ticker] for ticker in tickers]
    return FetchReport(
        table=pd.DataFrame(rows, columns=list(FETCH_COLUMNS)), failures=night.failures
    )


class _Night:
    """One run over many tickers: answers that wait to be stored, rows and failures by ticker."""

    def __init__(
        self, store: PriceStore, source: Source, wish: FetchRequest, *, alone: bool
    ) -> None:
        self._store, self._source, self._wish, self._alone = store, source, wish, alone
        self._stands: dict[str, Stand] = {}
        self._waiting: list[Answer] = []
        self._down = 0
        self.rows: dict[str, dict[str, object]] = {}
        self.failures: dict[str, ForecasterError] = {}

    def look_at(self, tickers: list[str]) -> None:
        """Read how the next tickers stand, all at once."""
        self._stands = self._store.batch.stands(tickers)

    def ask(self, ticker: str) -> None:
        """Ask for a ticker; let it wait for the others if it may be a usual one, else take it."""
        # Read before asking: a session that closes while the source makes us wait is not final.
        now, stand = clock.now(), self._stands.get(ticker)
        if stand and self._may_wait(stand, now):
            self._guard(ticker, lambda: self._wait(stand, now))
        else:
            self._guard(ticker, lambda: self._take(ticker, now, None))

    @property
    def is_full(self) -> bool:
        """Tell whether enough answers wait, or have waited for long enough, to be stored."""
        waiting = self._waiting
        return len(waiting) >= AT_ONCE or bool(
            waiting and clock.now() - waiting[0].asked_at > LONGEST_WAIT
        )

    def settle(self) -> None:
        """Store the usual ones of the answers that wait, then look at each of the others."""
        for answer in self.store_waiting():
            self._guard(answer.ticker, partial(self._take, answer.ticker, answer.asked_at, answer))

    def store_waiting(self) -> list[Answer]:
        """Store the usual ones of the answers that wait; return the others."""
        answers, self._waiting = self._waiting, []
        added = store_usual(self._store, answers)
        usual = [answer for answer in answers if answer.ticker in added]
        self.rows |= {one.ticker: usual_row(one, added[one.ticker]) for one in usual}
        return [answer for answer in answers if answer.ticker not in added]

    def _may_wait(self, stand: Stand, now: datetime) -> bool:
        wish, listing = self._wish, stand.listing
        if wish.start or wish.end or wish.accept_identity or is_due(stand, wish, now):
            return False
        is_new_enough = stand.span.last <= last_final_session(listing.calendar, now)
        return is_new_enough and listing.source == self._source.name and not stand.is_held

    def _wait(self, stand: Stand, now: datetime) -> None:
        served = self._source.history(stand.listing.ticker, first_of_overlap(stand.span.last), None)
        self._waiting.append(Answer(stand=stand, asked_at=now, served=served))

    def _take(self, ticker: str, now: datetime, answer: Answer | None) -> None:
        changed = refresh(self._store, self._source, ticker, self._wish, now, answer)
        self.rows[ticker] = stored_row(self._store, ticker, changed)

    def _guard(self, ticker: str, step: Callable[[], None]) -> None:
        """Take a step; note the failure of this ticker, but let that of the disk through."""
        try:
            step()
            self._down = 0
        except (StorageError, CannotWriteError):
            raise
        except ForecasterError as error:
            if not self._alone:  # the only one's error is told by whoever raises it
                log.warning("%s", error)
            self.failures[ticker] = error
            self.rows[ticker] = {**stored_row(self._store, ticker, 0), "error": str(error)}
            self._down = self._down + 1 if isinstance(error, SourceDownError) else 0
            if self._down == MOST_DOWN:
                raise
