"""Whether the champion still does what was promised: its nights' forecasts against what came.

Late forecasts count like the others: each was made of what was known on its evening, and a
night that is made up for must decide as it would have on time.
"""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.data.panel import build_panel, compute_features
from forecaster.evaluation.live_scores import (
    Flag,
    Promise,
    coverage_drift,
    error_drift,
    input_drift,
    inside,
    scaled_errors,
)
from forecaster.operations.forecast_recording import recent_histories
from forecaster.registry.champion_history import Decision
from forecaster.registry.manifest import Manifest

RECENT = 63  # sessions that are looked at, a quarter
RECENT_INPUTS = 21  # likewise of inputs, which many tickers share
_READ = timedelta(days=3 * 365)  # bars that the longest input reads, and more


def drift_flags(rows: pd.DataFrame, version: str, promoted: Decision | None) -> list[Flag]:
    """Flag the errors and intervals of a version in use.

    Args:
        rows: of the ledger with outcomes (`with_outcomes`), of one model name.
        version: the champion.
        promoted: the decision that made it champion, whose evidence holds what was promised.

    Returns:
        At most three flags per target.
    """
    mine = rows[rows["scheduled"] & (rows["version"] == version) & rows["actual"].notna()]
    days = np.unique(mine["session"].to_numpy())
    mine = mine[mine["session"].isin(days[-RECENT:])]
    flags: list[Flag | None] = []
    for target, group in mine.groupby("target", sort=True):
        flags += _of_target(str(target), group, promise_of(promoted, str(target)))
    return [flag for flag in flags if flag is not None]


def promise_of(promoted: Decision | None, target: str) -> Promise | None:
    """Read what the gate's days promised of a target; None where nothing was."""
    told = ((promoted.evidence if promoted else {}).get("expected") or {}).get(target)
    if not isinstance(told, dict) or told.get("mean") is None or told.get("error") is None:
        return None
    return Promise(mean=float(told["mean"]), error=float(told["error"]))


def _of_target(target: str, group: pd.DataFrame, promised: Promise | None) -> list[Flag | None]:
    actual, days = group["actual"].to_numpy(np.float64), group["session"].to_numpy()
    low, high = group["q10"].to_numpy(np.float64), group["q90"].to_numpy(np.float64)
    errors = scaled_errors(actual, group["forecast"].to_numpy(np.float64), low, high)
    return [
        error_drift(target, errors, days, promised) if promised else None,
        coverage_drift(target, inside(group, "q10", "q90", actual), days, 0.80),
        coverage_drift(target, inside(group, "q025", "q975", actual), days, 0.95),
    ]


def inputs_flag(home: Path, manifest: Manifest, day: date) -> Flag | None:
    """Flag inputs of a version that have left what its fit block knew.

    Args:
        home: the workspace.
        manifest: of the champion.
        day: the last day known.
    """
    data = manifest.data
    histories = recent_histories(home, data.tickers, day - _READ, day)
    if not histories:
        return None
    universe = data.tickers if data.cross_section else None
    panel = build_panel(histories, manifest.targets, universe=universe)
    last = np.unique(panel.days)[-RECENT_INPUTS:]
    inputs = compute_features(panel, manifest.inputs)[np.isin(panel.days, last)]
    mean, scale = np.array(manifest.scaler.mean), np.array(manifest.scaler.scale)
    return input_drift(manifest.inputs, inputs, mean, scale)
