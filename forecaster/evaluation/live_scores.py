"""Scores of live forecasts, and the drift of their errors, coverage and inputs.

Shape letters: n forecasts, R values of each, m rows of inputs, C inputs.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd

from forecaster.evaluation.calibration import coverage_error
from forecaster.evaluation.significance import daily, newey_west_error

QUANTILES: Final = {"q025": 0.025, "q10": 0.10, "q90": 0.90, "q975": 0.975}
LEAST_DAYS: Final = 21  # of outcomes: a month
MAX_Z: Final = 3.0  # standard errors: drift is tested every session, on overlapping windows
MAX_ERROR_RATIO: Final = 1.10  # to the expected error: less is no reason to train again
MAX_MISS: Final = 0.05  # of coverage, likewise
MAX_SHIFT: Final = 3.0  # deviations of the training days that the mean of an input may move
MAX_NAMED: Final = 3  # inputs in one sentence
LIVE_COLUMNS: Final = (
    *("forecasts", "days", "moved", "mse", "mae", "skill", "pinball", "coverage_80", "coverage_95"),
)


class LiveSums:
    """Sums of errors by group, to which forecasts are added in parts: millions need no memory."""

    def __init__(self, by: Sequence[str]) -> None:
        self.by = tuple(by)
        self._sums: dict[tuple[str, ...], np.ndarray] = {}
        self._days: dict[tuple[str, ...], np.ndarray] = {}

    def add(self, table: pd.DataFrame) -> None:
        """Add forecasts.

        `table` has a row per forecast with the columns `by`, `session, forecast, q025, q10, q90,
        q975, moved`, the outcome `actual` and the `persistence` forecast of the same day, both
        known.
        """
        values, days = _row_values(table), table["session"].to_numpy()
        for key, group in table.groupby(list(self.by), sort=False, dropna=False).indices.items():
            names = tuple(map(str, key if isinstance(key, tuple) else (key,)))
            self._add(names, np.take(values, group, axis=1).sum(axis=1), days[group])

    def _add(self, key: tuple[str, ...], sums: np.ndarray, days: np.ndarray) -> None:
        self._sums[key] = self._sums.get(key, 0.0) + sums
        self._days[key] = np.union1d(self._days.get(key, days[:0]), days)

    def pooled(self, column: str, value: str) -> "LiveSums":
        """Return the groups that differ in one column only as one, where there are several."""
        k, found, counts = self.by.index(column), LiveSums(self.by), Counter[tuple[str, ...]]()
        for key, sums in self._sums.items():
            other = (*key[:k], value, *key[k + 1 :])
            found._add(other, sums, self._days[key])
            counts[other] += 1
        found._sums = {key: sums for key, sums in found._sums.items() if counts[key] > 1}
        return found

    def table(self) -> pd.DataFrame:
        """Compute the scores.

        Returns:
            Rows of `by` and LIVE_COLUMNS, in the order of the groups. `mse`, `mae` and `pinball` in
            the target's own units (squared); `skill` = 1 - mse / mse of persistence; NaN where
            undefined. `days` counts distinct sessions, `moved` the forecasts of another session.
        """
        rows = []
        for key, (count, moved, *sums) in self._sums.items():
            mse, mae, persistence = (value / count for value in sums[:3])
            scores = {
                "forecasts": int(count),
                "days": len(self._days[key]),
                "moved": int(moved),
                "mse": mse,
                "mae": mae,
                "skill": 1.0 - mse / persistence if persistence > 0.0 else float("nan"),
            }
            for name, total, known in zip(LIVE_COLUMNS[-3:], sums[3::2], sums[4::2], strict=True):
                scores[name] = total / known if known else float("nan")
            rows.append(dict(zip(self.by, key, strict=True)) | scores)
        return pd.DataFrame(rows, columns=[*self.by, *LIVE_COLUMNS])


def _row_values(table: pd.DataFrame) -> np.ndarray:
    """Compute what scores are sums of, (R, n): counts, errors, then values and known ones."""
    columns = ("actual", "forecast", "persistence")
    actual, forecast, naive = (table[name].to_numpy(np.float64) for name in columns)
    error = actual - forecast
    rows = [np.ones(len(table)), table["moved"].to_numpy(np.float64)]
    rows += [error**2, np.abs(error), (actual - naive) ** 2]
    for values in (
        pinball(table, actual),
        inside(table, "q10", "q90", actual),
        inside(table, "q025", "q975", actual),
    ):
        known = np.isfinite(values)
        rows += [np.where(known, values, 0.0), known]
    return np.array(rows, dtype=np.float64)


def pinball(table: pd.DataFrame, actual: np.ndarray) -> np.ndarray:
    """Compute twice the mean quantile loss of the four bounds, (n,); NaN if one is missing.

    loss = 2 (tau - 1[y < q]) (y - q), whose mean over all tau from 0 to 1 is the CRPS.

    Source: Gneiting and Raftery (2007), "Strictly Proper Scoring Rules", section 4.2.
    """
    gaps = {tau: actual - table[name].to_numpy(np.float64) for name, tau in QUANTILES.items()}
    losses = [2.0 * (tau - (gap < 0.0)) * gap for tau, gap in gaps.items()]
    return np.asarray(np.mean(losses, axis=0))


def inside(table: pd.DataFrame, low: str, high: str, actual: np.ndarray) -> np.ndarray:
    """Return 1 for outcomes inside an interval, else 0, (n,); NaN without an interval."""
    bounds = table[[low, high]].to_numpy(np.float64)
    covered = (actual >= bounds[:, 0]) & (actual <= bounds[:, 1])
    return np.where(np.isfinite(bounds).all(axis=1), covered, np.nan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """A drift of `subject`: a target, or the input that moved furthest."""

    kind: Literal["error", "coverage", "inputs"]
    subject: str
    value: float
    limit: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedError:
    """The mean error of a version on the days of its promotion test, and its standard error."""

    mean: float
    error: float


def scaled_errors(
    actual: np.ndarray, forecast: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Compute |actual - forecast| over the width of the 80 % interval, (n,).

    A volatile week makes errors large and intervals wide; the ratio measures the forecaster alone.
    NaN where a value is missing or the interval has no width.
    """
    width = high - low
    return np.asarray(np.abs(actual - forecast) / np.where(width > 0.0, width, np.nan))


