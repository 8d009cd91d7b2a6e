"""The promotion test: the right days and benchmarks, the weights on disk, a fresh process."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forecaster.data.loading import load_known
from forecaster.errors import (
    ArtifactError,
    OutOfMemoryError,
    StorageError,
    UnknownNameError,
    UsageError,
)
from forecaster.evaluation.distributions import StudentT
from forecaster.evaluation.promotion_test import Limits
from forecaster.forecasting.fitted_model import FittedModel
from forecaster.forecasting.model_version import load_model
from forecaster.forecasting.next_session import BASELINE
from forecaster.operations import promotion
from forecaster.operations.challenger import RollingSplit, train_challenger
from forecaster.operations.promotion import digest, reproduction_flaw, run_promotion_test
from forecaster.pipeline.data_import import import_files
from forecaster.pipeline.train import train
from forecaster.registry.promotion import promote
from forecaster.registry.versions import read_manifest
from forecaster.settings import Settings, TrainSettings
from tests.synthetic import ragged_bars

BARS = ragged_bars({"AAA": 900, "BBB": 700})
LAST = BARS["session"].max().date()
DAYS = np.unique(BARS["session"].to_numpy("datetime64[D]"))
SPLIT = RollingSplit(test=80, validation=150)
NAME = "return,range"
SETTINGS = TrainSettings(hidden=4, max_steps=60, evaluate_every=20, target="return,range")
LAX = Limits(margin=0.9, slack=0.9)  # whatever is learned in a second passes


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two challengers of the same day, of different seeds."""
    made = tmp_path_factory.mktemp("home")
    file = tmp_path_factory.mktemp("prices") / "bars.csv"
    BARS.to_csv(file, index=False)
    import_files([file], home=made, basis="split-adjusted", calendar="XNYS")
    return made


def trained(home: Path, **changes: object) -> str:
    settings = SETTINGS.model_copy(update=changes)
    return train_challenger(home, NAME, Settings(train=settings), as_of=LAST, split=SPLIT)


@pytest.fixture(scope="module")
def first(home: Path) -> str:
    return trained(home)


@pytest.fixture(scope="module")
def second(home: Path) -> str:
    return trained(home, seed=7)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the seconds of a new Python where it is not what is tested."""
    monkeypatch.setattr(promotion, "reproduction_flaw", lambda *arguments: None)


def altered(
    monkeypatch: pytest.MonkeyPatch, version: str, change: Callable[[StudentT], StudentT]
) -> None:
    """Make a version forecast other returns than its weights do."""
    forecast = FittedModel.distributions

    def other(self, panel, rows):  # type: ignore[no-untyped-def]
        found = forecast(self, panel, rows)
        if self.version == version:
            found["return"] = change(found["return"])
        return found

    monkeypatch.setattr(FittedModel, "distributions", other)


@pytest.mark.slow
def test_the_first_challenger_meets_the_baseline_alone_and_reproduces(home: Path, first: str):
    """In a real fresh process; on the test's days, with the loss that its head allows."""
    found = run_promotion_test(home, NAME, first, LAST, LAX)
    assert found.promoted and found.able and found.evidence["flaws"] == []
    assert found.evidence["champion"] == BASELINE and found.evidence["challenger"] == first
    for target, loss in (("return", "CRPS"), ("range", "MSE")):
        facts = found.evidence["targets"][target]
        assert set(facts["against"]) == {BASELINE} and facts["loss"] == loss
        assert (facts["days"], facts["first"], facts["last"]) == (80, str(DAYS[-80]), str(DAYS[-1]))
        assert facts["forecasts"] == 160 and set(facts["coverage"]) == {"80%", "95%"}
        assert 0.1 < found.evidence["expected"][target]["mean"] < 1.0


def test_a_challenger_meets_the_champion_on_the_same_days(
    home: Path, first: str, second: str, in_this_process: None
):
    promote(home, NAME, first, reason="for the test")
    found = run_promotion_test(home, NAME, second, LAST, LAX)
    assert set(found.evidence["targets"]["return"]["against"]) == {first, BASELINE}
    with pytest.raises(UsageError, match="is the champion of return,range; there is nothing"):
        run_promotion_test(home, NAME, first, LAST)


def test_the_days_begin_after_what_either_was_validated_on(
    home: Path, first: str, second: str, in_this_process: None
):
    """A champion trained by hand on later days leaves too few days for a test."""
    promote(home, NAME, first, reason="for the test")
    late = train(
        settings=SETTINGS.model_copy(
            update={"train_until": DAYS[-200].item(), "validation_until": DAYS[-50].item()}
        ),
        home=home,
    ).version
    promote(home, NAME, late, reason="for the test")
    found = run_promotion_test(home, NAME, second, LAST)
    assert (
        not found.able and "49 days that no version was trained on, 63 are needed" in found.reason
    )
    assert run_promotion_test(
        home, NAME, second, LAST, Limits(margin=0.9, slack=0.9, least_days=49)
    ).able
    promote(home, NAME, first, reason="for the test")


def test_the_days_are_the_last_ones_and_the_baseline_has_not_seen_them(
    home: Path, second: str, in_this_process: None, monkeypatch: pytest.MonkeyPatch
):
    fitted: list[np.datetime64] = []
    stated = promotion.forecast_baseline

    def watched(panel, target, fit, rows):  # type: ignore[no-untyped-def]
        fitted.append(panel.outcome_days[fit].max())
        return stated(panel, target, fit, rows)

    monkeypatch.setattr(promotion, "forecast_baseline", watched)
    monkeypatch.setattr(promotion, "TEST_DAYS", 70)
    facts = run_promotion_test(home, NAME, second, LAST, LAX).evidence["targets"]["return"]
    assert (facts["days"], facts["first"]) == (70, str(DAYS[-70]))
    assert fitted == [DAYS[-81], DAYS[-81]]


