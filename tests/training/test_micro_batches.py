"""Micro-batches change how long an optimizer step takes and nothing else."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from forecaster.bptt.plan import Plan
from forecaster.data.sequence_packing import WindowBatches
from forecaster.models.base import RecurrentState
from forecaster.models.heads import PointForm
from forecaster.models.network import Architecture, build_network
from forecaster.training import micro_batches
from forecaster.training.epoch import Sampling
from forecaster.training.micro_batches import (
    Chunking,
    Learner,
    TrainingArrays,
    block_gradients,
    window_batch_gradients,
    windows_at_once,
    workers_of,
)
from forecaster.training.trainer import Callbacks, Options, train
from tests.bptt.verification import gradients_of

ROWS, LOOKBACK, WINDOWS = 200, 7, 96
FULL, TRUNCATED = Plan.full(), Plan.truncated(k2=3)


def make_network(model="lstm", *, dropout=0.0, layers=1, hidden=5, bidirectional=False):
    torch.manual_seed(0)
    return build_network(
        Architecture(
            model=model,
            inputs=3,
            forms=(PointForm(),) * 2,
            hidden=hidden,
            layers=layers,
            dropout=dropout,
            bidirectional=bidirectional,
        )
    )


def make_arrays(dtype=np.float32):
    """Random days; one outcome in seven is not known."""
    draw = np.random.default_rng(1)
    y = draw.normal(size=(ROWS, 2)).astype(dtype)
    y[::7, 0] = np.nan
    inputs = draw.normal(size=(ROWS, 3)).astype(dtype)
    return TrainingArrays.on(torch.device("cpu"), inputs, y, np.isfinite(y))


def gradients(network, monkeypatch, *, at_once, workers=1, plan=FULL, dtype=np.float32):
    """The gradients of one step, `at_once` windows in a micro-batch, dropout from seed 5."""
    monkeypatch.setattr(micro_batches, "windows_at_once", lambda *given: at_once)
    data = make_arrays(dtype)
    ends = np.random.default_rng(2).permutation(np.arange(LOOKBACK, ROWS))[:WINDOWS]
    rows = torch.from_numpy(ends + np.arange(1 - LOOKBACK, 1)[:, None])
    torch.manual_seed(5)
    with workers_of(workers) as pool:
        learner = Learner(network=network, arrays=data, plan=plan, workers=pool)
        found = window_batch_gradients(learner, rows, float(WINDOWS))
    return (found.loss, *found.values)


def same_bits(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("model", ["elman", "gru", "lstm"])
@pytest.mark.parametrize("plan", [FULL, TRUNCATED])
@pytest.mark.parametrize(("dropout", "layers"), [(0.0, 1), (0.3, 1), (0.3, 2)])
def test_the_number_of_workers_changes_no_bit(monkeypatch, model, plan, dropout, layers):
    """With dropout before the head and between layers; 24 micro-batches leave room for races."""
    network = make_network(model, dropout=dropout, layers=layers)
    alone = gradients(network, monkeypatch, at_once=4, plan=plan)
    for workers in (2, 3):
        assert same_bits(
            alone, gradients(network, monkeypatch, at_once=4, workers=workers, plan=plan)
        )


@pytest.mark.parametrize("hidden", [5, 16, 64])
@pytest.mark.parametrize("plan", [FULL, TRUNCATED])
def test_an_lstm_in_one_micro_batch_has_the_same_bits_on_torchs_threads(monkeypatch, hidden, plan):
    """Its workers become threads inside the kernel; those of the caller stay as they were."""
    network, before = make_network(hidden=hidden), torch.get_num_threads()
    seen: list[int] = []
    differentiate = micro_batches._differentiate

    def watched(*args):
        seen.append(torch.get_num_threads())
        return differentiate(*args)

    monkeypatch.setattr(micro_batches, "_differentiate", watched)
    found = [
        gradients(network, monkeypatch, at_once=WINDOWS, workers=workers, plan=plan)
        for workers in (1, 2, 3)
    ]
    assert same_bits(found[0], found[1]) and same_bits(found[0], found[2])
    assert seen == [before, max(before, 2), max(before, 3)]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("model", ["elman", "gru", "lstm"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_size_of_a_micro_batch_changes_rounding_alone(
    monkeypatch, model, dropout, bidirectional
):
    """One window at a time, an uneven number, all at once: 1e-12 apart, the same dropout."""
    network = make_network(model, dropout=dropout, bidirectional=bidirectional).double()
    whole = gradients(network, monkeypatch, at_once=WINDOWS, dtype=np.float64)
    for at_once in (1, 7, 64):
        tiled = gradients(network, monkeypatch, at_once=at_once, workers=2, dtype=np.float64)
        for found, wanted in zip(tiled, whole, strict=True):
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_dropout_of_windows_drops_the_share_asked_for(monkeypatch):
    """Noise drawn for all windows differs from none, and from seed to seed."""
    network = make_network(dropout=0.5, hidden=64)
    torch.manual_seed(0)
    noise = micro_batches._noise(network, torch.zeros(1), 1, 1000)
    assert set(noise.unique().tolist()) == {0.0, 2.0}
    assert float(noise.mean()) == pytest.approx(1.0, abs=0.02)
    again = micro_batches._noise(network, torch.zeros(1), 1, 1000)
    assert not torch.equal(noise, again)


def test_the_same_seed_gives_the_same_weights_whatever_the_workers(monkeypatch):
    """Ten steps of a training, bit for bit; threads of the caller stay as they were."""
    monkeypatch.setattr(micro_batches, "windows_at_once", lambda *given: 8)
    threads, ends, runs = torch.get_num_threads(), np.arange(LOOKBACK, ROWS), []
    options = Options(
        plan=FULL,
        sampling=Sampling(last_day_only=True),
        max_steps=10,
        learning_rate=0.01,
        weight_decay=1e-3,
        clip_grad=1.0,
        evaluate_every=5,
        patience=9,
    )
    for workers in (1, 2, 2):
        network = make_network(dropout=0.2)
        generator = np.random.default_rng(0)
        train(
            network,
            make_arrays(),
            lambda number, draw=generator: WindowBatches.drawn(ends, LOOKBACK, 64, draw),
            replace(options, workers=workers),
            Callbacks(validate=lambda made: next(made.parameters()).square().sum().item()),
        )
        runs.append(copy.deepcopy(tuple(network.parameters())))
    assert same_bits(runs[0], runs[1]) and same_bits(runs[1], runs[2])
    assert torch.get_num_threads() == threads


def test_an_error_in_a_worker_is_the_callers(monkeypatch):
    """Not swallowed, not hung."""
    network = make_network()

    def broken(*args):
        raise ValueError("this part")

    monkeypatch.setattr(micro_batches, "_differentiate", broken)
    with pytest.raises(ValueError, match="this part"):
        gradients(network, monkeypatch, at_once=4, workers=2)


@pytest.mark.parametrize("model", ["elman", "gru", "lstm"])
@pytest.mark.parametrize("windows", [1, 64, 4096])
def test_a_micro_batch_holds_at_most_the_windows_there_are(model, windows):
    """At least one window, at most all."""
    assert 1 <= windows_at_once(make_network(model), LOOKBACK, windows) <= windows


FLAT, DAYS, WIDTH, INPUTS, TARGETS = 400, 12, 7, 3, 2
OVERLAPPING = Plan.truncated(k2=8, k1=4)


def shared_network(model="lstm", *, dropout=0.0, learned_start=False, layers=1):
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
    x = torch.randn(FLAT, INPUTS, dtype=torch.float64, generator=draw)
    y = torch.randn(FLAT, TARGETS, dtype=torch.float64, generator=draw)
    rows = torch.randint(0, FLAT, (DAYS, WIDTH), generator=draw)
    scored = torch.rand(DAYS, WIDTH, TARGETS, generator=draw) > 0.2
    resets = torch.zeros(DAYS, WIDTH, dtype=torch.bool)
    resets[::4] = torch.rand(DAYS // 4, WIDTH, generator=draw) > 0.5
    return x, y, scored, rows, resets


def chunking_of(plan, resets):
    """Chunks of 4 days, or for full BPTT one, in which no series begins."""
    if plan.k2 is not None:
        return Chunking(lengths=(4, 4, 4), resets=resets)
    first = torch.zeros_like(resets)
    first[0] = resets[0]
    return Chunking(lengths=(DAYS,), resets=first)


def state_of(network):
    draw, state = torch.Generator().manual_seed(2), network.initial_state(WIDTH)
    return RecurrentState(
        tuple(torch.randn(t.shape, dtype=t.dtype, generator=draw) for t in state.tensors)
    )


def shared(network, plan, workers):
    x, y, scored, rows, resets = make_block()
    chunking = chunking_of(plan, resets)
    torch.manual_seed(5)
    with workers_of(workers) as pool:
        known = torch.ones_like(y, dtype=torch.bool)
        arrays = TrainingArrays(inputs=x, y=y, scored=known, counted=known.numpy())
        learner = Learner(network=network, arrays=arrays, plan=plan, workers=pool)
        return block_gradients(learner, rows, scored, state_of(network), 9.0, chunking)


@pytest.fixture
def always_shared(monkeypatch):
    for name in ("WORTH_SHARING", "WORTH_SHARING_IN_ONE_KERNEL"):
        monkeypatch.setattr(micro_batches, name, 1)


@pytest.mark.parametrize("model", ["elman", "gru", "lstm"])
@pytest.mark.parametrize("plan", [FULL, OVERLAPPING])
@pytest.mark.parametrize("learned_start", [False, True])
@pytest.mark.usefixtures("always_shared")
def test_halves_add_up_to_the_block(model, plan, learned_start):
    """An odd number of batch rows, series that begin inside: gradients and every state."""
    network = shared_network(model, learned_start=learned_start)
    x, y, scored, rows, resets = make_block()
    resets = chunking_of(plan, resets).resets
    block = (x[rows], y[rows], scored, state_of(network), plan, 9.0)
    wanted = gradients_of(network, *block, resets=resets)
    found = shared(network, plan, workers=2)
    torch.testing.assert_close(found.loss, wanted.loss, rtol=1e-13, atol=1e-13)
    for mine, its in zip(found.values, wanted.values, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-11, atol=1e-13)
    assert len(found.states) == len(wanted.states)
    for mine, its in zip(found.states, wanted.states, strict=True):
        for tensor, other in zip(mine.tensors, its.tensors, strict=True):
            torch.testing.assert_close(tensor, other, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("plan", [FULL, OVERLAPPING])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.usefixtures("always_shared")
def test_any_number_of_workers_gives_a_block_the_same_bits(plan, dropout):
    network = shared_network(dropout=dropout)
    alone, two, three = (shared(network, plan, workers) for workers in (1, 2, 3))
    for other in (two, three):
        assert all(torch.equal(a, b) for a, b in zip(alone.values, other.values, strict=True))
        assert torch.equal(alone.loss, other.loss)


@pytest.mark.usefixtures("always_shared")
def test_dropout_drawn_ahead_falls_on_every_day_and_row():
    """Not on one half alone, nor twice: as drawn for the complete block."""
    network = shared_network(dropout=0.5)
    x, y, scored, rows, resets = make_block()
    torch.manual_seed(5)
    noise = micro_batches._noise(network, x, DAYS, WIDTH)
    assert noise.shape == (DAYS, WIDTH, 5)
    assert set(np.unique(noise.numpy())) == {0.0, 2.0}
    block = (x[rows], y[rows], scored, state_of(network), OVERLAPPING, 9.0)
    wanted = gradients_of(network, *block, noise=noise, resets=resets)
    found = shared(network, OVERLAPPING, workers=2)
    for mine, its in zip(found.values, wanted.values, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("how", "plan"),
    [
        ({"layers": 2, "dropout": 0.3}, OVERLAPPING),
        ({}, Plan.full(memory="recompute")),
        ({}, Plan.truncated(k2=8, k1=4, memory="recompute")),
    ],
)
@pytest.mark.usefixtures("always_shared")
def test_what_draws_or_replays_in_order_stays_in_one_thread(monkeypatch, how, plan):
    """Two threads at torch's one generator would draw as they come."""
    calls = []
    whole = micro_batches._differentiate
    monkeypatch.setattr(
        micro_batches,
        "_differentiate",
        lambda *given: calls.append(given[1].x[0].shape) or whole(*given),
    )
    shared(shared_network(**how), plan, workers=2)
    assert calls == [(DAYS, WIDTH, INPUTS)]
