"""Where recurrent weights start."""

import pytest
import torch
from torch import nn

from forecaster.models.initialisation import initialise


def test_each_gate_is_a_rotation() -> None:
    network = nn.LSTM(3, 5, num_layers=2)
    initialise(network, recurrent_weights="orthogonal", forget_bias=None)
    for layer in range(2):
        for gate in getattr(network, f"weight_hh_l{layer}").split(5):
            torch.testing.assert_close(gate @ gate.T, torch.eye(5))


def test_the_identity_copies_the_state() -> None:
    network = nn.RNN(3, 5)
    initialise(network, recurrent_weights="identity", forget_bias=None)
    state = torch.full((1, 1, 5), 0.01)
    output, _ = network(torch.zeros(1, 1, 3), state)
    torch.testing.assert_close(output, state.tanh())


def test_the_forget_gate_keeps_what_its_bias_says() -> None:
    """Of a memory of 1, without input and state: sigmoid(3) after a day."""
    network = nn.LSTM(3, 5)
    initialise(network, recurrent_weights="default", forget_bias=3.0)
    with torch.no_grad():
        network.weight_ih_l0.zero_()
        network.weight_hh_l0.zero_()
        total = network.bias_ih_l0 + network.bias_hh_l0
        total[10:15] = 0.0  # the candidate adds nothing
        network.bias_ih_l0.copy_(total)
        network.bias_hh_l0.zero_()
    _, (_, memory) = network(torch.zeros(1, 1, 3), (torch.zeros(1, 1, 5), torch.ones(1, 1, 5)))
    torch.testing.assert_close(memory, torch.full((1, 1, 5), 3.0).sigmoid())


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_the_defaults_change_no_weight_and_draw_nothing(kind: type[nn.RNNBase]) -> None:
    network = kind(3, 5)
    before, state = nn.utils.parameters_to_vector(network.parameters()), torch.get_rng_state()
    initialise(network, recurrent_weights="default", forget_bias=None)
    assert torch.equal(before, nn.utils.parameters_to_vector(network.parameters()))
    assert torch.equal(state, torch.get_rng_state())
