"""Algebra: T1, T1b, T3, T4, T6, T8, T13, T14 of docs/gradient-verification.md."""

from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from forecaster.bptt import engine
from forecaster.bptt.plan import Plan
from forecaster.models.base import RecurrentCore, RecurrentState
from forecaster.models.network import CORES, Network
from forecaster.training import epoch as epoch_module
from forecaster.training import inference
from forecaster.training.inference import forecast_histories
from forecaster.training.micro_batches import block_gradients
from tests.bptt import rtrl, textbook
from tests.bptt.test_engine import (
    COUNT,
    DAYS,
    FULL,
    ROWS,
    elman_weights,
    equal,
    make_days,
    make_network,
    relative_error,
)
from tests.bptt.textbook import elman_contributions, elman_deltas, kept_pairs
from tests.bptt.verification import (
    arrays_of,
    epochs_of,
    gradients_of,
    held_still,
    offsets_of,
    watched_fit,
    within,
)


@pytest.mark.parametrize("day", range(6))
def test_one_days_error_is_the_sum_of_its_days_contributions(day):
    """T1: for t = 1..6, sum of the t terms of dE_t/dW_s and dE_t/dW_x, and dE_t/dW_y."""
    network = make_network("elman", layers=1)
    x, y, mask, state = make_days(network, 6)
    mask[:], mask[day, 0] = False, True
    weights, s0 = elman_weights(network), state.tensors[0][0, 0].numpy()
    arrays = [tensor[:, 0].numpy() for tensor in (x, y, mask)]
    deltas = elman_deltas(weights, *arrays, s0, 1.0)[day, : day + 1]
    to_w_s, to_w_x = elman_contributions(weights, arrays[0], s0, deltas)
    assert len(to_w_s) == day + 1
    result = gradients_of(network, x, y, mask, state, FULL, 1.0)
    found = dict(zip([name for name, _ in network.named_parameters()], result.values, strict=True))
    _, last = network(x[: day + 1], state)
    prediction = network.head(last.tensors[0][-1, 0])
    on_w_y = torch.outer(2 * (prediction - y[day, 0]), last.tensors[0][-1, 0]).detach()
    for name, expected in (
        ("core.fused.weight_hh_l0", torch.from_numpy(sum(to_w_s))),
        ("core.fused.weight_ih_l0", torch.from_numpy(sum(to_w_x))),
        ("head.linear.weight", on_w_y),
    ):
        within(relative_error([found[name]], [expected]), 1e-13)


class StateProbedCore(RecurrentCore):
    """Adds a trainable zero to the state after each day: its gradient is dL/ds, day by day."""

    def __init__(self, core, days):
        super().__init__()
        self.core = core
        self.hidden_size = core.hidden_size
        self.probe = nn.Parameter(torch.zeros(days, 1, ROWS, core.hidden_size).double())

    def forward(self, x, state):
        """Run one day at a time; the last feature is the day's number."""
        outputs = []
        for day in x:
            _, state = self.core(day[None, :, :-1], state)
            probe = self.probe[int(day[0, -1])]
            state = RecurrentState(tuple(tensor + probe for tensor in state.tensors))
            outputs.append(state.tensors[0][-1])
        return torch.stack(outputs), state

    def initial_state(self, rows):
        """Start as the core does."""
        return self.core.initial_state(rows)


