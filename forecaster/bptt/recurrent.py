"""A module as the engine runs it: days in, outputs and a state out, whatever its own manners.

Shape letters: T days, B batch rows, F features, Y layers, H hidden units.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from forecaster.bptt.nest import Nest, leaves, mapped, rebuilt

Head = Callable[[Tensor], Tensor]


class Recurrent(ABC):
    """A module, and a head if it has none of its own, that is run through days.

    `parameters` are those that require a gradient, by name; a head's begin with `head.`.
    Subclass it for a module that is called in another way.
    """

    def __init__(self, module: nn.Module, head: Head | None = None) -> None:
        self.module, self.head = module, head
        self.name = type(module).__name__
        named = list(module.named_parameters())
        if isinstance(head, nn.Module):
            named += [(f"head.{name}", parameter) for name, parameter in head.named_parameters()]
        self.parameters = {name: each for name, each in named if each.requires_grad}
        if len(dict(named)) < len(named):
            raise ValueError(f"{self.name} has a submodule `head` already; give no other head.")
        if not self.parameters:
            raise ValueError(f"no parameter of {self.name} requires a gradient; set one that does.")

    @abstractmethod
    def run(self, x: Nest, state: Nest, last: int) -> tuple[Tensor, Nest]:
        """Run through the days of `x`, (T, B, ...) each, oldest first.

        Returns:
            The outputs (last, B, ...) of the last days (of 0 days, anything), and the state after
            the last one.
        """

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """All modules inside, the head's too."""
        heads = self.head.modules() if isinstance(self.head, nn.Module) else ()
        return (*self.module.modules(), *heads)

    @property
    def cuttable(self) -> bool:
        """Whether the days may come in several calls: nothing inside reads them backwards."""
        return not any(
            getattr(module, "bidirectional", False) or not getattr(module, "cuttable", True)
            for module in self.modules
        )

    def initial_state(self, rows: int) -> Nest:
        """Make the state that series start from; None if only the module knows it."""
        make = getattr(self.module, "initial_state", None)
        return None if make is None else make(rows)

    def start(self, state: Nest, resets: Tensor | None, rows: int) -> Nest:
        """Return the state that a call starts from: rows (B,) that are reset start again.

        Raises:
            ValueError: the module has no `initial_state(rows)` for them.
        """
        if state is None:
            return self.initial_state(rows)
        if resets is None:
            return state
        where = _uploaded(resets, leaves(state)[0].device)
        fresh = self.initial_state(rows)
        if fresh is None:
            raise ValueError(
                f"series start inside the batch, in a state that only {self.name} knows; give it "
                "a method `initial_state(rows)` that returns one."
            )
        dims = row_dims(fresh, self.initial_state(rows + 1))
        return rebuilt(
            state,
            (
                torch.where(_along(where, dim, tensor.ndim), new, tensor)
                for new, tensor, dim in zip(leaves(fresh), leaves(state), dims, strict=True)
            ),
        )


class OfModule(Recurrent):
    """A module that maps `(x, state)` to `(output, state)` for many days in one call."""

    def __init__(self, module: nn.Module, head: Head | None, batch_first: bool) -> None:
        super().__init__(module, head)
        self.batch_first = batch_first
        self._refuse_other_layout()

    def _refuse_other_layout(self) -> None:
        inside = [part for part in self.module.modules() if isinstance(part, nn.RNNBase)]
        own = getattr(self.module, "batch_first", None)
        found = any(part.batch_first for part in inside) if own is None else own
        if (inside or own is not None) and found != self.batch_first:
            layout = "(B, T, F)" if found else "(T, B, F)"
            raise ValueError(
                f"{self.name} reads {layout}, its batch_first being {bool(found)}, and the batch "
                f"is the other way round; give Batch(..., batch_first={bool(found)}) with x "
                f"{layout}. (A module that turns x itself says so by an attribute batch_first.)"
            )

    def run(self, x: Nest, state: Nest, last: int) -> tuple[Tensor, Nest]:
        """Call the module once; see `Recurrent.run`."""
        answer = self.module(mapped(x, _turned) if self.batch_first else x, state)
        if not isinstance(answer, tuple) or len(answer) != 2 or not isinstance(answer[0], Tensor):
            raise TypeError(
                f"{self.name} returned a {type(answer).__name__}; its forward must map (x, state) "
                "to (output, state)."
            )
        output, after = answer
        if self.batch_first:
            output = _turned(output)
        expected = leaves(x)[0].shape[:2]
        if output.shape[:2] != expected:
            raise ValueError(
                f"{self.name} returned outputs of shape {tuple(output.shape)} for {expected[0]} "
                f"days of {expected[1]} rows; it must return one for each day and row."
            )
        output = output[len(output) - last :]
        return (self.head(output) if self.head is not None and last else output), after

    def initial_state(self, rows: int) -> Nest:
        """Make the zeros of torch's modules; ask others. See `Recurrent.initial_state`."""
        module = self.module
        if not isinstance(module, nn.RNNBase):
            return super().initial_state(rows)
        like = next(module.parameters())
        layers = module.num_layers * (2 if module.bidirectional else 1)
        h = like.new_zeros(layers, rows, module.proj_size or module.hidden_size)
        if not isinstance(module, nn.LSTM):
            return h
        return h, like.new_zeros(layers, rows, module.hidden_size)


