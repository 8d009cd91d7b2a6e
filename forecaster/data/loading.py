"""Histories for other rooms: from the store, or from a caller's own table."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

import pandas as pd

from forecaster import clock
from forecaster.data.basis import settle_bases
from forecaster.data.calendar_fit import (
    contradiction,
    describe_guess,
    describe_off_calendar,
)
from forecaster.data.history import BAR_COLUMNS, History, normalise_tickers, own_names
from forecaster.data.intervals import regular_interval
from forecaster.data.sessions import final_part
from forecaster.data.sources.files import FileContents, read_frame
from forecaster.data.store import PriceStore
from forecaster.errors import DataError, Question, UnknownNameError, UsageError

log = logging.getLogger(__name__)
TABLE: Final = "the table of bars"
_AT_ONCE: Final = 50  # tickers read in one query
# How a caller answers a question, by its option.
_ANSWERS: Final = {
    "basis": "Add a column: bars.assign(basis={choices})",
    "dates": "Write them so, or convert them with pd.to_datetime and a format",
}


@dataclass(frozen=True, slots=True)
class GivenBars:
    """A caller's own bars, read once: the histories by ticker, up to the last final bar."""

    histories: Mapping[str, History]


# A frame, or one frame per ticker, in any shape that `flat_frame` knows.
Bars = pd.DataFrame | Mapping[str, pd.DataFrame] | GivenBars


def load_histories(
    bars: Bars | None,
    home: Path,
    tickers: str | Sequence[str],
    until: date | None,
    newest: int | None = None,
) -> list[History]:
    """Load histories as a list; see `iter_histories`."""
    return list(iter_histories(bars, home, tickers, until, newest))


def iter_histories(
    bars: Bars | None,
    home: Path,
    tickers: str | Sequence[str],
    until: date | None,
    newest: int | None = None,
) -> Iterator[History]:
    """Load histories up to a day from a caller's own bars, or else from a home's store.

    No tickers mean all there are. Of a store only the `newest` bars of each are read, or all.

    Yields:
        At least one history, each with at least one bar, in alphabetical order.

    Raises:
        UnknownNameError: a ticker is not there, or nothing is.
        DataError: a bar is impossible or lies in the future, or none is left up to `until`.
        UsageError: `until` is no date or lies in the future, or a ticker is malformed.
    """
    clock.check_as_of(until)
    wanted = sorted(set(normalise_tickers(tickers)))
    if bars is None:
        found = _from_store(home, wanted, until, newest)
    else:
        found = iter(_from_table(bars, wanted, until))
    empty, some = [], False
    for history in found:
        if history.bars.empty:
            empty.append(history.listing.ticker)
        else:
            some = True
            yield history
    if (wanted and empty) or not some:
        raise DataError(
            f"{', '.join(empty) or 'Every ticker'}: no bar on or before {until}; "
            "fetch an earlier period or choose a later --as-of."
        )


def load_known(
    bars: Bars | None, home: Path, tickers: Sequence[str], until: date | None
) -> list[History]:
    """Load those of some tickers that are there and have bars up to a day; no others are read.

    Raises:
        UnknownNameError: there is no store.
        DataError, UsageError: as `iter_histories`.
    """
    clock.check_as_of(until)
    wanted = sorted(known_tickers(bars, home).intersection(tickers))
    if not wanted:
        return []
    found = _from_store(home, wanted, until) if bars is None else _from_table(bars, wanted, until)
    return [history for history in found if len(history.bars)]


def _from_store(
    home: Path, wanted: list[str], until: date | None, newest: int | None = None
) -> Iterator[History]:
    """Read sorted tickers, or all there are; one may have no bar."""
    with PriceStore.open_for_reading(home) as store:
        names = wanted or store.tickers()
        if not names:
            raise UnknownNameError(f"No prices under {home / 'data'}; run: forecaster fetch TICKER")
        yield from read_store(store, names, until, newest)


def read_store(
    store: PriceStore, names: Sequence[str], until: date | None, newest: int | None = None
) -> Iterator[History]:
    """Read sorted tickers of an open store, some at a time; see `iter_histories`."""
    for begin in range(0, len(names), _AT_ONCE):
        some = names[begin : begin + _AT_ONCE]
        table = store.all_bars(some, until, newest=newest)
        rows = dict(iter(table.groupby("ticker", sort=False)))
        for name in some:
            bars = rows.get(name, pd.DataFrame(columns=list(BAR_COLUMNS)))
            bars = bars.drop(columns="ticker", errors="ignore").reset_index(drop=True)
            yield History(listing=store.listing(name), bars=bars)


