"""What the network puts out, and the loss of each day's output.

Knows no days, no masks and no averages: a loss comes out per element, so that whoever
sums decides which days count and by how much.

Shape letters: H hidden units, K targets; `...` is any leading shape, usually (T, B).
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn

INITIAL_WEIGHT_SPREAD = 0.01


class Head(nn.Module, ABC):
    """Turns hidden units into forecasts and judges them."""

    @abstractmethod
    def forward(self, hidden: Tensor) -> Tensor:
        """Map hidden units (..., H) to forecasts (..., K)."""

    @abstractmethod
    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Score each forecast (..., K) against its outcome; one loss per element."""


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
        self.linear = nn.Linear(hidden_size, targets)
        nn.init.normal_(self.linear.weight, std=INITIAL_WEIGHT_SPREAD)
        nn.init.zeros_(self.linear.bias)

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
