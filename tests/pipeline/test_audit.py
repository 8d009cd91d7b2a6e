"""Whole audits: recipes of every kind come out clean, and an empty comparison proves nothing.

That planted leaks are found is in `tests/cli/test_audit.py`.
"""

from pathlib import Path

import numpy as np
import pytest

from forecaster.audit.comparison import StageResult
from forecaster.errors import DataError, LeakError
from forecaster.pipeline.audit import AuditReport, audit
from forecaster.pipeline.train import train
from forecaster.settings import TrainSettings
from tests.synthetic import ragged_bars

CUT = np.datetime64("2024-03-01")
PANEL = {"AAA": 300, "BBB": 220, "CCC": 260}
FEW = {"dates": 3, "max_steps": 4}
SMALL = {"hidden": 3, "max_steps": 6}


def report(*stages: StageResult) -> AuditReport:
    day = CUT.item()
    return AuditReport(
        version=None,
        tickers=("AAA",),
        of_tickers=1,
        first=day,
        last=day,
        dates=(day,),
        max_steps=1,
        stages=stages,
    )


def test_a_stage_of_which_nothing_was_compared_proves_nothing() -> None:
    compared = StageResult(stage="bars", values=3)
    report(compared).raise_leaks()
    with pytest.raises(LeakError, match="Nothing was compared of scales") as raised:
        report(compared, StageResult(stage="scales")).raise_leaks()
    assert raised.value.exit_code == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"lookback": 10, "target": "range"},
        {"base": "none", "head": "point"},
        {"model": "gru", "head": "quantiles", "target": "return,volume"},
        {"model": "mlp", "base": "linear"},
        {"initial_state": "learned", "layers": 2, "bptt": "full"},
    ],
    ids=str,
)
def test_recipes_of_every_kind_are_clean(options: dict[str, object], tmp_path: Path) -> None:
    bars = ragged_bars(PANEL)
    train(bars, settings=TrainSettings(**SMALL, **options), home=tmp_path)  # type: ignore[arg-type]
    found = audit(bars=bars, home=tmp_path, **FEW)
    assert [leak.describe() for leak in found.leaks] == []
    found.raise_leaks()
    stages = [result.stage for result in found.stages]
    assert ("base" in stages) is (options.get("base") != "none")


@pytest.mark.slow
def test_one_ticker_alone_is_audited_without_a_cross_section(tmp_path: Path) -> None:
    found = audit(bars=ragged_bars({"AAA": 180}), home=tmp_path, **FEW)
    found.raise_leaks()
    assert "cross-section" not in [result.stage for result in found.stages]
    assert found.version is None and found.tickers == ("AAA",)


@pytest.mark.slow
def test_exchanges_with_other_hours_are_read_by_their_own_clock(tmp_path: Path) -> None:
    """What is final at noon in New York is not what is final where trade never stops."""
    bars = ragged_bars({"AAA": 180, "BBB": 170})
    bars["calendar"] = np.where(bars["ticker"] == "BBB", "24/7", "XNYS")
    audit(bars=bars, home=tmp_path, **FEW).raise_leaks()  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_dates_lie_in_train_validation_and_test(tmp_path: Path) -> None:
    bars = ragged_bars(PANEL)
    made = train(bars, settings=TrainSettings(**SMALL), home=tmp_path)  # type: ignore[arg-type]
    blocks = made.manifest.data.blocks
    found = audit(bars=bars, home=tmp_path, dates=5, max_steps=1)
    within = [
        (day > blocks.train_until) + (day > blocks.validation_until) + 0 for day in found.dates
    ]
    assert within == [0, 0, 1, 1, 2] and found.dates[-1] < blocks.last


def test_prices_that_end_with_the_validation_days_cannot_be_audited(tmp_path: Path) -> None:
    bars = ragged_bars(PANEL)
    made = train(bars, settings=TrainSettings(**SMALL), home=tmp_path)  # type: ignore[arg-type]
    end = made.manifest.data.blocks.validation_until
    with pytest.raises(DataError, match=f"the validation days {end}"):
        audit(made.version, bars=bars, home=tmp_path, as_of=end)
