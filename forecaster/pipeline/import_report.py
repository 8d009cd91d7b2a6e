"""What an import has done: tickers stored, rows left out, and how each file was read.

Reads a store, writes none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from forecaster.data.history import History, Listing
from forecaster.data.intervals import regular_interval
from forecaster.data.quarantine import ROW_RULES, Entry
from forecaster.data.sources.answers import Answers
from forecaster.data.sources.files import FileContents
from forecaster.data.sources.numbers import DecimalMark
from forecaster.data.store import PriceStore
from forecaster.data.trading_calendar import base_name
from forecaster.errors import BugError, ForecasterError, PartialFailure, Question
from forecaster.pipeline.fetch import FetchReport

LEFT_OUT_COLUMNS: Final = ("rule", "rows", "tickers", "first")
UNREADABLE_ROW: Final = "unreadable-row"  # without a date or ticker, so not in quarantine
_QUARANTINE: Final = "forecaster data quarantine"
PREVIEW_BARS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """How one ticker of a file was read: column by field, decimal mark, listing, first bars.

    `interval` is "daily" or the pattern in which sessions are missing.
    """

    file: str
    columns: dict[str, str]
    decimal: DecimalMark
    listing: Listing
    interval: str
    bars: pd.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """The result for each ticker: `table` and `failures` as for a fetch.

    A file that could not be read stands for its tickers. `left_out` counts rows that cannot be
    bars, by rule (LEFT_OUT_COLUMNS); in a dry run `previews` has an entry per ticker that was read.
    """

    table: pd.DataFrame
    failures: dict[str, ForecasterError]
    left_out: pd.DataFrame
    previews: list[Preview]
    bug: BugError | None = None

    @property
    def question(self) -> Question | None:
        """What the user is asked first, if anything."""
        asked = [error for error in self.failures.values() if isinstance(error, Question)]
        return asked[0] if asked else None

    def raise_failures(self) -> None:
        """Raise what decides the exit code: a question, a failure, or rows that were left out."""
        if self.question:
            stored = len(self.table) - len(self.failures)
            others = f" {stored:,} other tickers are stored." if stored else ""
            question = self.question
            raise Question(f"{question}{others}", question.option, question.choices)
        FetchReport(self.table, self.failures, self.bug).raise_failures()
        if len(self.left_out):
            rows = ", ".join(f"{one.rows:,} {one.rule}" for one in self.left_out.itertuples())
            held = [rule for rule in self.left_out["rule"] if rule != UNREADABLE_ROW]
            remedy = f"The first: {self.left_out['first'].iloc[0]}. Correct the file."
            if held:
                out = f"To leave them out for good: {_QUARANTINE} drop --rule {held[0]}"
                remedy = f"See {_QUARANTINE} list. {out}"
            raise PartialFailure(f"rows left out: {rows}. {remedy}")


class ReadFile(NamedTuple):
    """What was read of a file, and the answers used."""

    contents: FileContents
    path: Path
    answers: Answers


def rows_left_out_of(store: PriceStore, history: History) -> list[Entry]:
    """List the rows of a history that are held in quarantine."""
    days = history.days
    return [
        one
        for one in store.quarantine.entries(history.listing.ticker)
        if one.state == "held" and one.rule in ROW_RULES and np.datetime64(one.session, "D") in days
    ]


def count_left_out(store: PriceStore, files: Sequence[ReadFile]) -> pd.DataFrame:
    """Count the rows that are held in quarantine, or have no date or ticker, by rule."""
    rows = []
    for contents, path, _ in files:
        for history in contents.histories:
            rows += [
                (one.rule, one.ticker, f"{one.ticker}: {one.session}: {one.reason}")
                for one in rows_left_out_of(store, history)
            ]
        rows += [
            (UNREADABLE_ROW, one.ticker or str(path), f"{path}: {one.place}: {one.reason}")
            for one in contents.left_out
        ]
    table = pd.DataFrame(rows, columns=["rule", "ticker", "first"])
    groups = table.groupby("rule", sort=True)
    counted = groups.agg(
        rows=("ticker", "size"), tickers=("ticker", "nunique"), first=("first", "first")
    )
    return counted.reset_index()[list(LEFT_OUT_COLUMNS)]


def previews_of(settled: Sequence[History], files: Sequence[ReadFile]) -> list[Preview]:
    """Describe how each ticker was read, with the listing it has now if it was settled."""
    listings = {one.listing.ticker: one.listing for one in settled}
    previews = []
    for contents, path, _ in files:
        for history in contents.histories:
            listing = listings.get(history.listing.ticker, history.listing)
            pattern = regular_interval(replace(history, listing=listing))
            previews.append(
                Preview(
                    file=str(path),
                    columns=dict(contents.columns),
                    decimal=contents.decimal,
                    listing=replace(listing, calendar=base_name(listing.calendar)),
                    interval=pattern[1] if pattern else "daily",
                    bars=history.bars.head(PREVIEW_BARS),
                )
            )
    return previews
