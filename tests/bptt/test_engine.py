"""Attacks on the gradient function: T = 50 days is no multiple of K = 8, rows are unequal."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from forecaster.bptt import engine
from forecaster.bptt.plan import Plan
from forecaster.bptt.recurrent import recurrent
from forecaster.models.base import RecurrentCore, RecurrentState
from forecaster.models.heads import PointForm
from forecaster.models.network import CORES, Architecture, Network, build_network
from forecaster.training.micro_batches import Chunking, Learner, Workers, block_gradients
from tests.bptt.textbook import elman_gradients
from tests.bptt.verification import arrays_of, gradients_of, window_gradients_of

DAYS, STEPS = 50, 8
LENGTHS = (50, 33, 21, 9)
ROWS, INPUTS, TARGETS, HIDDEN = len(LENGTHS), 3, 2, 4
COUNT = float(sum(LENGTHS) * TARGETS)
FULL = Plan.full()
TRUNCATED = Plan.truncated(k2=STEPS)


def make_network(model, *, dtype=torch.float64, layers=2, dropout=0.0):
    """A network whose head matters from the start."""
    torch.manual_seed(5)
    network = build_network(
        Architecture(
            model=model,
            inputs=INPUTS,
            forms=(PointForm(),) * TARGETS,
            hidden=HIDDEN,
            layers=layers,
            dropout=dropout,
        )
    ).to(dtype)
    nn.init.normal_(network.head.linear.weight)
    nn.init.normal_(network.head.linear.bias)
    return network


def make_days(network, days=DAYS, lengths=LENGTHS):
    """x, y, mask with rows of unequal length, and a state that is nowhere zero."""
    dtype = next(network.parameters()).dtype
    torch.manual_seed(6)
    x = torch.randn(days, ROWS, INPUTS, dtype=dtype)
    y = torch.randn(days, ROWS, TARGETS, dtype=dtype)
    ends = torch.tensor(lengths)[None, :, None]
    mask = (torch.arange(days)[:, None, None] < ends).expand_as(y).clone()
    zeros = network.initial_state(ROWS).tensors
    return x, y, mask, RecurrentState(tuple(torch.randn_like(tensor) for tensor in zeros))


def relative_error(found, expected):
    """The largest difference over all tensors, relative to the largest entry."""
    scale = max(float(tensor.detach().abs().max()) for tensor in expected)
    pairs = zip(found, expected, strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs) / scale


def equal(found, expected):
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def plain_gradients(network, x, y, mask, state, *, cuts=()):
    """Autograd's own answer: calls cut at `cuts`, the state handed on with its history."""
    loss = torch.zeros((), dtype=x.dtype)
    for begin, stop in zip((0, *cuts), (*cuts, len(x)), strict=True):
        prediction, state = network(x[begin:stop], state)
        chosen = mask[begin:stop]
        loss = loss + (prediction[chosen] - y[begin:stop][chosen]).square().sum() / COUNT
    return loss.detach(), torch.autograd.grad(loss, tuple(network.parameters()))


class ProbedCore(RecurrentCore):
    """Adds a trainable zero to each day's features: its gradient is dE/dx, day by day.

    The last feature carries the day's number, so that the probe works however the days are
    cut, and through the public function only.
    """

    def __init__(self, core, days):
        super().__init__()
        self.core = core
        self.hidden_size = core.hidden_size
        self.probe = nn.Parameter(torch.zeros(days, ROWS, INPUTS, dtype=torch.float64))

    def forward(self, x, state):
        """Look the days up by number and run the core on probed features."""
        return self.core(x[..., :-1] + self.probe[x[:, 0, -1].long()], state)

    def initial_state(self, rows):
        """Start as the core does."""
        return self.core.initial_state(rows)


def make_probed(model, days=DAYS):
    """A probed network and days that carry their numbers."""
    network = make_network(model, layers=1)
    x, y, _, state = make_days(network, days)
    numbers = torch.arange(days, dtype=x.dtype)[:, None, None].expand(-1, ROWS, 1)
    return (
        Network(ProbedCore(network.core, days), network.head),
        torch.cat([x, numbers], 2),
        y,
        state,
    )


