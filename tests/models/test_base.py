"""The state, and the cells: Elman, GRU and LSTM against their equations."""

import pytest
import torch

from forecaster.models.base import RecurrentState
from forecaster.models.network import CORES
from tests.models.oracles import GATES, run

DAYS, ROWS, INPUTS, HIDDEN, LAYERS = 11, 4, 3, 5, 2


def make_case(model, dtype=torch.float64):
    """A 2-layer core, its inputs, and an initial state that differs in every row."""
    torch.manual_seed(7)
    core = CORES[model](INPUTS, HIDDEN, LAYERS, 0.0).to(dtype)
    x = torch.randn(DAYS, ROWS, INPUTS, dtype=dtype)
    zeros = core.initial_state(ROWS)
    state = RecurrentState(tuple(torch.randn_like(tensor) for tensor in zeros.tensors))
    return core, x, state


@pytest.mark.parametrize("model", CORES)
def test_core_equals_textbook_cells_with_its_weights(model):
    """Outputs and final state agree with cells written from the equations."""
    core, x, state = make_case(model)
    hidden, end = core(x, state)
    expected, finals = run(model, core.fused, x, state.tensors)
    torch.testing.assert_close(hidden, expected, rtol=0, atol=1e-12)
    for tensor, final in zip(end.tensors, finals, strict=True):
        torch.testing.assert_close(tensor, final, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("model", "swapped"),
    [
        ("gru", ("z", "r", "n")),
        ("gru", ("r", "n", "z")),
        ("lstm", ("f", "i", "g", "o")),
        ("lstm", ("i", "f", "o", "g")),
        ("lstm", ("o", "f", "g", "i")),
    ],
)
def test_swapped_gates_are_noticed(model, swapped):
    """The comparison above would fail if two gates changed places."""
    core, x, state = make_case(model)
    assert sorted(swapped) == sorted(GATES[model])
    right, _ = core(x, state)
    wrong, _ = run(model, core.fused, x, state.tensors, gates=swapped)
    assert (right - wrong).abs().max() > 1e-2


@pytest.mark.parametrize("model", CORES)
def test_carried_state_continues_the_run(model):
    """Two calls, the state handed over, give what one call gives."""
    core, x, state = make_case(model)
    whole, whole_end = core(x, state)
    left, between = core(x[:4], state)
    right, end = core(x[4:], between)
    torch.testing.assert_close(torch.cat([left, right]), whole, rtol=0, atol=1e-14)
    for tensor, expected in zip(end.tensors, whole_end.tensors, strict=True):
        torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("model", CORES)
def test_nothing_is_remembered_between_calls(model):
    """The same call twice gives the same bits, whatever ran in between."""
    core, x, state = make_case(model)
    before, _ = core(x, state)
    core(x * 2, core.initial_state(ROWS))
    after, _ = core(x, state)
    assert torch.equal(before, after)


@pytest.mark.parametrize("model", CORES)
def test_later_days_do_not_touch_earlier_outputs(model):
    """Changing day 6 leaves the outputs of days 0 to 5 bit-identical."""
    core, x, state = make_case(model)
    before, _ = core(x, state)
    changed = x.clone()
    changed[6:] += 1.0
    after, _ = core(changed, state)
    assert torch.equal(before[:6], after[:6])
    assert not torch.equal(before[6], after[6])


@pytest.mark.parametrize(("model", "tensors"), [("elman", 1), ("gru", 1), ("lstm", 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_initial_state_is_zeros_like_the_weights(model, tensors, dtype):
    """(layers, rows, hidden) zeros, as many as the cell carries, in the weights' dtype."""
    state = CORES[model](INPUTS, HIDDEN, LAYERS, 0.0).to(dtype).initial_state(ROWS)
    assert len(state.tensors) == tensors
    for tensor in state.tensors:
        assert tensor.shape == (LAYERS, ROWS, HIDDEN)
        assert tensor.dtype == dtype
        assert not tensor.any()


@pytest.mark.parametrize("model", CORES)
def test_gradcheck_through_two_layers(model):
    """Autograd agrees with finite differences for the inputs and the initial state."""
    core, x, state = make_case(model)
    inputs = (x[:4].clone(), *(tensor.clone() for tensor in state.tensors))

    def outputs(days, *tensors):
        hidden, end = core(days, RecurrentState(tensors))
        return (hidden, *end.tensors)

    assert torch.autograd.gradcheck(outputs, [tensor.requires_grad_() for tensor in inputs])


def make_state():
    torch.manual_seed(0)
    return RecurrentState(tuple(torch.randn(2, 4, 3) for _ in range(2)))


def test_reset_zeros_exactly_the_chosen_rows():
    """Row 1 becomes zero in every tensor and layer, the others keep their bits."""
    state = make_state()
    reset = state.reset(torch.tensor([False, True, False, False]))
    for before, after in zip(state.tensors, reset.tensors, strict=True):
        assert not after[:, 1].any()
        assert torch.equal(after[:, [0, 2, 3]], before[:, [0, 2, 3]])


def test_reset_is_not_in_place():
    """The state that was reset is still what it was."""
    state = make_state()
    copies = [tensor.clone() for tensor in state.tensors]
    state.reset(torch.ones(4, dtype=torch.bool))
    assert all(torch.equal(a, b) for a, b in zip(state.tensors, copies, strict=True))


def test_reset_removes_nan_and_its_gradient():
    """A row that has gone bad is harmless once reset: zeros, and no gradient through them."""
    tensor = torch.tensor([[[1.0], [float("nan")]]], requires_grad=True)
    reset = RecurrentState((tensor,)).reset(torch.tensor([False, True]))
    assert reset.tensors[0].flatten().tolist() == [1.0, 0.0]
    reset.tensors[0].sum().backward()
    assert tensor.grad.flatten().tolist() == [1.0, 0.0]


def test_rows_picks_by_number_and_by_choice():
    """Numbers pick in the order given, a bool choice in row order; both contiguous."""
    (h, c) = make_state().tensors
    state = RecurrentState((h, c))
    by_number = state.rows(torch.tensor([3, 0]))
    by_choice = state.rows(torch.tensor([True, False, False, True]))
    assert torch.equal(by_number.tensors[0], h[:, [3, 0]])
    assert torch.equal(by_choice.tensors[1], c[:, [0, 3]])
    assert all(t.is_contiguous() for t in (*by_number.tensors, *by_choice.tensors))


def test_detach_makes_leaves_of_every_tensor():
    """Both h and c lose their history; forgetting one is a known bug elsewhere."""
    weight = torch.ones(1, requires_grad=True)
    state = RecurrentState(tuple(tensor * weight for tensor in make_state().tensors))
    assert all(tensor.requires_grad for tensor in state.tensors)
    detached = state.detach()
    assert all(tensor.is_leaf and not tensor.requires_grad for tensor in detached.tensors)
