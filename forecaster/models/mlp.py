"""A network without memory, the benchmark of recurrence. Knows no head and no loss."""

from torch import Tensor, nn

from forecaster.models.base import RecurrentCore, RecurrentState


class MLPCore(RecurrentCore):
    """Layers of rectified units that read each day by itself.

        h_t = max(0, W x_t + b)

    Its state is its last output, which it writes and never reads.

    Source: Rosenblatt (1961), "Principles of Neurodynamics", with the rectifier of Glorot,
    Bordes and Bengio (2011), "Deep Sparse Rectifier Neural Networks".
    """

    def __init__(
        self, input_size: int, hidden_size: int, layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        parts: list[nn.Module] = []
        for layer in range(layers):
            if layer:
                parts.append(nn.Dropout(dropout))
            parts += [nn.Linear(hidden_size if layer else input_size, hidden_size), nn.ReLU()]
        self.stack = nn.Sequential(*parts)

    def forward(self, x: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        """Map the days of `x` one by one; see `RecurrentCore.forward`."""
        hidden: Tensor = self.stack(x)
        return hidden, RecurrentState((hidden[-1:],))

    def initial_state(self, rows: int) -> RecurrentState:
        """Make (h,) of zeros, (1, rows, H)."""
        like = next(self.parameters())
        return RecurrentState((like.new_zeros(1, rows, self.hidden_size),))
