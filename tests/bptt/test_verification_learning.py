"""Training and counting: T11, T16, T17, T19 of docs/gradient-verification.md."""

import copy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.bptt.plan import Plan
from forecaster.data.sequence_packing import WindowBatches, window_ends
from forecaster.forecasting import fitting
from forecaster.models.heads import PointForm
from forecaster.models.network import Architecture, Network, build_network
from forecaster.pipeline import train as pipeline
from forecaster.settings import TrainSettings
from forecaster.training.inference import forecast_histories
from tests.bptt.test_engine import elman_weights, equal, make_network, relative_error
from tests.bptt.textbook import elman_gradients
from tests.bptt.verification import (
    CountingCore,
    Readout,
    Watched,
    arrays_of,
    epochs_of,
    fit,
    held_still,
    lagged,
    offsets_of,
    relative_mse,
    watched_fit,
    within,
)
from tests.synthetic import ragged_bars


@st.composite
def epochs(draw):
    """Series, gaps, batch rows and plans of all kinds: T mod k, k1 < k2, jitter, one day."""
    k1, blocks = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    return {
        "lengths": draw(st.lists(st.integers(1, 40), min_size=1, max_size=8)),
        "k1": k1,
        "k2": draw(st.sampled_from([None, k1 * blocks])),
        "phase": draw(st.integers(1, k1)),
        "rows": draw(st.integers(1, 5)),
        "step_per": draw(st.sampled_from(["chunk", "epoch"])),
        "memory": draw(st.sampled_from(["store", "recompute", "auto"])),
        "known": draw(st.sampled_from([0.3, 0.9, 1.0])),
        "seed": draw(st.integers(0, 99)),
    }


@settings(max_examples=200, deadline=None, derandomize=True)
@given(epochs())
def test_each_scored_day_counts_exactly_once_in_an_epoch(case):
    """T17: 200 random passes; every known (series, day) once with weight 1/N, all else never.

    The network has one weight per outcome, whose gradient is how often that one was scored.
    """
    lengths, rows = case["lengths"], sum(case["lengths"])
    y = np.full((rows, 2), -0.5)
    y[np.random.default_rng(case["seed"]).random((rows, 2)) > case["known"]] = np.nan
    scored = np.isfinite(y)
    if not scored.any():
        return
    options = {"step_per": case["step_per"], "memory": case["memory"]}
    if case["k2"] is None:
        plan, chunk, phase = Plan.full(**options), max(lengths), max(lengths)
    else:
        plan = Plan.truncated(k2=case["k2"], k1=case["k1"], **options)
        chunk, phase = case["k1"], case["phase"]
    drawn = epochs_of(lengths, case["rows"], chunk, phase=phase, seed=case["seed"])
    one_epoch = drawn(1)
    steps = 1 if plan.step_per == "epoch" else len(one_epoch)
    made = Network(CountingCore(rows, 2), Readout())
    data = arrays_of(np.arange(rows, dtype=np.float64)[:, None], y)
    seen = held_still(made, data, lambda number: one_epoch, plan, steps)
    # The nominal count never falls below one outcome per step.
    counted = torch.stack([table for (table,) in seen]).sum(dim=0) * max(scored.sum() / steps, 1)
    np.testing.assert_allclose(counted.numpy(), scored.astype(float), atol=1e-12)


@pytest.mark.parametrize("batch", [1, 3, 7, 64])
def test_each_window_counts_exactly_once_in_an_epoch(batch):
    """T17: with windows only their last days are scored, once each, in any batches."""
    offsets, lookback = offsets_of([20, 5, 12, 3]), 4
    y = np.full((40, 1), -0.5)
    y[::5] = np.nan
    scored = np.zeros((40, 1), dtype=np.bool_)
    ends = window_ends(offsets, lookback, np.isfinite(y[:, 0]))
    scored[ends] = True
    made = Network(CountingCore(40, 1), Readout())
    data = arrays_of(np.arange(40.0)[:, None], y, scored)
    drawn = WindowBatches.drawn(ends, lookback, batch, np.random.default_rng(0))
    seen = held_still(made, data, lambda number: drawn, Plan.full(), len(drawn), last_day_only=True)
    counted = torch.stack([table for (table,) in seen]).mean(dim=0) * len(ends)
    np.testing.assert_allclose(counted.numpy(), scored.astype(float), atol=1e-12)