def touched_days(network, result):
    """The days whose features the loss depends on, by exact zeros; in all rows alike."""
    names = [name for name, _ in network.named_parameters()]
    touched = result.values[names.index("core.probe")] != 0
    assert torch.equal(touched.any(2).any(1), touched.all(2).all(1))
    return touched.any(2).any(1).nonzero().flatten().tolist()


OVERLAPPED = [(8, 8), (8, 4), (12, 4), (6, 1), (48, 48), (DAYS, DAYS), (60, 30)]


@pytest.mark.parametrize(
    "plan",
    [
        FULL,
        TRUNCATED,
        Plan.truncated(k2=1),
        *(Plan.truncated(k2=k2, k1=k1) for k2, k1 in OVERLAPPED),
    ],
)
@pytest.mark.parametrize("memory", ["store", "recompute"])
def test_gradient_is_the_textbook_sum(plan, memory):
    """Every contribution to every dE_t/dW, added up by hand in numpy."""
    network = make_network("elman", layers=1)
    x, y, mask, state = make_days(network)
    loss, expected = textbook_gradients(network, x, y, mask, state, plan)
    result = gradients_of(network, x, y, mask, state, replace(plan, memory=memory), COUNT)
    assert relative_error(result.values, expected) < 1e-13
    assert float(result.loss) == pytest.approx(float(loss), rel=1e-13)


def textbook_gradients(network, x, y, mask, state, plan):
    """The oracle's loss and gradients, in the order of the network's parameters."""
    loss, (w_s, w_x, b, w_y, b_y) = elman_gradients(
        elman_weights(network),
        *(tensor.numpy() for tensor in (x, y, mask, state.tensors[0][0])),
        COUNT,
        plan.k2 or DAYS,
        plan.k1,
    )
    return loss, [torch.from_numpy(np.asarray(part)) for part in (w_x, w_s, b, b, w_y, b_y)]


def elman_weights(network):
    """W_s, W_x, b, W_y, b_y of a one-layer Elman network as numpy arrays."""
    fused, linear = network.core.fused, network.head.linear
    weights = (
        fused.weight_hh_l0,
        fused.weight_ih_l0,
        fused.bias_ih_l0 + fused.bias_hh_l0,
        linear.weight,
        linear.bias,
    )
    return [weight.detach().numpy().copy() for weight in weights]


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize(("k2", "k1"), [(12, 4), (8, 4), (8, 8), (6, 1)])
@pytest.mark.parametrize("memory", ["store", "recompute"])
def test_states_come_back_on_the_grid(model, k2, k1, memory):
    """Each is the state of one uninterrupted run, and holds no history."""
    network = make_network(model)
    x, y, mask, state = make_days(network)
    plan = Plan.truncated(k2=k2, k1=k1, memory=memory)
    states = gradients_of(network, x, y, mask, state, plan, COUNT).states
    stops = [*range(k1, DAYS, k1), DAYS]
    assert len(states) == len(stops)
    for stop, found in zip(stops, states, strict=True):
        _, expected = network(x[:stop], state)
        assert relative_error(found.tensors, expected.tensors) < 1e-14
        assert not any(tensor.requires_grad for tensor in found.tensors)


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize("memory", ["store", "recompute"])
def test_context_lends_its_days_but_has_no_errors(model, memory):
    """A block with context is the whole block less what its first days' errors say."""
    network = make_network(model)
    x, y, mask, state = make_days(network, 12)
    plan = Plan.truncated(k2=12, k1=4, memory=memory)
    found = gradients_of(network, x, y, mask, state, plan, COUNT, chunks=(4, 4, 4), context=2)
    only_last = mask.clone()
    only_last[:8] = False
    _, expected = plain_gradients(network, x, y, only_last, state)
    assert relative_error(found.values, expected) < 1e-13
    assert len(found.states) == 3


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize("memory", ["store", "recompute"])
def test_a_series_that_begins_inside_a_block_begins_from_zeros(monkeypatch, model, memory):
    """Its errors do not reach the series before it in its row, nor do other rows notice.

    It starts once, however many recomputed chunks its chunk is cut into.
    """
    monkeypatch.setattr(engine, "RECOMPUTED_CHUNK_DAYS", 3)
    network = make_network(model)
    x, y, mask, state = make_days(network, 24)
    mask[:] = True
    resets = torch.zeros(24, ROWS, dtype=torch.bool)
    resets[8, 0] = True
    plan = Plan.truncated(k2=24, k1=8, memory=memory)
    cut = {"chunks": (8, 8, 8), "resets": resets, "context": 2}
    found = gradients_of(network, x, y, mask, state, plan, COUNT, **cut)
    zeros = network.initial_state(1)
    row = slice(0, 1)
    parts = [
        plain_gradients(network, *(t[8:, row] for t in (x, y)), last_days(mask[8:, row]), zeros),
        plain_gradients(
            network,
            *(t[:, 1:] for t in (x, y)),
            last_days(mask[:, 1:]),
            state.rows(torch.arange(1, 4)),
        ),
    ]
    expected = [a + b for a, b in zip(parts[0][1], parts[1][1], strict=True)]
    assert relative_error(found.values, expected) < 1e-12


