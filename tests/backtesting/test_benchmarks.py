"""Benchmarks recomputed from the bars by other means: fitted on training days alone."""

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster.data.loading import load_histories
from forecaster.data.panel import build_panel
from forecaster.estimators.price_forecaster import PriceForecaster
from forecaster.pipeline.evaluate import Evaluation, evaluate
from forecaster.pipeline.train import train
from forecaster.settings import TrainSettings
from tests.synthetic import bars_of, ragged_bars

BARS = bars_of("AAA", 700)
OWN = BARS.assign(
    rv5=np.log(BARS["high"] / BARS["low"]) ** 2
    * np.exp(0.3 * np.random.default_rng(1).standard_normal(len(BARS)))
)
PANEL = ragged_bars({"AAA": 700, "BBB": 600})
TRAIN_UNTIL, VALIDATION_UNTIL = date(2011, 12, 30), date(2012, 5, 31)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    settings = TrainSettings(
        hidden=4,
        max_steps=25,
        target="return,range",
        train_until=TRAIN_UNTIL,
        validation_until=VALIDATION_UNTIL,
    )
    home = tmp_path_factory.mktemp("home")
    train(BARS, settings=settings, home=home)
    return evaluate(bars=BARS, home=home)


def forecasts_of(result: Evaluation, target: str, forecaster: str) -> pd.Series:
    table = result.forecasts
    rows = table[(table["target"] == target) & (table["forecaster"] == forecaster)]
    return rows.set_index("session")["forecast"]


def regression(frame: pd.DataFrame, terms: list[str]) -> pd.Series:
    """Least squares of `y` on the terms, fitted on training days after the 22 days of warm-up."""
    fit = frame[(frame.index <= pd.Timestamp(TRAIN_UNTIL)) & frame["warm"]]
    design = np.column_stack([np.ones(len(fit)), fit[terms]])
    weights, *_ = np.linalg.lstsq(design, fit["y"].to_numpy(), rcond=None)
    return pd.Series(np.column_stack([np.ones(len(frame)), frame[terms]]) @ weights, frame.index)


def by_outcome(columns: dict[str, pd.Series], y: pd.Series) -> pd.DataFrame:
    """Pair each day's regressors with the next day's outcome, indexed by the outcome's day."""
    frame = pd.DataFrame({**columns, "warm": pd.Series(np.arange(len(y)) >= 21, y.index)}).shift(1)
    return frame.assign(y=y, warm=frame["warm"].eq(True)).iloc[1:]


def test_har_is_a_regression_on_the_means_of_1_5_and_22_days(result: Evaluation) -> None:
    bars = BARS.set_index("session")
    log_range = np.log(np.log(bars["high"] / bars["low"]))
    means = {f"m{days}": log_range.rolling(days, min_periods=1).mean() for days in (1, 5, 22)}
    expected = regression(by_outcome(means, log_range), ["m1", "m5", "m22"])
    found = forecasts_of(result, "range", "har")
    # The regression of the deviation from the 22-day mean spans the same forecasts.
    np.testing.assert_allclose(found, expected.loc[found.index], atol=1e-9)


def test_ar5_is_a_regression_on_the_last_five_returns(result: Evaluation) -> None:
    log_return = np.log(BARS.set_index("session")["close"]).diff()
    lags = {f"l{lag}": log_return.shift(lag) for lag in range(5)}
    expected = regression(by_outcome(lags, log_return), list(lags))
    found = forecasts_of(result, "return", "ar5")
    np.testing.assert_allclose(found, expected.loc[found.index], atol=1e-12)


def test_the_mean_is_that_of_the_training_days(result: Evaluation) -> None:
    log_return = np.log(BARS.set_index("session")["close"]).diff()
    fit = log_return.iloc[22:][lambda r: r.index <= pd.Timestamp(TRAIN_UNTIL)]
    found = forecasts_of(result, "return", "mean")
    np.testing.assert_allclose(found, fit.mean(), atol=1e-12)


def test_har_x_differs_from_har_by_its_inputs(result: Evaluation) -> None:
    """It sees more, so its forecasts differ; both stay near each other where nothing helps."""
    har, har_x = (forecasts_of(result, "range", name) for name in ("har", "har-x"))
    assert not np.allclose(har, har_x)
    assert np.corrcoef(har, har_x)[0, 1] > 0.5


