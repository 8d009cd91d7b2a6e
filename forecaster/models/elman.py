"""The simple recurrent network of Elman. Knows no head and no loss."""

from torch import nn

from forecaster.models.base import FusedCore


class ElmanCore(FusedCore):
    """One hidden vector, rewritten every day.

        s_t = tanh(W_s s_{t-1} + W_x x_t + b)

    with x_t the day's features (or the layer below), s_t the hidden units, W_s and W_x the
    weights from the day before and from the input, b the bias.

    Source: Elman (1990), "Finding Structure in Time". Deviations: tanh replaces his logistic
    unit; torch keeps two biases, `bias_ih` and `bias_hh`, which add up to the one b.
    """

    kernel = nn.RNN
