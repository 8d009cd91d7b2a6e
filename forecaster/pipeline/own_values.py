"""Own columns from files without prices, stored beside bars that are there already."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from forecaster import clock
from forecaster.data.sources.answers import Answers
from forecaster.data.sources.file_names import ticker_of
from forecaster.data.sources.own_values import read_values
from forecaster.data.store import PriceStore
from forecaster.errors import Failures
from forecaster.pipeline.fetch import report_of
from forecaster.pipeline.import_report import ImportReport, count_left_out

log = logging.getLogger(__name__)


def import_values(
    store: PriceStore, paths: Sequence[Path], ticker: str | None, given: Answers
) -> ImportReport:
    """Store the values of files; a file or ticker that fails leaves the others stored.

    Values of days without a bar are left out with a warning.
    """
    failures, changed = Failures(), dict[str, int]()
    for path in paths:
        tables: dict[str, pd.DataFrame] = {}
        with failures.of(str(path)):
            tables = read_values(path, ticker or ticker_of(path), given.keep, given.dates)
        for name, rows in tables.items():
            with failures.of(name):
                changed[name] = changed.get(name, 0) + _store(store, name, rows)
    changed |= dict.fromkeys(failures.errors, 0)
    for error in failures.errors.values() if len(changed) > 1 else ():
        log.warning("%s", error)  # the caller reports the error of a single one
    report = report_of(store, changed, failures.errors, failures.common_bug(len(changed)))
    return ImportReport(
        table=report.table,
        failures=failures.errors,
        bug=report.bug,
        left_out=count_left_out(store, []),
        previews=[],
    )


def _store(store: PriceStore, ticker: str, rows: pd.DataFrame) -> int:
    has_bar = rows["session"].isin(store.bars(ticker)["session"])
    lone = rows.loc[~has_bar, "session"]
    if len(lone):
        log.warning(
            "%s: %d values on days without a bar, the first %s; left out",
            *(ticker, len(lone), lone.iloc[0].date()),
        )
    return store.upsert_own(ticker, rows[has_bar], clock.now())
