"""`forecaster data import`: store a user's own files, each ticker as a whole or not at all."""

import logging
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pandas as pd

from forecaster import clock
from forecaster.data.basis import settle_bases
from forecaster.data.calendar_corrections import correct_calendars
from forecaster.data.calendar_fit import describe_off_calendar, with_fitting_calendar
from forecaster.data.calendar_names import calendar_for
from forecaster.data.history import Basis, History, check_positive, own_names
from forecaster.data.ingest import admit, keep_known, warn_of_calendar
from forecaster.data.price_database import store_path
from forecaster.data.revisions import Overlap, other_moves
from forecaster.data.screening import check_served
from forecaster.data.sources.answers import Answers
from forecaster.data.sources.dates import DateOrder
from forecaster.data.sources.file_names import expanded, ticker_of
from forecaster.data.sources.files import FileContents, FileOptions, read_file
from forecaster.data.sources.layouts import first_ticker
from forecaster.data.sources.numbers import DecimalMark
from forecaster.data.sources.own_values import is_without_prices
from forecaster.data.store import PriceStore
from forecaster.errors import (
    BugError,
    DataError,
    Failures,
    ForecasterError,
    Question,
    UsageError,
)
from forecaster.operations.lock import writer
from forecaster.operations.run_log import bug_log
from forecaster.pipeline.fetch import report_of
from forecaster.pipeline.import_report import (
    ImportReport,
    ReadFile,
    count_left_out,
    previews_of,
    rows_left_out_of,
)
from forecaster.pipeline.own_values import import_values
from forecaster.settings import Home, resolve_home

log = logging.getLogger(__name__)

File = str | PathLike[str]
STANDARD_INPUT: Final = "-"


@dataclass(slots=True)
class _Reading:
    """What was read of the files so far, with the answers used, and the errors of the others."""

    files: list[ReadFile] = field(default_factory=list)
    failures: dict[str, ForecasterError] = field(default_factory=dict)
    bug: BugError | None = None

    @property
    def contents(self) -> list[FileContents]:
        """The contents of the files that could be read."""
        return [one.contents for one in self.files]


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
    keep: Sequence[str] = (),
    home: Home | None = None,
    dry_run: bool = False,
) -> ImportReport:
    """Store the bars of a user's own files; a file or ticker that fails leaves the others stored.

    A file that changes closes or splits of stored days must contain all of these days: a past
    that is rescaled in part would look like a crash. What was answered is stored by ticker, for
    the next import.

    Args:
        files: CSV or parquet, in long form with a ticker column or one ticker each; a folder
            stands for its files, "-" for CSV on standard input.
        ticker: name of the one ticker in the files; None for a column's or the file name's.
        mapping: column names by field, where they are not the usual ones.
        basis: what the closes are adjusted for; None for a column's value, else as traded.
        calendar: whose sessions the bars follow; None for a column's, a stored or the ticker's.
        dates: order of day, month and year; None to infer it from days above 12.
        decimal: decimal mark of numbers; None to infer it from all of them.
        ignore: fields or columns to leave out; not session or a price.
        keep: other columns to store beside the bars, numbers above 0; see `target_column`. A file
            without any price has them for bars that are stored.
        dry_run: import into a copy of the store that is deleted.

    Raises:
        CannotWriteError: the home is missing or read-only.
        StorageError: the disk failed.
        TryLaterError: another process is writing.
        UsageError: no file is given, or a folder has none.

    Examples:
        >>> from forecaster import import_files, load_bars
        >>> load_bars("SP500", home="demo").to_csv("mine.csv", index=False)
        >>> import_files("mine.csv", home="demo").table[["ticker", "rows_changed", "days"]]
          ticker  rows_changed  days
        0  SP500             0  5031
    """
    given = Answers(
        basis=basis,
        calendar=calendar,
        dates=dates,
        decimal=decimal,
        mapping=mapping or {},
        ignore=tuple(ignore),
        keep=tuple(keep),
    )
    wanted = [files] if isinstance(files, str | PathLike) else list(files)
    where = resolve_home(home)
    with (
        bug_log(where),
        _store_of(where, dry_run=dry_run) as store,
        _readable(wanted) as paths,
    ):
        if given.keep and all(map(is_without_prices, paths)):
            return import_values(store, paths, ticker, given)
        reading = _read_all(store, paths, ticker, given)
        report = _store_all(store, reading, with_previews=dry_run)
        for contents, _, answers in reading.files:
            names = [one.listing.ticker for one in contents.histories]
            # A stored ticker that these answers do not fit keeps its own.
            fit = [name for name in names if name not in report.failures or not store.span(name)]
            store.record_answers(fit, answers.rows)
        return report


@contextmanager
def _store_of(home: Path, *, dry_run: bool) -> Iterator[PriceStore]:
    """Open the store of a home for an import, or a copy of it that is deleted."""
    if not dry_run:
        with (
            writer(home, "forecaster data import"),
            PriceStore.open_for_writing(home) as store,
        ):
            store.defer_sync()  # a ticker that a power failure loses is imported again
            yield store
        return
    with TemporaryDirectory(prefix="forecaster-") as place:
        if store_path(home).exists():
            with PriceStore.open_for_reading(home) as store:
                store.copy_to(Path(place))
        with PriceStore.open_for_writing(Path(place)) as store:
            yield store


