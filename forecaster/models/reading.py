"""Which of a day's columns a core reads, and how many of them it is shown while training.

Knows no head and no loss. Shape letters as in `base.py`.
"""

from torch import Tensor, nn

from forecaster.models.base import RecurrentCore, RecurrentState


class ReadingCore(RecurrentCore):
    """Hands the first columns of each day to another core, some dropped while training.

    What follows them is for others: the head adds a base's raw outputs (see `network.py`).

    Args:
        core: reads `inputs` columns; its state is the state.
        inputs: columns to hand on, F.
        dropout: share of their values dropped while training, each day anew, in [0, 1).
    """

    def __init__(self, core: RecurrentCore, inputs: int, dropout: float) -> None:
        super().__init__()
        self.core = core
        self.inputs = inputs
        self.dropout = nn.Dropout(dropout)
        self.hidden_size, self.cuttable = core.hidden_size, core.cuttable
        self.in_one_kernel = core.in_one_kernel

    def forward(self, x: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        """Run through the days of `x`; see `RecurrentCore.forward`."""
        output: tuple[Tensor, RecurrentState] = self.core(
            self.dropout(x[..., : self.inputs]), state
        )
        return output

    def initial_state(self, rows: int) -> RecurrentState:
        """Make the other core's zeros."""
        return self.core.initial_state(rows)
