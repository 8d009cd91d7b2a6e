"""Measure how far back a version's gradient reaches, on the training days of its own prices."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from forecaster import clock
from forecaster.bptt.plan import Plan, StepPer
from forecaster.clock import Day
from forecaster.data.loading import Bars
from forecaster.errors import ArtifactError, UsageError
from forecaster.forecasting.memory import (
    LAGS,
    TOLERANCE,
    MemoryOptions,
    MemoryReport,
    ValidationLosses,
    measure,
)
from forecaster.forecasting.model_version import load_model, version_histories
from forecaster.models.network import MEMORYLESS
from forecaster.operations.clock_check import refuse_clock_behind
from forecaster.registry.champion import find_version
from forecaster.registry.manifest import Manifest
from forecaster.registry.versions import list_versions, read_manifest
from forecaster.report.memory import memory_page
from forecaster.report.page import write_page
from forecaster.settings import Home, resolve_home

__all__ = ["MemoryReport", "memory", "plan_of", "write_memory_page"]

log = logging.getLogger(__name__)

OTHER_PLANS = 5  # drawn beside the version's own


def memory(
    version: str | None = None,
    *,
    bars: Bars | None = None,
    home: Home | None = None,
    tolerance: float = TOLERANCE,
    lags: int = LAGS,
    as_of: Day | None = None,
) -> MemoryReport:
    """Measure how far back a version's gradient reaches and what its truncation costs.

    The last training days are measured, up to 1,500 of up to 16 series. Of an ensemble the first
    member is measured.

    Args:
        version: name of a version; None for the newest.
        bars, home, as_of: see `train`.
        tolerance: relative bias of the gradient that the advised horizon may have.
        lags: days back that are measured; fewer where the histories are short.

    Raises:
        ArtifactError: the version is corrupt.
        DataError: there are too few training days to measure anything.
        TryLaterError: the clock is behind the stored prices.
        UnknownNameError: no such version.
        UsageError: the version reads windows, or a number is out of range.

    Examples:
        >>> from forecaster import memory
        >>> report = memory(home="demo", as_of="2000-12-31", lags=20)
        >>> report.bias["horizon"].tolist()
        [1, 2, 5, 10]
    """
    options, where = MemoryOptions(tolerance=tolerance, lags=lags), resolve_home(home)
    refuse_clock_behind(where)
    manifest = find_version(where, version)
    _refuse_short_memory(manifest)
    if (members := len(manifest.members)) > 1:
        log.info("memory  member 1 of %d is measured, seed %d", members, manifest.members[0].seed)
    model = load_model(where, manifest)
    histories, _ = version_histories(manifest, bars, where, clock.as_day(as_of))
    panel = model.panel(histories)
    train, _, _ = model.split.masks(panel.outcome_days)
    report = measure(
        model.networks[0],
        panel,
        (model.reader.inputs(panel), model.target_scaler.apply_target(panel.y)),
        train,
        plan_of(manifest),
        options,
    )
    return replace(report, version=manifest.version, validations=_validations(where, manifest))


def _refuse_short_memory(manifest: Manifest) -> None:
    if manifest.network.model in MEMORYLESS:
        raise UsageError(
            f"Version {manifest.version} is a network without memory; choose a recurrent one."
        )
    lookback = manifest.network.lookback
    if lookback != "all":
        raise UsageError(
            f"Version {manifest.version} reads windows of {lookback} days, so its gradient reaches "
            f"back {lookback} days at most; memory is measured over whole histories. Choose a "
            "version trained with --lookback all."
        )


def _validations(home: Path, manifest: Manifest) -> dict[str, ValidationLosses]:
    """Collect the validation losses of this training, and of its like under other plans."""
    found: dict[str, ValidationLosses] = {}
    plans: set[Plan] = set()
    for other in [manifest, *_others(home, manifest)]:
        losses, plan = other.training.get("validations"), plan_of(other)
        if isinstance(losses, list) and plan not in plans and len(found) <= OTHER_PLANS:
            plans.add(plan)
            per_epoch = ", one step per epoch" if plan.step_per == "epoch" else ""
            found[f"{other.version}, {plan.describe()}{per_epoch}"] = losses
    return found


def _others(home: Path, manifest: Manifest) -> Iterator[Manifest]:
    """Yield the intact versions of the same network and targets on the same data, newest first."""
    for version in reversed(list_versions(home)):
        try:
            other = read_manifest(home, version)
        except ArtifactError:  # reported when that version is asked for
            continue
        network, targets, data = other.network, other.targets, other.data
        alike = (network, targets, data) == (manifest.network, manifest.targets, manifest.data)
        if alike and version != manifest.version:
            yield other


def plan_of(manifest: Manifest) -> Plan:
    """Return the BPTT plan that a version was trained with."""
    training = manifest.training
    k2, k1 = training.get("bptt_k2"), training.get("bptt_k1")
    step_per: StepPer = "epoch" if training.get("step_per") in ("epoch", "pass") else "chunk"
    if training.get("bptt") == "full" or not isinstance(k2, int):
        return Plan.full(step_per=step_per)
    return Plan.truncated(k2=k2, k1=k1 if isinstance(k1, int) else None, step_per=step_per)


def write_memory_page(report: MemoryReport, file: Path, *, standalone: bool = False) -> int:
    """Write the page of a report; return the bytes that it needs, with its library."""
    return write_page(memory_page(report), file, standalone=standalone)