@pytest.mark.parametrize("plan", [Plan.full(), Plan.truncated(k2=4, k1=2)])
@pytest.mark.parametrize("step_per", ["chunk", "epoch"])
def test_each_day_of_each_window_after_the_burn_in_counts_once(plan, step_per):
    """T17: windows scored on each day: a day counts once for every window that holds it."""
    offsets, lookback, burn_in = offsets_of([20, 5, 12, 3]), 5, 2
    y = np.full((40, 1), -0.5)
    y[::5] = np.nan
    ends = window_ends(offsets, lookback, np.ones(40, dtype=np.bool_))
    expected = np.zeros((40, 1))
    for end in ends:
        expected[end - lookback + 1 + burn_in : end + 1] += 1
    expected[::5] = 0
    made, plan = Network(CountingCore(40, 1), Readout()), replace(plan, step_per=step_per)
    drawn = WindowBatches.drawn(ends, lookback, 7, np.random.default_rng(0))
    steps = 1 if step_per == "epoch" else len(drawn)
    data = arrays_of(np.arange(40.0)[:, None], y)
    seen = held_still(made, data, lambda number: drawn, plan, steps, burn_in=burn_in)
    counted = torch.stack([table for (table,) in seen]).mean(dim=0) * expected.sum()
    np.testing.assert_allclose(counted.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(("k2", "k1"), [(8, 8), (8, 4), (12, 4), (6, 1), (None, 50)])
def test_one_step_per_epoch_is_the_truncated_gradient_however_grouped(k2, k1):
    """T17: one step per epoch, in 1, 2 and 4 batch rows, is numpy's sum over the series."""
    lengths = (50, 33, 21, 9)
    offsets, made = offsets_of(lengths), make_network("elman", layers=1)
    generator = np.random.default_rng(4)
    inputs, y = (generator.standard_normal((sum(lengths), width)) for width in (3, 2))
    scored = generator.random(y.shape) < 0.8
    total = None
    for begin, stop in pairwise(offsets):
        block = (part[begin:stop, None] for part in (inputs, y, scored))
        _, found = elman_gradients(
            elman_weights(made), *block, np.zeros((1, 4)), scored.sum(), k2 or 50, k1
        )
        total = found if total is None else [a + b for a, b in zip(total, found, strict=True)]
    w_s, w_x, b, w_y, b_y = (torch.from_numpy(part) for part in total)
    if k2 is None:
        plan = Plan.full(step_per="epoch")
    else:
        plan = Plan.truncated(k2=k2, k1=k1, step_per="epoch")
    for batch_rows in (1, 2, 4):
        drawn = epochs_of(lengths, batch_rows, k1, phase=k1)
        (found,) = held_still(made, arrays_of(inputs, y, scored), drawn, plan, 1)
        within(relative_error(found, [w_x, w_s, b, b, w_y, b_y]), 1e-11)


def made_to_learn():
    """Random days of four unequal series, float32, and an LSTM to learn them by heart."""
    generator = np.random.default_rng(5)
    inputs, y = (generator.standard_normal((113, width)).astype(np.float32) for width in (3, 2))
    return make_network("lstm", dtype=torch.float32, layers=1), arrays_of(inputs, y)


LENGTHS = (50, 33, 21, 9)
COMBINATIONS = [
    Plan(kind=kind, k2=k2, k1=k1, step_per=step_per, memory=memory)
    for kind, k2, k1 in (
        ("full", None, None),
        ("truncated", 1, None),
        ("truncated", 8, None),
        ("truncated", 8, 4),
        ("truncated", 12, 4),
        ("truncated", 500, None),
        ("truncated", 500, 250),
    )
    for step_per in ("chunk", "epoch")
    for memory in ("store", "recompute")
]


def chunk_of(plan):
    """The days of a batch, as the pipeline cuts them."""
    return min(plan.k1 or plan.k2 or max(LENGTHS), max(LENGTHS))


# Recomputed gradients are the stored ones but for rounding: the next test, of all plans.
@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(plan, marks=pytest.mark.slow if plan.memory == "recompute" else [])
        for plan in COMBINATIONS
    ],
    ids=lambda plan: f"{plan}"[9:-1],
)
def test_every_plan_trains(plan):
    """T19: whatever is accepted moves all weights and lowers the loss, beyond T days too."""
    made, data = made_to_learn()
    before = copy.deepcopy(list(made.parameters()))
    drawn = epochs_of(LENGTHS, 2, chunk_of(plan), phase=chunk_of(plan))
    per_epoch = 1 if plan.step_per == "epoch" else len(drawn(1))
    (first,) = fit(made, data, drawn, plan, per_epoch, learning_rate=0.0)
    assert equal(made.parameters(), before)
    fit(made, data, drawn, plan, 8, learning_rate=0.02)
    (last,) = fit(made, data, drawn, plan, per_epoch, learning_rate=0.0)
    assert not any(torch.equal(a, b) for a, b in zip(made.parameters(), before, strict=True))
    assert last.train_loss < first.train_loss


