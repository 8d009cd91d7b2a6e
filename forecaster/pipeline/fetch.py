"""Bring prices from a source into the store, ticker by ticker; say once what is odd about them."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster import clock
from forecaster.data.bars import History
from forecaster.data.schedule import describe_guess, describe_holes, final_part, new_holes
from forecaster.data.sources.base import Source
from forecaster.data.store import PriceStore
from forecaster.data.tickers import normalise_tickers
from forecaster.errors import (
    CannotWriteError,
    DataError,
    ForecasterError,
    PartialFailure,
    SourceDownError,
    StorageError,
    TryLaterError,
    UsageError,
)
from forecaster.settings import FetchSettings, resolve_home

log = logging.getLogger(__name__)

OVERLAP = timedelta(days=14)  # about ten sessions are asked for again and compared
SAME_PRICE = 1e-4  # relative; Yahoo's answers differ by less between identical calls
MOST_DOWN = 5  # tickers in a row that the source itself failed, before giving up
Span = tuple[date | None, date | None]
OnTicker = Callable[[str, int, int], None]
FETCH_COLUMNS = ("ticker", "rows_changed", "days", "first", "last", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchReport:
    """What became of each ticker: a table (`FETCH_COLUMNS`) and the errors by ticker."""

    table: pd.DataFrame
    failures: dict[str, ForecasterError]

    def raise_failures(self) -> None:
        """Raise what the exit code should tell; nothing if every ticker went well."""
        if not self.failures:
            return
        errors = list(self.failures.values())
        later = [error for error in errors if isinstance(error, TryLaterError)]
        if later:
            raise later[0]
        if len(errors) == len(self.table):
            raise errors[0]
        raise PartialFailure(
            f"{len(errors)} of {len(self.table)} tickers failed: {', '.join(self.failures)}."
        )


def fetch(
    tickers: str | Sequence[str] = (),
    *,
    settings: FetchSettings | None = None,
    start: date | None = None,
    end: date | None = None,
    home: Path | None = None,
    source: Source | None = None,
    on_ticker: OnTicker = lambda ticker, number, of: None,
) -> FetchReport:
    """Download what is missing, check it, and store it, one transaction per ticker.

    A ticker that is stored is asked for its last two weeks again; if those no longer agree
    with the store, or bring a split, its whole history is fetched anew, because the source
    has rescaled the past.

    Args:
        tickers: which; none means everything in the store, or all that the source serves.
        settings: which source; None for the defaults.
        start: first session wanted; None for what is missing.
        end: last session wanted; None for the newest final one.
        home: the workspace; None as the command line resolves it.
        source: a source to use instead of the one that the settings name.
        on_ticker: called before each ticker with its number, from 1, and how many there are.

    Returns:
        The report. A ticker that fails is in it and leaves the store as it was.

    Raises:
        CannotWriteError: the home is missing or read-only; found out before any work.
        SourceDownError: the source failed ticker after ticker.
        StorageError: the disk failed; tickers stored before stay stored.
        UsageError: a malformed ticker, `start` after `end`, or no ticker at all.
    """
    if start and end and start > end:
        raise UsageError(f"--start {start} is after --end {end}; swap them.")
    where = resolve_home(home)
    wanted = list(dict.fromkeys(normalise_tickers(tickers)))
    with PriceStore.open_for_writing(where) as store:
        chosen = source or _open_source((settings or FetchSettings()).source, where)
        wanted = wanted or list(chosen.tickers()) or _stored_from(store, chosen)
        if not wanted:
            raise UsageError("No ticker given and none stored; for example: forecaster fetch AAPL")
        return _fetch_all(store, chosen, wanted, (start, end), on_ticker)


def _open_source(name: str, home: Path) -> Source:
    """Make a source by name; yfinance is imported only for its own."""
    if name == "sample":
        from forecaster.data.sources.sample import SampleSource

        return SampleSource()
    from forecaster.data.sources.yahoo import YahooSource

    return YahooSource(home / "data" / "yahoo")


def _stored_from(store: PriceStore, source: Source) -> list[str]:
    """Name the stored tickers that came from this source."""
    table = store.summary()
    names: list[str] = table.loc[table["source"] == source.name, "ticker"].tolist()
    return names


def _fetch_all(
    store: PriceStore, source: Source, tickers: list[str], span: Span, on_ticker: OnTicker
) -> FetchReport:
    """Fetch one ticker after another; one that fails does not stop the others."""
    rows: list[dict[str, object]] = []
    failures: dict[str, ForecasterError] = {}
    down = 0
    for number, ticker in enumerate(tickers, start=1):
        on_ticker(ticker, number, len(tickers))
        try:
            held = held_history(store, ticker)
            changed = _fetch_one(store, source, ticker, span, held)
            rows.append(stored_row(store, ticker, changed))
            if changed:
                warn_of_calendar(held, store.history(ticker))
            down = 0
        except (StorageError, CannotWriteError):
            raise
        except ForecasterError as error:
            if len(tickers) > 1:  # the only one's error is told by whoever raises it
                log.warning("%s", error)
            failures[ticker] = error
            rows.append({**stored_row(store, ticker, 0), "error": str(error)})
            down = down + 1 if isinstance(error, SourceDownError) else 0
            if down == MOST_DOWN:
                raise
    return FetchReport(table=pd.DataFrame(rows, columns=list(FETCH_COLUMNS)), failures=failures)


def _fetch_one(
    store: PriceStore, source: Source, ticker: str, span: Span, stored: History | None
) -> int:
    """Bring one ticker up to date; return how many bars were new or different."""
    start, end = span
    if stored is None:
        return store.upsert(_final(source.history(ticker, start, end)), clock.now())
    held = stored.bars
    last: date = held["session"].iloc[-1].date()
    if start is None and end is not None and end <= last:
        return 0
    recent = _final(source.history(ticker, start or last - OVERLAP, end))
    if recent.bars.empty:
        return 0
    change = changed_past(held, recent)
    if not change:
        return store.upsert(recent, clock.now())
    log.warning("%s: the source has changed its past: %s; fetching all of it", ticker, change)
    whole = _final(source.history(ticker, None, end))
    first = held["session"].iloc[0]
    if whole.bars.empty or whole.bars["session"].iloc[0] > first:
        raise DataError(
            f"{ticker}: the source changed its past and now starts later than the stored "
            f"{first.date()}; kept as stored. Compare it in another --home."
        )
    return store.upsert(whole, clock.now())


def changed_past(held: pd.DataFrame, recent: History) -> str:
    """Say where bars first disagree with those stored, or rescale them; empty where they do not."""
    bars = recent.bars
    both = held.merge(bars, on="session", suffixes=("", "_new"))
    same_close = np.isclose(both["close_new"], both["close"], rtol=SAME_PRICE, atol=0.0)
    differ = both[~same_close | both["split"].ne(both["split_new"])]
    if len(differ):
        first = differ.iloc[0]
        return (
            f"{len(differ):,} of {len(both):,} days differ (first {first['session']:%Y-%m-%d}: "
            f"close {first['close']:.6g}, split {first['split']:g} stored; "
            f"{first['close_new']:.6g} and {first['split_new']:g} came)"
        )
    later = bars[(bars["session"] > held["session"].iloc[-1]) & bars["split"].ne(1.0)]
    if len(later) and recent.listing.basis == "split-adjusted":
        return f"a split of {later['session'].iloc[0]:%Y-%m-%d} rescales what is stored"
    return ""


def _final(history: History) -> History:
    return final_part(history, clock.now())


def held_history(store: PriceStore, ticker: str) -> History | None:
    """Read what is stored of a ticker; None where there is no bar."""
    history = store.history(ticker) if ticker in store.tickers() else None
    return None if history is None or history.bars.empty else history


def warn_of_calendar(before: History | None, now: History) -> None:
    """Say once what a ticker's new bars brought: a calendar that is a guess, holes."""
    guess = describe_guess(now)
    if guess and before is None:
        log.warning("%s", guess)
    holes = new_holes(before, now)
    if len(holes):
        log.warning("%s", describe_holes(now, holes))


def stored_row(store: PriceStore, ticker: str, changed: int) -> dict[str, object]:
    """Tell what is stored of a ticker now; nothing is 0 days."""
    session = store.bars(ticker)["session"] if ticker in store.tickers() else pd.Series()
    first, last = (session.iloc[0], session.iloc[-1]) if len(session) else (pd.NaT, pd.NaT)
    counts = {"rows_changed": changed, "days": len(session)}
    return {"ticker": ticker, **counts, "first": first, "last": last, "error": None}
