"""Folds by date: no future in a training fold, a warm state in a test fold, only tests scored."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from forecaster.errors import UsageError
from forecaster.estimators.panel_split import PanelTimeSeriesSplit
from forecaster.estimators.recurrent_regressor import RecurrentRegressor

# Three series of unequal length, stacked.
LENGTHS = (60, 40, 50)
DATES = np.concatenate([np.datetime64("2024-03-01") - np.arange(n)[::-1] for n in LENGTHS])
SERIES = np.repeat(["AAA", "BBB", "CCC"], LENGTHS)
X = np.random.default_rng(0).normal(size=(len(DATES), 2))
Y = X[:, 0] + 0.1 * np.random.default_rng(1).normal(size=len(DATES))


@pytest.mark.parametrize("gap", [0, 3])
def test_folds_are_cut_by_date_with_their_history(gap: int) -> None:
    split = PanelTimeSeriesSplit(DATES, n_splits=4, gap=gap)
    folds = list(split.split(X))
    assert len(folds) == split.get_n_splits() == 4
    before = None
    for train, test in folds:
        scored = test[split.scored(DATES[test])]
        days = np.unique(DATES[scored])
        assert (DATES[train] + gap + 1).max() == days[0]  # every date has a row
        assert set(train) < set(test) and test.tolist() == sorted(test)
        assert len(days) == 12 and (before is None or before + 1 == days[0])
        # All rows of these dates, of every series.
        assert set(scored) == set(np.flatnonzero(np.isin(DATES, days)))
        before = days[-1]


def test_another_number_of_rows_is_refused() -> None:
    with pytest.raises(UsageError, match="X has 3 rows, and there are 150 dates"):
        next(PanelTimeSeriesSplit(DATES).split(X[:3]))


def test_context_is_not_scored() -> None:
    """An estimator that fails on all context rows still has the best score."""
    split = PanelTimeSeriesSplit(DATES, n_splits=3, gap=2)
    (_, _, (_, test)) = split.split(X)
    wrong = np.where(split.scored(DATES[test]), Y[test], 1e6)

    class Perfect:
        def predict(self, rows: np.ndarray) -> np.ndarray:
            return wrong

    assert split.scorer()(Perfect(), X[test], Y[test], dates=DATES[test]) == 1.0


def test_series_and_dates_are_routed_through_a_pipeline_and_a_search() -> None:
    split = PanelTimeSeriesSplit(DATES, n_splits=2)
    seen: list[int] = []

    class Watched(RecurrentRegressor):
        def fit(self, X, y, series=None):  # type: ignore[no-untyped-def]
            seen.append(len(np.unique(series)))
            return super().fit(X, y, series=series)

    model = make_pipeline(StandardScaler(), Watched(max_steps=4, hidden=2, random_state=0))
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            model, {"watched__hidden": [2, 3]}, cv=split, scoring=split.scorer(), n_jobs=1
        )
        search.fit(X, Y, series=SERIES, dates=DATES)
        plain = cross_val_score(
            LinearRegression(), X, Y, cv=split, scoring=split.scorer(), params={"dates": DATES}
        )
    assert seen == [2, 3, 2, 3, 3]  # BBB starts after the first fold
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert (plain > 0.9).all()
