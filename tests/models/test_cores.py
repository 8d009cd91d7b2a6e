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