@pytest.mark.parametrize(("k2", "k1"), [(None, None), (8, 8), (8, 4), (12, 4)])
@pytest.mark.parametrize("memory", ["store", "recompute"])
def test_each_state_collects_from_the_future(monkeypatch, k2, k1, memory):
    """T1b: dL/ds_i is the sum over later days t of dE_t/ds_i, those that the plan keeps."""
    monkeypatch.setattr(engine, "RECOMPUTED_CHUNK_DAYS", 7)
    network = make_network("elman", layers=1)
    x, y, mask, state = make_days(network)
    numbers = torch.arange(DAYS, dtype=x.dtype)[:, None, None].expand(-1, ROWS, 1)
    probed = Network(StateProbedCore(network.core, DAYS), network.head)
    plan = Plan(kind="truncated" if k2 else "full", k2=k2, k1=k1, memory=memory)
    result = gradients_of(probed, torch.cat([x, numbers], 2), y, mask, state, plan, COUNT)
    found = result.values[[name for name, _ in probed.named_parameters()].index("core.probe")]
    kept = kept_pairs(DAYS, k2, k1)[:, :, None]
    for row in range(ROWS):
        arrays = [tensor[:, row].numpy() for tensor in (x, y, mask)]
        s0 = state.tensors[0][0, row].numpy()
        deltas = elman_deltas(elman_weights(network), *arrays, s0, COUNT)
        expected = torch.from_numpy((deltas * kept).sum(axis=0))
        within(relative_error([found[:, 0, row]], [expected]), 1e-13)


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize("memory", ["store", "recompute"])
def test_forward_mode_gives_the_same_gradient(monkeypatch, model, memory):
    """T3: real-time recurrent learning, which never goes back in time, agrees."""
    monkeypatch.setattr(engine, "RECOMPUTED_CHUNK_DAYS", 7)
    days = 30
    network = make_network(model, layers=1)
    x, y, mask, state = make_days(network, days, lengths=(30, 22, 11, 1))
    weights = [weight.detach().numpy() for weight in network.parameters()]
    flat = np.concatenate([tensor[0].numpy() for tensor in state.tensors], axis=1)
    arrays = [tensor.numpy() for tensor in (x, y, mask)]
    expected = rtrl.gradients(model, weights, *arrays, flat, COUNT)
    plan = Plan.full(memory=memory)
    found = gradients_of(network, x, y, mask, state, plan, COUNT).values
    within(relative_error(found, [torch.from_numpy(part) for part in expected]), 1e-13)


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize(
    ("dtype", "memory"),
    [
        (np.float32, "store"),
        (np.float64, "recompute"),
        pytest.param(np.float32, "recompute", marks=pytest.mark.slow),
        pytest.param(np.float64, "store", marks=pytest.mark.slow),
    ],
)
def test_a_horizon_beyond_the_longest_series_is_full_bit_for_bit(model, dtype, memory):
    """T4: weights after each step of 5 epochs and Adam's own memory, k = T and k = 10 T."""
    lengths, longest = (50, 33, 21, 9), 50
    generator = np.random.default_rng(1)
    inputs = generator.standard_normal((sum(lengths), 3)).astype(dtype)
    y = generator.standard_normal((sum(lengths), 2)).astype(dtype)
    per_epoch = len(epochs_of(lengths, 2, longest, phase=longest)(1))
    runs = []
    for plan in (
        Plan.full(memory=memory),
        *(Plan.truncated(k2=k, memory=memory) for k in (longest, 10 * longest)),
        Plan.truncated(k2=longest - 1, memory=memory),
    ):
        made = make_network(model, dtype=getattr(torch, dtype.__name__), dropout=0.2)
        epochs = epochs_of(lengths, 2, longest, phase=longest)
        optimizer = watched_fit(made, arrays_of(inputs, y), epochs, plan, 5 * per_epoch)
        tensors = [*made.state_dict().values(), *optimizer.state().values()]
        runs.append((tensors, optimizer.seen))
    assert per_epoch > 1
    full, *alike, other = runs
    for same in alike:
        assert equal(same[0], full[0])
        assert all(equal(a, b) for a, b in zip(same[1], full[1], strict=True))
    assert not equal(other[0], full[0])


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize("k2", [8, 16])
def test_what_truncation_leaves_out_is_what_crosses_the_boundaries(model, k2):
    """T6: full - truncated = sum over boundaries of adjoint times ds_b/dtheta of its chunk."""
    network = make_network(model)
    x, y, mask, state = make_days(network)
    full, truncated = (
        gradients_of(network, x, y, mask, state, plan, COUNT).values
        for plan in (FULL, Plan.truncated(k2=k2))
    )
    missing = [torch.zeros_like(part) for part in full]
    parameters = tuple(network.parameters())
    for boundary in range(k2, DAYS, k2):
        with torch.no_grad():
            _, start = network(x[: boundary - k2], state) if boundary > k2 else (None, state)
        _, end = network(x[boundary - k2 : boundary], start)
        leaves = RecurrentState(tuple(t.detach().requires_grad_() for t in end.tensors))
        prediction, _ = network(x[boundary:], leaves)
        chosen = mask[boundary:]
        later = (prediction[chosen] - y[boundary:][chosen]).square().sum() / COUNT
        adjoint = torch.autograd.grad(later, leaves.tensors)
        across = torch.autograd.grad(end.tensors, parameters, adjoint, allow_unused=True)
        missing = [m if a is None else m + a for m, a in zip(missing, across, strict=True)]
    left_out = [a - b for a, b in zip(full, truncated, strict=True)]
    assert relative_error(left_out, full) > 1e-3
    found = max(float((a - b).abs().max()) for a, b in zip(left_out, missing, strict=True))
    within(found / max(float(part.abs().max()) for part in full), 1e-12)


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_chunks_forecast_what_one_call_forecasts(model, dtype, tolerance):
    """T8: the outputs of truncated BPTT's own forward runs, and the state after them."""
    network = make_network(model, dtype=dtype)
    x, y, mask, state = make_days(network)
    outputs = []
    hook = network.register_forward_hook(lambda *call: outputs.append(call[2][0].detach()))
    result = gradients_of(network, x, y, mask, state, Plan.truncated(k2=8), COUNT)
    hook.remove()
    assert [len(part) for part in outputs] == [8] * 6 + [2]
    expected, end = network(x, state)
    within(relative_error([torch.cat(outputs)], [expected]), tolerance)
    within(relative_error(result.state.tensors, end.tensors), tolerance)


