"""How far back a version's gradient reaches, on the fit block of its own prices.

Shape letters: N rows of the panel, T days, B lanes, F inputs, K targets.
"""

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from forecaster.data.export import replaced
from forecaster.data.panel import Panel
from forecaster.errors import ArtifactError, DataError, UsageError
from forecaster.evaluation.splits import Split
from forecaster.models.network import MEMORYLESS, Network
from forecaster.pipeline.evaluate import trained_on
from forecaster.pipeline.memory_report import Looks, MemoryReport
from forecaster.pipeline.trained import load_trained
from forecaster.registry.choice import find_version
from forecaster.registry.manifest import Manifest
from forecaster.registry.versions import list_versions, read_manifest
from forecaster.settings import Home, resolve_home
from forecaster.training.memory import memory_profile
from forecaster.training.plan import BPTTPlan, Update

log = logging.getLogger(__name__)

DAYS_AT_MOST, SERIES_AT_MOST = 1500, 16
LAGS, TOLERANCE = 252, 0.1
OTHER_PLANS = 5  # drawn beside the version's own


def memory(
    version: str | None = None,
    *,
    bars: pd.DataFrame | None = None,
    home: Home | None = None,
    tolerance: float = TOLERANCE,
    lags: int = LAGS,
    as_of: date | None = None,
) -> MemoryReport:
    """Measure how far back a version's errors reach and what its truncation costs.

    The last days of the fit block are measured, up to 1,500 of up to 16 series; the select
    and the report block are not looked at.

    Args:
        version: name of a version; None for the newest.
        bars: a caller's own long table (see `train`), or None for the store of the home.
        home: the workspace; None as the command line resolves it.
        tolerance: relative bias of the gradient that the advised reach may have.
        lags: days back that are measured; fewer where the histories are short.
        as_of: last session to be seen; None for all.

    Raises:
        ArtifactError: the version is damaged.
        DataError: the fit block is too short to measure anything.
        UnknownNameError: no such version.
        UsageError: the version reads windows, or a number is out of range.
    """
    check_options(tolerance, lags)
    where = resolve_home(home)
    manifest = find_version(where, version)
    if manifest.network.model in MEMORYLESS:
        raise UsageError(
            f"Version {manifest.version} is a network without memory; name a recurrent one."
        )
    lookback = manifest.network.lookback
    if lookback != "all":
        raise UsageError(
            f"Version {manifest.version} reads windows of {lookback} days, whose errors reach back "
            f"{lookback} days at most; memory is measured over whole histories. Name a version "
            "trained with --lookback all."
        )
    trained = load_trained(where, manifest)
    histories, _ = trained_on(manifest, bars, where, as_of)
    panel = trained.panel(histories)
    blocks = manifest.data.blocks
    split = Split(
        fit_until=np.datetime64(blocks.fit_until, "D"),
        select_until=np.datetime64(blocks.select_until, "D"),
    )
    fit, _, _ = split.masks(panel.outcome_days)
    fitted = trained.fitted
    report = measure(
        manifest.version,
        trained.networks[0],
        panel,
        (fitted.reader.inputs(panel), fitted.target_scaler.apply_target(panel.y)),
        fit,
        plan_of(manifest),
        tolerance=tolerance,
        lags=lags,
    )
    return replace(report, looks=_looks(where, manifest))


def _looks(home: Path, manifest: Manifest) -> dict[str, Looks]:
    """Collect this training's looks at select, and those of its like under other plans."""
    found: dict[str, Looks] = {}
    plans: set[BPTTPlan] = set()
    for other in [manifest, *_others(home, manifest)]:
        looks, plan = other.training.get("looks"), plan_of(other)
        if isinstance(looks, list) and plan not in plans and len(found) <= OTHER_PLANS:
            plans.add(plan)
            moves = ", once per pass" if plan.update == "pass" else ""
            found[f"{other.version}, {plan.describe()}{moves}"] = looks
    return found


def _others(home: Path, manifest: Manifest) -> Iterator[Manifest]:
    """Give the whole versions of the same network and targets on the same data, newest first."""
    for version in reversed(list_versions(home)):
        try:
            other = read_manifest(home, version)
        except ArtifactError:  # whoever asks for it is told
            continue
        alike = (other.network, other.targets, other.data) == (
            *(manifest.network, manifest.targets, manifest.data),
        )
        if alike and version != manifest.version:
            yield other


def write_page(report: MemoryReport, file: Path) -> None:
    """Write the report's page whole or not at all.

    Raises:
        CannotWriteError: the folder is missing or read-only.
        StorageError: the disk is full or failed.
    """
    page = report.html().encode()
    with replaced(file) as stream:
        stream.write(page)


def check_options(tolerance: float, lags: int) -> None:
    """Refuse numbers that mean nothing, before any work."""
    if not 0.0 < tolerance < 1.0:
        raise UsageError(
            f"--bptt-tolerance {tolerance:g}: give a share above 0 and below 1, such as 0.1."
        )
    if lags < 1:
        raise UsageError(f"--lags {lags}: give at least 1 day.")


def plan_of(manifest: Manifest) -> BPTTPlan:
    """Read back how far errors travelled when a version was trained."""
    training = manifest.training
    steps, stride = training.get("bptt_steps"), training.get("bptt_stride")
    update: Update = "pass" if training.get("bptt_update") == "pass" else "chunk"
    if training.get("bptt") == "full" or not isinstance(steps, int):
        return BPTTPlan.full(update=update)
    stride = stride if isinstance(stride, int) else None
    return BPTTPlan.truncated(steps=steps, stride=stride, update=update)


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
