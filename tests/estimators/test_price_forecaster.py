"""One estimator in memory, with the numbers of the commands."""

import inspect
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from forecaster.errors import UsageError
from forecaster.estimators.forecasts import DTYPES
from forecaster.estimators.price_forecaster import UNSAVED, PriceForecaster
from forecaster.evaluation.splits import Walk
from forecaster.pipeline.evaluate import evaluate
from forecaster.pipeline.predict import PREDICTION_COLUMNS, predict
from forecaster.pipeline.train import train
from forecaster.registry.versions import list_versions, read_manifest
from forecaster.settings import TrainSettings
from tests.synthetic import ragged_bars

BARS = ragged_bars({"AAA": 500, "BBB": 420})
QUICK = {"hidden": 4, "max_steps": 6, "evaluate_every": 3, "target": "return,range"}
LAST = BARS["session"].max()
FAST = Walk(same_inputs=False)


@pytest.fixture(scope="module")
def fitted() -> PriceForecaster:
    return PriceForecaster(**QUICK).fit(BARS)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    train(BARS, settings=QUICK, home=folder)
    return folder


def test_the_parameters_are_the_settings() -> None:
    parameters = inspect.signature(PriceForecaster).parameters
    assert list(parameters) == list(TrainSettings.model_fields)
    for name, setting in TrainSettings.model_fields.items():
        assert parameters[name].default == setting.default
        assert parameters[name].annotation == setting.annotation
    with pytest.raises(TypeError, match="hiden: no such setting; did you mean hidden"):
        PriceForecaster(hiden=8)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="bptt_k1 applies only to bptt truncated"):
        PriceForecaster(bptt="full", bptt_k1=3)


def test_parameters_are_read_set_and_cloned_as_of_any_estimator() -> None:
    made = clone(PriceForecaster(hidden=8).set_params(layers=2))
    assert (made.get_params()["hidden"], made.layers) == (8, 2)
    assert repr(made) == "PriceForecaster(hidden=8, layers=2)"
    with pytest.raises(UsageError, match="hidden = 0"):
        made.set_params(hidden=0).fit(BARS)


def test_the_numbers_are_the_commands_own(fitted: PriceForecaster, home: Path) -> None:
    """Bit for bit: the forecasts, the weights' hash, and all that a manifest has but its time."""
    (version,) = list_versions(home)
    stored = predict(bars=BARS, version=version, home=home, as_of=LAST).forecasts
    mine = fitted.predict().frame
    pd.testing.assert_frame_equal(
        mine.drop(columns="version"), stored.drop(columns="version"), check_exact=True
    )
    assert set(mine["version"]) == {UNSAVED}
    other = read_manifest(home, version)
    for name in ("metrics", "shrinkage", "calibration", "data", "training"):
        assert getattr(fitted.manifest_, name) == getattr(other, name), name


@pytest.mark.slow
def test_an_evaluation_in_memory_is_the_commands_own(fitted: PriceForecaster, home: Path) -> None:
    mine = fitted.evaluate(targets="range", walk=FAST, benchmarks="quick")
    (version,) = list_versions(home)
    other = evaluate(version, bars=BARS, home=home, targets="range", walk=FAST, benchmarks="quick")
    pd.testing.assert_frame_equal(mine.scores, other.scores, check_exact=True)
    assert (mine.count, other.count.questions) == (other.count, 1)
    again = fitted.evaluate(targets="range", walk=FAST, benchmarks="quick")
    assert (again.count.same, again.count.questions) == (2, 1)


def test_a_saved_version_comes_back(tmp_path: Path) -> None:
    fitted = PriceForecaster(**QUICK).fit(BARS)
    before = fitted.predict(tickers="AAA").frame
    version = fitted.save(tmp_path)
    assert list_versions(tmp_path) == [version] == [fitted.version_]
    loaded = PriceForecaster.load(tmp_path)
    assert loaded.hidden == 4 and loaded.version_ == version
    for one in (fitted, loaded):
        found = one.predict(BARS, tickers="AAA").frame
        assert set(found["version"]) == {version}
        pd.testing.assert_frame_equal(
            found.drop(columns="version"), before.drop(columns="version"), check_exact=True
        )
    with pytest.raises(UsageError, match="it is saved already"):
        loaded.save(tmp_path)


def test_intervals_of_the_usual_coverages_are_those_of_the_table(fitted: PriceForecaster) -> None:
    table = fitted.predict().frame
    for coverage, low, high in ((0.8, "q10", "q90"), (0.95, "q025", "q975")):
        found = fitted.predict_interval(coverage).frame
        assert (found["coverage"] == coverage).all()
        np.testing.assert_array_equal(found[["lower", "upper"]], table[[low, high]])
        prices = ["price_lower", "price_upper"]
        np.testing.assert_array_equal(found[prices], table[[f"price_{low}", f"price_{high}"]])


def test_wider_intervals_are_those_of_higher_coverage(fitted: PriceForecaster) -> None:
    frames = [fitted.predict_interval(coverage).frame for coverage in (0.5, 0.8, 0.9)]
    widths = np.array([frame["upper"] - frame["lower"] for frame in frames])
    assert (np.diff(widths, axis=0) > 0).all()
    with pytest.raises(UsageError, match="coverage 80: a number between 0 and 1"):
        fitted.predict_interval(80)


def test_quantiles_rise_with_their_levels(fitted: PriceForecaster) -> None:
    found = fitted.predict_quantiles([0.05, 0.5, 0.95], tickers=["BBB"]).frame
    assert found["level"].tolist() == [0.05, 0.5, 0.95] * 2
    assert (found.groupby("target")["quantile"].diff().dropna() > 0).all()
    assert found["price"].notna().tolist() == [True] * 3 + [False] * 3


@pytest.mark.slow
def test_frames_are_plain_with_the_documented_types(fitted: PriceForecaster) -> None:
    results = [fitted.predict(), fitted.predict_interval(0.5), fitted.predict_quantiles()]
    assert tuple(DTYPES["forecasts"]) == PREDICTION_COLUMNS
    for one in results:
        assert type(one.frame) is pd.DataFrame
        assert one.frame.index.equals(pd.RangeIndex(len(one.frame)))
        assert {name: str(kind) for name, kind in one.frame.dtypes.items()} == DTYPES[one.kind]
        assert max(map(len, repr(one).splitlines())) <= 100
        assert "<table" in one._repr_html_()
        figure = one.plot()
        assert all(len(trace.x) == len(trace.y) > 0 for trace in figure.data)


def test_what_is_not_fitted_says_so() -> None:
    with pytest.raises(UsageError, match="is not fitted; call fit"):
        PriceForecaster().predict()


def test_it_pickles(fitted: PriceForecaster) -> None:
    copy = pickle.loads(pickle.dumps(fitted))
    pd.testing.assert_frame_equal(copy.predict().frame, fitted.predict().frame, check_exact=True)
