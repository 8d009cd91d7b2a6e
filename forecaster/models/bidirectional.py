"""Two networks that read a window from its two ends.

Knows no head and no loss. Shape letters as in `base.py`.
"""

import torch
from torch import Tensor

from forecaster.models.base import RecurrentCore, RecurrentState


class BidirectionalCore(RecurrentCore):
    """One core reads the days oldest first, another newest first; their outputs stand side by side.

        h_t = [forward h_t, backward h_1]

    The backward half is what the second core knows after the window's oldest day, so the last
    day's output holds both whole readings. Every output depends on every day given: only a
    window whose last day alone is forecast may be read this way, and it cannot be cut.

    Args:
        forward_core: its state is the state of the pair.
        backward_core: starts each call from zeros.

    Source: Schuster and Paliwal (1997), "Bidirectional Recurrent Neural Networks". Deviation:
    stacked layers read their own direction only, where torch's read both below.
    """

    cuttable = False

    def __init__(self, forward_core: RecurrentCore, backward_core: RecurrentCore) -> None:
        super().__init__()
        self.forward_core = forward_core
        self.backward_core = backward_core
        self.hidden_size = forward_core.hidden_size + backward_core.hidden_size
        self.in_one_kernel = forward_core.in_one_kernel

    def forward(self, x: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        """Run through the days of `x` both ways; see `RecurrentCore.forward`."""
        ahead, state = self.forward_core(x, state)
        backward, _ = self.backward_core(x.flip(0), self.backward_core.initial_state(x.shape[1]))
        return torch.cat([ahead, backward[-1:].expand_as(backward)], dim=2), state

    def initial_state(self, rows: int) -> RecurrentState:
        """Make the state of the core that reads forward."""
        return self.forward_core.initial_state(rows)
