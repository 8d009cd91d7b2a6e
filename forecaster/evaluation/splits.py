"""Walk forward through the report block: folds of days, each fitted on what came before it.

Dates in, dates out; knows no price and no network.

Shape letters: N rows.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np

from forecaster.errors import DataError, UsageError

TRAIN_SHARE, VALIDATION_SHARE = 0.70, 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The last day of the fit block and the last day of the select block."""

    train_until: np.datetime64
    validation_until: np.datetime64

    def __post_init__(self) -> None:
        """Refuse blocks out of order."""
        if not self.train_until < self.validation_until:
            raise UsageError(
                f"--train-until {self.train_until} is not before --validation-until {self.validation_until}; "
                "the fit block comes first. Move one of them."
            )

    def masks(self, outcome_days: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the fit, select and report rows, each (N,); a row without outcome is in none."""
        known = ~np.isnat(outcome_days)
        fit = known & (outcome_days <= self.train_until)
        select = known & (outcome_days > self.train_until) & (outcome_days <= self.validation_until)
        return fit, select, known & (outcome_days > self.validation_until)


def split_by_time(
    days: np.ndarray, *, train_until: date | None = None, validation_until: date | None = None
) -> Split:
    """Cut the panel's distinct days 70/15/15, or where the user says.

    Args:
        days: (N,) datetime64[D] of every row, any order, repeats allowed.
        train_until: last day of the fit block.
        validation_until: last day of the select block; half of what follows `train_until` when
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
    if train_until is None and validation_until is not None:
        before = distinct[distinct <= np.datetime64(validation_until, "D")]
        share = TRAIN_SHARE / (TRAIN_SHARE + VALIDATION_SHARE)
        train_until = _at(before, share, validation_until)
    train_until = train_until or _at(distinct, TRAIN_SHARE, None)
    first = np.datetime64(train_until, "D")
    if validation_until is None:
        validation_until = _at(
            distinct[distinct > first], VALIDATION_SHARE / (1.0 - TRAIN_SHARE), train_until
        )
    second = np.datetime64(validation_until, "D")
    split = Split(train_until=first, validation_until=second)
    _require_days(distinct, first, second)
    return split


def _at(days: np.ndarray, share: float, bound: date | None) -> date:
    """Return the last day of the first `share` of the days, to the nearest day."""
    if len(days) < 2:
        raise UsageError(
            f"{bound} leaves {len(days)} trading days for the blocks beside it; "
            "move --train-until or --validation-until into the history."
        )
    count = min(max(round(len(days) * share), 1), len(days) - 1)
    day: date = days[count - 1].astype("datetime64[D]").item()
    return day


def _require_days(
    days: np.ndarray, train_until: np.datetime64, validation_until: np.datetime64
) -> None:
    counts = {
        "fit": int((days <= train_until).sum()),
        "select": int(((days > train_until) & (days <= validation_until)).sum()),
        "report": int((days > validation_until).sum()),
    }
    for block, count in counts.items():
        if count == 0:
            raise UsageError(
                f"The {block} block holds no trading day with --train-until {train_until} and "
                f"--validation-until {validation_until}; the prices run {days[0]}..{days[-1]}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Report days from the one after `split.validation_until` to `until`, forecast by one fit.

    `train_from` is the first day that the fit may read, None for all there are.
    """

    number: int
    split: Split
    train_from: np.datetime64 | None
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
        return rows if self.train_from is None else rows & (outcome_days >= self.train_from)


def walk_folds(
    outcome_days: np.ndarray,
    split: Split,
    *,
    refit_every: int | None = None,
    train_days: int | None = None,
) -> tuple[Fold, ...]:
    """Cut the days after the select block into folds.

    Every fold's select block ends on the day before its first report day. It holds the same
    share of the days until then as the split's own block; with `train_days` as many days as that.
    What lies before it is fitted on.

    Args:
        outcome_days: (N,) day of every row's outcome, any order, NaT where there is none.
        split: the first fold's blocks.
        refit_every: report days of a fold; None for all in one.
        train_days: the fit block is so many trading days; None for all before the select block.

    Raises:
        DataError: `train_days` is more than there are before the first select block.
    """
    days = np.unique(outcome_days[~np.isnat(outcome_days)])
    report = days[days > split.validation_until]
    fitted = int((days <= split.train_until).sum())
    selected = int((days <= split.validation_until).sum()) - fitted
    if train_days is not None and train_days > fitted:
        raise DataError(
            f"--train-window rolling:{train_days} needs {train_days} trading days before the select "
            f"block; there are {fitted} until {split.train_until}. Give fewer days, or expanding."
        )
    share, every = selected / max(fitted + selected, 1), refit_every or max(len(report), 1)
    folds = []
    for number, first in enumerate(range(0, max(len(report), 1), every)):
        before = days[: fitted + selected + first]
        count = selected if train_days is not None else round(share * len(before))
        blocks = split if number == 0 else _blocks(before, max(count, 1))
        end = report[: first + every][-1] if len(report) else split.validation_until
        folds.append(
            Fold(
                number=number,
                split=blocks,
                train_from=None if train_days is None else _first(days, blocks, train_days),
                until=end,
            )
        )
    return tuple(folds)


def _blocks(before: np.ndarray, validation_days: int) -> Split:
    return Split(train_until=before[-1 - validation_days], validation_until=before[-1])


def _first(days: np.ndarray, split: Split, train_days: int) -> np.datetime64:
    first: np.datetime64 = days[days <= split.train_until][-train_days]
    return first
