"""Histories for other rooms: from the store, or from a caller's own table."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
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
from forecaster.data.history import BAR_COLUMNS, History, normalise_ticker, normalise_tickers
from forecaster.data.intervals import regular_interval
from forecaster.data.sessions import final_part
from forecaster.data.sources.files import read_frame
from forecaster.data.sources.headers import REQUIRED
from forecaster.data.store import PriceStore
from forecaster.errors import DataError, UnknownNameError, UsageError

log = logging.getLogger(__name__)
TABLE: Final = "the table of bars"
_AT_ONCE: Final = 50  # tickers read in one query


def load_histories(
    bars: pd.DataFrame | None, home: Path, tickers: str | Sequence[str], until: date | None
) -> list[History]:
    """Load histories as a list; see `iter_histories`."""
    return list(iter_histories(bars, home, tickers, until))


def iter_histories(
    bars: pd.DataFrame | None, home: Path, tickers: str | Sequence[str], until: date | None
) -> Iterator[History]:
    """Load histories up to a day from a caller's own long table, or else from a home's store.

    No tickers mean all there are.

    Yields:
        At least one history, each with at least one bar, in alphabetical order.

    Raises:
        UnknownNameError: a ticker is not there, or nothing is.
        DataError: a bar is impossible or lies in the future, or none is left up to `until`.
        UsageError: `until` is no date or lies in the future, or a ticker is malformed.
    """
    clock.check_as_of(until)
    wanted = sorted(set(normalise_tickers(tickers)))
    found = _from_store(home, wanted, until) if bars is None else _from_table(bars, wanted, until)
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
    bars: pd.DataFrame | None, home: Path, tickers: Sequence[str], until: date | None
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


def _from_store(home: Path, wanted: list[str], until: date | None) -> Iterator[History]:
    """Read sorted tickers, or all there are, some at a time; one may have no bar."""
    with PriceStore.open_for_reading(home) as store:
        names = wanted or store.tickers()
        if not names:
            raise UnknownNameError(f"No prices under {home / 'data'}; run: forecaster fetch TICKER")
        for begin in range(0, len(names), _AT_ONCE):
            some = names[begin : begin + _AT_ONCE]
            rows = dict(iter(store.all_bars(some, until).groupby("ticker", sort=False)))
            for name in some:
                bars = rows.get(name, pd.DataFrame(columns=list(BAR_COLUMNS)))
                bars = bars[list(BAR_COLUMNS)].reset_index(drop=True)
                yield History(listing=store.listing(name), bars=bars)


def _from_table(bars: pd.DataFrame, wanted: list[str], until: date | None) -> list[History]:
    """Read a caller's own table by the rules of a file, up to the last final bar."""
    _refuse_no_table(bars)
    now = clock.now()
    settled, asked = settle_bases([read_frame(bars, TABLE)], {})
    for question in asked.values():
        raise question
    found = {one.listing.ticker: final_part(one, now) for one in settled}
    unknown = sorted(set(wanted) - set(found))
    if unknown:
        raise UnknownNameError(f"{', '.join(unknown)}: not in the table of bars.")
    chosen = [found[name] for name in wanted or sorted(found)]
    for history in chosen:
        interval = regular_interval(history)
        if interval:
            log.warning("%s: %s, not daily ones", history.listing.ticker, interval[1])
    for history in chosen if "calendar" not in bars else []:
        # A calendar that is known by the ticker alone.
        odd = history.bars.empty or describe_guess(history) or contradiction(history)
        odd = odd or describe_off_calendar(history)
        if odd:
            log.warning("%s", odd)
    if until is None:
        return chosen
    return [
        replace(one, bars=one.bars[one.bars["session"] <= pd.Timestamp(until)]) for one in chosen
    ]


def _refuse_no_table(bars: object) -> None:
    if not isinstance(bars, pd.DataFrame):
        raise UsageError(
            f"bars is a {type(bars).__name__}; a pandas DataFrame is needed, a row per ticker and "
            "session, as load_bars() returns."
        )
    names = list(bars.columns)
    missing = [name for name in ("ticker", *REQUIRED) if name not in names]
    if missing:
        raise UsageError(
            f"{TABLE} has columns {names[:12]} and lacks {', '.join(missing)}; "
            "rename columns, or make a column of the index with reset_index()."
        )
    if not bars.columns.is_unique:
        raise UsageError(f"{TABLE} has two columns of one name; rename or drop one.")
    if bars.empty:
        raise DataError(f"{TABLE} has no rows; at least one bar is needed.")


def as_table(histories: Sequence[History]) -> pd.DataFrame:
    """Join histories to one long table, the inverse of `load_histories`."""
    marks = ("ticker", "basis", "calendar")
    parts = [one.bars.assign(**{m: getattr(one.listing, m) for m in marks}) for one in histories]
    return pd.concat(parts, ignore_index=True)[["ticker", *BAR_COLUMNS, "basis", "calendar"]]


def known_tickers(bars: pd.DataFrame | None, home: Path) -> set[str]:
    """Return every ticker with prices in a table, or else in the store."""
    if bars is not None:
        return {normalise_ticker(str(name)) for name in bars["ticker"].unique()}
    with PriceStore.open_for_reading(home) as store:
        return set(store.tickers())
