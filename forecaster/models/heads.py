"""What the network puts out, and the loss of each day's output.

Knows no days, no masks and no averages: a loss comes out per element, so that whoever
sums decides which days count and by how much.

Shape letters: H hidden units, K targets, R raw outputs of all targets together; `...` is any
leading shape, usually (T, B).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from forecaster.models.forms import Form

INITIAL_WEIGHT_SPREAD = 0.01


class Head(nn.Module, ABC):
    """Turns hidden units into forecasts and judges them.

    `raw_outputs` is R: as many as targets where each forecast is one number.
    """

    raw_outputs: int

    @abstractmethod
    def forward(self, hidden: Tensor) -> Tensor:
        """Map hidden units (..., H) to raw outputs (..., R)."""

    @abstractmethod
    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Score raw outputs (..., R) against outcomes (..., K); one loss per outcome."""


class PointHead(Head):
    """One number per target, scored by its squared error.

        y = W_y s + b,    E = (y - d)^2

    Starts near zero, which for standardized returns is close to the best constant, so that
    the first updates need not unlearn a random forecast.

    Args:
        hidden_size: units of the core's output.
        targets: numbers forecast per day.
    """

    def __init__(self, hidden_size: int, targets: int) -> None:
        super().__init__()
        self.raw_outputs = targets
        self.linear = nn.Linear(hidden_size, targets)
        _start_near_zero(self.linear)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map hidden units (..., H) to forecasts (..., K)."""
        output: Tensor = self.linear(hidden)
        return output

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Square the error of each element; equal shapes (..., K) in and out.

        Raises:
            ValueError: the shapes differ, which broadcasting would hide.
        """
        if prediction.shape != target.shape:
            raise ValueError(
                f"prediction is {tuple(prediction.shape)} but target {tuple(target.shape)}; "
                "give both the same shape."
            )
        return (prediction - target).square()


class FormHead(Head):
    """Each target in a form of its own, all from one linear map of the same hidden units.

        r = W_y s + b

    Starts near zero, like `PointHead`, which it is where every form is a squared-error point.

    Args:
        hidden_size: units of the core's output.
        forms: what is said of each target, in order; at least one.
    """

    def __init__(self, hidden_size: int, forms: Sequence[Form]) -> None:
        super().__init__()
        self.forms = tuple(forms)
        self.raw_outputs = sum(form.width for form in self.forms)
        self.linear = nn.Linear(hidden_size, self.raw_outputs)
        _start_near_zero(self.linear)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map hidden units (..., H) to raw outputs (..., R), target after target."""
        output: Tensor = self.linear(hidden)
        return output

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Score raw outputs (..., R) against outcomes (..., K), each in its own form.

        Raises:
            ValueError: the shapes do not belong together, which broadcasting would hide.
        """
        expected = (*target.shape[:-1], self.raw_outputs)
        if target.shape[-1] != len(self.forms) or prediction.shape != expected:
            raise ValueError(
                f"prediction is {tuple(prediction.shape)} and target {tuple(target.shape)}; "
                f"give (..., {self.raw_outputs}) and (..., {len(self.forms)})."
            )
        parts = split_raw(prediction, self.forms)
        losses = [
            form.loss(raw, outcome)
            for form, raw, outcome in zip(self.forms, parts, target.unbind(-1), strict=True)
        ]
        return torch.stack(losses, dim=-1)


def split_raw(raw: Tensor, forms: Sequence[Form]) -> tuple[Tensor, ...]:
    """Cut raw outputs (..., R) into those of each target (..., P)."""
    return torch.split(raw, [form.width for form in forms], dim=-1)


def _start_near_zero(linear: nn.Linear) -> None:
    # On the meta device there is nothing to draw, and drawing there imports torch's compiler: 3 s.
    if not linear.weight.is_meta:
        nn.init.normal_(linear.weight, std=INITIAL_WEIGHT_SPREAD)
        nn.init.zeros_(linear.bias)
