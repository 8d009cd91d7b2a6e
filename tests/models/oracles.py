"""Textbook cells, one day at a time, to hold the fused networks against.

Written from the equations, sharing no code with the package. The weights of torch's fused
modules are read by gate name.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

GATES = {"elman": ("s",), "gru": ("r", "z", "n"), "lstm": ("i", "f", "g", "o")}

Weights = dict[str, tuple[Tensor, Tensor, Tensor, Tensor]]
Step = Callable[[Weights, Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]


def weights_of(fused: nn.RNNBase, layer: int, gates: tuple[str, ...]) -> Weights:
    """Copy one layer's (W, U, b, d) per gate: from the input, from the state, two biases."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    stacked = [getattr(fused, f"{name}_l{layer}").detach().clone() for name in names]
    parts = zip(*(tensor.chunk(len(gates)) for tensor in stacked), strict=True)
    return dict(zip(gates, parts, strict=True))


def affine(weights: Weights, gate: str, x: Tensor, h: Tensor) -> Tensor:
    """W x + U h + b + d."""
    w, u, b, d = weights[gate]
    return x @ w.T + h @ u.T + b + d


def elman_day(weights: Weights, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """s_t = tanh(W_s s_{t-1} + W_x x_t + b)."""
    return (torch.tanh(affine(weights, "s", x, state[0])),)


def gru_day(weights: Weights, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """h_t = (1 - z) n + z h_{t-1}, the reset gate after the product, as in torch."""
    (h,) = state
    r = torch.sigmoid(affine(weights, "r", x, h))
    z = torch.sigmoid(affine(weights, "z", x, h))
    w, u, b, d = weights["n"]
    n = torch.tanh(x @ w.T + b + r * (h @ u.T + d))
    return ((1 - z) * n + z * h,)


def lstm_day(weights: Weights, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """c_t = f c_{t-1} + i g, h_t = o tanh(c_t)."""
    h, c = state
    i = torch.sigmoid(affine(weights, "i", x, h))
    f = torch.sigmoid(affine(weights, "f", x, h))
    o = torch.sigmoid(affine(weights, "o", x, h))
    c = f * c + i * torch.tanh(affine(weights, "g", x, h))
    return o * torch.tanh(c), c


DAYS: dict[str, Step] = {"elman": elman_day, "gru": gru_day, "lstm": lstm_day}


def run(
    model: str,
    fused: nn.RNNBase,
    x: Tensor,
    tensors: tuple[Tensor, ...],
    gates: tuple[str, ...] | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Unroll a stack of cells: outputs (T, B, H) of the last layer, final (Y, B, H) tensors."""
    finals = []
    for layer in range(fused.num_layers):
        weights = weights_of(fused, layer, gates or GATES[model])
        state = tuple(tensor[layer] for tensor in tensors)
        outputs = []
        for day in x:
            state = DAYS[model](weights, day, state)
            outputs.append(state[0])
        x = torch.stack(outputs)
        finals.append(state)
    return x, tuple(torch.stack(parts) for parts in zip(*finals, strict=True))
