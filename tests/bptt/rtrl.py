"""Real-time recurrent learning: the gradient carried forward in time, in plain numpy.

M_t = ds_t/dtheta obeys M_t = J_t M_{t-1} + (immediate part), and the gradient is the sum of
dE_t/ds_t M_t: no day is visited twice and nothing travels back. Shares no code with the
package.

Source: Williams and Zipser (1989), "A Learning Algorithm for Continually Running Fully
Recurrent Neural Networks".

Shape letters: G gates, H hidden units, S numbers of state, D inputs, P parameters. The two
pre-activations of torch's cells are a = W x + b and u = U h + d, both (GH,).
"""

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def beside(*blocks):
    """Diagonal blocks (H,) next to one another: (H, GH)."""
    return np.hstack([np.diag(block) for block in blocks])


def elman(a, u, state):
    """Next state, and its derivatives by a, by u and (direct only) by the state."""
    s = np.tanh(a + u)
    by_sum = np.diag(1 - s**2)
    return s, by_sum, by_sum, np.zeros((len(s), len(s)))


def gru(a, u, h):
    """As `elman`; gates r, z, n."""
    (a_r, a_z, a_n), (u_r, u_z, u_n) = np.split(a, 3), np.split(u, 3)
    r, z = sigmoid(a_r + u_r), sigmoid(a_z + u_z)
    n = np.tanh(a_n + r * u_n)
    by_n = (1 - z) * (1 - n**2)
    by_r, by_z = by_n * u_n * r * (1 - r), (h - n) * z * (1 - z)
    next_h = (1 - z) * n + z * h
    return next_h, beside(by_r, by_z, by_n), beside(by_r, by_z, by_n * r), np.diag(z)


def lstm(a, u, state):
    """As `elman`; gates i, f, g, o, state (h, c) end to end."""
    _, c = np.split(state, 2)
    i, f, g, o = np.split(a + u, 4)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    next_c = f * c + i * g
    squashed, nothing = np.tanh(next_c), np.zeros_like(c)
    slope = o * (1 - squashed**2)
    c_by = [g * i * (1 - i), c * f * (1 - f), i * (1 - g**2), nothing]
    h_by = [*(slope * part for part in c_by[:3]), squashed * o * (1 - o)]
    by_sum = np.vstack([beside(*h_by), beside(*c_by)])
    direct = np.vstack([beside(nothing, slope * f), beside(nothing, f)])
    return np.concatenate([o * squashed, next_c]), by_sum, by_sum, direct


CELLS = {"elman": elman, "gru": gru, "lstm": lstm}


def gradients(model, weights, x, d, mask, state, count):
    """Sum the gradients of all rows' scored errors in one walk forward.

    Args:
        model: "elman", "gru" or "lstm".
        weights: W (GH, D), U (GH, H), b (GH,), d (GH,), W_y (K, H), b_y (K,).
        x: (T, B, D).
        d: (T, B, K).
        mask: (T, B, K) bool.
        state: (B, S) before the first day.
        count: what the sum of squared errors is divided by.

    Returns:
        The gradients, in the order of the weights.
    """
    w, u, b, b_hidden, w_y, b_y = weights
    hidden = u.shape[1]
    shapes = [part.shape for part in (w, u, b, b_hidden)]
    recurrent, on_w_y, on_b_y = 0.0, np.zeros_like(w_y), np.zeros_like(b_y)
    for row in range(x.shape[1]):
        s = state[row]
        m = np.zeros((len(s), sum(int(np.prod(shape)) for shape in shapes)))
        for t in range(len(x)):
            h, day = s[:hidden], x[t, row]
            s, by_a, by_u, direct = CELLS[model](w @ day + b, u @ h + b_hidden, s)
            jacobian = direct.copy()
            jacobian[:, :hidden] += by_u @ u
            immediate = [np.kron(by_a, day), np.kron(by_u, h), by_a, by_u]
            m = jacobian @ m + np.hstack(immediate)
            error = 2 * np.where(mask[t, row], w_y @ s[:hidden] + b_y - d[t, row], 0.0) / count
            recurrent = recurrent + (w_y.T @ error) @ m[:hidden]
            on_w_y += np.outer(error, s[:hidden])
            on_b_y += error
    cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    parts = np.split(recurrent, cuts)
    return [
        *(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)),
        on_w_y,
        on_b_y,
    ]
