"""Trainings, forecasts and memory on a stand-in for a GPU: the CPU's numbers, and no waiting."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from forecaster.bptt import states
from forecaster.bptt.memory_profile import memory_profile
from forecaster.data.loading import load_histories
from forecaster.errors import DivergedError
from forecaster.forecasting.fitting import fit
from forecaster.models.network import Network
from forecaster.settings import TrainSettings
from forecaster.training import inference, trainer
from forecaster.training.checkpoint import Checkpoint
from forecaster.training.inference import allow_tf32, forecast_histories, forecast_windows, uploaded
from forecaster.training.trainer import Callbacks, Validation, train
from tests.bptt.verification import path_of
from tests.fake_gpu import GPU, PlacementError, fake_gpu
from tests.forecasting.samples import dataset_of
from tests.synthetic import ragged_bars
from tests.training.cases import CASES, CPU, INPUTS, LOOKBACK, OFFSETS, Case, arrays


def trained(
    case: Case, device: torch.device, waits: list[str], **options: Any
) -> tuple[list[Validation], list[torch.Tensor]]:
    """Train; `waits` are left with those after the first step."""
    network, data = case.build().to(device), arrays(device)

    def validate(network: Network) -> float:
        if case.windows:
            return float(forecast_windows(network, data.inputs, np.array([3, 17]), LOOKBACK).sum())
        return float(forecast_histories(network, data.inputs, OFFSETS).sum())

    def after(step: int, validation: Validation | None) -> None:
        if step == 1:
            waits.clear()

    made = train(
        network,
        data,
        case.epoch,
        replace(case.options(), **options),
        Callbacks(validate=validate, on_step=after),
    )
    return made, list(network.parameters())


@pytest.mark.parametrize("name", CASES)
def test_a_training_has_the_cpus_numbers_and_waits_only_where_it_looks(name: str) -> None:
    """Steps 2 to 4 wait at the validation alone: for the norms, the forecasts, the mean loss."""
    case = CASES[name]
    expected, weights = trained(case, CPU, [])
    with fake_gpu() as waits:
        found, on_gpu = trained(case, GPU, waits)
        assert waits == [
            "_to_copy in training/trainer.py, _read_norms",
            "_to_copy in training/inference.py, _downloaded",
            "_local_scalar_dense in training/trainer.py, validate_if_due",
        ]
        assert all(weight.device == GPU for weight in on_gpu)
        if case.same_numbers:
            for wanted, weight in zip(weights, on_gpu, strict=True):
                torch.testing.assert_close(weight.cpu(), wanted, rtol=1e-5, atol=1e-7)
            assert found[0].validation_loss == pytest.approx(expected[0].validation_loss, rel=1e-5)
            assert found[0].clipped == expected[0].clipped > 0


def test_the_norms_are_looked_at_every_so_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven steps, every second: after 2, 4 and 6, and before the validation."""
    monkeypatch.setattr(trainer, "READ_EVERY_ON_GPU", 2)
    with fake_gpu() as waits:
        trained(CASES["mlp"], GPU, waits, max_steps=7, evaluate_every=7)
    assert waits.count("_to_copy in training/trainer.py, _read_norms") == 4


def test_a_divergence_is_of_the_step_that_diverged() -> None:
    """The host looks at step 4, and names step 2 and its rows; no weight has moved since."""
    case = CASES["last day"]
    with fake_gpu():
        network, data, seen = case.build().to(GPU), arrays(GPU), []
        bad = case.epoch(1).ends[3:]
        data.y[uploaded(bad, GPU)] = np.inf
        data.scored[uploaded(bad, GPU)] = True
        with pytest.raises(DivergedError, match="step 2 in epoch 1 had a gradient of") as caught:
            train(
                network,
                data,
                case.epoch,
                case.options(),
                Callbacks(
                    validate=lambda _: 1.0,
                    on_step=lambda *_: seen.append(
                        [p.detach().cpu() for p in network.parameters()]
                    ),
                ),
            )
        assert set(caught.value.rows) >= set(bad)
        assert len(seen) == 3
        for one, two in zip(seen[0], seen[2], strict=True):
            assert torch.equal(one, two)


def test_a_training_resumes_on_the_device() -> None:
    """From a checkpoint after step 2, which lies in main memory: the same weights at the end."""
    case, kept = CASES["lstm"], list[Checkpoint]()

    def keep(checkpoint: Any) -> None:
        kept.append(checkpoint())

    with fake_gpu():
        data = arrays(GPU)
        whole, again = case.build().to(GPU), case.build().to(GPU)
        callbacks = Callbacks(validate=lambda _: 1.0, on_boundary=keep)
        train(whole, data, case.epoch, case.options(), callbacks)
        resume = Checkpoint.from_bytes(kept[1].to_bytes())
        train(again, data, case.epoch, case.options(), callbacks, resume)
        for one, two in zip(whole.parameters(), again.parameters(), strict=True):
            assert torch.equal(one.cpu(), two.cpu())


