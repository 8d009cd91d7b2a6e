"""How far back the gradient reaches, compared with whole graphs, closed forms and true bias."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from forecaster.bptt import horizon as room
from forecaster.bptt.horizon import (
    decay_rate,
    effective_memory,
    exact_gradient,
    guaranteed,
    half_life,
    horizon_for,
    plan_bias,
    with_count,
)
from forecaster.bptt.lags import lag_gradients
from forecaster.bptt.memory_profile import memory_profile
from forecaster.bptt.plan import Plan
from forecaster.bptt.states import local_growth
from forecaster.models.base import RecurrentCore, RecurrentState
from forecaster.models.heads import Head, PointForm
from forecaster.models.network import CORES, Architecture, Network, build_network
from tests.bptt.verification import gradients_of, path_of, window_gradients_of

ROWS, INPUTS, TARGETS, HIDDEN = 4, 3, 2, 6


class LinearCore(RecurrentCore):
    """s_t = a s_{t-1} + x_t: one unit, no squashing."""

    def __init__(self, a: float) -> None:
        super().__init__()
        self.hidden_size = 1
        self.a = nn.Parameter(torch.tensor([a], dtype=torch.float64))

    def forward(self, x, state):
        """Add each day's inputs to what is left of the day before."""
        (s,) = state.tensors
        days = []
        for day in x:
            s = self.a * s + day.sum(dim=-1, keepdim=True)[None]
            days.append(s[0])
        return torch.stack(days), RecurrentState((s,))

    def initial_state(self, rows):
        """Start from zero."""
        return RecurrentState((self.a.new_zeros(1, rows, 1),))


def linear_network(a: float) -> Network:
    torch.manual_seed(0)
    return Network(LinearCore(a), Head(1, [PointForm()]).double())


def make_network(model: str, *, layers: int = 1, hidden: int = HIDDEN, gate_bias: float = 0.0):
    """A network in float64 whose head matters, gates that keep if asked for."""
    torch.manual_seed(3)
    network = build_network(
        Architecture(
            model=model,
            inputs=INPUTS,
            forms=(PointForm(),) * TARGETS,
            hidden=hidden,
            layers=layers,
            dropout=0.0,
        )
    ).double()
    nn.init.normal_(network.head.linear.weight)
    if gate_bias:
        keeping = slice(hidden, 2 * hidden)  # the GRU's z, the LSTM's f: second of torch's gates
        with torch.no_grad():
            network.core.fused.bias_ih_l0[keeping] += gate_bias
    return network


def make_days(days: int, batch_rows: int = ROWS, targets: int = TARGETS):
    torch.manual_seed(4)
    x = torch.randn(days, batch_rows, INPUTS, dtype=torch.float64)
    y = torch.randn(days, batch_rows, targets, dtype=torch.float64)
    mask = torch.ones(days, batch_rows, targets, dtype=torch.bool)
    return x, y, mask


def whole_graph(network, x, y, mask, anchors, lags):
    """A[t, k] and the parameters' gradient by lag, from one graph through all days.

    The gradient by lag: each day runs on a copy of the weights of its own.
    """
    weights = dict(network.named_parameters())
    copies = [{n: w.detach().clone().requires_grad_() for n, w in weights.items()} for _ in x]
    state = network.initial_state(x.shape[1])
    states = [state]
    for day, own in zip(x, copies, strict=True):
        _, state = torch.func.functional_call(network, own, (day[None], state))
        states.append(state)
    errors = torch.zeros((), dtype=x.dtype)
    by_lag, parts = [], [{n: 0.0 for n in weights} for _ in range(lags + 1)]
    for t in anchors:
        head = {n.removeprefix("head."): w for n, w in copies[t].items() if n.startswith("head.")}
        prediction = torch.func.functional_call(network.head, head, (states[t + 1].tensors[0][-1],))
        error = torch.where(mask[t], (prediction - torch.where(mask[t], y[t], 0.0)) ** 2, 0.0).sum()
        errors = errors + error
        row = []
        for lag in range(lags + 1):
            found = torch.autograd.grad(
                error,
                states[t + 1 - lag].tensors,
                retain_graph=True,
                materialize_grads=True,
                allow_unused=True,
            )
            norms = sum(g.square().sum(dim=(0, 2)) for g in found).sqrt()
            row.append(norms.sum() / mask[t].any(dim=-1).sum())
            own = copies[t - lag]
            grads = torch.autograd.grad(
                error,
                list(own.values()),
                retain_graph=True,
                materialize_grads=True,
                allow_unused=True,
            )
            for name, grad in zip(own, grads, strict=True):
                parts[lag][name] = parts[lag][name] + grad
        by_lag.append(torch.stack(row))
    return torch.stack(by_lag), parts


