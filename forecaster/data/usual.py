"""The usual night: many tickers that got a new bar and nothing else, stored in one transaction.

What is not usual is left to `fetch.py`, which looks at one ticker at a time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import numpy as np
import pandas as pd

from forecaster.data.history import History
from forecaster.data.overlap import block_of, is_table, plain
from forecaster.data.revisions import describe_change, keep_known
from forecaster.data.screening import CONTEXT
from forecaster.data.sessions import last_final_session
from forecaster.data.store import PriceStore
from forecaster.data.store_batch import Stand

OVERLAP: Final = timedelta(days=14)  # about ten sessions are asked for again and compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a source said when it was asked for a ticker's overlap and what follows it.

    `stand` is how the ticker stood before, `asked_at` when the source was asked.
    """

    stand: Stand
    asked_at: datetime
    served: History

    @property
    def ticker(self) -> str:
        """Name of the ticker, as stored."""
        return self.stand.listing.ticker

    @property
    def begin(self) -> date:
        """First day that was asked for."""
        return first_of_overlap(self.stand.span.last)


def first_of_overlap(last: date) -> date:
    """Tell the first day to ask for again where `last` is the newest stored."""
    return last - OVERLAP


def store_usual(store: PriceStore, answers: Iterable[Answer]) -> dict[str, int]:
    """Store the new bars of those tickers of which there is nothing else to tell.

    Args:
        store: open for writing.
        answers: the tickers and what came of each.

    Returns:
        How many bars were added, by ticker; the others are not in it, and stay as they were.

    Raises:
        StorageError: the disk is full or failed; nothing was changed.
        TryLaterError: another process is writing.
    """
    known = [answer for answer in answers if _is_known(answer)]
    if not known:
        return {}
    came, odd = block_of([answer.served.bars for answer in known])
    since = {one.ticker: one.begin - CONTEXT for one in known}
    final = [last_final_session(one.stand.listing.calendar, one.asked_at) for one in known]
    is_plain, new = plain(
        store.batch.newest(since),
        came,
        _days([one.begin for one in known]),
        _days([one.stand.span.last for one in known]),
        _days(final),
    )
    is_plain &= ~odd
    added = store.batch.append(
        [one.stand for one in known],
        [one.asked_at for one in known],
        new.at(is_plain[new.owner]),
    )
    return {
        one.ticker: count
        for one, count, good in zip(known, added, is_plain.tolist(), strict=True)
        if good and count >= 0
    }


def usual_row(answer: Answer, added: int) -> dict[str, object]:
    """Tell what is stored of a ticker after so many bars were added; see `ingest.stored_row`."""
    span = answer.stand.span
    newest = answer.served.bars["session"].iloc[-1] if added else pd.Timestamp(span.last)
    counts = {"rows_changed": added, "days": span.days + added}
    ends = {"first": pd.Timestamp(span.first), "last": newest}
    return {"ticker": answer.ticker, **counts, **ends, "error": None}


def _is_known(answer: Answer) -> bool:
    """Tell whether what came is a table of bars of what the ticker was before."""
    stored, served = answer.stand.listing, answer.served.listing
    return (
        is_table(answer.served.bars)
        and not describe_change(stored, served)
        and keep_known(stored, served) == stored
    )


def _days(days: Sequence[date]) -> "np.ndarray[tuple[int], np.dtype[np.datetime64]]":
    return np.array(days, dtype="datetime64[D]")
