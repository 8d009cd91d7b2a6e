"""Folds of stacked series by date, for scikit-learn's model selection.

Shape letter: N rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import r2_score
from sklearn.model_selection import TimeSeriesSplit
from sklearn.utils.metadata_routing import MetadataRequest

from forecaster.errors import UsageError

Rows = NDArray[np.intp]
Metric = Callable[[NDArray[np.float64], NDArray[np.float64]], float]


@dataclass(frozen=True, slots=True)
class _Fold:
    """Last training date, and first and last test date."""

    train_until: np.generic
    first: np.generic
    last: np.generic


class PanelTimeSeriesSplit:
    """Expanding folds of dates: each trains on the past of all series and tests on what follows.

    `TimeSeriesSplit` cuts rows, which is right for one series only; of stacked series it would
    train on some and test on others. Here the folds are those of `TimeSeriesSplit` over the
    distinct dates. A test fold also has all rows before its first test date, so that the state is
    warm when the test begins; they are context, which `scorer` does not score.

    Args:
        dates: (N,) date of each row of X, of any kind that sorts.
        n_splits: number of folds.
        gap: dates left out between training and test; those too are context.
        test_size: dates of a test fold; None for all dates in n_splits + 1 equal parts.

    Raises:
        ValueError: there are too few dates.

    Examples:
        >>> import numpy as np
        >>> from forecaster import PanelTimeSeriesSplit
        >>> dates = np.tile(np.arange("2024-01-01", "2024-01-07", dtype="datetime64[D]"), 2)
        >>> split = PanelTimeSeriesSplit(dates, n_splits=2)
        >>> [(len(train), len(test)) for train, test in split.split(dates)]
        [(4, 8), (8, 12)]
    """

    def __init__(
        self, dates: ArrayLike, *, n_splits: int = 5, gap: int = 0, test_size: int | None = None
    ) -> None:
        self.dates, self.n_splits = np.asarray(dates), n_splits
        self.gap, self.test_size = gap, test_size
        distinct = np.unique(self.dates)
        folds = TimeSeriesSplit(n_splits, test_size=test_size, gap=gap).split(distinct)
        self._folds = [
            _Fold(distinct[train[-1]], distinct[test[0]], distinct[test[-1]])
            for train, test in folds
        ]

    def __repr__(self) -> str:
        return (
            f"PanelTimeSeriesSplit({len(self.dates)} rows, n_splits={self.n_splits}, "
            f"gap={self.gap}, test_size={self.test_size})"
        )

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:
        """Return the number of folds; the arguments are ignored."""
        return self.n_splits

    def split(self, X: Any, y: object = None, groups: object = None) -> Iterator[tuple[Rows, Rows]]:
        """Yield the numbers of training rows, and of context and test rows, fold by fold.

        Raises:
            UsageError: X has another number of rows than there are dates.
        """
        rows = len(X) if hasattr(X, "__len__") else X.shape[0]
        if rows != len(self.dates):
            raise UsageError(
                f"X has {rows} rows, and there are {len(self.dates)} dates; one date per row is "
                "needed."
            )
        for fold in self._folds:
            train, test = (self.dates <= until for until in (fold.train_until, fold.last))
            yield np.flatnonzero(train), np.flatnonzero(test)

    def scorer(self, metric: Metric = r2_score) -> "PanelScorer":
        """Return what to pass as `scoring`: it scores the test dates of a fold alone.

        Args:
            metric: a function of outcomes and predictions; higher is better.
        """
        return PanelScorer(self, metric)

    def scored(self, dates: NDArray[Any]) -> NDArray[np.bool_]:
        """Select the rows of a test fold, given by their dates, that are not context."""
        last = dates.max()
        firsts = [fold.first for fold in self._folds if fold.last == last]
        return dates >= firsts[0] if firsts else np.ones(len(dates), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class PanelScorer:
    """A scorer that needs `dates` and may have `series`, both routed as metadata of `score`."""

    split: PanelTimeSeriesSplit
    metric: Metric = field(default=r2_score)

    def __call__(
        self,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        dates: ArrayLike,
        series: ArrayLike | None = None,
    ) -> float:
        """Score an estimator's predictions on the test dates of a fold."""
        given = {} if series is None else {"series": series}
        kept = self.split.scored(np.asarray(dates))
        return float(self.metric(np.asarray(y)[kept], estimator.predict(X, **given)[kept]))

    def get_metadata_routing(self) -> MetadataRequest:
        """Return what scikit-learn is to pass on: `dates` and `series`."""
        request = MetadataRequest(owner=self)
        for name in ("dates", "series"):
            request.score.add_request(param=name, alias=True)
        return request
