"""How recurrent weights start, where torch's own draw does not suit a task."""

from typing import Literal

import torch
from torch import nn

RecurrentStart = Literal["default", "orthogonal", "identity"]
_STARTS = {"orthogonal": nn.init.orthogonal_, "identity": nn.init.eye_}
_FORGET = slice(1, 2)  # of the gates in torch's order: input, forget, candidate, output


@torch.no_grad()
def initialise(
    network: nn.Module, *, recurrent_weights: RecurrentStart, forget_bias: float | None
) -> None:
    """Set the start of every recurrent layer of a network in place, from torch's generator.

    Args:
        network: any module; its `nn.RNN`, `nn.GRU` and `nn.LSTM` are changed.
        recurrent_weights: of each gate (H, H): `orthogonal` draws a random rotation, which keeps
            the norm of an error on its way back; `identity` copies the state, with biases of 0.
        forget_bias: start of the LSTM's forget gate; 3 keeps 0.95 of the memory a day. None:
            near 0, as torch draws it.

    Source: Saxe, McClelland and Ganguli (2014), "Exact solutions to the nonlinear dynamics of
        learning in deep linear neural networks" (orthogonal); Le, Jaitly and Hinton (2015), "A
        Simple Way to Initialize Recurrent Networks of Rectified Linear Units" (identity), here
        with tanh; Gers, Schmidhuber and Cummins (2000), "Learning to Forget" (forget bias).
    """
    for module in network.modules():
        if not isinstance(module, nn.RNNBase):
            continue
        size = module.hidden_size
        for name, parameter in module.named_parameters():
            if name.startswith("weight_hh") and recurrent_weights != "default":
                for gate in torch.split(parameter, size):
                    _STARTS[recurrent_weights](gate)
            if name.startswith("bias"):
                if recurrent_weights == "identity":
                    parameter.zero_()
                if forget_bias is not None and isinstance(module, nn.LSTM):
                    # Two biases of torch add up to the one.
                    value = forget_bias if name.startswith("bias_ih") else 0.0
                    parameter.view(-1, size)[_FORGET] = value
