"""The memory of a version, measured on its own training days and on nothing later."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster.errors import DataError, UnknownNameError, UsageError
from forecaster.forecasting.memory import MemoryReport, _rectangle
from forecaster.pipeline.memory import memory, write_memory_page
from forecaster.pipeline.train import train
from forecaster.settings import TrainSettings
from tests.synthetic import ragged_bars

PANEL = {"AAA": 320, "BBB": 260, "CCC": 60}
QUICK = {"hidden": 6, "max_steps": 20, "target": "return,range"}


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return ragged_bars(PANEL)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, bars: pd.DataFrame) -> Path:
    home = tmp_path_factory.mktemp("home")
    train(bars, settings=TrainSettings(**QUICK, bptt_k2=12), home=home)
    return home


@pytest.fixture(scope="module")
def report(home: Path, bars: pd.DataFrame) -> MemoryReport:
    return memory(bars=bars, home=home, lags=40)


def test_the_report_covers_the_end_of_the_training_days(report: MemoryReport, home: Path) -> None:
    assert set(report.tickers) <= set(PANEL) and "AAA" in report.tickers
    assert report.profile.lags == 40
    assert report.profile.by_lag.shape[1] == 41
    assert len(report.days) == len(report.profile.growth)
    assert (report.plan.k2, report.plan.k1) == (12, None)


def test_nothing_after_the_training_days_touches_the_report(
    report: MemoryReport, home: Path, bars: pd.DataFrame
) -> None:
    wild = bars.copy()
    later = wild["session"] > pd.Timestamp(report.days[-1]) + pd.Timedelta(days=7)
    assert later.sum() > 100
    wild.loc[later, ["open", "high", "low", "close"]] *= 3.0
    again = memory(bars=wild, home=home, lags=40)
    np.testing.assert_array_equal(again.profile.by_lag, report.profile.by_lag)
    pd.testing.assert_frame_equal(again.bias, report.bias)


def test_the_bias_falls_and_the_advice_names_a_plan(report: MemoryReport) -> None:
    table = report.bias
    assert list(table.columns) == ["horizon", "bias", "cosine", "bias_over_noise"]
    assert table["bias"].iloc[-1] < table["bias"].iloc[0]
    assert report.profile.advised is not None
    stride = report.profile.advised.k1
    assert f"--bptt-k1 {stride} --bptt-k2 {2 * stride} " in report.advice
    assert report.advice.count(". ") == 0  # one sentence


def test_an_impossible_tolerance_is_declined(home: Path, bars: pd.DataFrame) -> None:
    found = memory(bars=bars, home=home, lags=2, tolerance=1e-6)
    assert found.profile.advice.days is None
    assert "No --bptt-k2 can be advised" in found.advice
    assert "memory exceeds 2 days" in found.advice


def test_fewer_lags_are_measured_where_the_history_is_short(
    home: Path, bars: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    found = memory(bars=bars, home=home, lags=5000)
    assert found.profile.lags == len(found.days) // 2


def test_the_page_is_written_completely(report: MemoryReport, tmp_path: Path) -> None:
    file = tmp_path / "memory.html"
    write_memory_page(report, file)
    text = file.read_text()
    assert report.version in text and text.rstrip().endswith("</html>")
    assert {path.name for path in tmp_path.iterdir()} == {"memory.html", "plotly.min.js"}
    write_memory_page(report, file, standalone=True)
    assert len(file.read_text()) > len(text) + 1e6


@pytest.mark.slow
def test_windows_are_refused_with_the_reason(home: Path, bars: pd.DataFrame) -> None:
    made = train(bars, settings=TrainSettings(**QUICK, lookback=10), home=home)
    with pytest.raises(UsageError, match="reads windows of 10 days"):
        memory(made.version, bars=bars, home=home)


@pytest.mark.parametrize("wrong", [{"tolerance": 0.0}, {"tolerance": 1.0}, {"lags": 0}])
def test_numbers_out_of_range_are_usage_errors(wrong: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give"):
        memory(home=tmp_path, **wrong)  # type: ignore[arg-type]


def test_no_version_no_report(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError):
        memory(home=tmp_path)


def test_the_rectangle_holds_the_most_days_without_padding() -> None:
    """Three of 100 beat four of 60; at most 1,500 days and 16 series."""
    series, days = _rectangle(np.array([100, 60, 120, 100]))
    assert (series.tolist(), days) == ([0, 2, 3], 100)
    series, days = _rectangle(np.full(40, 4000))
    assert (len(series), days) == (16, 1500)


def test_a_training_days_of_three_days_is_too_short() -> None:
    from forecaster.forecasting.memory import _lags_within

    with pytest.raises(DataError, match="has 3 training days"):
        _lags_within(10, 3)


@pytest.mark.slow
def test_validations_of_other_plans_on_the_same_data_are_reported_too(
    home: Path, bars: pd.DataFrame, tmp_path: Path
) -> None:
    """The version's own first; other networks, other prices and equal plans are left out."""
    plans = [{"bptt_k2": 12}, {"bptt": "full"}, {"bptt_k2": 12, "step_per": "epoch"}]
    unlike = [{"bptt_k2": 5, "hidden": 4}, {"bptt_k2": 12, "seed": 3}]
    for options in [*unlike, *plans]:
        report = train(bars, settings=TrainSettings(**{**QUICK, **options}), home=tmp_path)
    train(bars[bars["ticker"] != "CCC"], settings=TrainSettings(**QUICK), home=tmp_path)
    asked = report.manifest.version
    found = memory(asked, bars=bars, home=tmp_path, lags=20)
    names = list(found.validations)
    assert names[0].startswith(f"{asked}, truncated, k1 = k2 = 12 days")
    assert names[0].endswith("one step per epoch")
    assert sorted(name.split(", ")[1].split(":")[0] for name in names) == [
        "full",
        "truncated",
        "truncated",
    ]
    assert [step for step, _ in found.validations[names[0]]] == [20]
    file = tmp_path / "memory.html"
    write_memory_page(found, file)
    assert "Validation loss by optimizer step" in file.read_text()
