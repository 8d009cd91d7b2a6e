"""A panel as it was on some evening, or from some morning on: rows left out, nothing changed.

Shape letters: N rows of the panel, n rows kept, S series, P pieces.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np

from forecaster.data.features import TRAILING_DAYS
from forecaster.data.panel import Panel


def cut(
    panel: Panel, *, first: np.datetime64 | None = None, last: np.datetime64 | None = None
) -> tuple[Panel, np.ndarray]:
    """Keep the days from `first` to `last`; series without any are left out.

    An outcome after `last` is not known yet. A piece that loses its beginning warms up again:
    its first 22 rows are not scored, as those of any piece.

    Args:
        panel: its inputs were computed from whole histories, and stay as they are.
        first: None for the beginning.
        last: None for the end.

    Returns:
        The smaller panel and the numbers (n,) of its rows in the larger.
    """
    kept = np.ones(len(panel.days), dtype=np.bool_)
    if first is not None:
        kept &= panel.days >= first
    if last is not None:
        kept &= panel.days <= last
    rows = np.flatnonzero(kept)
    lengths, pieces = (_lengths(kept, borders) for borders in (panel.series_offsets, panel.offsets))
    y, outcome_days = panel.y[rows], panel.outcome_days[rows]
    if last is not None:
        later = outcome_days > last
        y[later], outcome_days[later] = np.nan, np.datetime64("NaT")
    y[_cold(kept, panel.offsets)[rows]] = np.nan
    smaller = replace(
        panel,
        tickers=tuple(t for t, days in zip(panel.tickers, lengths, strict=True) if days),
        series_offsets=_offsets(lengths[lengths > 0]),
        offsets=_offsets(pieces[pieces > 0]),
        days=panel.days[rows],
        outcome_days=outcome_days,
        close=panel.close[rows],
        inputs=panel.inputs[rows],
        today=panel.today[rows],
        level=panel.level[rows],
        y=y,
    )
    return smaller, rows


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)])


def _lengths(kept: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """Count the rows kept between borders (S + 1,), (S,)."""
    counts = np.concatenate([[0], np.cumsum(kept)])
    lengths: np.ndarray = np.diff(counts[borders])
    return lengths


def _cold(kept: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(N,) True on the first rows of pieces that lost those before."""
    cold = np.zeros(len(kept), dtype=np.bool_)
    for start, stop in pairwise(offsets.tolist()):
        if not kept[start] and kept[start:stop].any():
            begin = start + int(np.argmax(kept[start:stop]))
            cold[begin : min(begin + TRAILING_DAYS - 1, stop)] = True
    return cold
