"""Prices that nothing can be said of give nulls with a reason: no NaN, no crash, no warning."""

import json
import math
from datetime import date
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest

from forecaster.cli.output import _plain
from forecaster.pipeline.evaluate import Evaluation, Walk, evaluate
from forecaster.pipeline.train import train
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


def holes(content: object, path: str = "") -> list[str]:
    """Every place of a number that JSON does not know."""
    if isinstance(content, dict):
        return [hole for key, item in content.items() for hole in holes(item, f"{path}/{key}")]
    if isinstance(content, list | tuple):
        return [
            hole for number, item in enumerate(content) for hole in holes(item, f"{path}/{number}")
        ]
    return [path] if isinstance(content, float) and not math.isfinite(content) else []


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[pytest.mark.slow] if case == "one of two constant" else [])
        for case in CASES
    ],
)
def test_nulls_have_a_reason(case: str) -> None:
    found = evaluated(case)
    content = found.content()
    plain = _plain({**content, "scores": [], "per_ticker": []})
    assert holes(plain) == []
    json.dumps(_plain(content), allow_nan=False)
    for table in (found.scores, found.per_ticker):
        undefined = table["value"].isna()
        assert undefined.any() and (table["reason"][undefined] != "").all()
    for target in found.targets:
        assert found.verdicts[target] and found.in_words(target)


def test_a_price_that_never_moves_leaves_no_skill_to_tell() -> None:
    found = evaluated("constant price")
    rows = found.scores[
        (found.scores["target"] == "return") & (found.scores["forecaster"] == "lstm")
    ]
    rows = rows.set_index("metric")
    assert rows.loc["mse", "value"] == 0.0
    assert rows.loc["skill", "reason"] == "tomorrow = today makes no error"
    assert rows.loc["direction_accuracy", "reason"].startswith("the forecaster never takes a side")
    assert found.verdicts["return"][0].startswith("lstm makes the same forecasts as zero-return")


def test_one_report_day_is_too_few_to_tell() -> None:
    found = evaluated("one report day")
    assert "over 1 day, too few to tell" in found.verdicts["return"][0]
    assert all(one.p_value != one.p_value for one in found.comparisons)
    assert "at least 20 are needed" in found.confidence_sets["return"].reason
