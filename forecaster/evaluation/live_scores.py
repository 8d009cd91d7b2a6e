"""Whether a version in use still does what was promised of it, and still reads what it learnt on.

Errors, hits and inputs of recent days in, flags with reasons out; knows no ledger and no network.

Shape letters: n forecasts, m rows of inputs, C inputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd

from forecaster.evaluation.coverage import coverage_error
from forecaster.evaluation.significance import daily, newey_west_error

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


LEAST_DAYS = 21  # of outcomes; a month tells something
SURE = 3.0  # standard errors: it is asked every night, of windows that overlap
WORSE = 1.10  # of the promised error: less is no reason to train again
MISSED = 0.05  # of coverage, likewise
SHIFT = 3.0  # fit deviations that the mean of an input may move
NAMED = 3  # inputs in one sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """Something drifted: what, by how much, beyond which limit, in words.

    `subject` is a target, or the input that moved furthest.
    """

    kind: Literal["error", "coverage", "inputs"]
    subject: str
    value: float
    limit: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A mean error on days that a version was judged on, and its standard error."""

    mean: float
    error: float


def scaled_errors(
    actual: np.ndarray, forecast: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Return |actual - forecast| over the width of the 80 % interval, (n,).

    A loud week makes large errors and wide intervals alike: what is left is the forecaster's own.
    NaN where something is unknown or the interval has no width.
    """
    width = high - low
    scaled: np.ndarray = np.abs(actual - forecast) / np.where(width > 0.0, width, np.nan)
    return scaled


def promise(errors: np.ndarray, days: np.ndarray) -> Promise | None:
    """Take down the mean of errors (n,) by day; None on too few days."""
    known = np.isfinite(errors)
    by_day = daily(errors[known], days[known])
    if len(by_day) < LEAST_DAYS:
        return None
    return Promise(mean=float(by_day.mean()), error=newey_west_error(by_day))


def error_drift(
    target: str, errors: np.ndarray, days: np.ndarray, promised: Promise
) -> Flag | None:
    """Flag errors that are larger than promised by more than chance, and by more than a tenth.

    z = log(live / promised) over the standard error of that difference of logarithms.

    Args:
        target: what was forecast.
        errors: (n,) of forecasts in use, of the kind promised (`scaled_errors`); NaN left out.
        days: (n,) day of each outcome, of any kind that sorts.
        promised: from `promise`.
    """
    live = promise(errors, days)
    if live is None or not (promised.mean > 0.0 and live.mean > 0.0):
        return None
    ratio = live.mean / promised.mean
    error = np.hypot(live.error / live.mean, promised.error / promised.mean)
    z = float(np.log(ratio) / error) if error > 0.0 else float(np.copysign(np.inf, ratio - 1.0))
    if not (z > SURE and ratio > WORSE):
        return None
    count = len(np.unique(days[np.isfinite(errors)]))
    return Flag(
        kind="error",
        subject=target,
        value=ratio,
        limit=WORSE,
        reason=(
            f"{target}: errors over {count} days are {ratio:.2f} times those promised "
            f"({z:.1f} standard errors)"
        ),
    )


def coverage_drift(
    target: str, inside: np.ndarray, days: np.ndarray, coverage: float
) -> Flag | None:
    """Flag an interval that misses its coverage by more than chance, and by more than 5 points.

    Args:
        target: what was forecast.
        inside: (n,) 1 where the interval held the outcome, 0 where not, NaN left out.
        days: (n,) day of each outcome.
        coverage: what was promised, such as .8.
    """
    known = np.isfinite(inside)
    if len(np.unique(days[known])) < LEAST_DAYS:
        return None
    share, error = coverage_error(inside, days, coverage)
    off = abs(share - coverage)
    limit = max(MISSED, SURE * error)
    if not off > limit:
        return None
    return Flag(
        kind="coverage",
        subject=target,
        value=share,
        limit=limit,
        reason=(
            f"{target}: the {coverage:.0%} interval held {share:.1%} of {known.sum():,} outcomes"
        ),
    )


def input_drift(
    names: Sequence[str], inputs: np.ndarray, mean: np.ndarray, scale: np.ndarray
) -> Flag | None:
    """Flag inputs whose mean has left what the fit block knew by three of its deviations.

    A measure of size, not of chance: volatility stays where it is for weeks, so that any test
    for a shift would find one.

    Args:
        names: (C,) of the inputs.
        inputs: (m, C) unscaled, of the last sessions of all tickers; NaN where missing.
        mean: (C,) over the fit days.
        scale: (C,) deviation over the fit days.
    """
    known = np.isfinite(inputs)
    count = known.sum(axis=0)
    sums = np.where(known, inputs - mean, 0.0).sum(axis=0)
    shift = np.abs(sums) / np.maximum(count, 1) / np.where(scale > 0.0, scale, np.inf)
    moved = np.flatnonzero((shift > SHIFT) & (count >= LEAST_DAYS))
    if not len(moved):
        return None
    order = moved[np.argsort(-shift[moved], kind="stable")]
    told = ", ".join(f"{names[i]} ({shift[i]:.1f})" for i in order[:NAMED])
    more = f" and {len(order) - NAMED} more" if len(order) > NAMED else ""
    return Flag(
        kind="inputs",
        subject=names[order[0]],
        value=float(shift[order[0]]),
        limit=SHIFT,
        reason=f"inputs left what was learnt from, in deviations of the fit days: {told}{more}",
    )
