"""The simple recurrent network of Elman, on torch's fused kernel.

Knows no head and no loss. Shape letters as in `base.py`.
"""

from torch import Tensor, nn

from forecaster.models.base import RecurrentCore, RecurrentState, between_layers, zero_state


class ElmanCore(RecurrentCore):
    """One hidden vector, rewritten every day.

        s_t = tanh(W_s s_{t-1} + W_x x_t + b)

    with x_t the day's features (or the layer below), s_t the hidden units, W_s and W_x the
    weights from the day before and from the input, b the bias.

    Args:
        input_size: features per day.
        hidden_size: units per layer.
        layers: layers, each reading the one below on the same day.
        dropout: share of units dropped between layers while training, in [0, 1).

    Source: Elman (1990), "Finding Structure in Time". Deviations: tanh replaces his logistic
    unit; torch keeps two biases, `bias_ih` and `bias_hh`, which add up to the one b.
    """

    def __init__(
        self, input_size: int, hidden_size: int, layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.fused = nn.RNN(
            input_size, hidden_size, layers, dropout=between_layers(layers, dropout)
        )

    def forward(self, x: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        """Run through the days of `x`; see `RecurrentCore.forward`."""
        (h,) = state.tensors
        hidden, h = self.fused(x, h)
        return hidden, RecurrentState((h,))

    def initial_state(self, rows: int) -> RecurrentState:
        """Make (h,) of zeros, (Y, rows, H)."""
        return zero_state(self.fused, rows, tensors=1)
