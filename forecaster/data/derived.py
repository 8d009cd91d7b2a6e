"""Inputs that are computed from a panel's columns when they are needed, and kept nowhere.

A panel of millions of rows holds a score of raw columns; the linear base reads about ninety,
the network about thirty, most of them trailing means of those. All are causal: row t reads
rows up to t of its own piece, and the exchange's calendar of the next session.

Shape letters: N rows of the panel, D days of one piece, C inputs.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from forecaster.data.derived_calendar import SCHEDULED, calendar_group
from forecaster.data.derived_echo import echo_group
from forecaster.data.derived_own import market_group, range_group, return_group, volume_group
from forecaster.data.panel import Panel
from forecaster.data.piece import Columns, Piece

Group = Callable[[Piece], Columns]

GROUPS: tuple[Group, ...] = (range_group, volume_group, return_group, calendar_group, echo_group)

# What a network reads: today, the week and the level; a memory finds what lies between.
COMPACT = (
    *("log_return", "overnight", "intraday", "abs_log_return", "fall"),
    *("range_today", "range_week", "range_level", "gk", "volume_today", "volume_week"),
    *("range_missing", "volume_missing"),
    *SCHEDULED,
    *("triple_expiry", "year_end", "range_echo", "volume_echo"),
)
COMPACT_MARKET = (
    *("panel_log_return", "panel_overnight", "panel_intraday"),
    *("panel_range_deviation", "panel_volume_deviation", "panel_abs_return"),
)


def derived_blocks(panel: Panel, names: Sequence[str]) -> Iterator[tuple[slice, np.ndarray]]:
    """Compute inputs piece by piece.

    Args:
        panel: with or without a cross-section.
        names: of inputs, from `derived_names`.

    Yields:
        The rows of a piece and their inputs (D, C), float64, NaN where missing.
    """
    for start, stop in pairwise(panel.offsets.tolist()):
        columns = _columns(Piece.of(panel, start, stop))
        yield slice(start, stop), np.column_stack([columns[name] for name in names])


def derived_inputs(panel: Panel, names: Sequence[str]) -> np.ndarray:
    """Compute inputs of all rows, (N, C) float32, NaN where missing."""
    inputs = np.empty((len(panel.days), len(names)), dtype=np.float32)
    for rows, block in derived_blocks(panel, names):
        inputs[rows] = block
    return inputs


def compact_names(panel: Panel) -> tuple[str, ...]:
    """Name the inputs of a network: a third of all, since more overfit."""
    return (*COMPACT, *(COMPACT_MARKET if COMPACT_MARKET[0] in panel.input_names else ()))


def derived_names(panel: Panel) -> tuple[str, ...]:
    """Name every input that can be derived from this panel."""
    return tuple(_columns(Piece.of(panel, 0, 1)))


def _columns(piece: Piece) -> Columns:
    columns: Columns = {}
    for group in GROUPS:
        columns |= group(piece)
    return columns | (market_group(piece) if piece.has_market else {})
