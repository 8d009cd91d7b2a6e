"""What a score would have been on other days like these: the stationary bootstrap.

Days are drawn in blocks, and all tickers of a day together. A score is written as a formula of
sums over days, so that ten thousand resamplings of it are one matrix product.

Shape letters: D days, B repeats, K sums of one score.
"""

from collections.abc import Callable

import numpy as np

REPEATS = 999
MIN_DAYS = 20


def block_length(series: np.ndarray) -> int:
    """Return the mean block length that suits daily series (D,) or (D, F), at least 1.

    The longest that any of them asks for, at most the square root of 3 D.

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
