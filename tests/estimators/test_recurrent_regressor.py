"""A regressor with scikit-learn's conventions, except that the order of rows is the point."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import TimeSeriesSplit, cross_val_score
from sklearn.utils.estimator_checks import check_estimator

from forecaster.estimators.recurrent_regressor import RecurrentRegressor

LENGTHS = (70, 40, 90)
SERIES = np.repeat(["B", "A", "C"], LENGTHS)
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(len(SERIES), 2))
Y = np.r_[0.0, X[:-1, 0]] + X[:, 1]
QUICK = {"hidden": 4, "max_steps": 8, "evaluate_every": 4, "random_state": 0}
# Rows in another order are another series.
ORDER_MATTERS = {
    "check_methods_sample_order_invariance": "the order of rows is time",
    "check_methods_subset_invariance": "a row depends on those before it",
}


@pytest.fixture(scope="module")
def fitted() -> RecurrentRegressor:
    return RecurrentRegressor(**QUICK).fit(X, Y, series=SERIES)


@pytest.mark.slow
def test_it_passes_the_checks_of_scikit_learn_but_those_of_order() -> None:
    model = RecurrentRegressor(max_steps=50)
    results = check_estimator(model, expected_failed_checks=ORDER_MATTERS, on_skip=None)
    failed = {one["check_name"] for one in results if one["status"] == "xfail"}
    assert failed == set(ORDER_MATTERS)
    skipped = {one["check_name"] for one in results if one["status"] == "skipped"}
    assert skipped <= {"check_array_api_input"}  # needs an environment variable
    tags = model.__sklearn_tags__()
    assert not tags.non_deterministic and not tags.no_validation and not tags._skip_test
    assert not tags.regressor_tags.poor_score


def test_it_remembers_what_no_row_alone_can_tell() -> None:
    """Yesterday's value: a network with memory learns it, the same one without does not."""
    x = np.random.default_rng(0).normal(size=(300, 1))
    y = np.r_[0.0, x[:-1, 0]]
    scores = [
        RecurrentRegressor(model=model, max_steps=120, random_state=0).fit(x, y).score(x, y)
        for model in ("gru", "mlp")
    ]
    assert scores[0] > 0.9 > 0.1 > scores[1]


def test_no_row_depends_on_a_later_one(fitted: RecurrentRegressor) -> None:
    changed = X.copy()
    changed[50:] = 1e3
    before = fitted.predict(X, series=SERIES)
    np.testing.assert_array_equal(fitted.predict(changed, series=SERIES)[:50], before[:50])
    np.testing.assert_allclose(fitted.predict(X[:50], series=SERIES[:50]), before[:50], atol=1e-6)


def test_every_series_starts_at_the_initial_state(fitted: RecurrentRegressor) -> None:
    """Alone, stacked in another order or mixed: the same numbers."""
    together = fitted.predict(X, series=SERIES)
    for name in np.unique(SERIES):
        mine = name == SERIES
        np.testing.assert_allclose(fitted.predict(X[mine]), together[mine], atol=1e-6)
    # Mixed so that each series keeps its own order.
    keys = np.concatenate([np.sort(np.random.default_rng(n).random(n)) for n in LENGTHS])
    order = np.argsort(keys)
    assert (SERIES[order][:-1] != SERIES[order][1:]).sum() > 20
    found = fitted.predict(X[order], series=SERIES[order])
    np.testing.assert_allclose(found, together[order], atol=1e-6)


def test_predictions_are_a_function_of_fit_and_rows(fitted: RecurrentRegressor) -> None:
    first = fitted.predict(X, series=SERIES)
    fitted.predict(X[::-1])
    torch.manual_seed(5)
    np.testing.assert_array_equal(fitted.predict(X, series=SERIES), first)
    again = clone(fitted).fit(X, Y, series=SERIES)
    np.testing.assert_array_equal(again.predict(X, series=SERIES), first)


def test_torch_is_left_as_it_was() -> None:
    torch.manual_seed(7)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    RecurrentRegressor(**QUICK, threads=2).fit(X, Y).predict(X)
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads


def test_it_pickles_by_value(fitted: RecurrentRegressor) -> None:
    """The copy shares no weight with the original, and needs no file and no device."""
    content = pickle.dumps(fitted)
    copy, expected = pickle.loads(content), fitted.predict(X, series=SERIES)
    np.testing.assert_array_equal(copy.predict(X, series=SERIES), expected)
    for value in copy.weights_.values():
        assert isinstance(value, np.ndarray)
        value += 1.0
    np.testing.assert_array_equal(fitted.predict(X, series=SERIES), expected)


def test_the_first_rows_of_each_series_are_not_scored() -> None:
    """Their targets change nothing, in training or in the score."""
    cold = np.concatenate([np.arange(n) < 10 for n in LENGTHS])
    wild = np.where(cold, 1e4, Y)
    models = [RecurrentRegressor(**QUICK, warm_up=10).fit(X, y, series=SERIES) for y in (Y, wild)]
    one, other = (model.predict(X, series=SERIES) for model in models)
    np.testing.assert_array_equal(one, other)
    scores = [models[0].score(X, y, series=SERIES) for y in (Y, wild)]
    assert scores[0] == scores[1]
    assert RecurrentRegressor(**QUICK).fit(X, Y, series=SERIES).score(X, wild, series=SERIES) < 0
    with pytest.raises(ValueError, match="200 rows in 3 series, the first 90 of each not scored"):
        RecurrentRegressor(warm_up=90).fit(X, Y, series=SERIES)


def test_validation_rows_are_not_trained_on() -> None:
    """Without an effect on early stopping, their targets change no weight."""
    last = np.concatenate([np.arange(n) >= n - int(0.15 * n) for n in LENGTHS])
    made = [
        RecurrentRegressor(**QUICK | {"evaluate_every": 8}).fit(X, y, series=SERIES)
        for y in (Y, np.where(last, 0.5, Y))
    ]
    one, other = (model.weights_ for model in made)
    assert all((one[name] == other[name]).all() for name in one)
    assert made[0].validation_losses_ != made[1].validation_losses_


def test_the_gradient_horizon_is_that_of_the_plan() -> None:
    """A horizon as long as the longest series is full BPTT; a shorter one is not."""
    full, long, short = (
        RecurrentRegressor(**QUICK, **plan).fit(X, Y, series=SERIES).predict(X, series=SERIES)
        for plan in ({"bptt": "full"}, {"bptt_k2": 200}, {"bptt_k2": 5})
    )
    np.testing.assert_array_equal(full, long)
    assert (full != short).any()
    with pytest.raises(ValueError, match="k2 21 is no multiple of k1 4; try 24"):
        RecurrentRegressor(bptt_k2=21, bptt_k1=4).fit(X, Y)


def test_one_series_is_split_as_any_time_series() -> None:
    frame = pd.DataFrame(X, columns=["a", "b"])
    model = RecurrentRegressor(**QUICK, warm_up=5)
    scores = cross_val_score(model, frame, Y, cv=TimeSeriesSplit(3))
    assert np.isfinite(scores).all()
    assert model.fit(frame, Y).feature_names_in_.tolist() == ["a", "b"]


def test_labels_of_another_length_are_refused(fitted: RecurrentRegressor) -> None:
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fitted.predict(X, series=SERIES[:5])