def test_days_that_no_error_reaches_begin_series_too():
    """Context older than the reach lends its state alone, which a reset in it zeroes."""
    network = make_network("lstm")
    x, y, mask, state = make_days(network, 16)
    resets = torch.zeros(16, ROWS, dtype=torch.bool)
    resets[4] = True
    plan = Plan.truncated(k2=4)
    cut = {"chunks": (4, 4, 4, 4), "resets": resets, "context": 3}
    found = gradients_of(network, x, y, mask, state, plan, COUNT, **cut)
    _, expected = network(x[4:], network.initial_state(ROWS))
    assert relative_error(found.state.tensors, expected.tensors) < 1e-14


def last_days(mask):
    """Score the last 8 days only."""
    chosen = torch.zeros_like(mask)
    chosen[-8:] = mask[-8:]
    return chosen


def test_a_grid_that_is_not_the_plans_is_refused():
    """In a chunk longer than k1 errors would travel too far."""
    network = make_network("lstm")
    days = make_days(network)
    for lengths in ((25, 25), (8, 8)):
        with pytest.raises(ValueError, match="cut the batch on the plan's k1"):
            gradients_of(network, *days, TRUNCATED, COUNT, chunks=lengths)


@pytest.mark.parametrize("model", CORES)
def test_full_is_what_autograd_gives_for_the_block(model):
    """Two layers, LSTM cells included: gradients and loss of the whole graph."""
    network = make_network(model)
    x, y, mask, state = make_days(network)
    loss, expected = plain_gradients(network, x, y, mask, state)
    result = gradients_of(network, x, y, mask, state, FULL, COUNT)
    assert relative_error(result.values, expected) < 1e-13
    assert float(result.loss) == pytest.approx(float(loss), rel=1e-13)


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("days", "k2"), [(DAYS, DAYS), (DAYS, 10 * DAYS), (300, 300)])
def test_truncation_beyond_the_block_is_full_bit_for_bit(model, dtype, days, k2):
    """The case of reach = length is the same code, recomputed or not."""
    network = make_network(model, dtype=dtype)
    block = make_days(network, days)
    full = gradients_of(network, *block, FULL, COUNT)
    truncated = gradients_of(network, *block, Plan.truncated(k2=k2), COUNT)
    assert equal(full.values, truncated.values)
    assert torch.equal(full.loss, truncated.loss)


