"""Standardise columns to mean 0 and standard deviation 1, measured on training days only.

Columns are pooled over tickers, so a ticker that was not trained on is scaled alike.

Shape letters: N rows, C columns.
"""

from dataclasses import dataclass

import numpy as np

from forecaster.errors import DataError

ROWS_AT_ONCE = 16_384  # float64 copies of all rows would not fit
CLIP = 6.0  # standard deviations; one wild bar must not drive a saturating network


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaler:
    """Column means and standard deviations, each (C,)."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray, rows: np.ndarray) -> "Scaler":
        """Measure (N, C) values, NaN where missing, on the rows (N,) that may be read.

        A column without any value there keeps its units; a constant one is only centred.

        Raises:
            DataError: there is no such row.
        """
        if not rows.any():
            raise DataError("No training day; fetch a longer period or set --train-until later.")
        mean, scale = np.zeros(values.shape[1]), np.zeros(values.shape[1])
        for number, column in enumerate(values.T):  # a copy of all columns would not fit
            seen = column[rows].astype(np.float64)
            known = seen[np.isfinite(seen)]
            if len(known):
                mean[number], scale[number] = known.mean(), known.std()
        return cls(mean=mean, scale=np.where(scale > 1e-12, scale, 1.0))

    def apply(self, values: np.ndarray, *, clip: float = CLIP) -> np.ndarray:
        """Scale (N, C) inputs to float32; a missing value becomes the mean, 0."""
        found = np.empty(values.shape, dtype=np.float32)
        for start in range(0, len(values), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            scaled = (values[rows] - self.mean) / self.scale
            found[rows] = np.clip(np.nan_to_num(scaled, nan=0.0), -clip, clip)
        return found

    def apply_target(self, values: np.ndarray) -> np.ndarray:
        """Scale (N, C) targets to float32; missing stays NaN and nothing is clipped."""
        scaled: np.ndarray = (values - self.mean) / self.scale
        return scaled.astype(np.float32)
