from itertools import pairwise

import numpy as np
import pytest
import torch

from forecaster.errors import UsageError
from forecaster.models.heads import PointForm
from forecaster.models.network import CORES, Architecture, build_network
from forecaster.training import inference
from forecaster.training.inference import (
    choose_device,
    evaluating,
    forecast_histories,
    forecast_windows,
)

LENGTHS = [7, 1, 12, 5, 12]
OFFSETS = np.concatenate([[0], np.cumsum(LENGTHS)])
INPUTS = torch.randn(37, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def network(model="lstm", dtype=torch.float64, dropout=0.3):
    """Two layers, two targets, in training mode with dropout that would show."""
    torch.manual_seed(2)
    made = build_network(
        Architecture(
            model=model, inputs=3, forms=(PointForm(),) * 2, hidden=4, layers=2, dropout=dropout
        )
    )
    torch.nn.init.normal_(made.head.linear.weight)
    return made.to(dtype)


def one_by_one(made, inputs):
    """Each series alone, in one forward run."""
    made.eval()
    parts = []
    for start, stop in pairwise(OFFSETS):
        with torch.no_grad():
            prediction, _ = made(inputs[start:stop, None], made.initial_state(1))
        parts.append(prediction[:, 0].double().numpy())
    made.train()
    return np.concatenate(parts)


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_a_ragged_panel_is_forecast_as_one_by_one(model, dtype, tolerance):
    """Five series of 1 to 12 days, longest neither first nor alone."""
    made, inputs = network(model, dtype), INPUTS.to(dtype)
    found = forecast_histories(made, inputs, OFFSETS)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, one_by_one(made, inputs), rtol=0, atol=tolerance)


def test_rows_from_a_stop_on_are_not_forecast():
    """A series cut within, one cut before its first row, three whole ones."""
    made, stops = network(), OFFSETS[1:].copy()
    stops[0], stops[2] = 3, OFFSETS[2]
    whole, found = forecast_histories(made, INPUTS, OFFSETS), np.full((37, 2), np.nan)
    for start, stop in zip(OFFSETS, stops, strict=False):
        found[start:stop] = whole[start:stop]
    np.testing.assert_allclose(
        forecast_histories(made, INPUTS, OFFSETS, stops), found, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("days_at_once", [1, 5, 11, 12, 512])
@pytest.mark.parametrize("series_at_once", [1, 2, 64])
def test_how_many_at_once_does_not_matter(monkeypatch, days_at_once, series_at_once):
    """The state is carried over every border, and never to another series."""
    expected = one_by_one(network(), INPUTS)
    monkeypatch.setattr(inference, "DAYS_AT_ONCE", days_at_once)
    monkeypatch.setattr(inference, "SERIES_AT_ONCE", series_at_once)
    found = forecast_histories(network(), INPUTS, OFFSETS)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_later_inputs_and_other_series_leave_forecasts_bit_identical(dtype):
    """Change day 8 of the third series and all after it: its first 7 days and the others stay."""
    made, inputs = network(dtype=dtype), INPUTS.to(dtype)
    before = forecast_histories(made, inputs, OFFSETS)
    changed, rows = inputs.clone(), slice(int(OFFSETS[2]) + 7, int(OFFSETS[3]))
    changed[rows] = 1e3
    after = forecast_histories(made, changed, OFFSETS)
    assert (before[rows] != after[rows]).all()
    after[rows] = before[rows]
    np.testing.assert_array_equal(before, after)


def test_a_cut_history_is_forecast_alike():
    """The forecast of a session does not depend on the days that followed."""
    made = network()
    whole = forecast_histories(made, INPUTS, OFFSETS)
    begin = int(OFFSETS[2])
    for days in range(1, 13):
        part = forecast_histories(made, INPUTS[begin : begin + days], np.array([0, days]))
        np.testing.assert_allclose(part, whole[begin : begin + days], rtol=0, atol=1e-12)


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize("windows_at_once", [1, 4, 512])
def test_windows_are_forecast_as_one_by_one(monkeypatch, model, windows_at_once):
    """Nine windows of four days, overlapping and out of order, each from a zero state."""
    monkeypatch.setattr(inference, "WINDOWS_AT_ONCE", windows_at_once)
    made = network(model)
    ends = np.array([3, 36, 4, 20, 5, 3, 30, 11, 12])
    found = forecast_windows(made, INPUTS, ends, 4)
    made.eval()
    for end, forecast in zip(ends, found, strict=True):
        with torch.no_grad():
            prediction, _ = made(INPUTS[end - 3 : end + 1, None], made.initial_state(1))
        np.testing.assert_allclose(forecast, prediction[-1, 0].numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("model", CORES)
def test_no_window_is_no_row(model):
    """A history shorter than the lookback has none: (0, K), and no error."""
    none = np.empty(0, dtype=np.int64)
    assert forecast_windows(network(model), INPUTS, none, 4).shape == (0, 2)


def test_the_whole_history_is_one_window():
    """A window as long as the series forecasts what the series forecasts on its last day."""
    made = network()
    whole = forecast_histories(made, INPUTS[:7], np.array([0, 7]))
    window = forecast_windows(made, INPUTS, np.array([6]), 7)
    np.testing.assert_allclose(window[0], whole[-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_the_mode_is_left_as_found(mode, fails):
    """Training stays training, evaluation stays evaluation, after an error too."""
    made = network().train(mode)
    wrong = INPUTS[:, :2] if fails else INPUTS
    for forecast in (
        lambda: forecast_histories(made, wrong, OFFSETS),
        lambda: forecast_windows(made, wrong, np.array([3]), 4),
    ):
        if fails:
            with pytest.raises(RuntimeError):
                forecast()
        else:
            forecast()
        assert all(module.training == mode for module in made.modules())
        assert torch.is_grad_enabled()


def test_forecasts_draw_nothing_and_keep_no_graph():
    """Dropout is off, the generator does not move, and twice is the same."""
    made, randomness = network(dropout=0.9), torch.get_rng_state()
    first, second = (forecast_histories(made, INPUTS, OFFSETS) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert torch.equal(torch.get_rng_state(), randomness)
    with evaluating(made):
        assert not made(INPUTS[:3, None], made.initial_state(1))[0].requires_grad


@pytest.fixture
def machine(monkeypatch):
    """Pretend that torch finds these accelerators, and no others."""

    def pretend(*, cuda=False, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(False, False, "cpu"), (True, False, "cuda"), (False, True, "mps"), (True, True, "cuda")],
)
def test_auto_takes_the_fastest_present(machine, cuda, mps, chosen):
    """CUDA before MPS before the CPU."""
    machine(cuda=cuda, mps=mps)
    assert choose_device("auto") == torch.device(chosen)


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_absent_device_is_an_error_with_a_remedy(machine, name):
    """An explicit device never falls back silently."""
    machine()
    with pytest.raises(UsageError, match=rf"--device {name} is not available.*--device auto"):
        choose_device(name)
    assert UsageError.exit_code == 2


@pytest.mark.parametrize("name", ["cpu", "cuda", "mps"])
def test_present_device_is_taken(machine, name):
    """What is named and there is used, even beside a faster one."""
    machine(cuda=True, mps=True)
    assert choose_device(name) == torch.device(name)


@pytest.mark.parametrize("name", ["gpu", "", "CPU", "cuda:0"])
def test_unknown_name_is_a_usage_error(name):
    """The message lists the names there are."""
    with pytest.raises(UsageError, match="choose one of auto, cpu, cuda, mps"):
        choose_device(name)
