"""The pairs of error and earlier day that a BPTT plan keeps, measured with the engine.

Run: python docs/labs/kept_pairs.py
"""

import torch
from torch import nn

from forecaster.bptt import Batch, Plan, gradients

DAYS = 12


def kept(rnn: nn.RNN, day: int, plan: Plan) -> list[bool]:
    """Return for each day whether the error of one day has a gradient for its input."""
    x, y = torch.ones(DAYS, 1, 1, requires_grad=True), torch.ones(DAYS, 1, 3)
    mask = torch.zeros(DAYS, 1, dtype=torch.bool)
    mask[day] = True
    found = gradients(rnn, Batch(x, y, mask), plan, loss=nn.MSELoss(reduction="none"))
    return (found.x.flatten() != 0).tolist()


def main() -> None:
    """Print a triangle per plan: a row per error, a column per earlier day."""
    torch.manual_seed(0)
    rnn = nn.RNN(1, 3)
    plans = {
        "full": Plan.full(),
        "truncated, k2 = 4": Plan.truncated(k2=4),
        "truncated, k2 = 4, k1 = 2": Plan.truncated(k2=4, k1=2),
        "truncated, k2 = 4, k1 = 1": Plan.truncated(k2=4, k1=1),
    }
    for name, plan in plans.items():
        print(f"{name}")
        for day in range(DAYS):
            row = kept(rnn, day, plan)
            print("  " + " ".join("#" if hit else "." for hit in row[: day + 1]))


if __name__ == "__main__":
    main()
