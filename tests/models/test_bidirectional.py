"""Two readings of a window, side by side."""

import torch

from forecaster.models.lstm import LSTMCore
from forecaster.models.network import BidirectionalCore


def make():
    torch.manual_seed(0)
    pair = LSTMCore(3, 4, 2), LSTMCore(3, 4, 2)
    return BidirectionalCore(*pair).double(), torch.randn(9, 2, 3, dtype=torch.float64)


def test_the_last_day_holds_both_readings():
    """Forward up to the last day, backward down to the first."""
    core, x = make()
    hidden, state = core(x, core.initial_state(2))
    ahead, expected = core.forward_core(x, core.forward_core.initial_state(2))
    backward, _ = core.backward_core(x.flip(0), core.backward_core.initial_state(2))
    assert torch.equal(hidden[-1], torch.cat([ahead[-1], backward[-1]], dim=1))
    assert all(torch.equal(a, b) for a, b in zip(state.tensors, expected.tensors, strict=True))
    assert hidden.shape == (9, 2, core.hidden_size)


def test_every_output_depends_on_every_day():
    """Which is why it may forecast nothing but the day after the window."""
    core, x = make()
    x.requires_grad_()
    hidden, _ = core(x, core.initial_state(2))
    (gradient,) = torch.autograd.grad(hidden[4].sum(), x)
    assert (gradient != 0).any(dim=2).all()
    assert not core.cuttable