def test_forecasts_of_all_segments_come_back_in_one_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three series two at a time, four days at a time; five windows two at a time."""
    for name, number in (("SERIES", 2), ("DAYS", 4), ("WINDOWS", 2)):
        monkeypatch.setattr(inference, f"{name}_AT_ONCE", number)
    monkeypatch.setattr(inference, "TIMES_ON_GPU", 1)
    network, inputs, ends = CASES["lstm"].build(), arrays(CPU).inputs, np.array([8, 3, 14, 17, 4])
    expected = (
        forecast_histories(network, inputs, OFFSETS),
        forecast_windows(network, inputs, ends, LOOKBACK),
    )
    with fake_gpu() as waits:
        network, inputs = network.to(GPU), inputs.to(GPU)
        waits.clear()
        found = forecast_histories(network, inputs, OFFSETS)
        assert waits == ["_to_copy in training/inference.py, _downloaded"]
        windows = forecast_windows(network, inputs, ends, LOOKBACK)
        assert waits == 2 * ["_to_copy in training/inference.py, _downloaded"]
    np.testing.assert_allclose(found, expected[0], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(windows, expected[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("lookback", ["all", 22])
def test_a_model_is_fitted_on_the_device(lookback: str | int) -> None:
    """From histories to a calibrated model: the CPU's weights and scores, TF32 forbidden."""
    allow_tf32(True)
    settings = TrainSettings(
        model="gru", hidden=3, target="return,range", lookback=lookback, max_steps=2, dropout=0.0
    )
    bars = ragged_bars({"AAA": 300, "BBB": 260})
    dataset = dataset_of(load_histories(bars, Path(), (), None), settings)
    expected = fit(dataset, settings, CPU)
    with fake_gpu():
        found = fit(dataset, settings, GPU)
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    for one, two in zip(found.model.networks, expected.model.networks, strict=True):
        for weight, wanted in zip(one.parameters(), two.parameters(), strict=True):
            torch.testing.assert_close(weight, wanted, rtol=1e-5, atol=1e-6)
    for target, mse in expected.validation_mse.items():
        assert found.validation_mse[target] == pytest.approx(mse, rel=1e-5)


def test_memory_is_measured_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The curve, the exponent and the exact biases of the CPU."""
    monkeypatch.setattr(states, "POWER_ITERATIONS", 1)
    torch.manual_seed(1)
    network, days = CASES["elman"].build().double(), 6
    x, y = torch.randn(days, 2, INPUTS).double(), torch.randn(days, 2, 2).double()
    mask = torch.rand(days, 2, 2) < 0.9
    expected = memory_profile(path_of(network, x, y, mask), lags=2, anchors=2)
    with fake_gpu():
        days = [tensor.to(GPU) for tensor in (x, y, mask)]
        found = memory_profile(path_of(network.to(GPU), *days), lags=2, anchors=2)
    np.testing.assert_allclose(found.curve, expected.curve, rtol=1e-9)
    np.testing.assert_allclose(found.states.stretch, expected.states.stretch, rtol=1e-9)
    assert found.lyapunov == pytest.approx(expected.lyapunov, rel=1e-9)
    assert [b.bias for b in found.biases] == pytest.approx([b.bias for b in expected.biases])


def test_the_stand_in_refuses_two_devices_and_lists_what_waits() -> None:
    """Real values; a number without dimensions may come from the CPU; an upload need not wait."""
    with fake_gpu() as waits:
        on_gpu = torch.arange(3.0).to(GPU, non_blocking=True)
        assert not waits
        for mixed in (lambda: on_gpu + torch.ones(3), lambda: on_gpu[torch.tensor([0, 1])]):
            with pytest.raises(PlacementError, match="on the GPU and on the CPU"):
                mixed()
        assert (on_gpu * torch.tensor(2.0)).device == GPU
        assert not waits
        assert float(on_gpu.sum()) == 3.0
        assert on_gpu[on_gpu > 0].cpu().tolist() == [1.0, 2.0]
        assert [wait.partition(" ")[0] for wait in waits] == [
            "_local_scalar_dense",
            *("index", "_to_copy"),
        ]
        torch.zeros(3).to(GPU)
        assert len(waits) == 4
