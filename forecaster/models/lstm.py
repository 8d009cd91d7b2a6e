"""The long short-term memory. Knows no head and no loss."""

from torch import nn

from forecaster.models.base import FusedCore


class LSTMCore(FusedCore):
    """A memory that is added to, and three gates around it.

        f_t = sigmoid(W_f x_t + U_f h_{t-1} + b_f)    forget gate
        i_t = sigmoid(W_i x_t + U_i h_{t-1} + b_i)    input gate
        o_t = sigmoid(W_o x_t + U_o h_{t-1} + b_o)    output gate
        g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)       candidate
        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = o_t * tanh(c_t)

    with x_t the day's features (or the layer below), c_t the memory, h_t the hidden units,
    W and U weights, b biases, * elementwise.

    Source: Hochreiter and Schmidhuber (1997), "Long Short-Term Memory", with the forget gate
    of Gers, Schmidhuber and Cummins (2000), "Learning to Forget". Deviations: no peephole
    connections and exact gradients (the 1997 paper truncates them at the gates); torch keeps
    two biases per gate, which add up to the one b; the forget bias starts as torch draws it,
    near 0, where Gers et al. advise a positive one.
    """

    kernel = nn.LSTM
    state_tensors = 2
    in_one_kernel = True
