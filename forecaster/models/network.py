"""A complete network, core and head, and the one place that knows networks by name.

Shape letters: T days, B batch rows, F features, K targets, R raw outputs of the head.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from forecaster.errors import UsageError
from forecaster.models.base import RecurrentCore, RecurrentState
from forecaster.models.elman import ElmanCore
from forecaster.models.gru import GRUCore
from forecaster.models.heads import Form, Head
from forecaster.models.lstm import LSTMCore
from forecaster.models.mlp import MLPCore

CoreType = Callable[[int, int, int, float], RecurrentCore]
CORES: dict[str, CoreType] = {"elman": ElmanCore, "gru": GRUCore, "lstm": LSTMCore}
MEMORYLESS: dict[str, CoreType] = {"mlp": MLPCore}


class InputCore(RecurrentCore):
    """Another core on the first `inputs` columns of each day, some dropped while training.

    The columns after them are raw outputs of a base, which the head adds (see `Network`).
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
        read = self.dropout(x[..., : self.inputs])
        output: tuple[Tensor, RecurrentState] = self.core(read, state)
        return output

    def initial_state(self, rows: int) -> RecurrentState:
        """Make the other core's zeros."""
        return self.core.initial_state(rows)


class BidirectionalCore(RecurrentCore):
    """Two cores, one reading the days oldest first, the other newest first.

        h_t = [forward h_t, backward h_1]

    Every output depends on every day given: only a window whose last day alone is forecast may
    be read this way, and it cannot be cut. The state is the forward core's.

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


class Network(nn.Module):
    """A core, dropout on its output, and a head.

    With `learned_start` the state that every series starts from is learned, initially zeros. With
    `has_base` the last R columns of the inputs are raw outputs of another forecaster, to which
    the head adds its own; the core must leave them alone.
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
        """Forecast on every day of `x` (T, B, F), oldest first, or on its `last` days only.

        `noise` (last, B, H) are factors of the hidden units in place of dropout.

        Returns:
            Raw outputs (T or last, B, R) and the state after the last day.
        """
        hidden, state = self.core(x, state)
        if last is not None:
            hidden, x = hidden[len(hidden) - last :], x[len(x) - last :]
        return self.read(self.dropout(hidden) if noise is None else hidden * noise, x), state

    def read(self, hidden: Tensor, x: Tensor) -> Tensor:
        """Map hidden units (..., H) of days with inputs `x` (..., F) to raw outputs (..., R)."""
        output: Tensor = self.head(hidden)
        return output + x[..., -self.head.raw_outputs :] if self.has_base else output

    def initial_state(self, rows: int) -> RecurrentState:
        """Make the state that series start from, on the weights' device and dtype."""
        if not len(self.start):
            return self.core.initial_state(rows)
        starts = (start.expand(-1, rows, -1).contiguous() for start in self.start)
        return RecurrentState(tuple(starts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The shape of a network.

    `inputs` are the features per day, those of a base not counted, `hidden` the units per layer.
    `dropout` acts between layers and before the head, `input_dropout` on the features; see
    `Network` and `BidirectionalCore` for the rest.

    Raises:
        UsageError: the model is unknown or a number is outside its range.
    """

    model: str
    inputs: int
    forms: tuple[Form, ...]
    hidden: int
    layers: int = 1
    dropout: float = 0.0
    input_dropout: float = 0.0
    learned_start: bool = False
    bidirectional: bool = False
    has_base: bool = False

    def __post_init__(self) -> None:
        known = CORES | MEMORYLESS
        if self.model not in known:
            raise UsageError(
                f"--model {self.model} is not known; choose one of {', '.join(known)}."
            )
        for flag, number in (("--hidden", self.hidden), ("--layers", self.layers)):
            if number < 1:
                raise UsageError(f"{flag} is {number}; a network needs at least 1.")
        for flag, share in (("--dropout", self.dropout), ("--input-dropout", self.input_dropout)):
            if not 0.0 <= share < 1.0:
                raise UsageError(
                    f"{flag} is {share:g}; give a share from 0 up to, not including, 1."
                )


def build_network(shape: Architecture) -> Network:
    """Build a network with fresh weights from torch's global generator."""
    kind, sizes = (CORES | MEMORYLESS)[shape.model], (shape.inputs, shape.hidden, shape.layers)
    core = kind(*sizes, shape.dropout)
    if shape.bidirectional:
        core = BidirectionalCore(core, kind(*sizes, shape.dropout))
    if shape.input_dropout or shape.has_base:
        core = InputCore(core, shape.inputs, shape.input_dropout)
    return Network(
        core,
        Head(core.hidden_size, shape.forms),
        shape.dropout,
        learned_start=shape.learned_start,
        has_base=shape.has_base,
    )