@contextmanager
def _readable(files: Sequence[File]) -> Iterator[list[Path]]:
    """Yield the paths of files, folders and standard input."""
    with TemporaryDirectory(prefix="forecaster-stdin-") as place:
        copy = Path(place) / "input.csv"
        if STANDARD_INPUT in files:
            with copy.open("wb") as stream:
                shutil.copyfileobj(sys.stdin.buffer, stream)
        yield expanded([copy if file == STANDARD_INPUT else Path(file) for file in files])


def _read_all(
    store: PriceStore, paths: Sequence[Path], ticker: str | None, given: Answers
) -> _Reading:
    """Read every file; one that cannot be read does not stop the others."""
    stored, reading, failures = store.summary(), _Reading(), Failures()
    calendars = dict(zip(stored["ticker"], stored["calendar"], strict=True))
    for path in paths:
        with failures.of(str(path)):
            named = ticker or first_ticker(path) or ticker_of(path)
            earlier = Answers.of_rows(store.answers(named)) if named else Answers()
            contents, answers = _read(path, ticker, given, earlier, calendars)
            reading.files.append(ReadFile(contents, path, answers))
    for error in failures.errors.values() if len(paths) > 1 else ():
        log.warning("%s", error)  # the caller reports the error of a single file
    reading.failures, reading.bug = failures.errors, failures.common_bug(len(paths))
    return reading


def _read(
    path: Path, ticker: str | None, given: Answers, earlier: Answers, calendars: dict[str, str]
) -> tuple[FileContents, Answers]:
    """Read a file with the answers given, and those given earlier unless they do not fit it."""

    def attempt(answers: Answers) -> tuple[FileContents, Answers]:
        options = FileOptions(
            basis=answers.basis,
            calendar=answers.calendar,
            calendars=calendars,
            dates=answers.dates,
            decimal=answers.decimal,
            ignore=answers.ignore,
            keep=answers.keep,
            named=ticker_of(path) or "",
        )
        return read_file(path, ticker, dict(answers.mapping), options), answers

    if earlier.rows:
        try:
            return attempt(given.over(earlier))
        except Question:
            raise
        except (DataError, UsageError) as error:
            log.info("%s: earlier answers (%s) do not fit: %s", path, earlier, error)
    return attempt(given)


def _store_all(store: PriceStore, reading: _Reading, *, with_previews: bool) -> ImportReport:
    """Store what was read, ticker by ticker; one that fails does not stop the others."""
    stored = store.summary()
    bases = dict(zip(stored["ticker"], stored["basis"], strict=True))
    settled, asked = settle_bases(reading.contents, bases)
    failures, storing = reading.failures | asked, Failures()
    counts = Counter(one.listing.ticker for file in reading.contents for one in file.histories)
    for name in [name for name, count in counts.items() if count > 1]:
        failures[name] = UsageError(f"{name}: in more than one file; join the files first.")
    changed: dict[str, int] = {}
    dated = {
        one.listing.ticker
        for contents, _, answers in reading.files
        if answers.calendar
        for one in contents.histories
    }
    for history in settled:
        name = history.listing.ticker
        if name in failures:
            continue
        with storing.of(name):
            is_new = store.span(name) is None
            if is_new and name not in dated and history.listing.calendar == calendar_for(name):
                history = with_fitting_calendar(history)
            changed[name] = _store(store, history)
    failures |= storing.errors
    correct_calendars(store, changed, clock.now())
    as_stored = [_as_stored(store, one) for one in settled if one.listing.ticker in changed]
    for sentence in filter(None, map(describe_off_calendar, as_stored)):
        log.warning("%s", sentence)
    changed |= dict.fromkeys(failures, 0)
    if len(changed) > 1:  # the caller reports the error of a single ticker
        for name in counts:
            if name in failures:
                log.warning("%s", failures[name])
    bug = reading.bug or storing.common_bug(len(settled))
    report = report_of(store, changed, failures, bug)
    return ImportReport(
        table=report.table,
        failures=failures,
        bug=bug,
        left_out=count_left_out(store, reading.files),
        previews=previews_of([*settled, *as_stored], reading.files) if with_previews else [],
    )


def _store(store: PriceStore, history: History) -> int:
    """Store the bars of one ticker; return the number of new or different ones."""
    now, name = clock.now(), history.listing.ticker
    check_positive(name, history.bars, own_names(history.bars))
    final = admit(store, history, now)
    if final.bars.empty and not (store.span(name) and rows_left_out_of(store, history)):
        raise DataError(
            f"{name}: no session of its bars has closed and settled yet; import them again "
            "tomorrow."
        )
    before = store.history(name) if store.span(name) else None
    doubts = other_moves(Overlap.of(before.bars, final.bars), final) if before else []
    check_served(store, final, now, doubts=doubts)
    final = _compare(before, final)
    changed = store.upsert(final, now)
    warn_of_calendar(before, store.history(name))
    return changed


def _as_stored(store: PriceStore, history: History) -> History:
    """Return a history with its stored listing, without the rows that were left out."""
    left_out = [pd.Timestamp(one.session) for one in rows_left_out_of(store, history)]
    bars = history.bars[~history.bars["session"].isin(left_out)]
    return replace(history, listing=store.listing(history.listing.ticker), bars=bars)


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
