"""Gradient contributions by day of one error, and why early ones vanish or explode.

Run: python docs/labs/contributions.py
"""

import torch
from torch import nn

from forecaster.bptt import Batch, Plan, contributions, gradient_by_lag, gradients

DAYS, HIDDEN = 8, 4
MSE = nn.MSELoss(reduction="none")


def elman(scale: float) -> tuple[nn.RNN, nn.Linear]:
    """Build a network with W_s = rotation x `scale` and inputs so small that tanh is linear."""
    torch.manual_seed(1)
    rnn, head = nn.RNN(2, HIDDEN).double(), nn.Linear(HIDDEN, 1, bias=False).double()
    with torch.no_grad():
        head.weight.fill_(1.0)
        for name, parameter in rnn.named_parameters():
            if name == "weight_hh_l0":
                nn.init.orthogonal_(parameter).mul_(scale)
            else:
                parameter.mul_(0.01)
    return rnn, head


def main() -> None:
    """Print norms by lag for weights that shrink, preserve and stretch."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(DAYS, 1, 2, generator=generator, dtype=torch.float64)
    mask = torch.arange(DAYS)[:, None] == DAYS - 1
    batch, lags = Batch(x, torch.ones(DAYS, 1, 1, dtype=x.dtype), mask), DAYS - 1
    print("days before the error    " + "".join(f"{lag:>9}" for lag in range(DAYS)))
    for scale in (0.5, 1.0, 2.0):
        rnn, head = elman(scale)
        to_states = gradient_by_lag(rnn, batch, loss=MSE, head=head, lags=lags)
        parts = contributions(rnn, batch, loss=MSE, head=head, lags=lags)["weight_hh_l0"]
        print(f"W_s = {scale} x rotation")
        for name, sizes in (
            ("dE/ds_i", to_states.tolist()),
            ("part of dE/dW_s", parts.flatten(1).norm(dim=1).tolist()),
        ):
            print(f"  {name:<23}" + "".join(f"{size:>9.4f}" for size in sizes))
        whole = gradients(rnn, batch, Plan.full(), loss=MSE, head=head).by_name["weight_hh_l0"]
        equal = torch.allclose(parts.sum(dim=0), whole, rtol=1e-12, atol=1e-14)
        print(f"  the parts add up to the engine's dE/dW_s: {equal}")


if __name__ == "__main__":
    main()
