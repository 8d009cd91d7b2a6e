"""Bring a user's own files into the store: all of them, or nothing of any."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

import pandas as pd

from forecaster import clock
from forecaster.data.calendar_gaps import describe_strays
from forecaster.data.history import Basis, History
from forecaster.data.ingest import (
    FETCH_COLUMNS,
    FetchReport,
    admit,
    stored_history,
    stored_row,
    warn_of_calendar,
)
from forecaster.data.revisions import changed_past, keep_known
from forecaster.data.screening import refuse_doubt
from forecaster.data.sources.cells import DateOrder
from forecaster.data.sources.files import Said, read_file
from forecaster.data.store import PriceStore
from forecaster.errors import DataError, ForecasterError, UsageError
from forecaster.operations.lock import writer
from forecaster.settings import Home, resolve_home

log = logging.getLogger(__name__)

File = str | PathLike[str]


def import_files(
    files: File | Sequence[File],
    *,
    ticker: str | None = None,
    mapping: dict[str, str] | None = None,
    basis: Basis | None = None,
    calendar: str | None = None,
    dates: DateOrder | None = None,
    home: Home | None = None,
) -> FetchReport:
    """Store the bars of a user's own files, in one transaction after all were checked.

    A file that changes closes or splits of stored days must hold all of these days: a past
    that is rescaled in part is a crash that never was.

    Args:
        files: one or several; CSV or parquet, in long form with a ticker column or one ticker
            each.
        ticker: name of the one ticker that the files hold.
        mapping: column names by field, where they are not the usual ones.
        basis: how the closes are expressed; None means as a column tells, else as traded.
        calendar: whose sessions the bars follow; None means as a column, the store or the
            ticker tells.
        dates: order of day and month in dates that end in their year; None where a day above
            12 tells it.
        home: the workspace; None as the command line resolves it.

    Raises:
        CannotWriteError: the home is missing or read-only.
        DataError: a bar that cannot be, with file, line and remedy; bars that do not go with
            those stored. Nothing is stored then. A ticker in doubt (see `screen.py`) raises
            nothing: it is in the report's failures, and the others are stored.
        TryLaterError: another process is writing.
        UsageError: a column or ticker is missing; a column contradicts `basis` or `calendar`.
    """
    where = resolve_home(home)
    with writer(where, "forecaster data import"), PriceStore.open_for_writing(where) as store:
        stored = store.summary()
        known = dict(zip(stored["ticker"], stored["calendar"], strict=True))
        said = Said(basis=basis, calendar=calendar, calendars=known, dates=dates)
        given = [files] if isinstance(files, str | PathLike) else files
        read = [
            one for file in map(Path, given) for one in read_file(file, ticker, mapping or {}, said)
        ]
        _refuse_twice([history.listing.ticker for history in read])
        final = [_final(store, history) for history in read]
        failures = _doubts(store, final)
        histories = [one for one in final if one.listing.ticker not in failures]
        held = [stored_history(store, history.listing.ticker) for history in histories]
        histories = [_with_known(*pair) for pair in zip(held, histories, strict=True)]
        for before, history in zip(held, histories, strict=True):
            _check_past(before, history)
        changed = store.upsert_all(histories, clock.now())
        for before, history in zip(held, histories, strict=True):
            _warn(history, before, store.history(history.listing.ticker))
        rows = [
            stored_row(store, history.listing.ticker, count)
            for history, count in zip(histories, changed, strict=True)
        ]
        rows += [
            {**stored_row(store, name, 0), "error": str(error)} for name, error in failures.items()
        ]
    return FetchReport(table=pd.DataFrame(rows, columns=list(FETCH_COLUMNS)), failures=failures)


def _doubts(store: PriceStore, histories: Sequence[History]) -> dict[str, ForecasterError]:
    """Find the tickers in doubt; they stay as stored, the others go on."""
    failures: dict[str, ForecasterError] = {}
    for history in histories:
        try:
            refuse_doubt(store, history, clock.now())
        except DataError as error:
            if len(histories) > 1:  # the only one's error is told by whoever raises it
                log.warning("%s", error)
            failures[history.listing.ticker] = error
    return failures


def _refuse_twice(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"{', '.join(twice)}: in more than one file; join the files first.")


def _final(store: PriceStore, history: History) -> History:
    final = admit(store, history, clock.now())
    if final.bars.empty:
        raise DataError(
            f"{history.listing.ticker}: no session of its bars has closed and settled yet; "
            "import them again tomorrow."
        )
    return final


def _with_known(before: History | None, history: History) -> History:
    """Fill what a file does not tell of a ticker, its name for one, with what is stored."""
    if before is None:
        return history
    return replace(history, listing=keep_known(before.listing, history.listing))


def _check_past(before: History | None, history: History) -> None:
    """Say when an import changes the stored past; refuse one that brings only a part of it."""
    change = changed_past(before.bars, history.bars, history.listing.basis) if before else ""
    if before is None or not change:
        return
    ticker, stored = history.listing.ticker, before.bars["session"]
    lacking = stored[~stored.isin(history.bars["session"])]
    if len(lacking):
        raise DataError(
            f"{ticker}: {change}, and {len(lacking):,} of the {len(stored):,} stored days are not "
            f"in the file (first {lacking.iloc[0]:%Y-%m-%d}), so that old and new would not be on "
            "one scale. Import all of its days at once (`forecaster data export` writes those "
            "stored), or use another --home."
        )
    log.warning("%s: %s; all of them are replaced", ticker, change)


def _warn(history: History, before: History | None, stored: History) -> None:
    strays = describe_strays(history)
    if strays:
        log.warning("%s", strays)
    warn_of_calendar(before, stored)
