"""What the engine differentiates, a batch of days, and the gradients that it returns.

Shape letters: T days (steps of any length), B batch rows, F features, N the last days alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from forecaster.bptt.nest import Nest, leaves, mapped


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Consecutive days of B independent rows, oldest first.

    Args:
        x: (T, B, F) what the module reads, finite everywhere; or a nest of tensors (T, B, ...).
            Where it is a tensor that requires a gradient, `Gradients.x` has it.
        y: (T, B, ...) outcomes, which may be NaN where they are not scored; or (N, B, ...), those
            of the last N days, at most a chunk, where none of the days before has an outcome.
        mask: bool, (T, B) or the shape of `y` (N for T if that is), True where an outcome is
            scored; None for all.
        resets: (T, B) bool, True where a new series starts with this day: its row takes the
            module's initial state, and no error travels across. On the CPU it costs a GPU no wait.
        count: what the sum of the losses is divided by; None for the number of scored values.
        batch_first: whether all of these have their first two dimensions the other way round,
            (B, T, ...), and the module reads and writes that way.
        chunks: days of each chunk, oldest first, where they are not all the plan's k1.
        context: first chunks whose errors are not scored; later errors travel through them.
    """

    x: Nest
    y: Tensor
    mask: Tensor | None = None
    resets: Tensor | None = None
    count: float | None = None
    batch_first: bool = False
    chunks: tuple[int, ...] | None = None
    context: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """The days T and batch rows B."""
        first, second = leaves(self.x)[0].shape[:2]
        return (second, first) if self.batch_first else (first, second)

    def rows(self, columns: slice) -> "Batch":
        """Select batch rows; a `count` of None becomes that of the rows selected."""

        def selected(tensor: Tensor) -> Tensor:
            return tensor[columns] if self.batch_first else tensor[:, columns]

        return self._mapped(selected)

    def _mapped(self, change: Nest) -> "Batch":
        x, y, mask, resets = (
            mapped(part, change) for part in (self.x, self.y, self.mask, self.resets)
        )
        return replace(self, x=x, y=y, mask=mask, resets=resets)


def checked(batch: Batch) -> Batch:
    """Return a batch with the days first and a mask, or refuse what would broadcast.

    Raises:
        TypeError: `x` is a PackedSequence, or no nest of tensors.
        ValueError: no days, shapes that do not fit together, or a count of 0 for scored days.
    """
    if isinstance(batch.x, PackedSequence):
        raise TypeError(
            "x is a PackedSequence, in which days cannot be cut; give the padded tensor of "
            "torch.nn.utils.rnn.pad_packed_sequence, and a mask that is True on real days."
        )
    if batch.batch_first:
        batch = replace(batch._mapped(lambda tensor: tensor.transpose(0, 1)), batch_first=False)
    days, rows = batch.shape
    if days == 0:
        raise ValueError("the batch has no days; give at least 1.")
    y = batch.y
    mask = batch.mask
    if mask is None:
        mask = torch.ones(y.shape[:2], dtype=torch.bool, device=y.device)
    fits = len(y) <= days and y.shape[1] == rows and mask.dtype == torch.bool
    if not fits or mask.ndim not in (2, y.ndim) or mask.shape != y.shape[: mask.ndim]:
        raise ValueError(
            f"x {_shapes(batch.x)}, y {tuple(y.shape)} and {mask.dtype} mask {tuple(mask.shape)} "
            "do not fit together; give (T, B, F), (T, B, ...) and a bool (T, B) or (T, B, ...)."
        )
    resets = batch.resets
    if resets is not None and (resets.shape != (days, rows) or resets.dtype != torch.bool):
        raise ValueError(
            f"resets are {resets.dtype} {tuple(resets.shape)}; give a bool ({days}, {rows}), "
            "True where a series starts."
        )
    if batch.count is not None and not batch.count > 0:
        if mask.any():
            raise ValueError(f"count is {batch.count}, yet days are scored; give one above 0.")
        batch = replace(batch, count=1.0)
    return replace(batch, mask=mask)


def _shapes(x: Nest) -> str:
    return ", ".join(str(tuple(tensor.shape)) for tensor in leaves(x))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gradients:
    """The loss of a batch and its gradients at fixed weights; nothing has a graph.

    `loss` is the sum of the scored losses over their count, `by_name` the gradient of each
    parameter that requires one, `x` that of the inputs if they do. `states` are those after each
    chunk, in the module's own form.
    """

    loss: Tensor
    by_name: Mapping[str, Tensor]
    states: tuple[Nest, ...]
    parameters: Mapping[str, nn.Parameter]
    x: Tensor | None = None

    @property
    def values(self) -> tuple[Tensor, ...]:
        """The gradients in the order of the parameters."""
        return tuple(self.by_name.values())

    @property
    def state(self) -> Nest:
        """The state after the last day, to carry on with."""
        return self.states[-1]

    @property
    def norm(self) -> Tensor:
        """The norm of all gradients of parameters together."""
        # As torch.nn.utils.get_total_norm, which spends more on sorting a few tensors by device.
        each = [torch.linalg.vector_norm(gradient) for gradient in self.values]
        norm: Tensor = torch.linalg.vector_norm(torch.stack(each))
        return norm

    def apply(self, *, add: bool = False) -> None:
        """Set `.grad` of each parameter, or `add` the gradient to what is there.

        Then clip and step as usual. Without `add` no `zero_grad` is needed.
        """
        for name, parameter in self.parameters.items():
            found = self.by_name[name]
            parameter.grad = parameter.grad + found if add and parameter.grad is not None else found


def sum_gradients(parts: Sequence[Gradients]) -> Gradients:
    """Sum the gradients of at least one batch at the same weights; keep the last one's states."""
    if len(parts) == 1:
        return parts[0]
    return Gradients(
        loss=torch.stack([part.loss for part in parts]).sum(),
        by_name={
            name: torch.stack([part.by_name[name] for part in parts]).sum(dim=0)
            for name in parts[0].by_name
        },
        states=parts[-1].states,
        parameters=parts[-1].parameters,
    )
