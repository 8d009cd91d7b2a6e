"""Tests of many forecasters on the same days: bootstrap, SPA test, model confidence set.

Daily losses in, p-values and names out.

Shape letters: D days, F forecasters.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

REPEATS = 999
MIN_DAYS = 20


def block_length(series: np.ndarray) -> int:
    """Return the mean block length for daily series (D,) or (D, F), at least 1.

    The longest of the series' own, at most the square root of 3 D.

    Source: Politis and White (2004), "Automatic Block-Length Selection for the Dependent
        Bootstrap", corrected by Patton, Politis and White (2009), by arch.
    """
    from arch.bootstrap import optimal_block_length

    columns = series[:, None] if series.ndim == 1 else series
    moving = columns[:, np.ptp(columns, axis=0) > 0.0]
    days = len(columns)
    if days < MIN_DAYS or moving.shape[1] == 0:
        return 1
    with np.errstate(all="ignore"):
        found = optimal_block_length(moving)["stationary"].to_numpy()
    longest = np.max(found[np.isfinite(found)], initial=1.0)
    return int(np.clip(np.ceil(longest), 1, np.sqrt(3 * days)))


def day_weights(days: int, block: int, *, repeats: int = REPEATS, seed: int = 0) -> np.ndarray:
    """Return how often each repeat draws each day, (B, D).

    Args:
        days: D.
        block: mean length of a run of consecutive days; the first follows the last.

    Source: Politis and Romano (1994), "The Stationary Bootstrap", by arch.
    """
    from arch.bootstrap import StationaryBootstrap

    draws = StationaryBootstrap(block, np.arange(days), seed=seed).bootstrap(repeats)
    weights = np.zeros((repeats, days), dtype=np.float32)
    for repeat, ((drawn,), _) in enumerate(draws):
        weights[repeat] = np.bincount(drawn, minlength=days)
    return weights


def interval(
    sums: np.ndarray,
    value: Callable[[np.ndarray], np.ndarray],
    weights: np.ndarray,
    coverage: float = 0.95,
) -> tuple[float, float]:
    """Return the bootstrap interval of a score.

    Args:
        sums: (D, K) what each day adds to the score's sums.
        value: the formula, from sums (..., K) to scores (...), NaN where undefined.
        weights: (B, D) of `day_weights`.
        coverage: share of the repeats between the two ends.

    Returns:
        The percentile interval; NaN where fewer than half of the repeats define the score.
    """
    repeats = value(weights.astype(float) @ sums)
    known = repeats[np.isfinite(repeats)]
    if len(known) < max(len(repeats) / 2, 2):
        return float("nan"), float("nan")
    tail = (1.0 - coverage) / 2.0
    low, high = np.quantile(known, [tail, 1.0 - tail])
    return float(low), float(high)


TEST_REPEATS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaTest:
    """Whether the best of `forecasters` forecasters beats `benchmark` by more than chance.

    `p_value` is Hansen's consistent one, None where undefined: `reason` explains why.
    """

    benchmark: str
    forecasters: int
    days: int
    p_value: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfidenceSet:
    """Forecasters that may be the best: `included` at `size`, and the p-value of each name."""

    size: float
    included: tuple[str, ...]
    p_values: dict[str, float]
    days: int
    reason: str = ""


def superior_predictive_ability(
    losses: dict[str, np.ndarray], benchmark: str, *, seed: int = 0
) -> SpaTest:
    """Test that no forecaster is better than the benchmark, on all of them together.

    Forecasters whose losses equal the benchmark's on every day are left out.

    Args:
        losses: daily mean losses (D,) by name, the benchmark's among them.
        benchmark: its name.
        seed: of the bootstrap of days.

    Source: Hansen (2005), "A Test for Superior Predictive Ability", by arch; stationary
        bootstrap of days.
    """
    from arch.bootstrap import SPA

    base = losses[benchmark]
    others = [v for k, v in losses.items() if k != benchmark and np.ptp(v - base) > 0.0]
    reason, p_value = _too_little(len(base), len(others)), None
    if not reason:
        table = np.column_stack(others)
        block = block_length(base[:, None] - table)
        test = SPA(base, table, block_size=block, reps=TEST_REPEATS, seed=seed)
        test.compute()
        p_value = float(test.pvalues["consistent"])
    return SpaTest(
        benchmark=benchmark,
        forecasters=len(others),
        days=len(base),
        p_value=p_value,
        reason=reason,
    )


def model_confidence_set(
    losses: dict[str, np.ndarray], *, size: float = 0.10, seed: int = 0
) -> ConfidenceSet:
    """Return the model confidence set: forecasters not significantly worse than the best.

    Args:
        losses: daily mean losses (D,) by name.
        size: probability, at most, that the set misses the best one.
        seed: of the bootstrap of days.

    Source: Hansen, Lunde and Nason (2011), "The Model Confidence Set", by arch.
    """
    from arch.bootstrap import MCS

    # Equal losses have no variance of their difference: arch sees each of them once.
    first = {values.tobytes(): name for name, values in reversed(losses.items())}
    same_as = {name: first[values.tobytes()] for name, values in losses.items()}
    names = list(dict.fromkeys(same_as.values()))
    table = np.column_stack([losses[name] for name in names])
    reason = _too_little(len(table), len(names) - 1)
    if reason:
        return ConfidenceSet(
            size=size, included=tuple(losses), p_values={}, days=len(table), reason=reason
        )
    block = block_length(table[:, :1] - table)
    test = MCS(table, size=size, block_size=block, reps=TEST_REPEATS, seed=seed)
    test.compute()
    found = dict(zip(test.pvalues.index.tolist(), test.pvalues["Pvalue"].tolist(), strict=True))
    p_values = {name: float(found[names.index(same_as[name])]) for name in losses}
    included = tuple(name for name in losses if p_values[name] > size)
    return ConfidenceSet(size=size, included=included, p_values=p_values, days=len(table))


def _too_little(days: int, others: int) -> str:
    if days < MIN_DAYS:
        return f"{days} days; at least {MIN_DAYS} are needed"
    return "" if others else "every forecaster has the same losses"