def test_every_option_of_a_plan_changes_the_training():
    """T19: other k1, k2 and step_per are other runs; memory changes rounding only."""
    seen = {}
    for plan in COMBINATIONS:
        made, data = made_to_learn()
        k1 = chunk_of(plan)
        drawn = epochs_of(LENGTHS, 2, k1, phase=k1)
        optimizer = watched_fit(made, data, drawn, plan, 3)
        seen[plan] = (optimizer.seen[-1], list(made.parameters()))
    for plan, (gradients, weights) in seen.items():
        if plan.memory == "store":
            # At equal reach the rest is rounding: full, and 500 of at most 50 days.
            others = [
                other
                for other in seen
                if other.memory == "store"
                and other != plan
                and not (whole(other) and whole(plan) and other.step_per == plan.step_per)
            ]
            assert not any(equal(weights, seen[other][1]) for other in others)
        else:
            stored = seen[replace(plan, memory="store")][0]
            assert relative_error(gradients, stored) < 1e-3


def whole(plan):
    """Whether errors reach through the longest series, in batches as long."""
    return plan.k2 is None or chunk_of(plan) == max(LENGTHS)


class Stop(Exception):
    """Raised where training would begin."""


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"bptt": "full"}, Plan.full()),
        ({"bptt_k2": 20}, Plan.truncated(k2=20)),
        ({"bptt_k2": 20, "bptt_k1": 10}, Plan.truncated(k2=20, k1=10)),
        ({"bptt": "full", "step_per": "epoch"}, Plan.full(step_per="epoch")),
        ({"bptt": "full", "bptt_memory": "recompute"}, Plan.full(memory="recompute")),
        ({"lookback": 30, "bptt_k2": 7}, Plan.truncated(k2=7)),
        ({"lookback": 30, "bptt": "full"}, Plan.full()),
    ],
)
def test_every_setting_reaches_the_training(monkeypatch, tmp_path, options, expected):
    """T19: what `train` is given is the plan that the loop is given."""
    given = []

    def stop(network, arrays, epochs, options, *rest):
        given.append(options.plan)
        raise Stop

    monkeypatch.setattr(fitting, "run_training", stop)
    with pytest.raises(Stop):
        pipeline.train(
            ragged_bars({"AAA": 300, "BBB": 260}),
            settings=TrainSettings(hidden=4, threads=1, **options),
            home=tmp_path,
        )
    assert given == [expected]


class HeadOnly(Watched):
    """Trains the head and leaves the recurrent weights as they were drawn."""

    def move(self, gradients, *rates):
        """Zero the recurrent weights' gradients; Adam then leaves them alone."""
        for gradient in gradients[:-2]:
            gradient.zero_()
        super().move(gradients, *rates)


COPY_LAG, HIDDEN, DAYS, SERIES, UPDATES = 8, 32, 160, 16, 1000


def copied(model, plan, optimizer=Watched):
    """Relative error on new days after 1,000 steps of learning to repeat day t - 8."""
    inputs, d = (part.astype(np.float32) / 0.3 for part in lagged(2 * SERIES, DAYS, COPY_LAG))
    half = SERIES * DAYS
    torch.manual_seed(0)
    made = build_network(
        Architecture(
            model=model, inputs=1, forms=(PointForm(),), hidden=HIDDEN, layers=1, dropout=0.0
        )
    )
    if model == "lstm":
        with torch.no_grad():  # a forget gate that starts open
            made.core.fused.bias_ih_l0[HIDDEN : 2 * HIDDEN] += 2.0
    data = arrays_of(inputs[:half], d[:half])
    drawn = epochs_of([DAYS] * SERIES, SERIES, plan.k2 or DAYS)
    watched_fit(made, data, drawn, plan, UPDATES, learning_rate=6e-3, clip=1.0, optimizer=optimizer)
    fresh = torch.from_numpy(inputs[half:])
    return relative_mse(forecast_histories(made, fresh, offsets_of([DAYS] * SERIES)), d[half:])


@pytest.mark.slow
@pytest.mark.parametrize("model", ["elman", "lstm"])
def test_a_lag_of_8_days_is_learned_by_errors_that_travel_to_it(model):
    """T11: full and k = 3 L learn it, k = L/2 no better than half as well as a frozen core."""
    error = {
        "full": copied(model, Plan.full()),
        "24": copied(model, Plan.truncated(k2=24)),
        "4": copied(model, Plan.truncated(k2=4)),
        "frozen": copied(model, Plan.full(), HeadOnly),
    }
    print("measured", {name: round(value, 4) for name, value in error.items()})
    assert error["full"] < 0.05
    assert error["24"] < 0.05
    assert error["4"] > 0.8
    assert error["4"] > 0.5 * error["frozen"]
