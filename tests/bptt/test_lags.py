"""Gradients by lag, contributions, bias and horizon of modules that are not ours."""

import numpy as np
import pytest
import torch
from torch import nn

from forecaster.bptt import (
    Batch,
    Plan,
    contributions,
    gradient_by_lag,
    gradients,
    suggest_horizon,
    truncation_bias,
)
from forecaster.bptt.nest import leaves, mapped
from tests.bptt.test_engine import relative_error
from tests.bptt.test_recurrent import DAYS, FOREIGN, MSE, ROWS, OwnHead, days, make


@pytest.mark.parametrize("name", FOREIGN)
def test_the_terms_add_up_to_the_gradient(name):
    """All lags of one day's error; the first day's too where its state is known."""
    (module, head), (x, y, mask) = make(name), days()
    mask[:] = False
    mask[-1, :2] = True
    y = torch.where(mask[..., None], 0.5, torch.nan).to(x.dtype)
    known = name != "own head"  # whose state before the first day only it knows
    batch = Batch(x, y, mask, count=1)
    terms = contributions(module, batch, loss=MSE, head=head, lags=DAYS - 1 - (not known))
    whole = gradients(module, batch, Plan.full(), loss=MSE, head=head)
    if not known:
        del batch
        later = Batch(x[1:], y[1:], mask[1:], count=1)
        _, state = module(x[:1])
        whole = gradients(module, later, Plan.full(), loss=MSE, state=state)
    found = {name: each.sum(dim=0) for name, each in terms.items()}
    if name == "nested state":
        found["first"] = whole.by_name["first"]  # what a start gets lies beyond the last lag
    assert relative_error([found[n] for n in whole.by_name], whole.values) < 1e-12


@pytest.mark.parametrize("name", FOREIGN)
def test_the_gradient_by_lag_is_that_of_the_states_in_one_graph(name):
    """Day by day by hand: |dE/ds_{t-k}| for k >= 1, all of the state's tensors together."""
    (module, head), (x, y, mask) = make(name), days()
    mask[:], y = True, torch.nan_to_num(y)
    found = gradient_by_lag(module, Batch(x, y, mask), loss=MSE, head=head, lags=6, anchors=[12])
    cell = isinstance(module, nn.RNNCellBase)
    state = module.initial_state(ROWS) if hasattr(module, "initial_state") else None
    states = []
    for day in range(13):
        if cell:
            state = module(x[day], state)
            output = (state[0] if isinstance(state, tuple) else state)[None]
        else:
            output, state = module(x[day : day + 1], state)
        state = mapped(state, torch.clone)  # so that c is not on the way of h
        states.append([tensor for tensor in leaves(state) if tensor.requires_grad])
    output = output if head is None else head(output)
    error = (output[0] - y[12]).square().sum()
    for lag in range(1, 7):
        parts = torch.autograd.grad(error, states[12 - lag], retain_graph=True, allow_unused=True)
        squares = [
            part.movedim(part.shape.index(ROWS), 0).flatten(1).square().sum(dim=1)
            for part in parts
            if part is not None
        ]
        expected = float(sum(squares).sqrt().mean())
        assert found[lag] == pytest.approx(expected, rel=1e-12)


class Apart(OwnHead):
    """An output that is not made from the state returned."""

    def forward(self, x, state=None):
        """Run; see the class."""
        output, state = super().forward(x, state)
        return output, tuple(tensor * 1.0 for tensor in state)


def test_lag_0_is_unknown_where_the_output_is_not_made_from_the_state():
    x, y, _ = days()
    found = gradient_by_lag(Apart().double(), Batch(x, y.nan_to_num()), loss=MSE, lags=4)
    assert np.isnan(found[0]) and np.isfinite(found[1:]).all()


def test_dropout_is_off_and_the_module_is_left_alone():
    torch.manual_seed(0)
    module = nn.LSTM(2, 4, 2, dropout=0.5).double().eval()
    x, _, _ = days()
    batch = Batch(x, torch.randn(DAYS, ROWS, 4, dtype=x.dtype))
    first, second = (gradient_by_lag(module, batch, loss=MSE, lags=4) for _ in range(2))
    assert (first == second).all()
    assert module.dropout == 0.5 and not module.training
    assert not module._forward_hooks and all(p.grad is None for p in module.parameters())


def test_the_bias_is_the_distance_of_two_gradients():
    (module, head), (x, y, mask) = make("gru, 2 layers"), days()
    batch, plan = Batch(x, y, mask), Plan.truncated(4, 2)
    found = truncation_bias(module, batch, plan, loss=MSE, head=head)
    cut, full = (
        torch.cat([g.flatten() for g in gradients(module, batch, p, loss=MSE, head=head).values])
        for p in (plan, Plan.full())
    )
    assert found.bias == pytest.approx(float((cut - full).norm() / full.norm()), rel=1e-9)
    assert (found.k1, found.k2) == (2, 4)


def test_the_horizon_keeps_the_tolerance_on_a_module_of_ones_own():
    torch.manual_seed(0)
    module, x = OwnHead().double(), torch.randn(120, 8, 2, dtype=torch.float64)
    batch = Batch(x, torch.randn(120, 8, 1, dtype=torch.float64))
    found = suggest_horizon(module, batch, loss=MSE, tolerance=0.05)
    assert found.days is not None
    plan = Plan.truncated(2 * found.days, found.days)
    assert truncation_bias(module, batch, plan, loss=MSE).bias <= 0.05
    assert suggest_horizon(module, batch, loss=MSE, tolerance=1e-9, lags=3).days is None
    with pytest.raises(ValueError, match="tolerance is 0; give a share between 0 and 1"):
        suggest_horizon(module, batch, loss=MSE, tolerance=0)


def test_what_is_not_whole_histories_is_refused():
    (module, head), (x, y, mask) = make("rnn"), days()
    resets = torch.zeros(DAYS, ROWS, dtype=torch.bool)
    for batch in (Batch(x, y, mask, resets), Batch(x, y[-1:], mask[-1:])):
        with pytest.raises(ValueError, match="whole histories are measured"):
            gradient_by_lag(module, batch, loss=MSE, head=head)
    with pytest.raises(ValueError, match=r"anchors \[3\] do not all have 5 days behind them"):
        gradient_by_lag(module, Batch(x, y, mask), loss=MSE, head=head, lags=5, anchors=[3])
