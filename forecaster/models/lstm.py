"""The long short-term memory, on torch's fused kernel.

Knows no head and no loss. Shape letters as in `base.py`.
"""

from torch import Tensor, nn

from forecaster.models.base import RecurrentCore, RecurrentState, between_layers, zero_state


class LSTMCore(RecurrentCore):
    """A memory that is added to, and three gates around it.

        f_t = sigmoid(W_f x_t + U_f h_{t-1} + b_f)    forget gate
        i_t = sigmoid(W_i x_t + U_i h_{t-1} + b_i)    input gate
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + b_o)    output gate
        g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)       candidate
        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = o_t * tanh(c_t)

    with x_t the day's features (or the layer below), c_t the memory, h_t the hidden units,
    W and U weights, b biases, * elementwise.

    Args:
        input_size: features per day.
        hidden_size: units per layer.
        layers: layers, each reading the one below on the same day.
        dropout: share of units dropped between layers while training, in [0, 1).

    Source: Hochreiter and Schmidhuber (1997), "Long Short-Term Memory", with the forget gate
    of Gers, Schmidhuber and Cummins (2000), "Learning to Forget". Deviations: no peephole
    connections and exact gradients (the 1997 paper truncates them at the gates); torch keeps
    two biases per gate, which add up to the one b; the forget bias starts as torch draws it,
    near 0, where Gers et al. advise a positive one.
    """

    in_one_kernel = True

    def __init__(
        self, input_size: int, hidden_size: int, layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.fused = nn.LSTM(
            input_size, hidden_size, layers, dropout=between_layers(layers, dropout)
        )

    def forward(self, x: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        """Run through the days of `x`; see `RecurrentCore.forward`."""
        h, c = state.tensors
        hidden, (h, c) = self.fused(x, (h, c))
        return hidden, RecurrentState((h, c))

    def initial_state(self, rows: int) -> RecurrentState:
        """Make (h, c) of zeros, each (Y, rows, H)."""
        return zero_state(self.fused, rows, tensors=2)