def test_as_of_an_earlier_day_nothing_later_is_read(home: Path, second: str, in_this_process: None):
    found = run_promotion_test(
        home, NAME, second, DAYS[-10].item(), Limits(margin=0.9, least_days=40)
    )
    assert found.evidence["targets"]["return"]["last"] == str(DAYS[-10])
    assert found.evidence["targets"]["return"]["days"] == 71


def test_wild_forecasts_are_refused(
    home: Path, second: str, in_this_process: None, monkeypatch: pytest.MonkeyPatch
):
    """On a tested day, and of tomorrow alone: level and inputs are there, the forecast is not."""

    def broken(found: StudentT) -> StudentT:
        loc = found.loc.copy()
        loc[-3:] = np.nan
        return replace(found, loc=loc)

    altered(monkeypatch, second, broken)
    found = run_promotion_test(home, NAME, second, LAST, LAX)
    assert not found.promoted and found.able
    assert "return: 1 forecasts of the next session are not finite" in found.reason
    assert "return: 2 of 160 forecasts are not finite" in found.reason


def test_a_worse_challenger_is_kept_out_by_name_of_the_benchmark(
    home: Path, first: str, second: str, in_this_process: None, monkeypatch: pytest.MonkeyPatch
):
    """Intervals adapt to a scale that is off; the loss does not forgive it."""
    promote(home, NAME, first, reason="for the test")
    altered(monkeypatch, second, lambda found: replace(found, scale=3.0 * found.scale))
    found = run_promotion_test(home, NAME, second, LAST)
    assert not found.promoted and found.able
    assert f"against {first}" in found.reason and f"against {BASELINE}" in found.reason


def test_a_corrupt_champion_is_replaced(
    home: Path, first: str, second: str, in_this_process: None, logged_warnings: list[str]
):
    champion = trained(home, seed=11, max_steps=5)
    promote(home, NAME, first, reason="for the test")
    promote(home, NAME, champion, reason="for the test")
    file = home / "models" / champion / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    found = run_promotion_test(home, NAME, second, LAST, LAX)
    assert found.evidence["champion"] == first and any(champion in text for text in logged_warnings)


def test_a_challenger_that_lost_a_target_is_kept_out(home: Path, first: str, in_this_process: None):
    promote(home, NAME, first, reason="for the test")
    lesser = trained(home, target=("return",), max_steps=5)
    found = run_promotion_test(home, NAME, lesser, LAST, LAX)
    assert not found.promoted and "does not forecast range, which the champion does" in found.reason


def test_one_bit_of_one_weight_changes_the_digest(home: Path, second: str):
    model = load_model(home, read_manifest(home, second))
    panel = model.panel(load_known(None, home, ["AAA", "BBB"], LAST))
    rows = model.rows_since_training(panel)
    intact = [digest(model.distributions(panel, rows)) for _ in range(2)]
    weight = next(iter(model.networks[0].parameters()))
    weight.data.view(-1)[0] *= 1.0 + 1e-6
    assert intact[0] == intact[1] != digest(model.distributions(panel, rows))


@pytest.mark.parametrize(
    ("child", "flaw"),
    [
        ("print('expected')", None),
        ("print('other')", "in a fresh process its forecasts differ"),
        ("raise SystemExit('no memory')", "it cannot be used in a fresh process: no memory"),
        ("import os; os.abort()", "it cannot be used in a fresh process: exit -6"),
    ],
)
def test_a_process_that_differs_or_fails_is_a_flaw(
    child: str, flaw: str | None, home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(promotion, "_CHILD", child)
    assert reproduction_flaw(home, "any", ["AAA"], LAST, "expected") == flaw


def test_the_fresh_process_imports_nothing_from_the_working_directory(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Nor from a PYTHONPATH that names it by an empty entry."""
    modules = ("safetensors", "numpy", "json", "forecaster")
    for module in modules:
        (tmp_path / f"{module}.py").write_text("raise SystemExit('executed')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep)
    monkeypatch.setattr(promotion, "_CHILD", f"import {', '.join(modules)}; print('expected')")
    assert reproduction_flaw(home, "any", ["AAA"], LAST, "expected") is None


@pytest.mark.slow
def test_a_disk_that_fails_the_fresh_process_is_no_flaw_of_the_challenger(
    home: Path, first: str, tmp_path: Path
):
    """Here its prices are corrupt: the run is repeated, and the challenger stays what it is."""
    shutil.copytree(home / "models", tmp_path / "models")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "prices.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match="corrupt"):
        reproduction_flaw(tmp_path, first, ["AAA"], LAST, "expected")


def test_no_room_for_a_fresh_process_is_no_flaw_of_the_challenger(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    """Killed by the system for want of memory, or never begun."""
    monkeypatch.setattr(promotion, "_CHILD", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(OutOfMemoryError, match="it was killed"):
        reproduction_flaw(home, "any", ["AAA"], LAST, "expected")

    def full(*arguments: object, **more: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(promotion.subprocess, "run", full)
    with pytest.raises(OutOfMemoryError, match="Resource temporarily unavailable"):
        reproduction_flaw(home, "any", ["AAA"], LAST, "expected")


def test_an_unknown_or_corrupt_version_is_no_challenger(home: Path, first: str, tmp_path: Path):
    with pytest.raises((UnknownNameError, ArtifactError)):
        run_promotion_test(home, NAME, "20200101-000000-lstm-00000000", LAST)
