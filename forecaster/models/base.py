"""The interface of every recurrent network: a state goes in, a state comes out.

Knows no prices, no optimizer and no loss; keeps nothing on the module between calls.

Shape letters: T days, B rows (lanes or windows), F features, H hidden units, Y layers.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, eq=False)
class RecurrentState:
    """What a network remembers between two days: (h,) or, for the LSTM, (h, c).

    Args:
        tensors: each (Y, B, H), all of one shape, dtype and device.
    """

    tensors: tuple[Tensor, ...]

    def detach(self) -> "RecurrentState":
        """Cut the state off the days that led to it: same values, no gradient."""
        return self._map(Tensor.detach)

    def rows(self, index: Tensor | slice) -> "RecurrentState":
        """Pick rows by number, by a slice or by a (B,) bool choice, in the order given."""
        # cuDNN refuses a state that is not contiguous.
        return self._map(lambda tensor: tensor[:, index].contiguous())

    def reset(self, where: Tensor) -> "RecurrentState":
        """Zero exactly the rows where the (B,) bool `where` is True; a copy, not in place."""
        return self._map(lambda tensor: tensor.masked_fill(where[None, :, None], 0.0))

    def to(self, device: torch.device) -> "RecurrentState":
        """Move to a device."""
        return self._map(lambda tensor: tensor.to(device))

    def _map(self, change: Callable[[Tensor], Tensor]) -> "RecurrentState":
        return RecurrentState(tuple(change(tensor) for tensor in self.tensors))


def side_by_side(states: Sequence[RecurrentState]) -> RecurrentState:
    """Join the rows of states, in the order given; at least one."""
    parts = zip(*(state.tensors for state in states), strict=True)
    return RecurrentState(tuple(torch.cat(tensors, dim=1) for tensors in parts))


class RecurrentCore(nn.Module, ABC):
    """A recurrent network without its head: days in, hidden units out.

    Every core sets `hidden_size`, the H of its outputs. One that is not `cuttable` gives
    other outputs when the days come in several calls. On a CPU one `in_one_kernel` runs all
    days in one operation, as only torch's LSTM does; others call operations for each day.
    """

    hidden_size: int
    cuttable: bool = True
    in_one_kernel: bool = False

    @abstractmethod
    def forward(self, x: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        """Run through the days of `x`.

        Args:
            x: (T, B, F) features, oldest day first, T at least 1.
            state: the state before the first day, B rows.

        Returns:
            The last layer's hidden units (T, B, H) and the state after the last day.
        """

    @abstractmethod
    def initial_state(self, rows: int) -> RecurrentState:
        """Make the zeros that a series starts from, on the weights' device and dtype."""


def zero_state(fused: nn.RNNBase, rows: int, tensors: int) -> RecurrentState:
    """Make a state of `tensors` zero tensors (Y, rows, H) that fits a fused torch module."""
    like = next(fused.parameters())
    shape = (fused.num_layers, rows, fused.hidden_size)
    return RecurrentState(tuple(like.new_zeros(shape) for _ in range(tensors)))


def between_layers(layers: int, dropout: float) -> float:
    """Give the dropout that a fused module may be told: none where it has one layer."""
    return dropout if layers > 1 else 0.0