def exact_of(network, x, y, mask):
    """The exact gradient of the mean loss of a batch."""
    path = with_count(path_of(network, x, y, mask))
    return exact_gradient(path.run, path.batch, path.loss)


def norm_of(parts) -> float:
    return math.sqrt(sum(float(g.square().sum()) for g in parts.values()))


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("model", CORES)
def test_the_walk_is_autograd_through_the_whole_graph(model: str, layers: int) -> None:
    """T21: every lag of every anchor, and what each lag adds to the weights' gradient."""
    network = make_network(model, layers=layers)
    x, y, mask = make_days(30)
    mask[20:, 1] = False
    mask[25, :, 0] = False
    y[~mask] = torch.nan
    anchors, lags = (14, 25, 29), 14
    found = lag_gradients(path_of(network, x, y, mask), anchors, lags)
    by_lag, parts = whole_graph(network, x, y, mask, anchors, lags)
    np.testing.assert_allclose(found.by_lag, by_lag.detach(), rtol=1e-12, atol=1e-14)
    assert float((found.by_lag - by_lag).abs().max()) < 1e-13 * float(by_lag.max())
    np.testing.assert_allclose(found.parts, [norm_of(part) for part in parts], rtol=1e-12)
    partial = [{n: sum(p[n] for p in parts[:k]) for n in parts[0]} for k in range(1, lags + 2)]
    np.testing.assert_allclose(found.partial[1:], [norm_of(p) for p in partial], rtol=1e-12)
    assert found.partial[0] == 0.0


def test_the_walk_is_the_elman_jacobian_in_closed_form() -> None:
    """J_t = diag(1 - s_t^2) W_s."""
    network = make_network("elman")
    x, y, mask = make_days(12)
    path = path_of(network, x, y, mask)
    s = path.states[0][1:, 0]  # (T, B, H) after each day
    weight = network.core.fused.weight_hh_l0.detach()
    head = network.head.linear
    delta = 2.0 * (head(s[11]) - y[11]).detach() @ head.weight.detach()
    expected = []
    for lag in range(9):
        expected.append(float(delta.norm(dim=1).mean()))
        delta = (delta * (1.0 - s[11 - lag] ** 2)) @ weight
    found = lag_gradients(path, [11], 8)
    np.testing.assert_allclose(found.curve, expected, rtol=1e-13)


def test_the_scalar_linear_network_remembers_43_days() -> None:
    """T21: phi_k / phi_0 = 0.9^k, lambda = ln 0.9, effective memory at 1 % exactly 43."""
    x, y, mask = make_days(160, targets=1)
    profile = memory_profile(path_of(linear_network(0.9), x, y, mask), lags=80)
    np.testing.assert_allclose(profile.curve / profile.curve[0], 0.9 ** np.arange(81), rtol=1e-12)
    assert effective_memory(profile.curve, 0.01) == 43
    assert effective_memory(profile.curve, 0.1) == 21
    assert effective_memory(profile.curve, 0.5) == 6
    assert profile.lyapunov == pytest.approx(math.log(0.9), rel=1e-13)
    assert profile.decay == pytest.approx(0.9, rel=1e-12)
    assert profile.half_life == pytest.approx(math.log(2) / -math.log(0.9), rel=1e-10)
    assert not profile.alarms


def test_an_exploding_network_raises_the_alarm_and_gets_no_advice() -> None:
    x, y, mask = make_days(120, targets=1)
    profile = memory_profile(path_of(linear_network(1.05), x, y, mask), lags=60)
    assert profile.lyapunov == pytest.approx(math.log(1.05), rel=1e-12)
    assert [text.split(":")[0] for text in profile.alarms] == ["explosion", "growing"]
    assert profile.half_life == math.inf
    assert profile.advice.days is None
    assert "memory exceeds 60 days: the gradient does not fall" in str(profile.advice.declined)


@pytest.mark.parametrize(
    ("k2", "lags", "words"), [(5, 60, "is biting: 5 days"), (200, 210, "horizon too long")]
)
def test_a_reach_too_short_and_one_too_long_raise_alarms(k2: int, lags: int, words: str) -> None:
    """0.9^5 = 0.59 of the gradient lies beyond 5 days, 0.9^200 = 7e-10 beyond 200."""
    x, y, mask = make_days(lags + 30, targets=1)
    plan = Plan.truncated(k2=k2)
    profile = memory_profile(path_of(linear_network(0.9), x, y, mask), lags=lags, plan=plan)
    (alarm,) = profile.alarms
    assert words in alarm


GATED = [("elman", 30, 0.0), ("gru", 60, 2.0), ("lstm", 60, 2.0)]


