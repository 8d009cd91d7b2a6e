"""Degenerate prices give nulls with a reason: no NaN, no crash, no warning."""

import json
from datetime import date
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest

from forecaster.cli.evaluate import _print_target, json_content
from forecaster.errors import DataError
from forecaster.files import to_json
from forecaster.forecasting.next_session import (
    Baseline,
    ForecastRequest,
    Prediction,
    forecast_next_session,
)
from forecaster.pipeline.evaluate import Evaluation, Walk, evaluate
from forecaster.pipeline.train import train
from forecaster.report.sentences import conclusions
from forecaster.settings import TrainSettings
from tests.synthetic import bars_of

BARS = bars_of("AAA", 400)
SETTINGS = TrainSettings(hidden=4, max_steps=25, target="return,volume")
CONSTANT = BARS.assign(open=50.0, high=50.0, low=50.0, close=50.0)
LAST_DAY = {"train_until": date(2011, 1, 31), "validation_until": BARS["session"].iloc[-2].date()}


CASES: dict[str, tuple[pd.DataFrame, dict[str, object]]] = {
    "one of two constant": (pd.concat([BARS, CONSTANT.assign(ticker="CCC")]), {}),
    "constant volume": (BARS.assign(volume=1e6), {}),
    "one report day": (BARS, LAST_DAY),
}


@cache
def evaluated(case: str) -> Evaluation:
    bars, changes = CASES[case]
    with TemporaryDirectory() as folder:
        home = Path(folder)
        train(bars, settings=SETTINGS.model_copy(update=changes), home=home)
        return evaluate(bars=bars, home=home, walk=Walk(seeds=1))


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[pytest.mark.slow] if case == "one of two constant" else [])
        for case in CASES
    ],
)
def test_nulls_have_a_reason(case: str) -> None:
    found = evaluated(case)
    assert json.loads(to_json(json_content(found)))["version"] == found.version
    for table in (found.scores, found.table("scores_by_ticker")):
        undefined = table["value"].isna()
        assert undefined.any() and (table["reason"][undefined] != "").all()
    for target in found.targets:
        assert conclusions(found, target)
        _print_target(found, target)


def test_one_test_day_is_too_few_for_a_test() -> None:
    found = evaluated("one report day")
    assert "over 1 day, too few for a test" in conclusions(found, "return")[0]
    assert all(one.p_value != one.p_value for one in found.by_target["return"].comparisons.all)
    assert "at least 20 are needed" in found.by_target["return"].comparisons.mcs.reason
    assert found.by_target["return"].backtests["lstm"].annualised_return is None


def held(first: int, last: int, every: int = 1) -> pd.DataFrame:
    """The bars with one price from a row to another, or on `every` so many of them not."""
    bars = BARS.copy()
    rows = [row for row in range(first, last) if row % every or every == 1]
    bars.loc[rows, ["open", "high", "low", "close"]] = 50.0
    return bars


STOPPED: dict[str, tuple[pd.DataFrame, str]] = {
    "constant price": (CONSTANT, "training days .* have 0 days with a return that moves"),
    "held while training": (held(0, 280), "training days .* have 0 days with a return"),
    "held in validation": (held(280, 340), "validation days .* have 0 days with a return"),
    "mostly held": (held(0, 340, every=5), "training days .* have 0 days with a return"),
    "two constant tickers": (
        pd.concat([CONSTANT, CONSTANT.assign(ticker="CCC")]),
        "have 0 days with a return",
    ),
    "60 days": (BARS.head(60), "have 20 days with a return that moves, .*; 60 are needed"),
    "twenty of two": (
        pd.concat([BARS.head(60), BARS.head(60).assign(ticker="CCC")]),
        "have 20 days with a return that moves",
    ),
}


@pytest.mark.parametrize("case", STOPPED)
def test_a_training_on_nothing_that_moves_is_refused(case: str, tmp_path: Path) -> None:
    bars, match = STOPPED[case]
    with pytest.raises(DataError, match=match):
        train(bars, settings=SETTINGS.model_copy(update={"target": ("return",)}), home=tmp_path)
    assert not list(tmp_path.glob("models/2*"))


def test_a_constant_ticker_is_named_and_the_others_are_trained_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    both = pd.concat([BARS, CONSTANT.assign(ticker="CCC")])
    train(both, settings=SETTINGS.model_copy(update={"target": ("return",)}), home=tmp_path)
    assert "CCC: return is the same on 100 % of its training days" in caplog.text
    assert "AAA: return" not in caplog.text


def test_test_days_without_a_move_end_in_no_conclusion(tmp_path: Path) -> None:
    bars = held(345, 400)
    train(bars, settings=SETTINGS.model_copy(update={"target": ("return",)}), home=tmp_path)
    with pytest.raises(DataError, match="AAA: return has one value on most of the test days"):
        evaluate(bars=bars, home=tmp_path, walk=Walk(seeds=1))


HALTS: dict[str, tuple[pd.DataFrame, bool]] = {
    "a week without volume": (held(395, 400).assign(volume=0.0), True),
    "a week with volume": (held(395, 400), False),
    "a month with volume": (held(378, 400), True),
    "four days without volume": (held(396, 400).assign(volume=0.0), False),
    "an index without volume": (BARS.assign(volume=0.0), False),
    "a halt that is over": (held(360, 399), False),
    "always": (CONSTANT, True),
}


def forecast(bars: pd.DataFrame, home: Path) -> Prediction:
    request = ForecastRequest.of(home, (), bars, BARS["session"].iloc[-1].date(), 5)
    return forecast_next_session(Baseline(targets=("return",)), "return", ["return"], request)


@pytest.mark.parametrize("case", HALTS)
def test_a_halted_ticker_has_no_forecast(case: str, tmp_path: Path) -> None:
    """Not even by the baseline, whose interval would have no width."""
    bars, is_halted = HALTS[case]
    others = BARS.assign(ticker="OTHER")
    table = pd.concat([bars, others]).sort_values(["ticker", "session"])
    found = forecast(table, tmp_path)
    assert found.skipped == (("AAA",) if is_halted else ())
    assert set(found.forecasts["ticker"]) == ({"OTHER"} if is_halted else {"AAA", "OTHER"})
    assert (found.forecasts["q90"] > found.forecasts["q10"]).all()
    if is_halted:
        with pytest.raises(DataError, match=r"AAA: one price, 50, on its last \d+ sessions"):
            forecast(bars, tmp_path)
