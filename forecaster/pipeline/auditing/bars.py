"""What is read of the prices on an evening, and on the next session before its close.

Every bar goes through the doors that the commands use: a table, `--as-of`, the store.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, time, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from forecaster import clock
from forecaster.data.bars import BAR_COLUMNS, History
from forecaster.data.sessions import next_session, timezone_of
from forecaster.data.store import PriceStore
from forecaster.errors import DataError
from forecaster.pipeline.auditing.alter import after_day, as_date
from forecaster.pipeline.auditing.compare import Values
from forecaster.pipeline.ingesting.ingest import admit, put
from forecaster.pipeline.prices import as_table, load_histories

BARS: Final = "bars"
STORED_DAYS = 60  # of each ticker; what lies further back is stored alike


def bars_up_to(histories: Sequence[History], cut: np.datetime64) -> Values:
    """Name every value of the bars up to a date, as they are in the histories."""
    return _bar_values(
        [History(listing=h.listing, bars=h.bars[~after_day(h, cut)]) for h in histories]
    )


def bars_as_of(histories: Sequence[History], cut: np.datetime64) -> Values:
    """Read all bars through the door that every command uses, as of a date."""
    last = max(history.bars["session"].iloc[-1] for history in histories)
    later = datetime.combine(last.date() + timedelta(days=10), time(), ZoneInfo("UTC"))
    with quiet(), clock.as_if(later):
        return _bar_values(load_histories(as_table(histories), Path(), (), as_date(cut)))


def bars_before_the_close(histories: Sequence[History], cut: np.datetime64) -> Values:
    """Read bars through the same door on the session after a date, while it trades."""
    found: list[History] = []
    for served, noon in _sessions_after(histories, cut):
        with quiet(), clock.as_if(noon):
            found += load_histories(as_table(served), Path(), (), None)
    return _bar_values(found)


def bars_stored_before_the_close(histories: Sequence[History], cut: np.datetime64) -> Values:
    """Store the last bars while the session after a date trades, and read them back.

    A ticker whose numbers are in doubt is not stored, with or without that session's bar.
    """
    found: list[History] = []
    for served, noon in _sessions_after(histories, cut):
        with TemporaryDirectory() as folder, quiet(), clock.as_if(noon):
            home = Path(folder)
            if _stored(home, served, cut, noon):
                found += load_histories(None, home, (), None)
    return _bar_values(found)


def _stored(home: Path, histories: Sequence[History], cut: np.datetime64, now: datetime) -> int:
    """Store what may be stored; count the tickers."""
    count = 0
    with PriceStore.open_for_writing(home) as store:
        for history in histories:
            first = max(int((~after_day(history, cut)).sum()) - STORED_DAYS, 0)
            recent = history.bars.iloc[first:].reset_index(drop=True)
            served = History(listing=history.listing, bars=recent)
            try:
                count += put(store, None, admit(store, served, now), now) > 0
            except DataError:
                continue
    return count


def _sessions_after(
    histories: Sequence[History], cut: np.datetime64
) -> Iterator[tuple[list[History], datetime]]:
    """Give, by calendar, all bars up to the session after a date, and the noon of that session."""
    for calendar in sorted({history.listing.calendar for history in histories}):
        session = next_session(calendar, as_date(cut))
        noon = datetime.combine(session, time(12), ZoneInfo(timezone_of(calendar)))
        served = [
            History(listing=h.listing, bars=h.bars[~after_day(h, np.datetime64(session, "D"))])
            for h in histories
            if h.listing.calendar == calendar
        ]
        served = [history for history in served if len(history.bars)]
        if served:
            yield served, noon


@contextmanager
def quiet() -> Iterator[None]:
    """Read without the notices that a person's own file would deserve."""
    logger = logging.getLogger("forecaster")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _bar_values(histories: Sequence[History]) -> Values:
    names = BAR_COLUMNS[1:]
    ordered = sorted(histories, key=lambda history: history.listing.ticker)
    bars = [history.bars for history in ordered]
    count = [len(part) for part in bars]
    table = pd.concat(bars) if bars else pd.DataFrame(columns=list(BAR_COLUMNS), dtype="float64")
    return Values(
        columns=names,
        values=table[list(names)].to_numpy(np.float64),
        tickers=np.repeat([history.listing.ticker for history in ordered], count).astype(str),
        days=table["session"].to_numpy("datetime64[D]"),
    )
