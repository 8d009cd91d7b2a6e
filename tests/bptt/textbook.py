"""Backpropagation through time as the textbook writes it, in plain numpy.

No autograd and no recursion over the future: each day's error is carried back day by day,
and its contributions are added up one by one. Shares no code with the package.
"""

import numpy as np


def elman_states(w_s, w_x, b, x, s0):
    """s_t = tanh(W_s s_{t-1} + W_x x_t + b) for one row; index 0 is the state before day 0."""
    states = [s0]
    for day in x:
        states.append(np.tanh(w_s @ states[-1] + w_x @ day + b))
    return states


def elman_gradients(weights, x, d, mask, s0, count, k2, k1=None):
    """Sum dE_t/dW over days t and rows, errors of `k1` days reaching back `k2` days.

    The errors of days j k1 to (j + 1) k1 - 1 reach back to day (j + 1) k1 - k2, with
    k1 = k1 and k2 = k2; k1 = k2 cuts the days in chunks.

    dE_t/dW_s = sum over i of delta_{t->i} * (1 - s_i^2) s_{i-1}^T, where delta_{t->t} is
    W_y^T 2 (y_t - d_t) / count and delta_{t->i-1} = W_s^T (delta_{t->i} * (1 - s_i^2)).
    """
    k1 = k1 or k2
    w_s, w_x, b, w_y, b_y = weights
    total = [np.zeros_like(weight) for weight in weights]
    loss = 0.0
    for row in range(x.shape[1]):
        s = elman_states(w_s, w_x, b, x[:, row], s0[row])
        for t in range(len(x)):
            miss = np.where(mask[t, row], w_y @ s[t + 1] + b_y - np.nan_to_num(d[t, row]), 0.0)
            loss += (miss**2).sum() / count
            error = 2 * miss / count
            total[3] += np.outer(error, s[t + 1])
            total[4] += error
            delta = w_y.T @ error
            first = max(0, (t // k1 + 1) * k1 - k2)
            for i in range(t, first - 1, -1):
                inner = delta * (1 - s[i + 1] ** 2)
                total[0] += np.outer(inner, s[i])
                total[1] += np.outer(inner, x[i, row])
                total[2] += inner
                delta = w_s.T @ inner
    return loss, total


def elman_deltas(weights, x, d, mask, s0, count):
    """dE_t/ds_i for one row, every pair i <= t of days: (T, T, H), zero where i > t.

    By rows it is each error looking back, by columns each state collecting from the future.
    """
    w_s, w_x, b, w_y, b_y = weights
    s = elman_states(w_s, w_x, b, x, s0)
    deltas = np.zeros((len(x), len(x), len(s0)))
    for t in range(len(x)):
        miss = np.where(mask[t], w_y @ s[t + 1] + b_y - np.nan_to_num(d[t]), 0.0)
        deltas[t, t] = w_y.T @ (2 * miss / count)
        for i in range(t, 0, -1):
            deltas[t, i - 1] = w_s.T @ (deltas[t, i] * (1 - s[i + 1] ** 2))
    return deltas


def elman_contributions(weights, x, s0, deltas_of_day):
    """Each day's contribution to dE_t/dW_s and dE_t/dW_x, from the (T, H) of dE_t/ds_i."""
    w_s, w_x, b, *_ = weights
    s = elman_states(w_s, w_x, b, x, s0)
    inner = [delta * (1 - s[i + 1] ** 2) for i, delta in enumerate(deltas_of_day)]
    to_w_s = [np.outer(part, s[i]) for i, part in enumerate(inner)]
    to_w_x = [np.outer(part, x[i]) for i, part in enumerate(inner)]
    return to_w_s, to_w_x


def kept_pairs(days, k2, k1):
    """(T, T) True where an error of day t reaches the state of day i."""
    t, i = np.mgrid[:days, :days]
    if k2 is None:
        return i <= t
    k1 = k1 or k2
    return (i <= t) & (i >= (t // k1 + 1) * k1 - k2)
