"""The rivals, recomputed from the bars by other means: fitted on fit days and nothing else."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from forecaster.pipeline.evaluate import Evaluation, evaluate
from forecaster.pipeline.train import train
from forecaster.settings import TrainSettings
from tests.synthetic import bars_of

BARS = bars_of("AAA", 700)
FIT_UNTIL, SELECT_UNTIL = date(2011, 12, 30), date(2012, 5, 31)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    settings = TrainSettings(
        hidden=4,
        max_updates=25,
        target="return,range",
        fit_until=FIT_UNTIL,
        select_until=SELECT_UNTIL,
    )
    home = tmp_path_factory.mktemp("home")
    train(BARS, settings=settings, home=home)
    return evaluate(bars=BARS, home=home)


def forecasts_of(result: Evaluation, target: str, forecaster: str) -> pd.Series:
    table = result.forecasts
    rows = table[(table["target"] == target) & (table["forecaster"] == forecaster)]
    return rows.set_index("session")["forecast"]


def regression(frame: pd.DataFrame, terms: list[str]) -> pd.Series:
    """Least squares of `y` on the terms, fitted on fit days after the 22 days of warm-up."""
    fit = frame[(frame.index <= pd.Timestamp(FIT_UNTIL)) & frame["warm"]]
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


def test_the_mean_is_that_of_the_fit_block(result: Evaluation) -> None:
    log_return = np.log(BARS.set_index("session")["close"]).diff()
    fit = log_return.iloc[22:][lambda r: r.index <= pd.Timestamp(FIT_UNTIL)]
    found = forecasts_of(result, "return", "mean")
    np.testing.assert_allclose(found, fit.mean(), atol=1e-12)


def test_har_x_beats_har_in_the_fit_block_only_by_its_inputs(result: Evaluation) -> None:
    """It sees more, so its forecasts differ; both stay near each other where nothing helps."""
    har, har_x = (forecasts_of(result, "range", name) for name in ("har", "har-x"))
    assert not np.allclose(har, har_x)
    assert np.corrcoef(har, har_x)[0, 1] > 0.5
