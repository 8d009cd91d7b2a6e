"""LSTM windows differentiated day by day: the same gradients, in reused buffers."""

import pytest
import torch

from forecaster.bptt import Batch
from forecaster.bptt.plan import Plan
from forecaster.models.heads import PointForm
from forecaster.models.network import Architecture, build_network
from forecaster.training import micro_batches
from forecaster.training.lstm_windows import BufferPool, lstm_window_gradients, single_lstm
from forecaster.training.micro_batches import (
    Learner,
    TrainingArrays,
    window_batch_gradients,
    windows_at_once,
    workers_of,
)
from tests.bptt.verification import window_gradients_of

ROWS, LOOKBACK, WINDOWS, INPUTS, HIDDEN, TARGETS = 300, 12, 13, 7, 9, 2


def make_network(*, learned_start=False, has_base=False, dropout=0.0, dtype=torch.float64):
    torch.manual_seed(0)
    network = build_network(
        Architecture(
            model="lstm",
            inputs=INPUTS,
            forms=(PointForm(),) * TARGETS,
            hidden=HIDDEN,
            layers=1,
            dropout=dropout,
            learned_start=learned_start,
            has_base=has_base,
        )
    ).to(dtype)
    for parameter in (*network.start, network.head.linear.weight):
        torch.nn.init.normal_(parameter)
    return network


def make_data(columns=INPUTS, windows=WINDOWS, dtype=torch.float64):
    """Inputs of all rows, the windows' rows, their last outcomes, three in ten unknown."""
    torch.manual_seed(1)
    x = torch.randn(ROWS, columns, dtype=dtype)
    y = torch.randn(ROWS, TARGETS, dtype=dtype)
    ends = torch.randperm(ROWS - LOOKBACK)[:windows] + LOOKBACK
    rows = ends + torch.arange(1 - LOOKBACK, 1)[:, None]
    known = torch.rand(ROWS, TARGETS) > 0.3
    y[~known] = float("nan")
    return x, y, known, rows


def by_days(network, data, horizon=LOOKBACK, noise=None, pool=None):
    x, y, known, rows = data
    last = rows[-1:]
    noise = None if noise is None else noise[None]
    batch = Batch((x[last], noise), y[last], known[last], count=3.0)
    return lstm_window_gradients(network, x, rows, batch, horizon, pool or BufferPool())


def in_one_graph(network, data, plan, noise=None):
    x, y, known, rows = data
    last = rows[-1]
    return window_gradients_of(network, x[rows], y[last], known[last], plan, 3.0, noise)


def assert_equal_within_rounding(found, wanted):
    torch.testing.assert_close(found.loss, wanted.loss, rtol=1e-13, atol=1e-13)
    for mine, its in zip(found.values, wanted.values, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-11, atol=1e-13)
    for mine, its in zip(found.state.tensors, wanted.state.tensors, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("horizon", [1, 5, LOOKBACK - 1, LOOKBACK])
@pytest.mark.parametrize("learned_start", [False, True])
@pytest.mark.parametrize("has_base", [False, True])
def test_gradients_equal_autograds(horizon, learned_start, has_base):
    network = make_network(learned_start=learned_start, has_base=has_base)
    data = make_data(INPUTS + TARGETS * has_base)
    plan = Plan.full() if horizon == LOOKBACK else Plan.truncated(k2=horizon)
    assert_equal_within_rounding(by_days(network, data, horizon), in_one_graph(network, data, plan))


def test_noise_takes_the_place_of_dropout():
    network, data = make_network(dropout=0.5), make_data()
    noise = torch.rand(WINDOWS, HIDDEN, dtype=torch.float64)
    wanted = in_one_graph(network, data, Plan.full(), noise)
    assert_equal_within_rounding(by_days(network, data, noise=noise), wanted)


def test_used_buffers_give_the_same_bits():
    network, data, pool = make_network(), make_data(), BufferPool()
    fresh = by_days(network, data, pool=pool)
    x, y, known, rows = make_data()
    by_days(network, (x * 3.0, y, known, rows.flip(1)), horizon=3, pool=pool)
    again = by_days(network, data, pool=pool)
    for first, second in zip(fresh.values, again.values, strict=True):
        assert torch.equal(first, second)


def test_nothing_scored_is_no_gradient():
    x, y, known, rows = make_data()
    found = by_days(make_network(), (x, y, torch.zeros_like(known), rows))
    assert not any(gradient.any() for gradient in found.values)
    assert not found.loss


def in_micro_batches(network, workers):
    """The gradients of one step's 96 windows."""
    x, y, known, rows = make_data(windows=96, dtype=torch.float32)
    arrays = TrainingArrays(inputs=x, y=y, scored=known, counted=known.numpy())
    learner = Learner(network=network, arrays=arrays, plan=Plan.full(), workers=workers)
    return window_batch_gradients(learner, rows, 9.0).values


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_step_by_days_is_the_same_for_any_number_of_workers(monkeypatch, dropout):
    monkeypatch.setattr(micro_batches, "WORTH_GOING_BY_DAYS", 1)
    network = make_network(dropout=dropout, dtype=torch.float32)
    made = []
    for workers in (1, 2, 3):
        with workers_of(workers) as shared:
            made.append(in_micro_batches(network, shared))
    for other in made[1:]:
        assert all(torch.equal(a, b) for a, b in zip(made[0], other, strict=True))
    monkeypatch.setattr(micro_batches, "WORTH_GOING_BY_DAYS", 10**9)
    with workers_of(1) as alone:
        wanted = in_micro_batches(network, alone)
    for mine, its in zip(made[0], wanted, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("how", "is_one"),
    [
        ({}, True),
        ({"has_base": True}, True),
        ({"layers": 2}, False),
        ({"bidirectional": True}, False),
        ({"input_dropout": 0.1}, False),
    ],
)
def test_only_one_plain_layer_goes_by_days(how, is_one):
    sizes = {"inputs": INPUTS, "forms": (PointForm(),), "hidden": 9} | how
    assert (single_lstm(build_network(Architecture(model="lstm", **sizes))) is not None) == is_one
    assert single_lstm(build_network(Architecture(model="gru", **sizes))) is None


def test_buffers_stay_within_their_bound_however_long_the_windows():
    network = build_network(
        Architecture(
            model="lstm", inputs=26, forms=(PointForm(),), hidden=64, layers=1, dropout=0.0
        )
    )
    for lookback in (60, 250, 500, 2520):
        windows = windows_at_once(network, lookback, 1024)
        assert windows * lookback * 10 * 64 <= micro_batches.BUFFERED_AT_ONCE or windows <= 32