def one_by_one(network, inputs, y, lengths, k2, k1):
    """Truncated BPTT of each series alone by plain autograd, and its states on the grid."""
    total, states = [torch.zeros_like(weight) for weight in network.parameters()], {}
    for begin, stop in pairwise(offsets_of(lengths).tolist()):
        x, d = inputs[begin:stop, None], y[begin:stop, None]
        for line in range(0, stop - begin, k1):
            with torch.no_grad():
                first = max(0, line + k1 - k2)
                start = network.initial_state(1)
                if first:
                    _, start = network(x[:first], start)
            prediction, end = network(x[first : line + k1], start)
            states[begin + line + k1] = end.detach()
            error = (prediction - d[first : line + k1])[line - first :]
            gradient = torch.autograd.grad(error.square().sum() / y.numel(), network.parameters())
            total = [a + b for a, b in zip(total, gradient, strict=True)]
    return total, states


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize("batch_rows", [5, 3, 1])
@pytest.mark.parametrize(("k2", "k1"), [(10, 10), (20, 10)])
def test_packed_chunked_and_carried_is_one_by_one(monkeypatch, model, batch_rows, k2, k1):
    """T13: series of 48, 31, 7, 20 and 1 days in batch rows: gradients, states and outputs."""
    lengths = (48, 31, 7, 20, 1)
    network = make_network(model)
    torch.manual_seed(7)
    inputs = torch.randn(sum(lengths), 3, dtype=torch.float64)
    y = torch.randn(sum(lengths), 2, dtype=torch.float64)
    expected, states = one_by_one(network, inputs, y, lengths, k2, k1)
    epochs, carried = epochs_of(lengths, batch_rows, k1, phase=k1), []

    def spy(made, *arguments):
        carried.append(block_gradients(made, *arguments))
        return carried[-1]

    monkeypatch.setattr(epoch_module, "block_gradients", spy)
    plan = Plan.truncated(k2=k2, k1=k1, step_per="epoch")
    (found,) = held_still(network, arrays_of(inputs.numpy(), y.numpy()), epochs, plan, 1)
    within(relative_error(found, expected), 1e-12)
    # The same seed packs the same batch rows again.
    again, compared = epochs_of(lengths, batch_rows, k1, phase=k1)(1), 0
    for block, batch in zip(carried, again, strict=True):
        for batch_row, last in enumerate(batch.rows[-1]):
            if last >= 0 and len(batch.rows) == k1:
                compared += 1
                ours = block.state.rows(torch.tensor([batch_row])).tensors
                within(relative_error(ours, states[int(last) + 1].tensors), 1e-12)
    assert compared >= 7
    monkeypatch.setattr(inference, "DAYS_AT_ONCE", 10)
    outputs = torch.from_numpy(forecast_histories(network, inputs, offsets_of(lengths)))
    alone = [
        network(inputs[a:b, None], network.initial_state(1))[0][:, 0]
        for a, b in pairwise(offsets_of(lengths).tolist())
    ]
    within(relative_error([outputs], [torch.cat(alone)]), 1e-12)


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize("plan", [FULL, *(Plan.truncated(k2=k, k1=8) for k in (8, 24))])
def test_the_next_epoch_starts_from_the_initial_state(model, plan):
    """T16: at weights that stay, a second epoch has the gradients of the first, bit for bit."""
    lengths, network = (50, 33, 21, 9), make_network(model)
    generator = np.random.default_rng(1)
    data = arrays_of(generator.standard_normal((113, 3)), generator.standard_normal((113, 2)))
    chunk = plan.k1 or max(lengths)
    one_epoch = epochs_of(lengths, 2, chunk, phase=min(chunk, 5) if plan.k1 else chunk)(1)
    seen = held_still(network, data, lambda number: one_epoch, plan, 2 * len(one_epoch))
    first, second = seen[: len(one_epoch)], seen[len(one_epoch) :]
    assert all(equal(a, b) for a, b in zip(first, second, strict=True))
    assert not equal(first[0], first[1])


