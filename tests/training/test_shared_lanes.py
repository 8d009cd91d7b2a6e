"""Sharing out the rows of a block scored each day: the same gradients, states and bits."""

import numpy as np
import pytest
import torch

from forecaster.bptt.chunks import Grid
from forecaster.bptt.gradients import bptt_gradients
from forecaster.bptt.plan import BPTTPlan
from forecaster.models.base import RecurrentState
from forecaster.models.heads import PointForm
from forecaster.models.network import Architecture, build_network
from forecaster.training import micro_batches
from forecaster.training.micro_batches import shared_gradients, workers_of

ROWS, DAYS, LANES, INPUTS, TARGETS = 400, 12, 7, 3, 2
FULL, TRUNCATED = BPTTPlan.full(), BPTTPlan.truncated(k2=8, k1=4)


def make_network(model="lstm", *, dropout=0.0, learned_start=False, layers=1):
    torch.manual_seed(0)
    network = build_network(
        Architecture(
            model=model,
            inputs=INPUTS,
            forms=(PointForm(),) * TARGETS,
            hidden=5,
            layers=layers,
            dropout=dropout,
            learned_start=learned_start,
        )
    ).double()
    for start in network.start:
        torch.nn.init.normal_(start)
    return network


def make_block():
    """Flat inputs and outcomes, the block's rows, what is scored, and where series begin."""
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(ROWS, INPUTS, dtype=torch.float64, generator=draw)
    y = torch.randn(ROWS, TARGETS, dtype=torch.float64, generator=draw)
    rows = torch.randint(0, ROWS, (DAYS, LANES), generator=draw)
    scored = torch.rand(DAYS, LANES, TARGETS, generator=draw) > 0.2
    resets = torch.rand(DAYS // 4, LANES, generator=draw) > 0.5
    return x, y, scored, rows, Grid(lengths=(4, 4, 4), resets=resets)


def state_of(network):
    draw, state = torch.Generator().manual_seed(2), network.initial_state(LANES)
    return RecurrentState(
        tuple(torch.randn(t.shape, dtype=t.dtype, generator=draw) for t in state.tensors)
    )


def shared(network, plan, workers):
    x, y, scored, rows, grid = make_block()
    grid = Grid(lengths=(DAYS,), resets=grid.resets[:1]) if plan.k2 is None else grid
    torch.manual_seed(5)
    with workers_of(workers) as pool:
        return shared_gradients(
            network, x, y, scored, rows, state_of(network), plan, 9.0, grid, pool
        )


@pytest.fixture
def always_shared(monkeypatch):
    for name in ("WORTH_SHARING", "WORTH_SHARING_IN_ONE_KERNEL"):
        monkeypatch.setattr(micro_batches, name, 1)


@pytest.mark.parametrize("model", ["elman", "gru", "lstm"])
@pytest.mark.parametrize("plan", [FULL, TRUNCATED])
@pytest.mark.parametrize("learned_start", [False, True])
@pytest.mark.usefixtures("always_shared")
def test_halves_add_up_to_the_block(model, plan, learned_start):
    """An odd number of lanes, series that begin inside: gradients and every state."""
    network = make_network(model, learned_start=learned_start)
    x, y, scored, rows, grid = make_block()
    grid = Grid(lengths=(DAYS,), resets=grid.resets[:1]) if plan.k2 is None else grid
    wanted = bptt_gradients(network, x[rows], y[rows], scored, state_of(network), plan, 9.0, grid)
    found = shared(network, plan, workers=2)
    torch.testing.assert_close(found.loss_sum, wanted.loss_sum, rtol=1e-13, atol=1e-13)
    for mine, its in zip(found.gradients, wanted.gradients, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-11, atol=1e-13)
    assert len(found.states) == len(wanted.states)
    for mine, its in zip(found.states, wanted.states, strict=True):
        for tensor, other in zip(mine.tensors, its.tensors, strict=True):
            torch.testing.assert_close(tensor, other, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("plan", [FULL, TRUNCATED])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.usefixtures("always_shared")
def test_any_number_of_workers_gives_the_same_bits(plan, dropout):
    network = make_network(dropout=dropout)
    alone, two, three = (shared(network, plan, workers) for workers in (1, 2, 3))
    for other in (two, three):
        assert all(torch.equal(a, b) for a, b in zip(alone.gradients, other.gradients, strict=True))
        assert torch.equal(alone.loss_sum, other.loss_sum)


@pytest.mark.usefixtures("always_shared")
def test_dropout_drawn_ahead_falls_on_every_day_and_lane():
    """Not on one half alone, nor twice: what is drawn is what the whole block is given."""
    network = make_network(dropout=0.5)
    x, y, scored, rows, grid = make_block()
    torch.manual_seed(5)
    noise = micro_batches._noise(network, x, DAYS, LANES)
    assert noise.shape == (DAYS, LANES, 5)
    assert set(np.unique(noise.numpy())) == {0.0, 2.0}
    wanted = bptt_gradients(
        network, x[rows], y[rows], scored, state_of(network), TRUNCATED, 9.0, grid, noise
    )
    found = shared(network, TRUNCATED, workers=2)
    for mine, its in zip(found.gradients, wanted.gradients, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("how", "plan"),
    [
        ({"layers": 2, "dropout": 0.3}, TRUNCATED),
        ({}, BPTTPlan.full(memory="recompute")),
        ({}, BPTTPlan.truncated(k2=8, k1=4, memory="recompute")),
    ],
)
@pytest.mark.usefixtures("always_shared")
def test_what_draws_or_replays_in_order_stays_in_one_thread(monkeypatch, how, plan):
    """Two threads at torch's one generator would draw as they come."""
    calls = []
    whole = micro_batches.bptt_gradients
    monkeypatch.setattr(
        micro_batches,
        "bptt_gradients",
        lambda *given: calls.append(given[1].shape) or whole(*given),
    )
    shared(make_network(**how), plan, workers=2)
    assert calls == [(DAYS, LANES, INPUTS)]
