"""Training, validation and test days, and the folds of a walk forward through the test days.

Shape letters: N rows.
"""

from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Literal

import numpy as np

from forecaster.errors import DataError, UsageError

TRAIN_SHARE, VALIDATION_SHARE = 0.70, 0.15
Backend = Literal["loky", "ray"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The last training day and the last validation day; test days follow."""

    train_until: np.datetime64
    validation_until: np.datetime64

    def __post_init__(self) -> None:
        """Refuse days out of order."""
        if not self.train_until < self.validation_until:
            raise UsageError(
                f"--train-until {self.train_until} is not before --validation-until "
                f"{self.validation_until}; training days come first. Move one of them."
            )

    def masks(self, outcome_days: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return training, validation and test rows, each (N,); none has a row without outcome."""
        known = ~np.isnat(outcome_days)
        train = known & (outcome_days <= self.train_until)
        test = known & (outcome_days > self.validation_until)
        return train, known & ~train & ~test, test


def split_by_time(
    days: np.ndarray, *, train_until: date | None = None, validation_until: date | None = None
) -> Split:
    """Split the panel's distinct days (N,) 70/15/15, or at given days.

    With `train_until` alone, half of the days after it are validation days.

    Raises:
        DataError: fewer than 20 distinct days.
        UsageError: the days are out of order or one part is empty.
    """
    distinct = np.unique(days)
    if len(distinct) < 20:
        raise DataError(
            f"{len(distinct)} distinct trading days; training, validation and test need at least "
            "20. Fetch a longer period."
        )
    if train_until is None and validation_until is not None:
        before = distinct[distinct <= np.datetime64(validation_until, "D")]
        share = TRAIN_SHARE / (TRAIN_SHARE + VALIDATION_SHARE)
        train_until = _at(before, share, validation_until)
    train_until = train_until or _at(distinct, TRAIN_SHARE, None)
    first = np.datetime64(train_until, "D")
    if validation_until is None:
        after, share = distinct[distinct > first], VALIDATION_SHARE / (1.0 - TRAIN_SHARE)
        validation_until = _at(after, share, train_until)
    second = np.datetime64(validation_until, "D")
    split = Split(train_until=first, validation_until=second)
    for part, mask in zip(("training", "validation", "test"), split.masks(distinct), strict=True):
        if not mask.any():
            raise UsageError(
                f"No {part} day with --train-until {first} and --validation-until {second}; the "
                f"prices run {distinct[0]} to {distinct[-1]}."
            )
    return split


def _at(days: np.ndarray, share: float, bound: date | None) -> date:
    """Return the last day of the first `share` of the days, to the nearest day."""
    if len(days) < 2:
        raise UsageError(
            f"{bound} leaves {len(days)} trading days on one side; "
            "move --train-until or --validation-until into the history."
        )
    count = min(max(round(len(days) * share), 1), len(days) - 1)
    day: date = days[count - 1].astype("datetime64[D]").item()
    return day


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Test days from the one after `split.validation_until` to `until`, forecast by one fit.

    `train_from` is the first training day, None for all there are.
    """

    number: int
    split: Split
    train_from: np.datetime64 | None
    until: np.datetime64

    def masks(self, outcome_days: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return this fold's training, validation and test rows, each (N,)."""
        train, validation, test = self.split.masks(outcome_days)
        if self.train_from is not None:
            train &= outcome_days >= self.train_from
        return train, validation, test & (outcome_days <= self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """How to walk forward through the test days.

    A version is trained again every `refit_every` trading days; None for never. `train_days` is
    the length of a rolling training window, None for all days before. With `weights` "warm" a fold
    starts from those of the one before. `seeds` is the number of trainings, from the version's own
    seed on. With `same_inputs` a network without memory is trained on each fold too.
    """

    refit_every: int | None = None
    train_days: int | None = None
    weights: Literal["cold", "warm"] = "cold"
    seeds: int = 1
    jobs: int = 1
    backend: Backend = "loky"
    same_inputs: bool = True

    def __post_init__(self) -> None:
        """Refuse numbers below 1 and options that need --refit-every."""
        least = {"refit-every": self.refit_every, "seeds": self.seeds, "jobs": self.jobs}
        for name, value in {**least, "train-window rolling:": self.train_days}.items():
            if value is not None and value < 1:
                raise UsageError(f"--{name} {value}: give at least 1.")
        if self.refit_every is None and (self.train_days is not None or self.weights == "warm"):
            raise UsageError(
                "--train-window and --weights apply to training again; without --refit-every the "
                "version forecasts with the weights it has. Give --refit-every 252, or drop them."
            )

    def __repr__(self) -> str:
        given = {one.name: (getattr(self, one.name), one.default) for one in fields(self)}
        changed = [f"{name}={value!r}" for name, (value, usual) in given.items() if value != usual]
        return f"Walk({', '.join(changed)})"

    def result_settings(self) -> dict[str, object]:
        """Return what changes results: not where and by how many processes they are computed."""
        return {k: v for k, v in asdict(self).items() if k not in ("jobs", "backend")}


def walk_folds(
    outcome_days: np.ndarray, split: Split, walk: Walk | None = None
) -> tuple[Fold, ...]:
    """Cut the days after the validation days of `split` into folds; one fold without `walk`.

    Every fold's validation days end on the day before its first test day. They are the same share
    of the days until then as in the first fold; with a rolling window as many days.

    `outcome_days` (N,) are in any order, NaT where a row has no outcome.

    Raises:
        DataError: the rolling window is longer than the first training days.
    """
    walk = walk or Walk()
    days = np.unique(outcome_days[~np.isnat(outcome_days)])
    test = days[days > split.validation_until]
    trained = int((days <= split.train_until).sum())
    validated = int((days <= split.validation_until).sum()) - trained
    if walk.train_days is not None and walk.train_days > trained:
        raise DataError(
            f"--train-window rolling:{walk.train_days} needs {walk.train_days} trading days before "
            f"the validation days; there are {trained} until {split.train_until}. Give fewer days, "
            "or expanding."
        )
    share = validated / max(trained + validated, 1)
    every = walk.refit_every or max(len(test), 1)
    folds = []
    for number, first in enumerate(range(0, max(len(test), 1), every)):
        before = days[: trained + validated + first]
        count = max(validated if walk.train_days is not None else round(share * len(before)), 1)
        own = split
        if number > 0:
            own = Split(train_until=before[-1 - count], validation_until=before[-1])
        known = days[days <= own.train_until]
        begin = None if walk.train_days is None else known[-walk.train_days]
        until = test[first : first + every][-1] if len(test) else split.validation_until
        folds.append(Fold(number=number, split=own, train_from=begin, until=until))
    return tuple(folds)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationCount:
    """Number of evaluations so far on test days that overlap this one's, itself included.

    `same` are those of the same question (version and walk), `questions` the different ones. All
    are None where they could not be counted.
    """

    same: int | None
    total: int | None
    questions: int | None
