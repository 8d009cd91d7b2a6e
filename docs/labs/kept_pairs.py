"""The pairs of error and earlier day that a BPTT plan keeps, measured with the engine.

Run: python docs/labs/kept_pairs.py
"""

import torch
from torch import Tensor, nn

from forecaster.bptt.chunks import Block
from forecaster.bptt.gradients import bptt_gradients
from forecaster.bptt.plan import BPTTPlan
from forecaster.models.base import RecurrentCore, RecurrentState
from forecaster.models.elman import ElmanCore
from forecaster.models.heads import Head, PointForm
from forecaster.models.network import Network

DAYS = 12


class Probed(RecurrentCore):
    """A core with a trainable zero added to each day's input; its gradient is dE/dx of that day."""

    def __init__(self) -> None:
        super().__init__()
        self.core = ElmanCore(1, 3)
        self.hidden_size = 3
        self.probe = nn.Parameter(torch.zeros(DAYS))

    def forward(self, x: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        """Add to each day the probe of its number, which is the input."""
        return self.core(torch.ones_like(x) + self.probe[x.long()], state)

    def initial_state(self, rows: int) -> RecurrentState:
        """Return the initial state of the core."""
        return self.core.initial_state(rows)


def kept(network: Network, day: int, plan: BPTTPlan) -> list[bool]:
    """Return for each day whether the error of one day has a gradient for its input."""
    x = torch.arange(float(DAYS))[:, None, None]
    mask = torch.zeros(DAYS, 1, 1, dtype=torch.bool)
    mask[day] = True
    state = network.initial_state(1)
    block = Block(x, torch.ones(DAYS, 1, 1), mask, count=1.0)
    found = bptt_gradients(network, block, state, plan)
    names = [name for name, _ in network.named_parameters()]
    return (found.gradients[names.index("core.probe")] != 0).tolist()


def main() -> None:
    """Print a triangle per plan: a row per error, a column per earlier day."""
    torch.manual_seed(0)
    network = Network(Probed(), Head(3, [PointForm()]))
    nn.init.normal_(network.head.linear.weight)
    plans = {
        "full": BPTTPlan.full(),
        "truncated, k2 = 4": BPTTPlan.truncated(k2=4),
        "truncated, k2 = 4, k1 = 2": BPTTPlan.truncated(k2=4, k1=2),
        "truncated, k2 = 4, k1 = 1": BPTTPlan.truncated(k2=4, k1=1),
    }
    for name, plan in plans.items():
        print(f"{name}")
        for day in range(DAYS):
            row = kept(network, day, plan)
            print("  " + " ".join("#" if hit else "." for hit in row[: day + 1]))


if __name__ == "__main__":
    main()
