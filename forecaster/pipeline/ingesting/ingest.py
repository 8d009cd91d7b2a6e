"""The one door into the store: what fetching and importing do alike with a ticker's bars."""

import logging
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pandas as pd

from forecaster.data.bars import History
from forecaster.data.merge import news
from forecaster.data.schedule import describe_guess, describe_holes, final_part, new_holes
from forecaster.data.store import PriceStore
from forecaster.errors import ForecasterError, PartialFailure, TryLaterError
from forecaster.pipeline.ingesting.screen import in_order, refuse_doubt, screen

log = logging.getLogger(__name__)

FETCH_COLUMNS = ("ticker", "rows_changed", "days", "first", "last", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchReport:
    """What became of each ticker: a table (`FETCH_COLUMNS`) and the errors by ticker."""

    table: pd.DataFrame
    failures: dict[str, ForecasterError]

    def raise_failures(self) -> None:
        """Raise what the exit code should tell; nothing if every ticker went well."""
        if not self.failures:
            return
        errors = list(self.failures.values())
        later = [error for error in errors if isinstance(error, TryLaterError)]
        if later:
            raise later[0]
        if len(errors) == len(self.table):
            raise errors[0]
        raise PartialFailure(
            f"{len(errors)} of {len(self.table)} tickers failed: {', '.join(self.failures)}."
        )


def admit(store: PriceStore, history: History, served_at: datetime) -> History:
    """Keep what may be stored of a history as it was served: final bars that can be bars.

    Args:
        store: open for writing.
        history: straight from its source.
        served_at: aware instant before which its source was asked.

    Raises:
        DataError: a bar of the future; rows that cannot be left out.
    """
    return screen(store, final_part(in_order(history), served_at), served_at)


def put(
    store: PriceStore, held: History | None, served: History, served_at: datetime, reason: str = ""
) -> int:
    """Store the news in bars that were admitted, and warn of what they bring.

    Args:
        store: open for writing.
        held: the stored bars from the first day served on; None where there are none.
        served: what was admitted.
        served_at: aware instant at which it was served.
        reason: why the past changes, if it does.

    Returns:
        How many bars were new or different.

    Raises:
        DataError: the ticker is in doubt; it stays as stored.
    """
    refuse_doubt(store, served, served_at)
    bars = served.bars if held is None else news(held.bars, served.bars)
    changed = store.upsert(replace(served, bars=bars), served_at, reason)
    if changed:
        days = served.bars[["session"]]
        if held is not None:
            both = np.union1d(held.bars["session"].to_numpy(), days["session"].to_numpy())
            days = pd.DataFrame({"session": both})
        warn_of_calendar(held, replace(served, bars=days))
    return changed


def stored_history(store: PriceStore, ticker: str) -> History | None:
    """Read what is stored of a ticker; None where there is no bar."""
    return store.history(ticker) if store.span(ticker) else None


def warn_of_calendar(before: History | None, now: History) -> None:
    """Say once what a ticker's new bars brought: a calendar that is a guess, holes."""
    guess = describe_guess(now)
    if guess and before is None:
        log.warning("%s", guess)
    holes = new_holes(before, now)
    if len(holes):
        log.warning("%s", describe_holes(now, holes))


def stored_row(store: PriceStore, ticker: str, changed: int) -> dict[str, object]:
    """Tell what is stored of a ticker now; nothing is 0 days."""
    span = store.span(ticker)
    ends = (pd.Timestamp(span.first), pd.Timestamp(span.last)) if span else (pd.NaT, pd.NaT)
    counts = {"rows_changed": changed, "days": span.days if span else 0}
    return {"ticker": ticker, **counts, "first": ends[0], "last": ends[1], "error": None}
