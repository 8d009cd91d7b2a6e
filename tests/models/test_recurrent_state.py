import torch

from forecaster.models.base import RecurrentState

LAYERS, ROWS, HIDDEN = 2, 4, 3


def make_state():
    torch.manual_seed(0)
    return RecurrentState(tuple(torch.randn(LAYERS, ROWS, HIDDEN) for _ in range(2)))


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
    state.reset(torch.ones(ROWS, dtype=torch.bool))
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
