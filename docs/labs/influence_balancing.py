"""Influence balancing: a truncated gradient that has the wrong sign, and training by it.

23 units in a chain, s_i = (s_i + s_{i+1}) / 2 + theta on the first 10, - theta on the others. An
error at the first unit meets the 10 nearest first, on which theta acts positively; the 13 others,
which outweigh them, only many days back. The target is 1, so that theta should become -1/6.

Source: Tallec and Ollivier (2017), "Unbiasing Truncated Backpropagation Through Time", section 4.
"""

import torch
from torch import Tensor, nn

from forecaster.bptt import Batch, Plan, gradients

UNITS, POSITIVE, DAYS, STEPS, RATE = 23, 10, 130, 15, 0.02
mse = nn.MSELoss(reduction="none")


class Chain(nn.Module):
    """The chain; its output is the first unit's state."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(0.0, dtype=torch.float64))
        self.register_buffer("sign", torch.ones(UNITS, dtype=torch.float64))
        self.sign[POSITIVE:] = -1.0

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Run through the days of `x` (T, B, 1), which is not read."""
        s = x.new_zeros(x.shape[1], UNITS) if state is None else state
        first = []
        for _ in range(len(x)):
            shifted = torch.cat([s[:, 1:], torch.zeros_like(s[:, :1])], dim=1)
            s = (s + shifted) / 2 + self.theta * self.sign
            first.append(s[:, :1])
        return torch.stack(first), s


def main() -> None:
    """Print the sign of the first gradient and where theta ends, by horizon."""
    x = torch.zeros(DAYS, 1, 1, dtype=torch.float64)
    mask = torch.zeros(DAYS, 1, dtype=torch.bool)
    mask[-20:] = True  # once the chain is in balance
    batch = Batch(x, torch.ones_like(x), mask)
    print("horizon  first gradient, theta after 15 steps (-0.167 is right), squared error")
    plans = {str(k2): Plan.truncated(k2=k2, k1=k2 // 5) for k2 in (5, 20, 50, 100)}
    for name, plan in (plans | {"full": Plan.full()}).items():
        chain, first = Chain(), None
        for _ in range(STEPS):
            found = gradients(chain, batch, plan, loss=mse)
            gradient = found.by_name["theta"]
            first = gradient if first is None else first
            with torch.no_grad():
                chain.theta -= RATE * gradient.clamp(-10.0, 10.0)
        sign = "right sign" if first > 0 else "wrong sign"
        theta, error = chain.theta.item(), found.loss.item()
        end = f"{theta:.3f}  {error:>8.3f}" if error < 1.0 else "away from it"
        print(f"{name:>7}  {sign}  {end}")


if __name__ == "__main__":
    main()
