"""Measure the memory of one network on the last days of a fit block.

Knows no version and no home: a training measures its first stage before there is a version.

Shape letters: N rows of the panel, T days, B lanes, F inputs, K targets.
"""

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from forecaster.data.panel import Panel
from forecaster.errors import DataError, UsageError
from forecaster.models.network import Network
from forecaster.pipeline.learning.memory_report import MemoryReport
from forecaster.training.memory import memory_profile
from forecaster.training.plan import BPTTPlan

log = logging.getLogger(__name__)

DAYS_AT_MOST, SERIES_AT_MOST = 1500, 16
LAGS, TOLERANCE = 252, 0.1


def check_options(tolerance: float, lags: int) -> None:
    """Refuse numbers that mean nothing, before any work."""
    if not 0.0 < tolerance < 1.0:
        raise UsageError(
            f"--bptt-tolerance {tolerance:g}: give a share above 0 and below 1, such as 0.1."
        )
    if lags < 1:
        raise UsageError(f"--lags {lags}: give at least 1 day.")


def measure(
    version: str,
    network: Network,
    panel: Panel,
    arrays: tuple[np.ndarray, np.ndarray],
    fit: NDArray[np.bool_],
    plan: BPTTPlan,
    *,
    tolerance: float,
    lags: int,
) -> MemoryReport:
    """Measure a network on the last days of the fit block.

    Args:
        version: what to call the network.
        network: of the panel's inputs and targets.
        panel: what the rows are of.
        arrays: (N, F) inputs and (N, K) outcomes, scaled.
        fit: (N,) True on rows whose outcome belongs to the fit block.
        plan: what the network was trained with.
        tolerance: as in `memory`.
        lags: as in `memory`.

    Raises:
        DataError: no series has enough fit days.
    """
    stops = _stops(fit, panel.offsets)
    series, days = _rectangle(stops - panel.offsets[:-1])
    rows = stops[series] - days + np.arange(days)[:, None]  # (T, B)
    x, y = arrays[0][rows], arrays[1][rows]
    mask = fit[rows][..., None] & np.isfinite(y)
    with _one_thread():
        profile = memory_profile(
            copy.deepcopy(network).cpu().double(),  # the far lags are small
            torch.from_numpy(x).double(),
            torch.from_numpy(y).double(),
            torch.from_numpy(mask),
            lags=_lags_within(lags, days),
            tolerance=tolerance,
            plan=plan,
        )
    return MemoryReport(
        version=version,
        tickers=tuple(panel.tickers[s] for s in panel.series[panel.offsets[series]]),
        days=panel.days[rows[:, 0]],
        plan=plan,
        tolerance=tolerance,
        profile=profile,
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread, then on as many as before.

    On a shared machine two threads wait for each other after every day: 100 times slower.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _lags_within(lags: int, days: int) -> int:
    """Keep half of the days for errors with all lags behind them."""
    if days < 4:
        raise DataError(
            f"The fit block holds {days} days of the longest series, too few to measure memory; "
            "fetch a longer period."
        )
    if lags > days // 2:
        log.warning("%d days measured: %d lags, not %d", days, days // 2, lags)
    return min(lags, days // 2)


def _stops(fit: NDArray[np.bool_], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """(S,) flat row after each series' last fit row; its first row where there is none."""
    last = np.where(fit, np.arange(1, len(fit) + 1), 0)
    stops: NDArray[np.int64] = np.maximum(np.maximum.reduceat(last, offsets[:-1]), offsets[:-1])
    return stops


def _rectangle(lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Choose up to 16 series and one length, so that most days are measured without padding."""
    longest = np.argsort(-lengths, kind="stable")[:SERIES_AT_MOST]
    capped = np.minimum(lengths[longest], DAYS_AT_MOST)
    count = int(np.argmax(capped * np.arange(1, len(capped) + 1))) + 1
    return np.sort(longest[:count]), int(capped[count - 1])
