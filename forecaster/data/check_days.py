"""Rules on a history's days, held against its calendar: gaps, holes, strays, stale tickers.

Histories in, signs out.  Repairs nothing; knows no prices, no source and no store.
"""

from datetime import date

import numpy as np
import pandas as pd

from forecaster.data.bars import History
from forecaster.data.findings import Sign
from forecaster.data.schedule import MOST_MISSED, describe_holes, describe_strays, holes
from forecaster.data.sessions import count_sessions, missed_sessions


def gaps(history: History) -> list[Sign]:
    """Find where sessions lack a bar, fewer in a row than make a hole; one sign tells all."""
    days = history.bars["session"].to_numpy("datetime64[D]")
    missed = missed_sessions(history.listing.calendar, days)
    rows = np.flatnonzero((missed > 0) & (missed <= MOST_MISSED)) + 1
    if len(rows) == 0:
        return []
    lacking = int(missed[rows - 1].sum())
    what = f"{lacking:,} sessions of {history.listing.calendar} before this day"
    if len(rows) > 1:
        what = f"{lacking:,} sessions of {history.listing.calendar} at {len(rows):,} places"
    return [(int(rows[0]), f"no bar for {what}")]


def series_cuts(history: History) -> list[Sign]:
    """Find the holes at which the series is cut."""
    return [
        (int(row), _without_ticker(describe_holes(history, row[None]))) for row in holes(history)
    ]


def strays(history: History) -> list[Sign]:
    """Find bars on days that are no session; one sign tells all."""
    told = describe_strays(history)
    return [(0, _without_ticker(told))] if told else []


def staleness(history: History, last_final: date) -> list[Sign]:
    """Tell how many sessions the newest bar lies behind, where it is too many to forecast from.

    Args:
        history: at least one bar.
        last_final: newest session that has closed and settled.
    """
    newest = history.bars["session"].iloc[-1]
    first = (newest + pd.Timedelta(days=1)).date()
    missed = (
        count_sessions(history.listing.calendar, first, last_final) if first <= last_final else 0
    )
    if missed <= MOST_MISSED:
        return []
    return [(len(history.bars) - 1, f"the newest bar; {missed:,} sessions have passed since")]


def _without_ticker(sentence: str) -> str:
    return sentence.split(": ", 1)[1]
