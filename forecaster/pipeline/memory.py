"""How far back a version's gradient reaches, on the fit block of its own prices.

Shape letters: N rows of the panel.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.bptt.plan import BPTTPlan, StepPer
from forecaster.data.export import check_folder, output_file
from forecaster.errors import ArtifactError, UsageError
from forecaster.evaluation.splits import Split
from forecaster.forecasting.loading import load_model, version_histories
from forecaster.forecasting.memory import (
    LAGS,
    TOLERANCE,
    EvaluationCount,
    MemoryReport,
    check_options,
    measure,
)
from forecaster.models.network import MEMORYLESS
from forecaster.registry.champion import find_version
from forecaster.registry.manifest import Manifest
from forecaster.registry.versions import list_versions, read_manifest
from forecaster.settings import Home, resolve_home

log = logging.getLogger(__name__)

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
    and the report block are not looked at. Of an ensemble the first member is measured.

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
    if (members := len(manifest.members)) > 1:
        log.info("memory  member 1 of %d is measured, seed %d", members, manifest.members[0].seed)
    trained = load_model(where, manifest)
    histories, _ = version_histories(manifest, bars, where, as_of)
    panel = trained.panel(histories)
    blocks = manifest.data.blocks
    split = Split(
        train_until=np.datetime64(blocks.train_until, "D"),
        validation_until=np.datetime64(blocks.validation_until, "D"),
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


def _looks(home: Path, manifest: Manifest) -> dict[str, EvaluationCount]:
    """Collect this training's looks at select, and those of its like under other plans."""
    found: dict[str, EvaluationCount] = {}
    plans: set[BPTTPlan] = set()
    for other in [manifest, *_others(home, manifest)]:
        looks, plan = other.training.get("validations"), plan_of(other)
        if isinstance(looks, list) and plan not in plans and len(found) <= OTHER_PLANS:
            plans.add(plan)
            moves = ", once per pass" if plan.step_per == "epoch" else ""
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


def check_page(file: Path | None) -> None:
    """Refuse, before any work, a page that cannot be written.

    Raises:
        CannotWriteError: its folder is not there.
    """
    check_folder("--html", file)


def write_page(report: MemoryReport, file: Path) -> None:
    """Write the report's page whole or not at all.

    Raises:
        CannotWriteError: the folder is missing or read-only.
        StorageError: the disk is full or failed.
    """
    page = report.html().encode()
    with output_file(file) as stream:
        stream.write(page)


def plan_of(manifest: Manifest) -> BPTTPlan:
    """Read back how far errors travelled when a version was trained."""
    training = manifest.training
    k2, k1 = training.get("bptt_k2"), training.get("bptt_k1")
    step_per: StepPer = "epoch" if training.get("step_per") in ("epoch", "pass") else "chunk"
    if training.get("bptt") == "full" or not isinstance(k2, int):
        return BPTTPlan.full(step_per=step_per)
    k1 = k1 if isinstance(k1, int) else None
    return BPTTPlan.truncated(k2=k2, k1=k1, step_per=step_per)
