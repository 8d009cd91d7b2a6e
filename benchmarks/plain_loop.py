"""Training without a library: a torch network, a linear head, one batch after another.

The measure for `benchmarks.training`: windows are gathered from one tensor, which is faster than
a DataLoader, and Adam is fused.
"""

import torch
from torch import Tensor, nn

KINDS = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class PlainLoop:
    """A network and its optimizer."""

    def __init__(self, kind: str, inputs: int, hidden: int) -> None:
        self.core, self.head = KINDS[kind](inputs, hidden), nn.Linear(hidden, 1)
        self.parameters = [*self.core.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-3, fused=True)

    def loss(self, x: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        """Compute the mean squared error of the last day of windows, rows (L, W)."""
        hidden, _ = self.core(x[rows])
        return nn.functional.mse_loss(self.head(hidden[-1]), y[rows[-1]])

    def step(self, x: Tensor, y: Tensor, rows: Tensor) -> None:
        """Take one optimizer step."""
        self.optimizer.zero_grad()
        self.loss(x, y, rows).backward()
        self.optimizer.step()
