"""Walk forward through the report block: folds of days, each fitted on what came before it.

Dates in, dates out; knows no price and no network.

Shape letters: N rows.
"""

from dataclasses import dataclass

import numpy as np

from forecaster.errors import DataError
from forecaster.evaluation.splits import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Report days from the one after `split.select_until` to `until`, forecast by one fit.

    `fit_from` is the first day that the fit may read, None for all there are.
    """

    number: int
    split: Split
    fit_from: np.datetime64 | None
    until: np.datetime64

    def report(self, outcome_days: np.ndarray) -> np.ndarray:
        """(N,) True on rows whose outcome falls in this fold's report days."""
        later: np.ndarray = self.split.masks(outcome_days)[2] & (outcome_days <= self.until)
        return later

    def select(self, outcome_days: np.ndarray) -> np.ndarray:
        """(N,) True on rows whose outcome falls in this fold's select block."""
        rows: np.ndarray = self.split.masks(outcome_days)[1]
        return rows

    def fit(self, outcome_days: np.ndarray) -> np.ndarray:
        """(N,) True on rows whose outcome falls in this fold's fit block."""
        rows: np.ndarray = self.split.masks(outcome_days)[0]
        return rows if self.fit_from is None else rows & (outcome_days >= self.fit_from)


def walk_folds(
    outcome_days: np.ndarray,
    split: Split,
    *,
    refit_every: int | None = None,
    fit_days: int | None = None,
) -> tuple[Fold, ...]:
    """Cut the days after the select block into folds.

    Every fold's select block ends on the day before its first report day. It holds the same
    share of the days until then as the split's own block; with `fit_days` as many days as that.
    What lies before it is fitted on.

    Args:
        outcome_days: (N,) day of every row's outcome, any order, NaT where there is none.
        split: the first fold's blocks.
        refit_every: report days of a fold; None for all in one.
        fit_days: the fit block is so many trading days; None for all before the select block.

    Raises:
        DataError: `fit_days` is more than there are before the first select block.
    """
    days = np.unique(outcome_days[~np.isnat(outcome_days)])
    report = days[days > split.select_until]
    fitted = int((days <= split.fit_until).sum())
    selected = int((days <= split.select_until).sum()) - fitted
    if fit_days is not None and fit_days > fitted:
        raise DataError(
            f"--fit-window rolling:{fit_days} needs {fit_days} trading days before the select "
            f"block; there are {fitted} until {split.fit_until}. Give fewer days, or expanding."
        )
    share, every = selected / max(fitted + selected, 1), refit_every or max(len(report), 1)
    folds = []
    for number, first in enumerate(range(0, max(len(report), 1), every)):
        before = days[: fitted + selected + first]
        count = selected if fit_days is not None else round(share * len(before))
        blocks = split if number == 0 else _blocks(before, max(count, 1))
        end = report[: first + every][-1] if len(report) else split.select_until
        folds.append(
            Fold(
                number=number,
                split=blocks,
                fit_from=None if fit_days is None else _first(days, blocks, fit_days),
                until=end,
            )
        )
    return tuple(folds)


def _blocks(before: np.ndarray, select_days: int) -> Split:
    return Split(fit_until=before[-1 - select_days], select_until=before[-1])


def _first(days: np.ndarray, split: Split, fit_days: int) -> np.datetime64:
    first: np.datetime64 = days[days <= split.fit_until][-fit_days]
    return first
