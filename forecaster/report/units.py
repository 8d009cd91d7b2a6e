"""Targets in units that people read: per cent and currency, not logarithms."""

import numpy as np

TITLES = {"return": "return, %", "range": "daily range, %", "volume": "volume, currency"}


def in_units(target: str, values: np.ndarray) -> np.ndarray:
    """Convert log returns to per cent, other targets from logarithms to their unit."""
    with np.errstate(over="ignore"):
        if target == "return":
            return np.asarray(100.0 * np.expm1(values))
        return np.asarray((100.0 if target == "range" else 1.0) * np.exp(values))


def axis_title(target: str) -> str:
    """Return the title of an axis with a target's values `in_units`."""
    return TITLES.get(target, target)
