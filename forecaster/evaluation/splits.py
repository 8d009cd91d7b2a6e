"""Three blocks of time, in order: fit, select, report.

A forecast belongs to the block that its *outcome* falls in, so nothing that the fit
learns from was still unknown at the end of the fit block.

Shape letters: N rows, K targets.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np

from forecaster.errors import DataError, UsageError

FIT_SHARE, SELECT_SHARE = 0.70, 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The last day of the fit block and the last day of the select block."""

    fit_until: np.datetime64
    select_until: np.datetime64

    def __post_init__(self) -> None:
        """Refuse blocks out of order."""
        if not self.fit_until < self.select_until:
            raise UsageError(
                f"--fit-until {self.fit_until} is not before --select-until {self.select_until}; "
                "the fit block comes first. Move one of them."
            )

    def masks(self, outcome_days: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the fit, select and report rows, each (N,); a row without outcome is in none."""
        known = ~np.isnat(outcome_days)
        fit = known & (outcome_days <= self.fit_until)
        select = known & (outcome_days > self.fit_until) & (outcome_days <= self.select_until)
        return fit, select, known & (outcome_days > self.select_until)


def split_by_time(
    days: np.ndarray, *, fit_until: date | None = None, select_until: date | None = None
) -> Split:
    """Cut the panel's distinct days 70/15/15, or where the user says.

    Args:
        days: (N,) datetime64[D] of every row, any order, repeats allowed.
        fit_until: last day of the fit block.
        select_until: last day of the select block; half of what follows `fit_until` when
            only that is given.

    Raises:
        DataError: fewer than 20 distinct days.
        UsageError: the blocks are out of order or one of them holds no day.
    """
    distinct = np.unique(days)
    if len(distinct) < 20:
        raise DataError(
            f"{len(distinct)} distinct trading days; three blocks of time need at least 20. "
            "Fetch a longer period."
        )
    if fit_until is None and select_until is not None:
        before = distinct[distinct <= np.datetime64(select_until, "D")]
        share = FIT_SHARE / (FIT_SHARE + SELECT_SHARE)
        fit_until = _at(before, share, select_until)
    fit_until = fit_until or _at(distinct, FIT_SHARE, None)
    first = np.datetime64(fit_until, "D")
    if select_until is None:
        select_until = _at(distinct[distinct > first], SELECT_SHARE / (1.0 - FIT_SHARE), fit_until)
    second = np.datetime64(select_until, "D")
    split = Split(fit_until=first, select_until=second)
    _require_days(distinct, first, second)
    return split


def _at(days: np.ndarray, share: float, bound: date | None) -> date:
    """Return the last day of the first `share` of the days, to the nearest day."""
    if len(days) < 2:
        raise UsageError(
            f"{bound} leaves {len(days)} trading days for the blocks beside it; "
            "move --fit-until or --select-until into the history."
        )
    count = min(max(round(len(days) * share), 1), len(days) - 1)
    day: date = days[count - 1].astype("datetime64[D]").item()
    return day


def _require_days(days: np.ndarray, fit_until: np.datetime64, select_until: np.datetime64) -> None:
    counts = {
        "fit": int((days <= fit_until).sum()),
        "select": int(((days > fit_until) & (days <= select_until)).sum()),
        "report": int((days > select_until).sum()),
    }
    for block, count in counts.items():
        if count == 0:
            raise UsageError(
                f"The {block} block holds no trading day with --fit-until {fit_until} and "
                f"--select-until {select_until}; the prices run {days[0]}..{days[-1]}."
            )
