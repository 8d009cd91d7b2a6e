"""The baselines of each target, built from a panel and fitted on the fit block.

Shape letters: N rows of the panel.
"""

import numpy as np

from forecaster.data.panel import Panel
from forecaster.errors import DataError
from forecaster.evaluation.baselines import (
    better_on_select,
    least_squares,
    per_series,
    train_mean,
)
from forecaster.evaluation.splits import Split

AR_LAGS = 5


def baseline_forecasts(
    panel: Panel, target: str, split: Split, able: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Fit the baselines of a target; forecasts (N,) are deviations from the panel's level.

    Args:
        able: (N,) rows that the network can forecast: all are fitted on the same days.

    Returns:
        Forecasts by name, persistence first, and the variant that the select block chose.

    Raises:
        DataError: the prices have no day of the fit or of the select block.
    """
    k = panel.targets.index(target)
    y, series = panel.y[:, k], panel.series
    fit, select, _ = (block & able for block in split.masks(panel.outcome_days))
    for block, rows in (("fit", fit), ("select", select)):
        if not np.isfinite(y[rows]).any():
            raise DataError(
                f"The {block} block (fit until {split.fit_until}, select until "
                f"{split.select_until}) has no day of {target} in these prices, which begin "
                f"{panel.days.min()}; the baselines are fitted there. Fetch a longer period."
            )

    def linear(name: str, x: np.ndarray) -> tuple[str, np.ndarray]:
        pooled = least_squares(x, y, fit)
        each = per_series(least_squares, x, y, fit, series)
        variant, best = better_on_select({"pooled": pooled, "per ticker": each}, y, select)
        choices[name] = variant
        return name, best

    choices: dict[str, str] = {}
    mean = train_mean(y + panel.level[:, k], fit) - panel.level[:, k]
    if target == "return":
        autoregression = linear(f"ar{AR_LAGS}", panel.lags(target, AR_LAGS))
        return {"zero-return": np.zeros(len(y)), "mean": mean, **dict([autoregression])}, choices
    terms = panel.har_terms(target)
    shared = np.nan_to_num(panel.shared_inputs, nan=0.0)
    har = [linear("har", terms), linear("har-x", np.column_stack([terms, shared]))]
    return {"persistence": terms[:, 0], "mean": mean, **dict(har)}, choices
