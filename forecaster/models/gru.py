"""The gated recurrent unit, on torch's fused kernel.

Knows no head and no loss. Shape letters as in `base.py`.
"""

from torch import Tensor, nn

from forecaster.models.base import RecurrentCore, RecurrentState, between_layers, zero_state


class GRUCore(RecurrentCore):
    """One hidden vector, and two gates that decide how much of it is kept.

        r_t = sigmoid(W_r x_t + U_r h_{t-1} + b_r)               reset gate
        z_t = sigmoid(W_z x_t + U_z h_{t-1} + b_z)               update gate
        n_t = tanh(W_n x_t + b_n + r_t * (U_n h_{t-1} + d_n))    candidate
        h_t = (1 - z_t) * n_t + z_t * h_{t-1}

    with x_t the day's features (or the layer below), h_t the hidden units, W and U weights,
    b and d biases, * elementwise.

    Args:
        input_size: features per day.
        hidden_size: units per layer.
        layers: layers, each reading the one below on the same day.
        dropout: share of units dropped between layers while training, in [0, 1).

    Source: Cho et al. (2014), "Learning Phrase Representations using RNN Encoder-Decoder for
    Statistical Machine Translation". Deviations, both torch's: the reset gate acts on the
    product U_n h_{t-1} + d_n, in the paper on h_{t-1} before the product; biases are added,
    two each for r and z, which add up to the one written here.
    """

    def __init__(
        self, input_size: int, hidden_size: int, layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.fused = nn.GRU(
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
