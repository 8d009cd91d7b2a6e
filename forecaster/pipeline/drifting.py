"""Whether the champion still does what was promised: its nights' forecasts against what came.

Late forecasts count like the others: each was made of what was known on its evening, and a
night that is made up for must decide as it would have on time.
"""

import numpy as np
import pandas as pd

from forecaster.evaluation.drift import (
    Flag,
    Promise,
    coverage_drift,
    error_drift,
    scaled_errors,
)
from forecaster.evaluation.live import inside
from forecaster.registry.record import Decision

RECENT = 63  # sessions that are looked at, a quarter


def drift_flags(rows: pd.DataFrame, version: str, promoted: Decision | None) -> list[Flag]:
    """Flag the errors and intervals of a version in use.

    Args:
        rows: of the ledger with outcomes (`with_outcomes`), of one model name.
        version: the champion.
        promoted: the decision that made it champion, whose evidence holds what was promised.

    Returns:
        At most three flags per target.
    """
    mine = rows[rows["night"] & (rows["version"] == version) & rows["actual"].notna()]
    days = np.unique(mine["session"].to_numpy())
    mine = mine[mine["session"].isin(days[-RECENT:])]
    flags: list[Flag | None] = []
    for target, group in mine.groupby("target", sort=True):
        flags += _of_target(str(target), group, promise_of(promoted, str(target)))
    return [flag for flag in flags if flag is not None]


def promise_of(promoted: Decision | None, target: str) -> Promise | None:
    """Read what the gate's days promised of a target; None where nothing was."""
    told = ((promoted.evidence if promoted else {}).get("promised") or {}).get(target)
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