@pytest.fixture(scope="module")
def panel_result(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """Two tickers of different length, so that pooled and own regressions differ."""
    settings = TrainSettings(
        hidden=4,
        max_steps=25,
        target="range",
        train_until=TRAIN_UNTIL,
        validation_until=VALIDATION_UNTIL,
    )
    home = tmp_path_factory.mktemp("home")
    train(PANEL, settings=settings, home=home)
    return evaluate(bars=PANEL, home=home)


def design_of(bars: pd.DataFrame, shared: np.ndarray) -> pd.DataFrame:
    """HAR's three means of one ticker beside what all share, the outcome and its day."""
    log_range = np.log(np.log(bars["high"] / bars["low"])).reset_index(drop=True)
    means = {f"m{days}": log_range.rolling(days, min_periods=1).mean() for days in (1, 5, 22)}
    extra = pd.DataFrame(np.nan_to_num(shared)).add_prefix("x")
    frame = pd.concat([pd.DataFrame(means), extra], axis=1)
    day = bars["session"].reset_index(drop=True).shift(-1)
    warm = frame.index >= 21
    return frame.assign(y=log_range.shift(-1), day=day, warm=warm).iloc[:-1]


def solved(fit: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
    """Least squares with intercept by numpy: fitted on `fit`, for `rows`."""
    terms = [name for name in fit if name[0] in "mx"]
    weights, *_ = np.linalg.lstsq(
        np.column_stack([np.ones(len(fit)), fit[terms]]), fit["y"].to_numpy(), rcond=None
    )
    return np.column_stack([np.ones(len(rows)), rows[terms]]) @ weights


def test_har_x_is_the_better_of_two_regressions_on_means_calendar_and_panel(
    panel_result: Evaluation,
) -> None:
    """One regression over both tickers or one for each, as the validation days prefer."""
    histories = load_histories(PANEL, Path(), (), None)
    panel = build_panel(histories, ["range"], universe=["AAA", "BBB"])
    assert panel.shared_inputs.shape[1] == 11 + 6
    frames = {
        name: design_of(PANEL[PANEL["ticker"] == name], panel.shared_inputs[panel.series == number])
        for number, name in enumerate(panel.tickers)
    }
    both = pd.concat(frames, names=["ticker"]).reset_index("ticker")
    # A regression of the deviation from the 22-day mean, one of its terms, is the same one.
    fitted = both[both["warm"] & (both["day"] <= pd.Timestamp(TRAIN_UNTIL))]
    both["pooled"] = solved(fitted, both)
    both["per ticker"] = np.concatenate(
        [solved(fitted[fitted["ticker"] == name], frame) for name, frame in frames.items()]
    )
    chosen = panel_result.by_target["range"].choices["har-x"]
    validation = both[
        (both["day"] > pd.Timestamp(TRAIN_UNTIL)) & (both["day"] <= pd.Timestamp(VALIDATION_UNTIL))
    ]
    errors = {
        name: ((validation[name] - validation["y"]) ** 2).mean()
        for name in ("pooled", "per ticker")
    }
    assert chosen == min(errors, key=errors.__getitem__)
    expected = both.set_index(["ticker", "day"])[chosen]
    table = panel_result.forecasts
    found = table[table["forecaster"] == "har-x"].set_index(["ticker", "session"])["forecast"]
    np.testing.assert_allclose(found, expected.loc[found.index], atol=1e-8)
    assert not np.allclose(both["pooled"], both["per ticker"])


@pytest.fixture(scope="module")
def own() -> Evaluation:
    """An own column: the range squared with noise, as realised variance would be."""
    settings = {"hidden": 4, "max_steps": 25, "target_column": "rv5"}
    dates = {"train_until": TRAIN_UNTIL, "validation_until": VALIDATION_UNTIL}
    model = PriceForecaster(**settings, **dates).fit(OWN)
    return model.evaluate(benchmarks="quick")


def test_har_x_of_an_own_column_reads_the_means_of_the_range(own: Evaluation) -> None:
    bars = OWN.set_index("session")
    logs = {"own": np.log(bars["rv5"]), "range": np.log(np.log(bars["high"] / bars["low"]))}
    means = {
        f"{name}{days}": values.rolling(days, min_periods=1).mean()
        for name, values in logs.items()
        for days in (1, 5, 22)
    }
    expected = regression(by_outcome(means, logs["own"]), [*means])
    found = forecasts_of(own, "rv5", "har-x")
    np.testing.assert_allclose(found, expected[found.index], rtol=1e-8)
    har = regression(by_outcome(means, logs["own"]), ["own1", "own5", "own22"])
    found = forecasts_of(own, "rv5", "har")
    np.testing.assert_allclose(found, har[found.index], rtol=1e-8)


def test_qlike_can_be_computed_from_the_forecasts(own: Evaluation) -> None:
    """And it is tested against every benchmark, as the squared error of the logarithm is."""
    table = own.forecasts
    ratio = np.exp(table["actual"]) / np.exp(table["forecast"])
    expected = (ratio - np.log(ratio) - 1.0).groupby(table["forecaster"]).mean()
    card = own.by_target["rv5"].scorecard().set_index("forecaster")["qlike"]
    pd.testing.assert_series_equal(card.sort_index().astype(float), expected, check_names=False)
    actual = table["actual"].groupby(table["forecaster"]).first().iloc[0]
    first = OWN.set_index("session")["rv5"][table["session"].min()]
    assert actual == pytest.approx(np.log(first))
    losses = {one.loss for one in own.by_target["rv5"].comparisons.all}
    assert losses == {"MSE", "QLIKE"}
    assert {one.loss for one in own.by_target["rv5"].comparisons.main} == losses
