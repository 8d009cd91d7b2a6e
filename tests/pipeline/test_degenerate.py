"""Degenerate prices give nulls with a reason: no NaN, no crash, no warning."""

import json
from datetime import date
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest

from forecaster.cli.evaluate import _print_target, json_content
from forecaster.database import to_json
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
    "constant price": (CONSTANT, {}),
    "one of two constant": (pd.concat([BARS, CONSTANT.assign(ticker="CCC")]), {}),
    "constant volume": (BARS.assign(volume=1e6), {}),
    "one report day": (BARS, LAST_DAY),
    "60 days": (BARS.head(60), {}),
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


def test_a_price_that_never_moves_leaves_no_skill_to_tell() -> None:
    found = evaluated("constant price")
    rows = found.scores[
        (found.scores["target"] == "return") & (found.scores["forecaster"] == "lstm")
    ]
    rows = rows.set_index("metric")
    assert rows.loc["mse", "value"] == 0.0
    assert rows.loc["skill", "reason"] == "the naive forecast makes no error"
    assert rows.loc["directional_accuracy", "reason"].startswith("the forecaster never")
    assert conclusions(found, "return")[0] == "LSTM vs zero return: same forecasts"


def test_one_test_day_is_too_few_for_a_test() -> None:
    found = evaluated("one report day")
    assert "over 1 day, too few for a test" in conclusions(found, "return")[0]
    assert all(one.p_value != one.p_value for one in found.by_target["return"].comparisons.all)
    assert "at least 20 are needed" in found.by_target["return"].comparisons.mcs.reason