@pytest.mark.parametrize("model", CORES)
def test_truncation_inside_the_block_changes_the_gradient_not_the_loss(model):
    """Another gradient, the same forecasts: the state's values are carried."""
    network = make_network(model)
    block = make_days(network)
    full = gradients_of(network, *block, FULL, COUNT)
    truncated = gradients_of(network, *block, TRUNCATED, COUNT)
    assert relative_error(truncated.values, full.values) > 1e-3
    assert float(truncated.loss) == pytest.approx(float(full.loss), rel=1e-14)


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize(
    ("k2", "day", "first"),
    [(8, 39, 32), (8, 40, 40), (6, 39, 36), (6, 40, 36), (6, 41, 36), (1, 7, 7), (8, 49, 48)],
)
def test_errors_reach_exactly_to_the_start_of_their_chunk(model, k2, day, first):
    """Exact zeros before it and after the day, no zero in between, both ends included."""
    network, x, y, state = make_probed(model)
    mask = torch.zeros_like(y, dtype=torch.bool)
    mask[day] = True
    plan = Plan.truncated(k2=k2)
    result = gradients_of(network, x, y, mask, state, plan, 1.0)
    assert touched_days(network, result) == list(range(first, day + 1))


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize(("days", "day"), [(DAYS, 0), (DAYS, 39), (270, 269)])
def test_full_errors_reach_to_the_first_day(model, days, day):
    """All days up to the error's own, across recomputed chunks too."""
    network, x, y, state = make_probed(model, days)
    mask = torch.zeros_like(y, dtype=torch.bool)
    mask[day] = True
    result = gradients_of(network, x, y, mask, state, FULL, 1.0)
    assert touched_days(network, result) == list(range(day + 1))


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize("k2", [1, 7, 8, 49, 50, 80])
def test_last_day_errors_of_windows_reach_exactly_k_days(model, k2):
    """K days counted from the window's end, whatever its length."""
    network, x, y, _ = make_probed(model)
    scored = torch.ones_like(y[-1], dtype=torch.bool)
    plan = Plan.truncated(k2=k2)
    result = window_gradients_of(network, x, y[-1], scored, plan, 1.0)
    assert touched_days(network, result) == list(range(max(0, DAYS - k2), DAYS))


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize("k2", [STEPS, DAYS, None])
def test_windows_score_their_last_day_from_a_zero_state(model, k2):
    """Gradient, loss and end state of autograd with a detach K days before the end."""
    network = make_network(model)
    x, y, mask, _ = make_days(network, lengths=(50, 50, 33, 50))
    plan = FULL if k2 is None else Plan.truncated(k2=k2)
    result = window_gradients_of(network, x, y[-1], mask[-1], plan, COUNT)
    split = DAYS - (k2 or DAYS)
    state = network.initial_state(ROWS)
    if split:
        state = network(x[:split], state)[1].detach()
    _, end = network(x[split:], state)
    last_only = torch.zeros_like(mask)
    last_only[-1] = mask[-1]
    loss, expected = plain_gradients(network, x[split:], y[split:], last_only[split:], state)
    assert relative_error(result.values, expected) < 1e-13
    assert float(result.loss) == pytest.approx(float(loss), rel=1e-13)
    assert relative_error(result.state.tensors, end.tensors) < 1e-13


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize("plan", [FULL, TRUNCATED])
@pytest.mark.parametrize("days", [DAYS, 300])
def test_state_after_the_block_is_carried_without_history(model, plan, days):
    """The values of one run through all days; leaves that need no gradient."""
    network = make_network(model)
    x, y, mask, state = make_days(network, days)
    result = gradients_of(network, x, y, mask, state, plan, COUNT)
    assert all(tensor.is_leaf and not tensor.requires_grad for tensor in result.state.tensors)
    assert not result.loss.requires_grad
    _, end = network(x, state)
    assert relative_error(result.state.tensors, end.tensors) < 1e-13


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize("days", [DAYS, 300])
def test_errors_never_reach_before_the_block(model, days):
    """A state with a history gives the same gradients as its bare values."""
    network = make_network(model)
    x, y, mask, state = make_days(network, days)
    _, historic = network(x[:5], state)
    assert all(tensor.requires_grad for tensor in historic.tensors)
    with_history = gradients_of(network, x, y, mask, historic, FULL, COUNT)
    without = gradients_of(network, x, y, mask, historic.detach(), FULL, COUNT)
    assert equal(with_history.values, without.values)