class Scaled(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(context, value, factor):
        """Hand the value on."""
        context.factor = factor
        return value.clone()

    @staticmethod
    def backward(context, gradient):
        """Scale what comes back."""
        return gradient * context.factor, None


class RandomlyCut(RecurrentCore):
    """Multiplies the state's gradient by a factor at each boundary between two days."""

    def __init__(self, core):
        super().__init__()
        self.core, self.hidden_size, self.factors = core, core.hidden_size, ()

    def forward(self, x, state):
        """Run one day at a time."""
        outputs = []
        for day, factor in zip(x, (1.0, *self.factors), strict=True):
            through = tuple(Scaled.apply(tensor, factor) for tensor in state.tensors)
            hidden, state = self.core(day[None], RecurrentState(through))
            outputs.append(hidden)
        return torch.cat(outputs), state

    def initial_state(self, rows):
        """Start as the core does."""
        return self.core.initial_state(rows)


def expectation(parts, chances):
    """The mean of gradients by the probability of each."""
    return [
        sum(chance * part for chance, part in zip(chances, column, strict=True))
        for column in zip(*parts, strict=True)
    ]


@pytest.mark.parametrize(
    ("model", "cut"),
    [
        ("elman", 0.1),
        pytest.param("lstm", 0.3, marks=pytest.mark.slow),
        pytest.param("gru", 0.6, marks=pytest.mark.slow),
    ],
)
def test_randomly_cut_gradients_are_right_on_average_if_compensated(model, cut):
    """T14: all 256 ways to cut 9 days, weighted by their chances; not compensated, biased.

    The uncompensated control cuts the engine's own chunks, so that it also shows that
    chunks are the units of truncation.
    """
    days = 9
    network = make_network(model, layers=1)
    block = make_days(network, days, lengths=(9, 9, 5, 2))
    full = gradients_of(network, *block, FULL, 1.0).values
    core = RandomlyCut(network.core)
    randomly = Network(core, network.head)
    chances, compensated, plain = [], [], []
    for cuts in product((True, False), repeat=days - 1):
        chances.append(np.prod([cut if here else 1 - cut for here in cuts]))
        core.factors = tuple(0.0 if here else 1 / (1 - cut) for here in cuts)
        compensated.append(gradients_of(randomly, *block, FULL, 1.0).values)
        lines = [0, *(day for day, here in enumerate(cuts, 1) if here), days]
        chunks = tuple(b - a for a, b in pairwise(lines))
        plan = Plan.truncated(k2=days)
        plain.append(gradients_of(network, *block, plan, 1.0, chunks=chunks).values)
    assert sum(chances) == pytest.approx(1.0)
    within(relative_error(expectation(compensated, chances), full), 1e-12)
    assert relative_error(expectation(plain, chances), full) > 0.01


def test_the_oracles_know_nothing_but_numpy():
    """T3: an oracle that shared code with what it judges would share its errors."""
    for oracle in (rtrl, textbook):
        lines = Path(oracle.__file__).read_text().splitlines()
        imports = [line for line in lines if line.startswith(("import", "from"))]
        assert imports == ["import numpy as np"]