def mean_error(errors: np.ndarray, days: np.ndarray) -> ExpectedError | None:
    """Compute the mean of errors (n,) by day; None on too few days."""
    known = np.isfinite(errors)
    by_day = daily(errors[known], days[known])
    if len(by_day) < LEAST_DAYS:
        return None
    return ExpectedError(mean=float(by_day.mean()), error=newey_west_error(by_day))


def error_drift(
    target: str, errors: np.ndarray, days: np.ndarray, expected: ExpectedError
) -> Flag | None:
    """Flag errors that exceed the expected one significantly, and by more than a tenth.

    z = log(live / expected) over the standard error of that difference of logarithms.

    Args:
        target: what was forecast.
        errors: (n,) `scaled_errors` of live forecasts; NaN left out.
        days: (n,) of the outcomes.
        expected: that of the promotion test.
    """
    live = mean_error(errors, days)
    if live is None or not (expected.mean > 0.0 and live.mean > 0.0):
        return None
    ratio = live.mean / expected.mean
    error = np.hypot(live.error / live.mean, expected.error / expected.mean)
    z = float(np.log(ratio) / error) if error > 0.0 else float(np.copysign(np.inf, ratio - 1.0))
    if not (z > MAX_Z and ratio > MAX_ERROR_RATIO):
        return None
    reason = (
        f"{target}: errors over {len(np.unique(days[np.isfinite(errors)]))} days are {ratio:.2f} "
        f"times the expected ones ({z:.1f} standard errors)"
    )
    return Flag(kind="error", subject=target, value=ratio, limit=MAX_ERROR_RATIO, reason=reason)


def coverage_drift(
    target: str, inside: np.ndarray, days: np.ndarray, coverage: float
) -> Flag | None:
    """Flag an interval that misses its nominal coverage significantly, and by more than 5 points.

    Args as of `calibration.coverage_error`.
    """
    known = np.isfinite(inside)
    if len(np.unique(days[known])) < LEAST_DAYS:
        return None
    share, error = coverage_error(inside, days, coverage)
    limit = max(MAX_MISS, MAX_Z * error)
    if not abs(share - coverage) > limit:
        return None
    interval = f"{target}: the {coverage:.0%} interval"
    reason = f"{interval} covered {share:.1%} of {known.sum():,} outcomes"
    return Flag(kind="coverage", subject=target, value=share, limit=limit, reason=reason)


def input_drift(
    names: Sequence[str], inputs: np.ndarray, mean: np.ndarray, scale: np.ndarray
) -> Flag | None:
    """Flag inputs whose mean differs from the training days' by three of their deviations.

    A measure of size: a test would always find a shift, because volatility is persistent.

    Args:
        names: (C,) of the inputs.
        inputs: (m, C) unscaled, of the last sessions of all tickers; NaN where missing.
        mean: (C,) over the training days, and `scale` (C,) their deviation.
    """
    known = np.isfinite(inputs)
    count = known.sum(axis=0)
    sums = np.where(known, inputs - mean, 0.0).sum(axis=0)
    shift = np.abs(sums) / np.maximum(count, 1) / np.where(scale > 0.0, scale, np.inf)
    moved = np.flatnonzero((shift > MAX_SHIFT) & (count >= LEAST_DAYS))
    if not len(moved):
        return None
    order = moved[np.argsort(-shift[moved], kind="stable")]
    listed = ", ".join(f"{names[i]} ({shift[i]:.1f})" for i in order[:MAX_NAMED])
    more = f" and {len(order) - MAX_NAMED} more" if len(order) > MAX_NAMED else ""
    reason = f"inputs left the range of the training days, in their deviations: {listed}{more}"
    subject, value = names[order[0]], float(shift[order[0]])
    return Flag(kind="inputs", subject=subject, value=value, limit=MAX_SHIFT, reason=reason)
