"""The interface of every recurrent network: a state goes in, a state comes out.

Shape letters: T days, B batch rows, F features, H hidden units, Y layers.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, cat, nn


@dataclass(frozen=True, slots=True, eq=False)
class RecurrentState:
    """The state of a network between two days: (h,) or, for the LSTM, (h, c), (Y, B, H) each."""

    tensors: tuple[Tensor, ...]

    def detach(self) -> "RecurrentState":
        """Return the same values without gradient history."""
        return RecurrentState(tuple(tensor.detach() for tensor in self.tensors))

    def rows(self, index: Tensor | slice) -> "RecurrentState":
        """Select rows by number, by a slice or by a (B,) bool choice, in the order given."""
        # cuDNN refuses a state that is not contiguous.
        return RecurrentState(tuple(tensor[:, index].contiguous() for tensor in self.tensors))

    def reset(self, where: Tensor) -> "RecurrentState":
        """Return a copy with zeros in exactly the rows where the (B,) bool `where` is True."""
        rows = where[None, :, None]
        return RecurrentState(tuple(tensor.masked_fill(rows, 0.0) for tensor in self.tensors))


def join_rows(states: Sequence[RecurrentState]) -> RecurrentState:
    """Join the rows of states, in the order given; at least one."""
    parts = zip(*(state.tensors for state in states), strict=True)
    return RecurrentState(tuple(cat(tensors, dim=1) for tensors in parts))


class RecurrentCore(nn.Module, ABC):
    """A recurrent network without its head: days in, hidden units out.

    Every core sets `hidden_size`, the H of its outputs. One that is not `cuttable` returns
    other outputs when the days come in several calls. On a CPU one `in_one_kernel` runs all
    days in one operation, as only torch's LSTM does; others call operations for each day.
    """

    hidden_size: int
    cuttable: bool = True
    in_one_kernel: bool = False

    @abstractmethod
    def forward(self, x: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        """Run through the days of `x` (T, B, F), oldest first, T at least 1.

        Returns:
            The last layer's hidden units (T, B, H) and the state after the last day.
        """

    @abstractmethod
    def initial_state(self, rows: int) -> RecurrentState:
        """Make the zeros that a series starts from, on the weights' device and dtype."""


class FusedCore(RecurrentCore):
    """A core on one of torch's fused kernels; `dropout` acts between layers while training."""

    kernel: ClassVar[type[nn.RNN] | type[nn.GRU] | type[nn.LSTM]]
    state_tensors: ClassVar[int] = 1

    def __init__(
        self, input_size: int, hidden_size: int, layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        between_layers = dropout if layers > 1 else 0.0  # torch warns of one without effect
        self.fused = self.kernel(input_size, hidden_size, layers, dropout=between_layers)

    def forward(self, x: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        """Run through the days of `x`; see `RecurrentCore.forward`."""
        if self.state_tensors == 1:
            hidden, h = self.fused(x, state.tensors[0])
            return hidden, RecurrentState((h,))
        hidden, end = self.fused(x, state.tensors)
        return hidden, RecurrentState(end)

    def initial_state(self, rows: int) -> RecurrentState:
        """Make zeros, each tensor (Y, rows, H)."""
        like = next(self.fused.parameters())
        shape = (self.fused.num_layers, rows, self.hidden_size)
        return RecurrentState(tuple(like.new_zeros(shape) for _ in range(self.state_tensors)))
