"""The base model: a linear forecaster fitted first, whose residual the network then learns.

Shape letters: N rows of the panel, C inputs, K targets, R raw outputs of all targets together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from forecaster.data.panel import Panel, feature_names, features_of_rows
from forecaster.data.scaling import Scaler
from forecaster.models.heads import Form

Kind = Literal["har", "linear"]

# Corsi's three horizons, as the inputs call them; volume is free of its level.
HAR_INPUTS = {
    "range": ("range_today", "range_week", "range_level"),
    "volume": ("volume_today", "volume_week"),
    "return": (
        *("range_today", "range_week", "range_level"),
        *("abs_log_return", "abs_log_return_week", "abs_log_return_month"),
    ),
}
MOST_ROWS = 400_000  # rows that a base is fitted on; beyond, every so many-th


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """Raw outputs = scaled inputs times weights (C, R), plus intercepts (R,)."""

    kind: Kind
    names: tuple[str, ...]
    scaler: Scaler
    weights: np.ndarray
    intercepts: np.ndarray

    def outputs(self, block: np.ndarray) -> np.ndarray:
        """Forecast rows from their unscaled inputs (n, C), (n, R) in raw outputs of the head."""
        columns = np.ascontiguousarray(self.scaler.apply(block).T)
        # Column by column: a matrix product rounds by how many rows it has, so that bars to
        # come would change the last bit of forecasts made before them.
        totals = np.tile(self.intercepts[:, None], len(block))
        for total, weights in zip(totals, self.weights.T, strict=True):
            for number in np.flatnonzero(weights):
                total += columns[number] * weights[number]
        return totals.T


def _har_inputs(target: str) -> tuple[str, ...]:
    own = tuple(f"{target}_{part}" for part in ("today", "week", "level"))
    return HAR_INPUTS.get(target, own)


def fit_base(
    kind: Kind, panel: Panel, scored: np.ndarray, scaled_y: np.ndarray, forms: Sequence[Form]
) -> Base:
    """Fit every target on its `scored` rows (N, K), the training days.

    "har" reads Corsi's inputs, "linear" every input that can be derived. `scaled_y` (N, K) are in
    the network's units, NaN where unknown. The mean of a return is its drift: no linear relation to
    these inputs has been found to last. A target that never moves, or has fewer rows than numbers
    to fit, has no base (zeros).
    """
    chosen = np.flatnonzero(scored.any(axis=1))
    chosen = chosen[:: max(1, -(-len(chosen) // MOST_ROWS))]
    inputs = {
        target: feature_names(panel) if kind == "linear" else _har_inputs(target)
        for target in panel.targets
    }
    names = tuple(dict.fromkeys(name for part in inputs.values() for name in part))
    x = features_of_rows(panel, names, chosen)
    scaler = Scaler.fit(x, np.ones(len(x), dtype=np.bool_))
    x = scaler.apply(x)
    weights = np.zeros((len(names), sum(form.width for form in forms)))
    intercepts = np.zeros(weights.shape[1])
    first = 0
    for k, (target, form) in enumerate(zip(panel.targets, forms, strict=True)):
        mine = [names.index(name) for name in inputs[target]]
        y = np.where(scored[chosen, k], scaled_y[chosen, k], np.nan).astype(np.float64)
        columns = slice(first, first + form.width)
        known = np.isfinite(y)
        if known.sum() >= 4 * len(mine) + 20 and np.ptp(y[known]) != 0.0:
            every = known.all() and len(mine) == len(names)
            read = x if every else x[known][:, mine]
            found = form.fit_base(read, y[known], drift_only=target == "return")
            weights[mine, columns], intercepts[columns] = found
        first += form.width
    return Base(kind=kind, names=names, scaler=scaler, weights=weights, intercepts=intercepts)