def _from_table(bars: Bars, wanted: list[str], until: date | None) -> list[History]:
    """Select histories of a caller's own bars, up to a day; one may have no bar."""
    found = read_bars(bars, wanted).histories
    unknown = sorted(set(wanted) - set(found))
    if unknown:
        raise UnknownNameError(f"{', '.join(unknown)}: not in {TABLE}.")
    chosen = [found[name] for name in wanted or sorted(found)]
    if until is None:
        return chosen
    return [
        replace(one, bars=one.bars[one.bars["session"] <= pd.Timestamp(until)]) for one in chosen
    ]


def read_bars(
    bars: Bars, tickers: str | Sequence[str] = (), own: Collection[str] | None = ()
) -> GivenBars:
    """Read a caller's own bars by the rules of files, up to the last final bar.

    Args:
        bars: a frame with the bars of one or several tickers, or a frame per ticker; see
            `flat_frame` for their shapes.
        tickers: if one, the name of the ticker in a frame without a column of tickers.
        own: further columns of numbers that are read; others are reported, none for None.

    Raises:
        DataError: a row cannot be a bar.
        UsageError: it is no frame, or a column or the ticker is missing or has two readings.
    """
    if isinstance(bars, GivenBars):
        return bars
    named, now = normalise_tickers(tickers), clock.now()
    only = named[0] if len(named) == 1 else None
    frames = bars if isinstance(bars, Mapping) else {only: bars}
    try:
        contents = [_read(frame, ticker) for ticker, frame in frames.items()]
        settled, asked = settle_bases(contents, {})
        for question in asked.values():
            raise question
    except Question as question:
        answer = _ANSWERS[question.option].format(choices=" or ".join(map(repr, question.choices)))
        raise UsageError(f"{question.reason} {answer}.") from question
    histories = {one.listing.ticker: final_part(one, now) for one in settled}
    if len(histories) < len(settled) or not histories:
        raise UsageError(f"{TABLE} has no ticker, or one twice; one frame per ticker is needed.")
    if own is not None:
        warn_of_unread(histories.values(), own)
    for content in contents:
        for one in content.histories:
            _warn_of_days(histories[one.listing.ticker], "calendar" in content.columns)
    return GivenBars(histories)


def warn_of_unread(histories: Iterable[History], read: Collection[str]) -> None:
    """Warn of own columns of a caller's bars that nothing reads."""
    names = {name for one in histories for name in own_names(one.bars)}
    if unread := sorted(names - set(read)):
        log.warning("%s: columns not used: %s", TABLE, ", ".join(unread))


def _read(frame: object, ticker: str | None) -> FileContents:
    if not isinstance(frame, pd.DataFrame):
        raise UsageError(
            f"bars is a {type(frame).__name__}; a pandas DataFrame is needed, a row per ticker and "
            "session, as load_bars() returns, or a DataFrame for each ticker: {'SYM': frame}."
        )
    return read_frame(frame, TABLE, ticker)


def _warn_of_days(history: History, calendar_is_stated: bool) -> None:
    """Warn of bars that are not daily, and of a calendar that is known by the ticker alone."""
    ticker, interval = history.listing.ticker, regular_interval(history)
    if interval:
        log.warning("%s: %s, not daily ones", ticker, interval[1])
    if calendar_is_stated:
        return
    odd = history.bars.empty or describe_guess(history) or contradiction(history)
    odd = odd or describe_off_calendar(history)
    if odd:
        log.warning("%s", odd)


def as_table(histories: Sequence[History]) -> pd.DataFrame:
    """Join histories to one long table, the inverse of `load_histories`."""
    marks = ("ticker", "basis", "calendar")
    parts = [one.bars.assign(**{m: getattr(one.listing, m) for m in marks}) for one in histories]
    own = dict.fromkeys(name for one in histories for name in own_names(one.bars))
    table = pd.concat(parts, ignore_index=True)
    return table[["ticker", *BAR_COLUMNS, *own, "basis", "calendar"]]


def known_tickers(bars: Bars | None, home: Path) -> set[str]:
    """Return every ticker with prices in a caller's own bars, or else in the store."""
    if bars is not None:
        return set(read_bars(bars).histories)
    with PriceStore.open_for_reading(home) as store:
        return set(store.tickers())
