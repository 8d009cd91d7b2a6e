"""Trackers get a training's curves, settings and scores, and cannot end it."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from forecaster.errors import UsageError
from forecaster.forecasting import tracking
from forecaster.pipeline.train import TrainReport, train
from forecaster.settings import TrainSettings
from tests.synthetic import ragged_bars

BARS = ragged_bars({"AAA": 300, "BBB": 280})
SETTINGS = TrainSettings(target="range", hidden=4, max_steps=20, evaluate_every=5, members=2)


def trained(home: Path, tracker: str) -> TrainReport:
    return train(BARS, settings=SETTINGS, home=home, tracker=tracker)


@pytest.mark.slow
def test_tensorboard_shows_the_curves_of_each_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    report = trained(tmp_path, "tensorboard")
    (run,) = (tmp_path / "logs" / "tensorboard").iterdir()
    events = EventAccumulator(str(run)).Reload()
    for member, prefix in ((1, ""), (2, "member2/")):
        mine = report.validations[report.validations["member"] == member]
        for name in ("train_loss", "validation_loss", "gradient_norm"):
            shown = [(one.step, one.value) for one in events.Scalars(prefix + name)]
            assert shown == [
                (step, pytest.approx(value))
                for step, value in zip(mine["step"], mine[name], strict=True)
            ]
    texts = [
        event.tensor_proto.string_val[0].decode()
        for tag in events.Tags()["tensors"]
        for event in events.Tensors(tag)
    ]
    assert any("| hidden | 4 |" in text for text in texts) and report.version in texts


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of SQLAlchemy, about mlflow
def test_mlflow_stores_metrics_parameters_and_the_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    report = trained(tmp_path, "mlflow")
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/logs/mlflow.db")
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params["hidden"] == "4" and run.info.status == "FINISHED"
    assert run.data.tags["version"] == report.version
    score = run.data.metrics["validation_mse_range"]
    assert score == pytest.approx(report.manifest.metrics["validation_mse_range"])
    history = client.get_metric_history(run.info.run_id, "validation_loss")
    first = report.validations[report.validations["member"] == 1]
    assert [one.value for one in history] == pytest.approx(first["validation_loss"].tolist())


class Broken(tracking.Tracker):
    """A tracker whose server goes away after the settings."""

    def __init__(self, folder: Path, run: str) -> None:
        self.closed = False

    def add_settings(self, settings: Mapping[str, Any]) -> None:
        """Take them."""

    def add_numbers(self, numbers: Mapping[str, float], step: int) -> None:
        """Fail."""
        raise ConnectionError("the server is gone")

    def close(self, version: str) -> None:
        """Fail the test."""
        raise AssertionError("left out after its failure")


def test_a_tracker_that_fails_does_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(tracking.TRACKERS, "broken", Broken)
    report = trained(tmp_path, "broken")
    assert (tmp_path / "models" / report.version / "manifest.json").is_file()
    assert caplog.text.count("the tracker failed and is left out from here on") == 1


def test_an_unknown_tracker_and_a_missing_extra_are_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="choose one of tensorboard, mlflow"):
        trained(tmp_path, "wandb")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UsageError, match=r'constraints.txt "\.\[mlflow\]"'):
        trained(tmp_path, "mlflow")
    assert not list((tmp_path / "models").glob("2*"))
