"""`forecaster data list`, `show` and `export`: stored prices as tables and files."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.data.export import write_table
from forecaster.data.history import History, fingerprint, normalise_ticker
from forecaster.data.loading import as_table, load_histories
from forecaster.data.sources.file_table import MARKS
from forecaster.data.store import PriceStore
from forecaster.data.store_rows import Revision
from forecaster.errors import DataError
from forecaster.settings import Home, resolve_home


def load_bars(
    tickers: str | Sequence[str] = (), *, home: Home | None = None, until: date | None = None
) -> pd.DataFrame:
    """Load stored bars as the long table that `train`, `evaluate` and `predict` take.

    No tickers mean all in the store; `until` is the last session wanted.

    Returns:
        Columns `ticker`, those of a bar, `basis` and `calendar`.

    Raises:
        UnknownNameError: a ticker is not there, or nothing is.
    """
    return as_table(load_histories(None, resolve_home(home), tickers, until))


def stored_tickers(*, home: Home | None = None) -> pd.DataFrame:
    """List the tickers in the store, one row per ticker."""
    with PriceStore.open_for_reading(resolve_home(home)) as store:
        return store.summary()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTicker:
    """One ticker as it is stored: its bars, the revision of its past, the hash of the bars."""

    history: History
    revision: Revision
    fingerprint: str


def stored_ticker(
    ticker: str, *, home: Home | None = None, until: date | None = None
) -> StoredTicker:
    """Read one ticker's listing, bars and newest revision.

    Raises:
        UnknownNameError: nothing is stored of it.
        DataError: none of its bars is on or before `until`.
    """
    with PriceStore.open_for_reading(resolve_home(home)) as store:
        history = store.history(normalise_ticker(ticker), until)
        revision = store.revision(history.listing.ticker)
    if history.bars.empty:
        raise DataError(
            f"{history.listing.ticker}: no bar on or before {until}; choose a later day."
        )
    return StoredTicker(history=history, revision=revision, fingerprint=fingerprint([history]))


def export_file(file: Path, tickers: Sequence[str] = (), *, home: Home | None = None) -> int:
    """Write bars in long form, with the metadata of each ticker; return the number of rows."""
    histories = load_histories(None, resolve_home(home), tickers, None)
    table = as_table(histories)
    for mark in MARKS:
        values = [getattr(history.listing, mark) for history in histories]
        if any(values):
            table[mark] = np.repeat(values, [len(history.bars) for history in histories])
    write_table(table, file)
    return len(table)
