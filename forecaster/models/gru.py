"""The gated recurrent unit. Knows no head and no loss."""

from torch import nn

from forecaster.models.base import FusedCore


class GRUCore(FusedCore):
    """One hidden vector, and two gates that decide how much of it is kept.

        r_t = sigmoid(W_r x_t + U_r h_{t-1} + b_r)               reset gate
        z_t = sigmoid(W_z x_t + U_z h_{t-1} + b_z)               update gate
        n_t = tanh(W_n x_t + b_n + r_t * (U_n h_{t-1} + d_n))    candidate
        h_t = (1 - z_t) * n_t + z_t * h_{t-1}

    with x_t the day's features (or the layer below), h_t the hidden units, W and U weights,
    b and d biases, * elementwise.

    Source: Cho et al. (2014), "Learning Phrase Representations using RNN Encoder-Decoder for
    Statistical Machine Translation". Deviations, both torch's: the reset gate acts on the
    product U_n h_{t-1} + d_n, in the paper on h_{t-1} before the product; biases are added,
    two each for r and z, which add up to the one written here.
    """

    kernel = nn.GRU
