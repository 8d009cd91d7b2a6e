"""A whole network, core and head, and the one place that knows networks by name.

Knows no prices, no optimizer and no file.

Shape letters: T days, B rows, F features, K targets.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from forecaster.errors import UsageError
from forecaster.models.base import RecurrentCore, RecurrentState
from forecaster.models.bidirectional import BidirectionalCore
from forecaster.models.elman import ElmanCore
from forecaster.models.gru import GRUCore
from forecaster.models.heads import Head, PointHead
from forecaster.models.lstm import LSTMCore

CORES: dict[str, Callable[[int, int, int, float], RecurrentCore]] = {
    "elman": ElmanCore,
    "gru": GRUCore,
    "lstm": LSTMCore,
}


class Network(nn.Module):
    """A core, dropout on its output, and a head.

    Args:
        core: turns features into hidden units, day by day.
        head: turns hidden units into forecasts and scores them.
        dropout: share of the core's outputs dropped while training, in [0, 1).
        learned_start: learn the state that every series starts from, from zeros on, instead
            of keeping it at zeros.
    """

    def __init__(
        self, core: RecurrentCore, head: Head, dropout: float = 0.0, *, learned_start: bool = False
    ) -> None:
        super().__init__()
        self.core = core
        self.dropout = nn.Dropout(dropout)
        self.head = head
        zeros = core.initial_state(1).tensors if learned_start else ()
        self.start = nn.ParameterList(nn.Parameter(tensor) for tensor in zeros)

    def forward(
        self,
        x: Tensor,
        state: RecurrentState,
        last: int | None = None,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, RecurrentState]:
        """Forecast on every day of `x` (T, B, F), or on its last days only.

        Args:
            x: features, oldest day first.
            state: the state before the first day.
            last: forecast on so many of the last days, at most T; None for all.
            noise: (last, B, H) factors of the hidden units in place of dropout, drawn by the
                caller; None to draw here.

        Returns:
            Forecasts (T or last, B, K), each from its own day and those before, and the
            state after the last day.
        """
        hidden, state = self.core(x, state)
        hidden = hidden if last is None else hidden[len(hidden) - last :]
        prediction: Tensor = self.head(self.dropout(hidden) if noise is None else hidden * noise)
        return prediction, state

    def initial_state(self, rows: int) -> RecurrentState:
        """Make what a series starts from, on the weights' device and dtype."""
        if not len(self.start):
            return self.core.initial_state(rows)
        return RecurrentState(
            tuple(start.expand(-1, rows, -1).contiguous() for start in self.start)
        )

    def started(self, state: RecurrentState, where: Tensor) -> RecurrentState:
        """Replace the rows where the (B,) bool `where` is True by the initial state."""
        if not len(self.start):
            return state.reset(where)
        pairs = zip(state.tensors, self.start, strict=True)
        return RecurrentState(
            tuple(torch.where(where[None, :, None], start, tensor) for tensor, start in pairs)
        )


def build_network(
    model: str,
    *,
    inputs: int,
    targets: int,
    hidden: int,
    layers: int,
    dropout: float,
    learned_start: bool = False,
    bidirectional: bool = False,
) -> Network:
    """Build a network by name, with fresh weights from torch's global generator.

    Args:
        model: "elman", "gru" or "lstm".
        inputs: features per day.
        targets: numbers forecast per day.
        hidden: units per layer, at least 1.
        layers: layers, at least 1.
        dropout: share dropped between layers and before the head while training, in [0, 1).
        learned_start: see `Network`.
        bidirectional: read each window from both ends (see `bidirectional.py`).

    Raises:
        UsageError: the name is unknown or a number is outside its range.
    """
    if model not in CORES:
        raise UsageError(f"--model {model} is not known; choose one of {', '.join(CORES)}.")
    for flag, number in (("--hidden", hidden), ("--layers", layers)):
        if number < 1:
            raise UsageError(f"{flag} is {number}; a network needs at least 1.")
    if not 0.0 <= dropout < 1.0:
        raise UsageError(f"--dropout is {dropout:g}; give a share from 0 up to, not including, 1.")
    core = CORES[model](inputs, hidden, layers, dropout)
    if bidirectional:
        core = BidirectionalCore(core, CORES[model](inputs, hidden, layers, dropout))
    head = PointHead(core.hidden_size, targets)
    return Network(core, head, dropout, learned_start=learned_start)