@pytest.mark.parametrize("model", CORES)
def test_chunks_with_one_count_add_up_to_the_whole(model):
    """What a trainer sums over its chunks is the truncated gradient of the block."""
    network = make_network(model)
    x, y, mask, state = make_days(network)
    whole = gradients_of(network, x, y, mask, state, TRUNCATED, COUNT)
    total = [torch.zeros_like(gradient) for gradient in whole.values]
    loss = torch.zeros((), dtype=x.dtype)
    for begin in range(0, DAYS, STEPS):
        days = slice(begin, begin + STEPS)
        part = gradients_of(network, x[days], y[days], mask[days], state, FULL, COUNT)
        total = [a + b for a, b in zip(total, part.values, strict=True)]
        loss, state = loss + part.loss, part.state
    assert relative_error(total, whole.values) < 1e-15
    assert float(loss) == pytest.approx(float(whole.loss), rel=1e-15)
    assert equal(state.tensors, whole.state.tensors)


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize("chunk", [7, 16, 60, 300])
def test_recomputation_is_exact(monkeypatch, model, chunk):
    """Chunks run twice give the gradient of the one graph."""
    network = make_network(model)
    x, y, mask, state = make_days(network, 300, lengths=(300, 233, 51, 9))
    loss, expected = plain_gradients(network, x, y, mask, state)
    monkeypatch.setattr(engine, "RECOMPUTED_CHUNK_DAYS", chunk)
    plan = Plan.full(memory="recompute")
    result = gradients_of(network, x, y, mask, state, plan, COUNT)
    assert relative_error(result.values, expected) < 1e-12
    assert float(result.loss) == pytest.approx(float(loss), rel=1e-12)


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_recomputation_replays_dropout(model, dtype, tolerance):
    """The second run drops the same units, and the generator ends where one run ends."""
    network = make_network(model, dtype=dtype, dropout=0.4)
    x, y, mask, state = make_days(network, 300, lengths=(300, 233, 51, 9))
    torch.manual_seed(8)
    _, expected = plain_gradients(network, x, y, mask, state, cuts=range(50, 300, 50))
    after_one_run = torch.get_rng_state()
    torch.manual_seed(8)
    result = gradients_of(network, x, y, mask, state, FULL, COUNT)
    assert relative_error(result.values, expected) < tolerance
    assert torch.equal(torch.get_rng_state(), after_one_run)


@pytest.mark.parametrize("model", CORES)
def test_long_blocks_hold_one_chunk_of_activations(model):
    """No run with a graph is longer than a recomputed chunk once a block is long."""
    network = make_network(model)
    lengths = []
    network.register_forward_pre_hook(
        lambda _, inputs: lengths.append(len(inputs[0])) if torch.is_grad_enabled() else None
    )
    gradients_of(network, *make_days(network, 300), FULL, COUNT)
    assert lengths == [engine.RECOMPUTED_CHUNK_DAYS] * 6


def test_window_days_out_of_reach_hold_no_activations():
    """The days before the last K run without a graph."""
    network = make_network("lstm")
    x, y, mask, _ = make_days(network)
    calls = []
    network.core.register_forward_pre_hook(
        lambda _, inputs: calls.append((len(inputs[0]), torch.is_grad_enabled()))
    )
    window_gradients_of(network, x, y[-1], mask[-1], TRUNCATED, COUNT)
    assert calls == [(DAYS - STEPS, False), (STEPS, True)]


