"""A gap of years in a ticker's bars: nothing is learned, scored or forecast across it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster.pipeline.evaluate import Walk, evaluate
from forecaster.pipeline.memory import memory
from forecaster.pipeline.predict import predict
from forecaster.pipeline.train import TrainReport, train
from forecaster.settings import TrainSettings
from tests.synthetic import ragged_bars

COMPLETE = ragged_bars({"AAA": 900, "BBB": 900})
LAST = COMPLETE["session"].max().date()
# AAA lacks its days 560 to 760: its last validation and its first test days.
DAYS = COMPLETE["session"].unique()
MISSING = (COMPLETE["ticker"] == "AAA") & COMPLETE["session"].between(DAYS[560], DAYS[759])
BARS = COMPLETE[~MISSING].reset_index(drop=True)
QUICKLY = {"benchmarks": "quick", "walk": Walk(same_inputs=False)}


@pytest.fixture(scope="module", params=["all", pytest.param(30, marks=pytest.mark.slow)])
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainReport, Path]:
    home = tmp_path_factory.mktemp("home")
    quick = {"hidden": 4, "max_steps": 10, "evaluate_every": 5, "bptt_k2": 20}
    settings = TrainSettings(target=("return", "range"), lookback=request.param, **quick)
    return train(BARS, settings=settings, home=home), home


def test_no_outcome_crosses_the_gap(made: tuple[TrainReport, Path]) -> None:
    """The first forecast after the gap is that of its 23rd day; none spans 200 sessions."""
    report, home = made
    rows = evaluate(report.version, bars=BARS, home=home, **QUICKLY).forecasts
    own = rows[rows["ticker"] == "AAA"]
    assert (own["session"] - own["as_of"]).max() < pd.Timedelta(days=7)
    warm = 22 if report.manifest.network.lookback == "all" else 30
    assert own["session"].min() == DAYS[760 + warm]


def test_the_bars_before_a_gap_change_no_forecast_after_it(made: tuple[TrainReport, Path]) -> None:
    """Trebled prices before the gap leave every forecast after it as it was, to the bit."""
    report, home = made
    other = BARS.copy()
    before = (other["ticker"] == "AAA") & (other["session"] < DAYS[560])
    other.loc[before, ["open", "high", "low", "close"]] *= 3.0
    tables = [
        evaluate(report.version, bars=bars, home=home, **QUICKLY).forecasts
        for bars in (BARS, other)
    ]
    network = [t[(t["ticker"] == "AAA") & (t["forecaster"] == "lstm")] for t in tables]
    np.testing.assert_array_equal(*(table["forecast"] for table in network))


def test_a_ticker_with_a_gap_gets_one_forecast_from_its_newest_bar(
    made: tuple[TrainReport, Path],
) -> None:
    report, home = made
    rows = predict(version=report.version, bars=BARS, home=home, as_of=LAST).forecasts
    assert rows["ticker"].tolist() == ["AAA", "BBB", "AAA", "BBB"]
    assert (rows["as_of"] == pd.Timestamp(LAST)).all()


@pytest.mark.slow
def test_memory_lists_the_tickers_of_its_segments(made: tuple[TrainReport, Path]) -> None:
    report, home = made
    if report.manifest.network.lookback == "all":
        newer = BARS[BARS["session"] >= DAYS[350]]
        found = memory(report.version, bars=newer, home=home, lags=20)
        assert set(found.tickers) == {"AAA", "BBB"}
