"""The rows of one ticker in a panel: inputs, and the outcome of each day.

`y[t]` is the outcome of day t+1: the shift is made here and nowhere else. Everything
else in row t was known when day t's session had closed.

Shape letters: D days of the ticker, F inputs, K targets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from forecaster.data.bars import History
from forecaster.data.features import OWN_FEATURES, TRAILING_DAYS, own_features, trailing_mean
from forecaster.data.schedule import pieces
from forecaster.data.sessions import CALENDAR_INPUTS, scheduled_inputs

TARGETS = ("return", "range", "volume")
OWN_NAMES = (*OWN_FEATURES, *CALENDAR_INPUTS)
_QUANTITY = {"return": "log_return", "range": "log_range", "volume": "log_volume"}


@dataclass(frozen=True, slots=True, eq=False)
class SeriesRows:
    """What a ticker's own bars and its exchange's calendar give, oldest day first.

    `pieces` are the lengths of the runs of days without a hole. The arrays are those of a
    `Panel`, `inputs` (D, F) those of `OWN_NAMES`.
    """

    ticker: str
    calendar: str
    pieces: tuple[int, ...]
    days: np.ndarray
    outcome_days: np.ndarray
    close: np.ndarray
    inputs: np.ndarray
    today: np.ndarray
    level: np.ndarray
    y: np.ndarray


def series_rows(history: History, targets: Sequence[str]) -> SeriesRows:
    """Compute the rows of one ticker.

    Args:
        history: at least one bar, oldest first.
        targets: names out of `TARGETS`, in the order of the columns of `y`.
    """
    own = [own_features(piece) for piece in pieces(history)]
    lengths = tuple(len(part) for part in own)
    rows, offsets = np.concatenate(own), np.concatenate([[0], np.cumsum(lengths)])
    days = history.bars["session"].to_numpy("datetime64[D]")
    calendar, _ = scheduled_inputs(history.listing.calendar, days)
    today, level, y = _targets(rows, offsets, targets)
    return SeriesRows(
        ticker=history.listing.ticker,
        calendar=history.listing.calendar,
        pieces=lengths,
        days=days,
        outcome_days=_next_days(days, offsets),
        close=history.bars["close"].to_numpy(np.float64),
        inputs=np.column_stack([rows, calendar]),
        today=today,
        level=level,
        y=y,
    )


def per_piece(values: np.ndarray, offsets: np.ndarray, days: int) -> np.ndarray:
    """Average each day with those before it in its piece; see `trailing_mean`."""
    parts = [trailing_mean(values[start:stop], days) for start, stop in pairwise(offsets)]
    return np.concatenate(parts)


def _targets(
    rows: np.ndarray, offsets: np.ndarray, targets: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return today's quantity, its trailing level and the next day's deviation, each (N, K)."""
    today = np.column_stack([rows[:, OWN_FEATURES.index(_QUANTITY[name])] for name in targets])
    level, y = np.zeros_like(today), np.full_like(today, np.nan)
    for k, name in enumerate(targets):
        if name != "return":
            level[:, k] = per_piece(today[:, k], offsets, TRAILING_DAYS)
    for start, stop in pairwise(offsets):
        first = start + TRAILING_DAYS - 1
        if stop - first >= 2:
            y[first : stop - 1] = today[first + 1 : stop] - level[first : stop - 1]
    return today, level, y


def _next_days(days: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    outcome = np.full(len(days), np.datetime64("NaT"), dtype="datetime64[D]")
    outcome[:-1] = days[1:]
    outcome[offsets[1:] - 1] = np.datetime64("NaT")
    return outcome
