"""The exported graph: carried day by day in another runtime, it makes the same distributions."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from forecaster.data.loading import load_histories
from forecaster.data.panel import Panel, compute_features
from forecaster.errors import CannotWriteError, UsageError
from forecaster.forecasting.fitted_model import FittedModel
from forecaster.forecasting.model_version import load_model
from forecaster.forecasting.onnx_export import export_onnx
from forecaster.pipeline.train import train
from forecaster.settings import TrainSettings
from tests.synthetic import ragged_bars

DAYS = 500
BARS = ragged_bars({"AAA": DAYS + 60, "BBB": DAYS + 40})


def trained(home: Path, **settings: object) -> tuple[FittedModel, Panel]:
    chosen = TrainSettings.model_validate({"hidden": 6, "max_steps": 20, **settings})
    model = load_model(home, train(BARS, settings=chosen, home=home).manifest)
    return model, model.panel(load_histories(BARS, home, (), None))


def carried(path: Path, model: FittedModel, panel: Panel) -> dict[str, np.ndarray]:
    """Run the graph over the first days of both tickers; (days, members, tickers, P) a target."""
    from onnxruntime import InferenceSession

    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    about = json.loads(path.with_suffix(".json").read_text())
    assert about["inputs"] == list(model.reader.columns_read)
    x = compute_features(panel, about["inputs"]).astype(np.float64)
    state = {
        name: np.repeat(np.float32(start)[:, None], 2, axis=1)
        for name, start in about["initial_state"].items()
    }
    made = []
    for day in range(DAYS):
        outputs = session.run(None, {"x": x[panel.offsets[:-1] + day], **state})
        made.append(outputs[: len(model.targets)])
        state = dict(zip(state, outputs[len(model.targets) :], strict=True))
    return {target: np.stack([day[k] for day in made]) for k, target in enumerate(about["outputs"])}


def expected(model: FittedModel, panel: Panel) -> dict[str, np.ndarray]:
    raws = np.stack(model.raw_by_member(panel, np.ones(len(panel.days), dtype=bool)))
    rows = panel.offsets[:-1] + np.arange(DAYS)[:, None]
    parts = torch.split(torch.from_numpy(raws), [form.width for form in model.forms], dim=-1)
    scales = zip(model.target_scaler.mean, model.target_scaler.scale, strict=True)
    return {
        target: form.in_units(part, mean, scale).numpy()[:, rows].swapaxes(0, 1)
        for target, form, part, (mean, scale) in zip(
            model.targets, model.forms, parts, scales, strict=True
        )
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"model": "lstm", "target": ("return", "range"), "head": ("student-t", "quantiles")},
        {"model": "gru", "target": "range", "head": "point", "members": 2},
        {"model": "elman", "target": "return", "base": "none", "initial_state": "learned"},
    ],
    ids=lambda settings: settings["model"],
)
def test_five_hundred_carried_days_are_those_of_the_version(
    settings: dict[str, object], tmp_path: Path
) -> None:
    model, panel = trained(tmp_path, **settings)
    export_onnx(model, tmp_path / "graph.onnx")
    found, wanted = carried(tmp_path / "graph.onnx", model, panel), expected(model, panel)
    assert found.keys() == wanted.keys()
    for target, values in wanted.items():
        assert found[target].shape == values.shape
        np.testing.assert_allclose(found[target], values, rtol=1e-5, atol=1e-5 * values.std())


def test_what_cannot_be_exported_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = trained(tmp_path, lookback=20, bidirectional=True, target="range", max_steps=2)
    with pytest.raises(UsageError, match=f"Version {model.version} is bidirectional"):
        export_onnx(model, tmp_path / "graph.onnx")
    with pytest.raises(CannotWriteError, match=r"--onnx .*is no folder"):
        export_onnx(model, tmp_path / "nowhere" / "graph.onnx")
    with pytest.raises(UsageError, match="takes that name"):
        export_onnx(model, tmp_path / "graph.json")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    model, _ = trained(tmp_path, target="range", max_steps=2)
    with pytest.raises(UsageError, match=r'install -c constraints.txt "\.\[onnx\]"'):
        export_onnx(model, tmp_path / "graph.onnx")