def test_dropout_between_layers_on_cuda_is_not_recomputed():
    """The dropout state of cuDNN cannot be replayed, so such a block keeps its graph."""
    cuda = torch.device("cuda")
    network = make_network("lstm", dropout=0.4)
    assert not engine._can_replay(recurrent(network), cuda)
    assert engine._can_replay(recurrent(network), torch.device("cpu"))
    assert engine._can_replay(recurrent(network.eval()), cuda)
    assert engine._can_replay(recurrent(make_network("lstm", layers=1, dropout=0.4)), cuda)


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize("days", [DAYS, 300])
def test_gradient_agrees_with_finite_differences(model, days):
    """Moving all weights along a random direction changes the loss as the gradient says."""
    network = make_network(model)
    block = make_days(network, days)
    result = gradients_of(network, *block, FULL, COUNT)
    torch.manual_seed(9)
    directions = [torch.randn_like(gradient) for gradient in result.values]
    slope = sum(float((a * b).sum()) for a, b in zip(result.values, directions, strict=True))

    def loss_at(step):
        with torch.no_grad():
            for parameter, direction in zip(network.parameters(), directions, strict=True):
                parameter += step * direction
        return float(gradients_of(network, *block, FULL, COUNT).loss)

    step = 1e-6
    measured = (loss_at(step) - loss_at(-2 * step)) / (2 * step)
    assert slope == pytest.approx(measured, rel=1e-7)


@pytest.mark.parametrize("plan", [FULL, TRUNCATED])
@pytest.mark.parametrize("junk", [float("nan"), float("inf"), 1e30])
def test_outcomes_that_are_not_scored_are_harmless(plan, junk):
    """NaN, infinity or any number where the mask is False: the same bits."""
    network = make_network("lstm")
    x, y, mask, state = make_days(network)
    clean = gradients_of(network, x, y, mask, state, plan, COUNT)
    y[~mask] = junk
    spoilt = gradients_of(network, x, y, mask, state, plan, COUNT)
    assert equal(clean.values, spoilt.values)
    assert torch.equal(clean.loss, spoilt.loss)


def test_missing_last_day_outcome_of_a_window_is_harmless():
    """A window without an outcome adds nothing, and no NaN."""
    network = make_network("gru")
    x, y, mask, _ = make_days(network)
    clean = window_gradients_of(network, x, y[-1], mask[-1], TRUNCATED, COUNT)
    y[~mask] = float("nan")
    spoilt = window_gradients_of(network, x, y[-1], mask[-1], TRUNCATED, COUNT)
    assert equal(clean.values, spoilt.values)
    assert any(gradient.any() for gradient in spoilt.values)


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize("days", [DAYS, 300])
@pytest.mark.parametrize("plan", [FULL, TRUNCATED])
@pytest.mark.parametrize("count", [0.0, COUNT])
def test_block_without_scored_days_gives_zeros(model, days, plan, count):
    """Zeros, not NaN from a division by zero; the state still moves on."""
    network = make_network(model)
    x, y, mask, state = make_days(network, days)
    y[:] = float("nan")
    result = gradients_of(network, x, y, torch.zeros_like(mask), state, plan, count)
    assert float(result.loss) == 0.0
    assert not any(gradient.any() for gradient in result.values)
    assert all(tensor.isfinite().all() for tensor in result.state.tensors)


def test_nothing_but_the_answer_changes():
    """Pure: no weight moves, no `.grad` appears, no argument is written to."""
    network = make_network("lstm")
    x, y, mask, state = make_days(network)
    inputs = (x, y, mask, *state.tensors, *network.parameters())
    copies = [tensor.detach().clone() for tensor in inputs]
    for plan in (FULL, TRUNCATED):
        gradients_of(network, x, y, mask, state, plan, COUNT)
        window_gradients_of(network, x, y[-1], mask[-1], plan, COUNT)
    assert equal(inputs, copies)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_gradients_come_in_the_order_of_the_parameters():
    """One tensor per parameter, of its shape."""
    network = make_network("lstm")
    result = gradients_of(network, *make_days(network), FULL, COUNT)
    shapes = [parameter.shape for parameter in network.parameters()]
    assert [gradient.shape for gradient in result.values] == shapes


def test_wrong_arguments_are_refused():
    """Shapes that broadcasting would accept, a float mask, no days, no count."""
    network = make_network("elman")
    x, y, mask, state = make_days(network)
    for bad in (
        (x, y[..., :1], mask),
        (x, y, mask[..., :1]),
        (x, y, mask.double()),
        (x[:-1], y, mask),
    ):
        with pytest.raises(ValueError, match="do not fit together"):
            gradients_of(network, *bad, state, FULL, COUNT)
    with pytest.raises(ValueError, match="no days"):
        gradients_of(network, x[:0], y[:0], mask[:0], state, TRUNCATED, COUNT)
    with pytest.raises(ValueError, match="count is 0"):
        gradients_of(network, x, y, mask, state, FULL, 0)