@pytest.mark.parametrize("tolerance", [0.1, 0.01])
@pytest.mark.parametrize(("model", "lags", "gate_bias"), GATED)
def test_the_true_bias_at_the_chosen_reach_keeps_the_tolerance(
    model: str, lags: int, gate_bias: float, tolerance: float
) -> None:
    """T20: error on the last day alone, cut exactly at the chosen reach and at one third of it."""
    network = make_network(model, hidden=16, gate_bias=gate_bias)
    x, y, mask = make_days(120, batch_rows=16)
    mask[:-1] = False
    path = path_of(network, x, y, mask)
    found = lag_gradients(path, [119], lags)
    advice = horizon_for(found.parts.numpy(), found.partial.numpy(), tolerance)
    assert advice.days is not None and advice.bound is not None

    def cut_at(days: int) -> torch.Tensor:
        plan = Plan.truncated(k2=days)
        found = window_gradients_of(network, x, y[-1], mask[-1], plan, 32.0)
        return torch.cat([gradient.flatten() for gradient in found.values])

    exact = cut_at(120)

    def bias(days: int) -> float:
        return float((cut_at(days) - exact).norm() / exact.norm())

    assert bias(advice.days) <= advice.bound <= tolerance
    assert bias(max(1, advice.days // 3)) > tolerance


def test_a_memory_longer_than_what_was_measured_is_declined() -> None:
    """T20: an LSTM whose forget gates keep, seen through 30 days only."""
    network = make_network("lstm", hidden=16, gate_bias=4.0)
    x, y, mask = make_days(120, batch_rows=16)
    profile = memory_profile(path_of(network, x, y, mask), lags=30, tolerance=0.01)
    assert profile.advice.days is None and profile.advised is None
    assert "memory exceeds 30 days" in str(profile.advice.declined)


def test_a_power_law_is_declined_and_a_geometric_curve_is_not() -> None:
    lags = np.arange(1.0, 62.0)
    heavy, light = lags**-1.0, 0.5**lags
    for parts in (heavy, light):
        partial = np.concatenate([[0.0], np.cumsum(parts)])
        found = horizon_for(parts, partial, 0.1)
        assert (found.days is None) == (parts is heavy)


def test_the_reach_of_a_geometric_curve_by_hand() -> None:
    """Parts 0.5^k: k lags leave 2 * 0.5^k of 2, so 0.5^4 = 6 % is the first below 10 %."""
    parts = 0.5 ** np.arange(41.0)
    found = horizon_for(parts, np.concatenate([[0.0], np.cumsum(parts)]), 0.1)
    assert found.days == 4
    assert found.bound == pytest.approx(0.0625, rel=1e-6)


def test_what_may_lie_beyond_the_lags_measured_shrinks_the_whole_too() -> None:
    """Five parts 0.5^k: 0.0625 may lie beyond, so the whole is 1.875 at least, not 1.9375."""
    parts = 0.5 ** np.arange(5.0)
    found = horizon_for(parts, np.concatenate([[0.0], np.cumsum(parts)]), 0.14)
    assert found.days == 3
    assert found.bound == pytest.approx(0.25 / 1.875, rel=1e-6)


def test_decay_and_memory_of_curves_that_vanish() -> None:
    assert decay_rate(np.array([1.0, 0.0, 0.0])) == 0.0
    assert half_life(0.0) == 0.0
    assert half_life(1.0) == math.inf
    assert effective_memory(np.array([1.0, 0.05, 0.2, 0.0]), 0.1) == 2
    assert decay_rate(np.r_[0.7 ** np.arange(50.0), np.zeros(50)]) == pytest.approx(0.7)


@pytest.mark.parametrize("model", CORES)
def test_the_bias_table_is_the_difference_of_two_gradients(model: str) -> None:
    network = make_network(model)
    x, y, mask = make_days(40)
    exact = exact_of(network, x, y, mask)
    state, count = network.initial_state(ROWS), float(mask.sum())

    def vector(plan: Plan) -> torch.Tensor:
        found = gradients_of(network, x, y, mask, state, plan, count)
        return torch.cat([gradient.flatten() for gradient in found.values])

    full, cut = vector(Plan.full()), vector(guaranteed(3))
    np.testing.assert_allclose(exact.vector, full, rtol=1e-10, atol=1e-15)
    found = plan_bias(with_count(path_of(network, x, y, mask)), guaranteed(3), exact)
    assert (found.k1, found.k2) == (3, 6)
    assert found.bias == pytest.approx(float((cut - full).norm() / full.norm()), rel=1e-9)
    assert found.cosine == pytest.approx(float(cut @ full / (cut.norm() * full.norm())), rel=1e-9)
    assert found.noise_ratio == pytest.approx(found.bias / exact.relative_noise, rel=1e-9)
    assert plan_bias(with_count(path_of(network, x, y, mask)), guaranteed(40), exact).bias < 1e-14


def test_the_standard_error_is_that_of_a_sum_of_batch_rows() -> None:
    """Two batch rows of gradients a and b: their sum has the standard error |a - b|."""
    network = make_network("gru")
    x, y, mask = make_days(20, batch_rows=2)
    both = exact_of(network, x, y, mask)
    one, other = (exact_of(network, *(t[:, b : b + 1] for t in (x, y, mask))) for b in (0, 1))
    assert both.noise == pytest.approx(float((one.vector - other.vector).norm()) / 2, rel=1e-12)
    assert math.isnan(one.noise)


def test_the_profile_leaves_the_network_alone_and_switches_dropout_off() -> None:
    torch.manual_seed(0)
    network = build_network(
        Architecture(
            model="lstm",
            inputs=INPUTS,
            forms=(PointForm(),) * TARGETS,
            hidden=HIDDEN,
            layers=2,
            dropout=0.5,
        )
    ).double()
    network.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x, y, mask = make_days(60)
    first = memory_profile(path_of(network, x, y, mask), lags=20)
    second = memory_profile(path_of(network, x, y, mask), lags=20)
    np.testing.assert_array_equal(first.by_lag, second.by_lag)
    assert not network.training
    assert network.dropout.p == 0.5 and network.core.fused.dropout == 0.5
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_profile_holds_everything_it_promises() -> None:
    network = make_network("gru", layers=2)
    x, y, mask = make_days(80)
    mask[:22] = False
    plan = Plan.truncated(k2=10)
    profile = memory_profile(path_of(network, x, y, mask), lags=30, anchors=6, plan=plan)
    assert profile.by_lag.shape == (6, 31) and profile.lags == 30
    assert profile.anchors[0] == 30 and profile.anchors[-1] == 79
    assert profile.growth.shape == (80,)
    assert [row.k1 for row in profile.biases] == [1, 2, 5, 10, 21]
    assert profile.own is not None and (profile.own.k1, profile.own.k2) == (10, 10)
    assert profile.advised is not None and profile.advised.bias <= 0.1
    assert profile.advised.k1 == profile.advice.days
    full = memory_profile(path_of(network, x, y, mask), lags=30, plan=Plan.full())
    assert full.own is None


def test_a_choice_that_the_whole_block_does_not_bear_out_is_raised(monkeypatch) -> None:
    """The anchors may have been lucky; the exact bias of the block decides."""
    network = make_network("gru", gate_bias=2.0)
    x, y, mask = make_days(80)
    lucky = replace(horizon_for(np.array([1.0, 0.0]), np.array([0.0, 1.0, 1.0]), 0.1), days=1)
    monkeypatch.setattr(room, "horizon_for", lambda *_: lucky)
    profile = memory_profile(path_of(network, x, y, mask), lags=40, tolerance=0.05)
    assert profile.advice.days is not None and profile.advice.days > 1
    assert profile.advised is not None and profile.advised.bias <= 0.05


@pytest.mark.parametrize("model", CORES)
def test_the_growth_of_a_vector_is_the_norm_of_the_product_of_jacobians(model: str) -> None:
    """Summed over days, log growth is the log norm of the vector carried back through all."""
    network = make_network(model)
    x, y, mask = make_days(10)
    growth = local_growth(path_of(network, x, y, mask))
    generator = torch.Generator().manual_seed(0)
    leaves = tuple(t.clone().requires_grad_() for t in network.initial_state(ROWS).tensors)
    _, after = network.core(x, RecurrentState(leaves))
    seeds = [torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in after.tensors]
    found = torch.autograd.grad(after.tensors, leaves, seeds)
    size = [sum(t.square().sum(dim=(0, 2)) for t in tensors).sqrt() for tensors in (found, seeds)]
    torch.testing.assert_close(growth.sum(dim=0), (size[0] / size[1]).log(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    "wrong", [{"lags": 0}, {"lags": 60}, {"anchors": 0}, {"tolerance": 0.0}, {"tolerance": 1.0}]
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    x, y, mask = make_days(60)
    with pytest.raises(ValueError, match="give"):
        memory_profile(path_of(make_network("elman"), x, y, mask), **{"lags": 20, **wrong})


def test_a_block_without_a_scored_anchor_is_refused() -> None:
    x, y, mask = make_days(60)
    mask[20:] = False
    with pytest.raises(ValueError, match="no scored day has 30 days behind it"):
        memory_profile(path_of(make_network("elman"), x, y, mask), lags=30)
