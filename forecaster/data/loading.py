"""Prices for the other pipeline steps: from the store, or from a caller's own table."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster import clock
from forecaster.data.calendar_gaps import describe_guess, describe_off_calendar, final_part
from forecaster.data.export import write_csv, write_parquet
from forecaster.data.history import (
    BAR_COLUMNS,
    History,
    Listing,
    fingerprint,
    normalise_ticker,
    normalise_tickers,
)
from forecaster.data.sources.file_table import MARKS, REQUIRED
from forecaster.data.sources.files import read_frame
from forecaster.data.store import PriceStore
from forecaster.data.store_rows import Revision
from forecaster.errors import DataError, UnknownNameError, UsageError
from forecaster.settings import resolve_home

log = logging.getLogger(__name__)

TABLE = "the table of bars"
_AT_ONCE = 50  # tickers read in one query


def load_histories(
    bars: pd.DataFrame | None, home: Path, tickers: str | Sequence[str], until: date | None
) -> list[History]:
    """Read the histories asked for, as `iter_histories` does, all at once."""
    return list(iter_histories(bars, home, tickers, until))


def iter_histories(
    bars: pd.DataFrame | None, home: Path, tickers: str | Sequence[str], until: date | None
) -> Iterator[History]:
    """Read the histories asked for one after another, cut after `until`.

    Args:
        bars: a caller's own long table, or None for the store of this home.
        home: the workspace.
        tickers: which, or the only one; none means all there are.
        until: last session to be read; None for all.

    Yields:
        At least one history, each with at least one bar, in alphabetical order.

    Raises:
        UnknownNameError: a ticker is not there, or nothing is.
        DataError: a bar cannot be or lies in the future, or none is left up to `until`.
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


def _from_store(home: Path, wanted: list[str], until: date | None) -> Iterator[History]:
    with PriceStore.open_for_reading(home) as store:
        names = wanted or store.tickers()
        if not names:
            raise UnknownNameError(f"No prices under {home / 'data'}; run: forecaster fetch TICKER")
        yield from stored_histories(store, names, until)


def stored_histories(
    store: PriceStore, names: Sequence[str], until: date | None
) -> Iterator[History]:
    """Read histories in alphabetical order, some tickers at a time; one may have no bar.

    Raises:
        UnknownNameError: nothing is stored of one of the tickers.
    """
    wanted = sorted(set(names))
    for begin in range(0, len(wanted), _AT_ONCE):
        some = wanted[begin : begin + _AT_ONCE]
        rows = dict(iter(store.all_bars(some, until).groupby("ticker", sort=False)))
        yield from (_history(store.listing(name), rows.get(name)) for name in some)


def _history(listing: Listing, rows: pd.DataFrame | None) -> History:
    empty = pd.DataFrame(columns=list(BAR_COLUMNS))
    bars = empty if rows is None else rows[list(BAR_COLUMNS)].reset_index(drop=True)
    return History(listing=listing, bars=bars)


def _from_table(bars: pd.DataFrame, wanted: list[str], until: date | None) -> list[History]:
    """Read a caller's own table by the rules of a file, and to the last final bar."""
    _refuse_no_table(bars)
    now = clock.now()
    found = {one.listing.ticker: final_part(one, now) for one in read_frame(bars, TABLE)}
    unknown = sorted(set(wanted) - set(found))
    if unknown:
        raise UnknownNameError(f"{', '.join(unknown)}: not in the table of bars.")
    chosen = [found[name] for name in wanted or sorted(found)]
    if "calendar" not in bars:
        _warn_of_guesses(chosen)
    return [_cut(history, until) for history in chosen]


def _warn_of_guesses(histories: Sequence[History]) -> None:
    """Say which calendars, told by the ticker alone, are guesses or do not fit the bars."""
    for history in histories:
        doubt = describe_guess(history) or (
            describe_off_calendar(history) if len(history.bars) else ""
        )
        if doubt:
            log.warning("%s", doubt)


def _refuse_no_table(bars: object) -> None:
    if not isinstance(bars, pd.DataFrame):
        raise UsageError(
            f"bars is a {type(bars).__name__}; a pandas DataFrame is needed, a row per ticker and "
            "session, as load_bars() gives."
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


def _cut(history: History, until: date | None) -> History:
    if until is None:
        return history
    kept = history.bars["session"] <= pd.Timestamp(until)
    return replace(history, bars=history.bars[kept].reset_index(drop=True))


def load_bars(
    tickers: str | Sequence[str] = (), *, home: Path | None = None, until: date | None = None
) -> pd.DataFrame:
    """Read stored bars as the long table that `train`, `evaluate` and `predict` take.

    Args:
        tickers: which; none means all in the store.
        home: the workspace; None as the command line resolves it.
        until: last session wanted; None for all.

    Returns:
        Columns `ticker`, those of a bar, `basis` and `calendar`.

    Raises:
        UnknownNameError: a ticker is not there, or nothing is.
    """
    return as_table(load_histories(None, resolve_home(home), tickers, until))


def as_table(histories: Sequence[History]) -> pd.DataFrame:
    """Lay histories out as one long table, the inverse of what `load_histories` takes."""
    parts = [
        history.bars.assign(
            ticker=history.listing.ticker,
            basis=history.listing.basis,
            calendar=history.listing.calendar,
        )
        for history in histories
    ]
    return pd.concat(parts, ignore_index=True)[["ticker", *BAR_COLUMNS, "basis", "calendar"]]


def held_tickers(bars: pd.DataFrame | None, home: Path) -> set[str]:
    """Name every ticker that there are prices of, whatever their days."""
    if bars is not None:
        return {normalise_ticker(str(name)) for name in bars["ticker"].unique()}
    with PriceStore.open_for_reading(home) as store:
        return set(store.tickers())


def stored_tickers(home: Path) -> pd.DataFrame:
    """List what is in the store, one row per ticker."""
    with PriceStore.open_for_reading(home) as store:
        return store.summary()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What is stored of one ticker: its bars, the revision of its past, the hash of the bars."""

    history: History
    revision: Revision
    fingerprint: str


def stored_ticker(home: Path, ticker: str, until: date | None = None) -> Stored:
    """Read one ticker's listing, bars and newest revision as they are stored.

    Raises:
        UnknownNameError: nothing is stored of it.
        DataError: none of its bars is on or before `until`.
    """
    with PriceStore.open_for_reading(home) as store:
        history = store.history(normalise_ticker(ticker), until)
        revision = store.revision(history.listing.ticker)
    if history.bars.empty:
        raise DataError(
            f"{history.listing.ticker}: no bar on or before {until}; choose a later day."
        )
    return Stored(history=history, revision=revision, fingerprint=fingerprint([history]))


def export_file(file: Path, tickers: Sequence[str] = (), *, home: Path) -> int:
    """Write bars in long form, with what is known of each ticker; return how many rows."""
    histories = load_histories(None, home, tickers, None)
    table = as_table(histories)
    for mark in MARKS:
        told = [getattr(history.listing, mark) for history in histories]
        if any(told):
            table[mark] = np.repeat(told, [len(history.bars) for history in histories])
    write_table(table, file)
    return len(table)


def write_table(table: pd.DataFrame, file: Path) -> None:
    """Write a table whole or not at all, as the file's ending says: .csv or .parquet."""
    if file.suffix.lower() == ".parquet":
        write_parquet(table, file)
    elif file.suffix.lower() == ".csv":
        write_csv(table, file)
    else:
        raise UsageError(
            f"{file}: the name must end in .csv or .parquet, so that the form is clear."
        )
