"""The gradient engine under other heads, with a base, and with dropout on the inputs."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from forecaster.bptt.lags import lag_gradients
from forecaster.bptt.plan import Plan
from forecaster.models.heads import form_of
from forecaster.models.network import Architecture, build_network
from forecaster.training import micro_batches
from forecaster.training.micro_batches import (
    Learner,
    TrainingArrays,
    window_batch_gradients,
    workers_of,
)
from tests.bptt.verification import gradients_of, path_of

DAYS, ROWS, INPUTS = 24, 3, 4
FORMS = tuple(form_of(name) for name in ("student-t", "point", "quantiles"))
RAW = sum(form.width for form in FORMS)


def make(model="lstm", *, has_base=True, input_dropout=0.0, dtype=torch.float64):
    torch.manual_seed(0)
    network = build_network(
        Architecture(
            model=model,
            inputs=INPUTS,
            hidden=5,
            dropout=0.2,
            input_dropout=input_dropout,
            forms=FORMS,
            has_base=has_base,
        )
    )
    nn.init.normal_(network.head.linear.weight, std=0.3)
    return network.to(dtype)


def block(dtype=torch.float64, days=DAYS):
    torch.manual_seed(1)
    x = torch.randn(days, ROWS, INPUTS + RAW, dtype=dtype)
    y = torch.randn(days, ROWS, 3, dtype=dtype)
    mask = torch.rand(days, ROWS, 3) < 0.8
    return x, torch.where(mask, y, torch.nan), mask


def test_full_bptt_is_autograd_through_the_whole_graph():
    """NaN outcomes masked, the base's columns in the loss and without a gradient of their own."""
    network = make().eval()
    x, y, mask = block()
    state = network.initial_state(ROWS)
    raw, _ = network(x, state)
    losses = network.head.loss(raw, torch.where(mask, y, 0.0))
    expected = torch.autograd.grad((losses * mask).sum() / 7.0, tuple(network.parameters()))
    found = gradients_of(network, x, y, mask, state, Plan.full(), 7.0)
    for one, other in zip(found.values, expected, strict=True):
        assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_recomputing_draws_the_same_inputs_again():
    network, plans = make(input_dropout=0.5).train(), ("store", "recompute")
    x, y, mask = block(days=120)
    found = []
    for memory in plans:
        torch.manual_seed(3)
        state = network.initial_state(ROWS)
        plan = Plan.full(memory=memory)
        found.append(gradients_of(network, x, y, mask, state, plan, 1.0))
    # In one graph the dropout is drawn in one call, in chunks in several: other masks.
    again = gradients_of(
        network, x, y, mask, network.initial_state(ROWS), Plan.full(memory="recompute"), 1.0
    )
    assert not torch.equal(found[1].loss, again.loss)
    torch.manual_seed(3)
    replayed = gradients_of(
        network, x, y, mask, network.initial_state(ROWS), Plan.full(memory="recompute"), 1.0
    )
    assert torch.equal(found[1].loss, replayed.loss)
    chunked = _by_hand_in_chunks(network, x, y, mask)
    for one, other in zip(replayed.values, chunked, strict=True):
        assert_close(one, other, rtol=1e-8, atol=1e-11)


def _by_hand_in_chunks(network, x, y, mask):
    """One graph over chunks of 40 days, the dropout drawn chunk by chunk from the same seed."""
    torch.manual_seed(3)
    state, losses = network.initial_state(ROWS), []
    for first in range(0, len(x), 40):
        days = slice(first, first + 40)
        raw, state = network(x[days], state)
        loss = network.head.loss(raw, torch.where(mask[days], y[days], 0.0))
        losses.append((loss * mask[days]).sum())
    return torch.autograd.grad(sum(losses), tuple(network.parameters()))


@pytest.mark.parametrize("input_dropout", [0.0, 0.5])
def test_any_number_of_workers_gives_the_same_bits(monkeypatch, input_dropout):
    """Threads that drew the inputs' dropout by themselves would take turns as they come."""
    monkeypatch.setattr(micro_batches, "windows_at_once", lambda *given: 4)
    network = make(input_dropout=input_dropout, dtype=torch.float32).train()
    draw = np.random.default_rng(0)
    x = torch.from_numpy(draw.normal(size=(300, INPUTS + RAW)).astype(np.float32))
    y = torch.from_numpy(draw.normal(size=(300, 3)).astype(np.float32))
    rows = torch.from_numpy(np.arange(20, 100) + np.arange(-19, 1)[:, None])
    found = []
    for workers in (1, 2, 2, 2):
        torch.manual_seed(5)
        with workers_of(workers) as pool:
            known = torch.ones_like(y, dtype=torch.bool)
            arrays = TrainingArrays(inputs=x, y=y, scored=known, counted=known.numpy())
            learner = Learner(network=network, arrays=arrays, plan=Plan.full(), workers=pool)
            made = window_batch_gradients(learner, rows, 80.0)
        found.append((made.loss, *made.values))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_memory_is_measured_with_the_base_in_the_forecast():
    """All lags of the last day's error together are its whole gradient; the base moves the error.

    Without the base the errors, and so the gradients, would be other ones.
    """
    network = make().eval()
    x, y, mask = block()
    path, last = path_of(network, x, y, mask), DAYS - 1
    found = lag_gradients(path, [last], last)
    raw, _ = network(x, network.initial_state(ROWS))
    losses = network.head.loss(raw[-1:], torch.where(mask[-1:], y[-1:], 0.0))
    gradients = torch.autograd.grad((losses * mask[-1:]).sum(), tuple(network.parameters()))
    norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
    assert float(found.partial[-1]) == pytest.approx(float(norm), rel=1e-9)