def make_learned(model, *, bidirectional=False):
    """A network that learns its start, away from zeros."""
    torch.manual_seed(5)
    network = build_network(
        Architecture(
            model=model,
            inputs=INPUTS,
            forms=(PointForm(),) * TARGETS,
            hidden=HIDDEN,
            layers=2,
            dropout=0.0,
            learned_start=True,
            bidirectional=bidirectional,
        )
    ).double()
    for parameter in (*network.start, network.head.linear.weight):
        nn.init.normal_(parameter)
    return network


def start_gradients(network, result):
    """What the result says of the learned start."""
    names = [name for name, _ in network.named_parameters()]
    pairs = zip(names, result.values, strict=True)
    return [gradient for name, gradient in pairs if name.startswith("start")]


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize("memory", ["store", "recompute"])
def test_a_learned_start_is_learnt_where_series_begin(model, memory):
    """Only rows that begin here reach it; autograd over them says the same."""
    network = make_learned(model)
    x, y, mask, state = make_days(network)
    begins = torch.zeros(DAYS, ROWS, dtype=torch.bool)
    begins[0, [0, 2]] = True
    result = gradients_of(
        network,
        x,
        y,
        mask,
        state,
        Plan.full(memory=memory),
        COUNT,
        resets=begins,
    )
    mixed = recurrent(network).start(state, begins[0], ROWS)
    _, expected = plain_gradients(network, x, y, mask, mixed)
    assert relative_error(result.values, expected) < 1e-12
    assert all((gradient != 0).any() for gradient in start_gradients(network, result))


@pytest.mark.parametrize("model", CORES)
@pytest.mark.parametrize(("plan", "reached"), [(FULL, True), (TRUNCATED, False)])
def test_errors_that_reach_a_windows_first_day_reach_the_learned_start(model, plan, reached):
    """Truncated before it, its gradient is exactly zero."""
    network = make_learned(model)
    x, y, mask, _ = make_days(network)
    result = window_gradients_of(network, x, y[-1], torch.ones_like(mask[-1]), plan, COUNT)
    found = start_gradients(network, result)
    assert all(bool((gradient != 0).any()) is reached for gradient in found)


@pytest.mark.parametrize("model", CORES)
def test_a_bidirectional_window_is_differentiated_whole(model):
    """The last day's errors reach every day through both readings, as autograd says."""
    network = make_learned(model, bidirectional=True)
    x, y, mask, _ = make_days(network)
    mask[:-1], mask[-1] = False, True
    result = window_gradients_of(network, x, y[-1], mask[-1], FULL, COUNT)
    _, expected = plain_gradients(network, x, y, mask, network.initial_state(ROWS))
    assert relative_error(result.values, expected) < 1e-12


def test_a_bidirectional_network_is_refused_elsewhere():
    """Each day's forecast would read later days; a cut window would read others."""
    network = make_learned("lstm", bidirectional=True)
    x, y, mask, state = make_days(network)
    with pytest.raises(ValueError, match=r"BidirectionalCore reads .* yet each day's forecast"):
        arrays = arrays_of(x.flatten(0, 1).numpy(), y.flatten(0, 1).numpy())
        learner = Learner(network=network, arrays=arrays, plan=FULL, workers=Workers())
        rows = torch.arange(DAYS * ROWS).view(DAYS, ROWS)
        block_gradients(learner, rows, mask, state, COUNT, Chunking(lengths=(DAYS,)))
    with pytest.raises(ValueError, match=r"both ends, .* 7 chunks of up to 8 days"):
        gradients_of(network, x, y, mask, state, TRUNCATED, COUNT)
    with pytest.raises(ValueError, match=r"both ends, .* 2 chunks of up to 42 days"):
        window_gradients_of(network, x, y[-1], mask[-1], TRUNCATED, COUNT)
