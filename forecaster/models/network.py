"""A whole network, core and head, and the one place that knows networks by name.

Knows no prices, no optimizer and no file.

Shape letters: T days, B rows, F features, K targets, R raw outputs of the head.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from forecaster.errors import UsageError
from forecaster.models.base import RecurrentCore, RecurrentState
from forecaster.models.elman import ElmanCore
from forecaster.models.gru import GRUCore
from forecaster.models.heads import Form, Head, PointForm
from forecaster.models.lstm import LSTMCore
from forecaster.models.mlp import MLPCore


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


CORES: dict[str, Callable[[int, int, int, float], RecurrentCore]] = {
    "elman": ElmanCore,
    "gru": GRUCore,
    "lstm": LSTMCore,
}
# Without memory: no recurrent network, but a rival that reads the same inputs.
MEMORYLESS: dict[str, Callable[[int, int, int, float], RecurrentCore]] = {"mlp": MLPCore}


class Network(nn.Module):
    """A core, dropout on its output, and a head.

    Args:
        core: turns features into hidden units, day by day.
        head: turns hidden units into forecasts and scores them.
        dropout: share of the core's outputs dropped while training, in [0, 1).
        learned_start: learn the state that every series starts from, from zeros on, instead
            of keeping it at zeros.
        has_base: the last R columns of the inputs are raw outputs of another forecaster, to
            which the head adds its own; the core must leave them alone.
    """

    def __init__(
        self,
        core: RecurrentCore,
        head: Head,
        dropout: float = 0.0,
        *,
        learned_start: bool = False,
        has_base: bool = False,
    ) -> None:
        super().__init__()
        self.has_base = has_base
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
            Raw outputs (T or last, B, R), each from its own day and those before, and the
            state after the last day.
        """
        hidden, state = self.core(x, state)
        if last is not None:
            hidden, x = hidden[len(hidden) - last :], x[len(x) - last :]
        return self.read(self.dropout(hidden) if noise is None else hidden * noise, x), state

    def read(self, hidden: Tensor, x: Tensor) -> Tensor:
        """Turn hidden units (..., H) of days with inputs `x` (..., F) into raw outputs (..., R)."""
        output: Tensor = self.head(hidden)
        return output + x[..., -self.head.raw_outputs :] if self.has_base else output

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
    input_dropout: float = 0.0,
    forms: Sequence[Form] = (),
    learned_start: bool = False,
    bidirectional: bool = False,
    has_base: bool = False,
) -> Network:
    """Build a network by name, with fresh weights from torch's global generator.

    Args:
        model: "elman", "gru", "lstm", or "mlp", which has no memory.
        inputs: features per day, those of a base not counted.
        targets: outcomes forecast per day.
        hidden: units per layer, at least 1.
        layers: layers, at least 1.
        dropout: share dropped between layers and before the head while training, in [0, 1).
        input_dropout: share of the features dropped while training, in [0, 1).
        forms: what is said of each target; none means one number each, by squared error.
        learned_start: see `Network`.
        bidirectional: read each window from both ends (see `bidirectional.py`).
        has_base: see `Network`.

    Raises:
        UsageError: the name is unknown or a number is outside its range.
    """
    known = CORES | MEMORYLESS
    if model not in known:
        raise UsageError(f"--model {model} is not known; choose one of {', '.join(known)}.")
    for flag, number in (("--hidden", hidden), ("--layers", layers)):
        if number < 1:
            raise UsageError(f"{flag} is {number}; a network needs at least 1.")
    for flag, share in (("--dropout", dropout), ("--input-dropout", input_dropout)):
        if not 0.0 <= share < 1.0:
            raise UsageError(f"{flag} is {share:g}; give a share from 0 up to, not including, 1.")
    core = known[model](inputs, hidden, layers, dropout)
    if bidirectional:
        core = BidirectionalCore(core, known[model](inputs, hidden, layers, dropout))
    if input_dropout or has_base:
        core = ReadingCore(core, inputs, input_dropout)
    head = Head(core.hidden_size, forms or (PointForm(),) * targets)
    return Network(core, head, dropout, learned_start=learned_start, has_base=has_base)
