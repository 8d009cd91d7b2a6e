"""`forecaster data import`: store a user's own files, all of them or none."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from forecaster import clock
from forecaster.data.basis import settle_bases
from forecaster.data.history import Basis, History
from forecaster.data.ingest import admit, keep_known, warn_of_calendar
from forecaster.data.revisions import Overlap
from forecaster.data.screening import check_served
from forecaster.data.sessions import describe_off_calendar
from forecaster.data.sources.dates import DateOrder
from forecaster.data.sources.files import FileOptions, read_file
from forecaster.data.sources.numbers import DecimalMark
from forecaster.data.store import PriceStore
from forecaster.errors import DataError, ForecasterError, UsageError
from forecaster.operations.lock import writer
from forecaster.pipeline.fetch import FetchReport, report_of
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
    decimal: DecimalMark | None = None,
    ignore: Sequence[str] = (),
    home: Home | None = None,
) -> FetchReport:
    """Store the bars of a user's own files, in one transaction after all were checked.

    A file that changes closes or splits of stored days must contain all of these days: a past
    that is rescaled in part would look like a crash.

    Args:
        files: CSV or parquet, in long form with a ticker column or one ticker each.
        ticker: name of the one ticker in the files.
        mapping: column names by field, where they are not the usual ones.
        basis: how the closes are expressed; None for a column's value, else as traded.
        calendar: whose sessions the bars follow; None for a column's, a stored or the ticker's.
        dates: order of day, month and year; None to infer it from days above 12.
        decimal: decimal mark of numbers; None to infer it from all of them.
        ignore: fields or columns to leave out; not session or a price.

    Raises:
        CannotWriteError: the home is missing or read-only.
        DataError: an impossible bar, or bars that do not go with those stored. Nothing is
            stored then; a quarantined ticker is a failure in the report instead.
        TryLaterError: another process is writing.
        UsageError: a column or ticker is missing; a column contradicts `basis` or `calendar`.
    """
    where = resolve_home(home)
    with writer(where, "forecaster data import"), PriceStore.open_for_writing(where) as store:
        stored = store.summary()
        options = FileOptions(
            basis=basis,
            calendar=calendar,
            calendars=dict(zip(stored["ticker"], stored["calendar"], strict=True)),
            dates=dates,
            decimal=decimal,
            ignore=tuple(ignore),
        )
        given = [files] if isinstance(files, str | PathLike) else files
        contents = [read_file(Path(file), ticker, mapping, options) for file in given]
        bases = dict(zip(stored["ticker"], stored["basis"], strict=True))
        read, asked = settle_bases(contents, bases)
        for question in asked.values():
            raise question
        admitted = _admit_all(store, read)
        failures = _check(store, admitted)
        pairs = []
        for history in admitted:
            name = history.listing.ticker
            if name not in failures:
                before = store.history(name) if store.span(name) else None
                pairs.append((before, _compare(before, history)))
        counts = store.upsert_all([history for _, history in pairs], clock.now())
        for before, history in pairs:
            off_calendar = describe_off_calendar(history)
            if off_calendar:
                log.warning("%s", off_calendar)
            warn_of_calendar(before, store.history(history.listing.ticker))
        names = [history.listing.ticker for _, history in pairs]
        changed = dict(zip(names, counts, strict=True)) | dict.fromkeys(failures, 0)
        return report_of(store, changed, failures)


def _admit_all(store: PriceStore, read: Sequence[History]) -> list[History]:
    """Return the bars that may be stored; refuse a repeated ticker, and one without such bars."""
    names = [history.listing.ticker for history in read]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UsageError(f"{', '.join(repeated)}: in more than one file; join the files first.")
    admitted = []
    for history in read:
        final = admit(store, history, clock.now())
        if final.bars.empty:
            raise DataError(
                f"{history.listing.ticker}: no session of its bars has closed and settled yet; "
                "import them again tomorrow."
            )
        admitted.append(final)
    return admitted


def _check(store: PriceStore, histories: Sequence[History]) -> dict[str, ForecasterError]:
    """Check bars by all rules; return the errors of quarantined tickers."""
    failures: dict[str, ForecasterError] = {}
    for history in histories:
        try:
            check_served(store, history, clock.now())
        except DataError as error:
            if len(histories) > 1:  # the caller reports the error of a single ticker
                log.warning("%s", error)
            failures[history.listing.ticker] = error
    return failures


def _compare(before: History | None, history: History) -> History:
    """Fill marks that the file lacks; refuse an import that rescales a part of the past."""
    if before is None:
        return history
    history = replace(history, listing=keep_known(before.listing, history.listing))
    change = Overlap.of(before.bars, history.bars).changed_past(history.listing.basis)
    if not change:
        return history
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
    return history
