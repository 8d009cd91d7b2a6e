"""Score forecasts that were really made against what came; tables in and out.

Knows no ledger, no prices and no network.

Shape letters: n forecasts.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd

QUANTILES: Final = {"q025": 0.025, "q10": 0.10, "q90": 0.90, "q975": 0.975}
LIVE_COLUMNS: Final = (
    *("forecasts", "days", "mse", "mae", "skill", "pinball", "cover80", "cover95"),
)


def live_scores(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Score forecasts within groups.

    Args:
        table: a row per forecast with `session, forecast, q025, q10, q90, q975`, the outcome
            `actual` and the `persistence` forecast of the same day, both known.
        by: columns to score within.

    Returns:
        Rows of `by` and LIVE_COLUMNS, in the order in which the groups come. `mse`, `mae` and
        `pinball` in the target's own units (squared); `skill` = 1 - mse / mse of persistence;
        `cover80` and `cover95` are the shares of outcomes inside the intervals. NaN where
        undefined. `days` counts distinct sessions.
    """
    rows = [
        {**dict(zip(by, key, strict=True)), **_score(group)}
        for key, group in table.groupby(list(by), sort=False, dropna=False)
    ]
    return pd.DataFrame(rows, columns=[*by, *LIVE_COLUMNS])


def _score(group: pd.DataFrame) -> dict[str, float]:
    actual = group["actual"].to_numpy(np.float64)
    error = actual - group["forecast"].to_numpy(np.float64)
    mse = float(np.mean(error**2))
    persistence = float(np.mean((actual - group["persistence"].to_numpy(np.float64)) ** 2))
    return {
        "forecasts": len(group),
        "days": group["session"].nunique(),
        "mse": mse,
        "mae": float(np.mean(np.abs(error))),
        "skill": 1.0 - mse / persistence if persistence > 0.0 else float("nan"),
        "pinball": _known_mean(pinball(group, actual)),
        "cover80": _known_mean(inside(group, "q10", "q90", actual)),
        "cover95": _known_mean(inside(group, "q025", "q975", actual)),
    }


def pinball(table: pd.DataFrame, actual: np.ndarray) -> np.ndarray:
    """Average the quantile losses of the four ends, twice each, (n,); NaN where one is missing.

    loss = 2 (tau - 1[y < q]) (y - q), whose mean over all tau from 0 to 1 is the CRPS.

    Source: Gneiting and Raftery (2007), "Strictly Proper Scoring Rules", section 4.2.
    """
    losses = []
    for name, tau in QUANTILES.items():
        gap = actual - table[name].to_numpy(np.float64)
        losses.append(2.0 * (tau - (gap < 0.0)) * gap)
    total: np.ndarray = np.mean(losses, axis=0)
    return total


def inside(table: pd.DataFrame, low: str, high: str, actual: np.ndarray) -> np.ndarray:
    """Tell which outcomes an interval held, (n,): 1, 0, or NaN where it was not stated."""
    ends = table[[low, high]].to_numpy(np.float64)
    held = (actual >= ends[:, 0]) & (actual <= ends[:, 1])
    found: np.ndarray = np.where(np.isfinite(ends).all(axis=1), held, np.nan)
    return found


def _known_mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