class OfCell(Recurrent):
    """A cell of torch, run day by day: its output is its first state tensor."""

    module: nn.RNNCellBase

    def run(self, x: Nest, state: Nest, last: int) -> tuple[Tensor, Nest]:
        """Call the cell on each day; see `Recurrent.run`."""
        outputs = []
        for day in x:
            state = self.module(day, state)
            outputs.append(leaves(state)[0])
        output = torch.stack(outputs[len(outputs) - last :] or outputs[:1])
        return (self.head(output) if self.head is not None and last else output), state

    def initial_state(self, rows: int) -> Nest:
        """Make zeros, (B, H) each."""
        like = self.module.weight_hh
        zeros = like.new_zeros(rows, self.module.hidden_size)
        return (zeros, zeros) if isinstance(self.module, nn.LSTMCell) else zeros


class EachDay(nn.Module):
    """Any cell that maps one day `(x (B, F), state)` to `(output (B, ...), state)`.

    It becomes a module for many days, x (T, B, F) to outputs (T, B, ...). The cell's
    `initial_state(rows)`, if it has one, is that of the module.
    """

    batch_first = False

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell
        if hasattr(cell, "initial_state"):
            self.initial_state = cell.initial_state

    def forward(self, x: Tensor, state: Nest) -> tuple[Tensor, Nest]:
        """Run the cell through the days of `x` (T, B, F)."""
        outputs = []
        for day in x:
            output, state = self.cell(day, state)
            outputs.append(output)
        return torch.stack(outputs), state


def recurrent(
    module: nn.Module | Recurrent, head: Head | None = None, *, batch_first: bool = False
) -> Recurrent:
    """Make of a module what the engine runs.

    Raises:
        TypeError: it is no module.
        ValueError: its layout is not the batch's, or it has nothing to differentiate.
    """
    if isinstance(module, Recurrent):
        return module
    if not isinstance(module, nn.Module):
        raise TypeError(f"a {type(module).__name__} is no torch.nn.Module; give one.")
    if isinstance(module, nn.RNNCellBase):
        return OfCell(module, head)
    return OfModule(module, head, batch_first)


def row_dims(state: Nest, wider: Nest) -> list[int]:
    """Find the dimension of each tensor's batch rows: the one that grows with them.

    Raises:
        ValueError: none does.
    """
    dims = []
    for tensor, other in zip(leaves(state), leaves(wider), strict=True):
        grown = [d for d, (a, b) in enumerate(zip(tensor.shape, other.shape, strict=True)) if a < b]
        if len(grown) != 1:
            raise ValueError(
                f"a state tensor has shape {tuple(tensor.shape)}, and {tuple(other.shape)} with "
                "one batch row more; one dimension of it must be the batch rows."
            )
        dims.append(grown[0])
    return dims


def _uploaded(tensor: Tensor, device: torch.device) -> Tensor:
    """Move a tensor without waiting for it."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()  # from other memory the copy would wait
    return tensor.to(device, non_blocking=True)


def _turned(tensor: Tensor) -> Tensor:
    return tensor.transpose(0, 1)


def _along(where: Tensor, dim: int, dims: int) -> Tensor:
    """Reshape (B,) so that it lies along one of a tensor's dimensions."""
    return where.view(*(-1 if d == dim else 1 for d in range(dims)))
