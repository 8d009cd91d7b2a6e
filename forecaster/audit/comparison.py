"""Values of one stage, labelled by ticker, day and column, compared with others bit by bit.

Shape letters: n rows, C columns.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from forecaster.audit.alterations import Alteration
from forecaster.data.panel import Panel

# Matrix products round by how many rows they have: in standard deviations of a column.
ROUNDING = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Values (n, C) with the names of their columns, ticker ("" for none) and day (NaT) by row."""

    columns: tuple[str, ...]
    values: np.ndarray
    tickers: np.ndarray
    days: np.ndarray

    @classmethod
    def of_rows(
        cls, panel: Panel, rows: NDArray[np.bool_], columns: Mapping[str, np.ndarray]
    ) -> "Values":
        """Label columns (n,) of the chosen rows (N,) of a panel."""
        table = np.column_stack(list(columns.values()))
        return cls(
            columns=tuple(columns),
            values=table.astype(np.float64, copy=False),
            tickers=np.array(panel.tickers)[panel.series[rows]],
            days=panel.days[rows].astype("datetime64[D]"),
        )

    @classmethod
    def of_numbers(cls, numbers: Mapping[str, ArrayLike]) -> "Values":
        """Convert arrays of any shape to one row without ticker and day."""
        arrays = {name: np.asarray(value, dtype=np.float64) for name, value in numbers.items()}
        columns = tuple(
            f"{name}{list(place) if place else ''}"
            for name, value in arrays.items()
            for place in np.ndindex(value.shape)
        )
        flat = [value.ravel() for value in arrays.values()]
        return cls(
            columns=columns,
            values=np.concatenate(flat)[None] if flat else np.empty((1, 0)),
            tickers=np.array([""]),
            days=np.array(["NaT"], dtype="datetime64[D]"),
        )


Stages = dict[str, Values]


class Difference(NamedTuple):
    """A value that is `before` on one side and `after` on the other; ticker and day as `Values`."""

    ticker: str
    day: np.datetime64
    column: str
    before: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """The first value of a stage that the future has changed: oldest day, then ticker."""

    stage: str
    alteration: Alteration
    difference: Difference

    def describe(self) -> str:
        """Describe in a sentence where it is and what was changed."""
        ticker, day, column, before, after = self.difference
        where = ", ".join(text for text in (ticker, "" if np.isnat(day) else str(day)) if text)
        return (
            f"{self.stage}: {column}{f' of {where}' if where else ''} is {before:.9g}, "
            f"but {after:.9g} with every bar after {self.alteration.cut} {self.alteration.kind}"
        )


@dataclass(slots=True, kw_only=True)
class StageResult:
    """What has been compared of one stage: values, dates, the first difference."""

    stage: str
    values: int = 0
    dates: set[np.datetime64] = field(default_factory=set)
    leak: Leak | None = None


class Comparison:
    """The results of every stage, in the order of the pipeline.

    Stages of `rounds` multiply matrices, whose last bits depend on how many rows they have;
    where an alteration changes that, `ROUNDING` is allowed.
    """

    def __init__(self, stages: Iterable[str], *, rounds: Collection[str] = ()) -> None:
        self._results = {stage: StageResult(stage=stage) for stage in stages}
        self._rounds = rounds

    def __iter__(self) -> Iterator[StageResult]:
        """Yield the result of each stage."""
        return iter(self._results.values())

    def compare(self, reference: Stages, found: Stages, alteration: Alteration) -> None:
        """Compare values from the bars as they are with those from altered bars, by stage."""
        for stage, values in reference.items():
            rounds = stage in self._rounds and not alteration.keeps_rows
            tolerance = ROUNDING if rounds else 0.0
            count, difference = first_difference(values, found[stage], tolerance)
            result = self._results[stage]
            result.values += count
            if difference is not None and result.leak is None:
                result.leak = Leak(stage=stage, alteration=alteration, difference=difference)
            if count:
                result.dates.add(alteration.cut)


def first_difference(
    reference: Values, found: Values, tolerance: float = 0.0
) -> tuple[int, Difference | None]:
    """Count the values compared, and find the first that differs.

    A row or a column of only one side differs, as 1 from 0. NaN equals NaN, and such a pair is
    not counted. `tolerance` is in standard deviations of the reference's column.
    """
    odd = _difference_in_shape(reference, found)
    if odd is not None:
        return 0, odd
    a, b = reference.values, found.values
    missing = np.isnan(a) & np.isnan(b)
    with np.errstate(invalid="ignore"):
        same = (a == b) | missing
        if tolerance:
            same |= np.abs(a - b) <= tolerance * _spread(a)
    count = int(np.count_nonzero(~missing))
    if same.all():
        return count, None
    odd_rows = np.flatnonzero(~same.all(axis=1))
    row = odd_rows[np.argmin(reference.days[odd_rows])]
    column = int(np.argmin(same[row]))
    return count, Difference(
        str(reference.tickers[row]),
        reference.days[row],
        reference.columns[column],
        float(a[row, column]),
        float(b[row, column]),
    )


def _difference_in_shape(reference: Values, found: Values) -> Difference | None:
    """Find a column or row of one side alone; the order of either counts, too."""
    if reference.columns != found.columns:
        name = sorted(set(reference.columns) ^ set(found.columns) or {"order of columns"})[0]
        there = float(name in reference.columns)
        nowhere = np.datetime64("NaT", "D")
        return Difference("", nowhere, f"the column {name}", there, 1.0 - there)
    if not (
        np.array_equal(reference.days, found.days, equal_nan=True)
        and np.array_equal(reference.tickers, found.tickers)
    ):
        rows, others = (
            set(zip(one.days.astype(str).tolist(), one.tickers.tolist(), strict=True))
            for one in (reference, found)
        )
        day, ticker = min(rows ^ others, default=("NaT", ""))
        there = float((day, ticker) in rows)
        return Difference(ticker, np.datetime64(day, "D"), "the count of rows", there, 1.0 - there)
    return None


def _spread(values: np.ndarray) -> np.ndarray:
    """Return (C,) standard deviations of known values; the size of a constant column."""
    table = pd.DataFrame(np.where(np.isfinite(values), values, np.nan))
    spread, mean = table.std(ddof=0).to_numpy(), table.mean().to_numpy()
    found: np.ndarray = np.where(spread > 0.0, spread, np.abs(mean))
    return found
