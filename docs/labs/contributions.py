"""Gradient contributions by day of one error, and why early ones vanish or explode.

Run: python docs/labs/contributions.py

Every day has a copy of the shared weights: the gradient with respect to the copy of day i is
the contribution of day i. Their sum is what `forecaster` computes for the shared weights.
"""

import torch
from torch import Tensor

from forecaster.bptt.chunks import Block
from forecaster.bptt.gradients import bptt_gradients
from forecaster.bptt.plan import BPTTPlan
from forecaster.models.elman import ElmanCore
from forecaster.models.heads import Head, PointForm
from forecaster.models.network import Network

DAYS, HIDDEN = 8, 4


def unrolled(network: Network, x: Tensor, outcome: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Unroll by hand; return dE/ds_i and dE/dW_s(copy i) of the last error, oldest first."""
    fused, head = network.core.fused, network.head.linear
    copies = [fused.weight_hh_l0.detach().clone().requires_grad_() for _ in range(DAYS)]
    bias = fused.bias_ih_l0 + fused.bias_hh_l0
    states = [torch.zeros(HIDDEN, dtype=x.dtype)]
    for day in range(DAYS):
        fed = copies[day] @ states[-1] + fused.weight_ih_l0 @ x[day, 0] + bias
        states.append(torch.tanh(fed))
    error = (head(states[-1]) - outcome).square().sum()
    found = list(torch.autograd.grad(error, [*states[1:], *copies]))
    return found[:DAYS], found[DAYS:]


def shared(network: Network, x: Tensor, outcome: Tensor) -> Tensor:
    """Compute dE/dW_s of the last day's error by the engine, full BPTT."""
    mask = torch.zeros(DAYS, 1, 1, dtype=torch.bool)
    mask[-1] = True
    y = torch.zeros(DAYS, 1, 1, dtype=x.dtype) + outcome
    block = Block(x, y, mask, count=1.0)
    found = bptt_gradients(network, block, network.initial_state(1), BPTTPlan.full())
    names = [name for name, _ in network.named_parameters()]
    return found.gradients[names.index("core.fused.weight_hh_l0")]


def elman(scale: float) -> Network:
    """Build a network with W_s = rotation x `scale` and inputs so small that tanh is linear."""
    torch.manual_seed(1)
    network = Network(ElmanCore(2, HIDDEN), Head(HIDDEN, [PointForm()])).double()
    with torch.no_grad():
        network.head.linear.weight.fill_(1.0)
        for name, parameter in network.core.fused.named_parameters():
            if name == "weight_hh_l0":
                torch.nn.init.orthogonal_(parameter).mul_(scale)
            else:
                parameter.mul_(0.01)
    return network


def main() -> None:
    """Print norms by lag for weights that shrink, preserve and stretch."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(DAYS, 1, 2, generator=generator, dtype=torch.float64)
    outcome = torch.ones(1, dtype=torch.float64)
    print("days before the error    " + "".join(f"{lag:>9}" for lag in range(DAYS)))
    for scale in (0.5, 1.0, 2.0):
        network = elman(scale)
        to_states, parts = unrolled(network, x, outcome)
        print(f"W_s = {scale} x rotation")
        for name, tensors in (("dE/ds_i", to_states), ("part of dE/dW_s", parts)):
            sizes = "".join(f"{float(tensor.norm()):>9.4f}" for tensor in reversed(tensors))
            print(f"  {name:<23}{sizes}")
        off = float((sum(parts) - shared(network, x, outcome)).abs().max())
        print(f"  the parts add up to the engine's dE/dW_s: {off < 1e-14}")


if __name__ == "__main__":
    main()
