"""A delay line: a lag that truncation provably cannot learn, to the day.

Run: python docs/labs/delay_line.py
"""

import torch
from torch import Tensor, nn

from forecaster.bptt import Batch, Plan, gradients

LAG, DAYS, ROWS, EPOCHS, RATE = 10, 240, 16, 80, 0.5
# The only two weights that are trained: the write gate w and the readout v.
TRAINED = {"weight_ih_l0": (0, 0), "head.weight": (0, LAG)}


def delay_line() -> tuple[nn.RNN, nn.Linear]:
    """Build a shift register of LAG + 1 units whose write gate is closed and whose end is read."""
    rnn, head = nn.RNN(1, LAG + 1).double(), nn.Linear(LAG + 1, 1).double()
    with torch.no_grad():
        for parameter in (*rnn.parameters(), *head.parameters()):
            parameter.zero_()
        rnn.weight_hh_l0[range(1, LAG + 1), range(LAG)] = 1.0
        head.weight[0, LAG] = 1.0
    return rnn, head


def error_after_training(k2: int, k1: int) -> tuple[float, bool]:
    """Train by plain gradient descent; return the relative error and whether anything moved."""
    generator = torch.Generator().manual_seed(0)
    x = 0.3 * torch.randn(DAYS, ROWS, 1, generator=generator, dtype=torch.float64)
    y = torch.cat([torch.zeros(LAG, ROWS, 1, dtype=torch.float64), x[:-LAG]])
    rnn, head = delay_line()
    weights = (*rnn.parameters(), *head.parameters())
    before = [parameter.clone() for parameter in weights]
    for _ in range(EPOCHS):
        descend(rnn, head, x, y, Plan.truncated(k2=k2, k1=k1))
    with torch.no_grad():
        error = (head(rnn(x)[0]) - y)[LAG:].square().mean() / y[LAG:].square().mean()
    return float(error), any(not torch.equal(a, b) for a, b in zip(before, weights, strict=True))


def descend(rnn: nn.RNN, head: nn.Linear, x: Tensor, y: Tensor, plan: Plan) -> None:
    """Train for one epoch, one step every k1 days; the state is carried."""
    k1, k2 = plan.k1 or DAYS, plan.k2 or DAYS
    states = {0: torch.zeros(1, ROWS, LAG + 1, dtype=x.dtype)}
    for start in range(0, DAYS, k1):
        first, stop = max(0, start + k1 - k2), min(start + k1, DAYS)
        batch = Batch(
            x[first:stop], y[first:stop], count=float(k1 * ROWS), context=(start - first) // k1
        )
        found = gradients(
            rnn, batch, plan, loss=nn.MSELoss(reduction="none"), state=states[first], head=head
        )
        for number, state in enumerate(found.states, start=1):
            states[first + number * k1] = state
        with torch.no_grad():
            for name, at in TRAINED.items():
                found.parameters[name][at] -= RATE * found.by_name[name][at]


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
