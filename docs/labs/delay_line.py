"""A delay line: a lag that truncation provably cannot learn, to the day.

Run: python docs/labs/delay_line.py
"""

import torch
from torch import Tensor

from forecaster.bptt.chunks import Block, Chunking
from forecaster.bptt.gradients import bptt_gradients
from forecaster.bptt.plan import BPTTPlan
from forecaster.models.base import RecurrentCore
from forecaster.models.elman import ElmanCore
from forecaster.models.heads import Head, PointForm
from forecaster.models.network import Network

LAG, DAYS, ROWS, EPOCHS, RATE = 10, 240, 16, 80, 0.5


def delay_line() -> Network:
    """Build a shift register of LAG + 1 units whose write gate is closed and whose end is read."""
    core: RecurrentCore = ElmanCore(1, LAG + 1)
    network = Network(core, Head(LAG + 1, [PointForm()])).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.core.fused.weight_hh_l0[range(1, LAG + 1), range(LAG)] = 1.0
        network.head.linear.weight[0, LAG] = 1.0
    return network


def learnable(network: Network) -> dict[str, tuple[int, int]]:
    """Return the only two trained weights: the write gate w and the readout v."""
    return {"core.fused.weight_ih_l0": (0, 0), "head.linear.weight": (0, LAG)}


def error_after_training(k2: int, k1: int) -> tuple[float, bool]:
    """Train by plain gradient descent; return the relative error and whether anything moved."""
    generator = torch.Generator().manual_seed(0)
    x = 0.3 * torch.randn(DAYS, ROWS, 1, generator=generator, dtype=torch.float64)
    y = torch.cat([torch.zeros(LAG, ROWS, 1, dtype=torch.float64), x[:-LAG]])
    network, plan = delay_line(), BPTTPlan.truncated(k2=k2, k1=k1)
    before = [parameter.clone() for parameter in network.parameters()]
    for _ in range(EPOCHS):
        descend(network, x, y, plan)
    with torch.no_grad():
        prediction, _ = network(x, network.initial_state(ROWS))
    moved = any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    scored = slice(LAG, None)
    error = (prediction[scored] - y[scored]).square().mean() / y[scored].square().mean()
    return float(error), moved


def descend(network: Network, x: Tensor, y: Tensor, plan: BPTTPlan) -> None:
    """Train for one epoch, one step every k1 days; the state is carried."""
    k1, k2 = plan.k1 or DAYS, plan.k2 or DAYS
    states = {0: network.initial_state(ROWS)}
    for start in range(0, DAYS, k1):
        first = max(0, start + k1 - k2)
        stop = min(start + k1, DAYS)
        lengths = tuple(min(k1, stop - day) for day in range(first, stop, k1))
        mask = torch.zeros_like(y[first:stop], dtype=torch.bool)
        mask[start - first :] = True
        block = Block(x[first:stop], y[first:stop], mask, count=float(k1 * ROWS))
        chunking = Chunking(lengths=lengths, context=len(lengths) - 1)
        found = bptt_gradients(network, block, states[first], plan, chunking)
        for number, state in enumerate(found.states, start=1):
            states[first + number * k1] = state
        step(network, found.gradients)


def step(network: Network, gradients: tuple[Tensor, ...]) -> None:
    """Update the two weights that are trained."""
    chosen = learnable(network)
    with torch.no_grad():
        for (name, parameter), gradient in zip(network.named_parameters(), gradients, strict=True):
            if name in chosen:
                parameter[chosen[name]] -= RATE * gradient[chosen[name]]


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"the target is the input of {LAG} days ago; relative error after {EPOCHS} epochs")
    print("  k2  k1  relative error  weights")
    for k2, k1 in [(5, 5), (10, 10), (10, 5), (11, 11), (12, 6), (20, 20)]:
        error, moved = error_after_training(k2, k1)
        print(f"{k2:>4}{k1:>4}{error:>16.3f}  {'changed' if moved else 'unchanged, bit for bit'}")


if __name__ == "__main__":
    main()
