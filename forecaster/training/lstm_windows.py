"""The gradient of the last day of LSTM windows, day by day in reused buffers.

The result of `gradients` for a single-layer LSTM on a CPU, in about 0.6 of the time of
torch's fused kernel. A day is one matrix product forward, two backward, and a dozen operations on
contiguous blocks of H x W numbers.

With s = sigmoid and C = 2 c, the memory doubled, `models/lstm.py` reads

    tanh(z) = 2 s(2z) - 1    so    G = 2 tanh(z_g) = 4 s(2 z_g) - 2
    C_t = f C_{t-1} + i G          h_t = o (2 s(C_t) - 1)

and, with M = dE/dC and q = o s(C)(1 - s(C)), backward from the last day

    M += 2 q dE/dh    dE/di = M G    dE/df = M C_{t-1}    dE/ds(2 z_g) = 4 M i
    dE/do = dE/dh (2 s(C) - 1)       dE/dz = dE/ds s (1 - s)    M <- M f    dE/dh <- U' dE/dz

The constant factors of the candidate's rows (2 forward, 8 backward) are put into the weights.

Shape letters: L lookback days, W windows, F inputs, H hidden units, K targets.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from forecaster.bptt.batch import Batch, Gradients
from forecaster.bptt.engine import scored_loss
from forecaster.models.base import RecurrentState
from forecaster.models.lstm import LSTMCore
from forecaster.models.network import InputCore, Network

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input


def single_lstm(network: Network) -> LSTMCore | None:
    """Return the LSTM of a network whose windows can be differentiated here; None for others."""
    core = network.core
    if isinstance(core, InputCore) and not (core.training and core.dropout.p > 0.0):
        core = core.core
    return core if isinstance(core, LSTMCore) and core.fused.num_layers == 1 else None


class Buffers:
    """Buffers for the days of W windows, filled by the forward run for the backward one.

    A day's record holds eight blocks of (H, W): G, C_{t-1}, then the gates i, f, s, o as the
    matrix product puts them out, then 2 s(C) - 1 and q. So the factors of the first three
    gates' errors (G, C_{t-1}, i) lie side by side in the gates' own order, and one
    multiplication makes all three. What the product reads lies in `seen` (F + H + 1, W): the
    hidden units before the day, the day's inputs, and ones for the bias.
    """

    def __init__(self, days: int, windows: int, columns: int, core: LSTMCore) -> None:
        hidden, dtype = core.hidden_size, core.fused.all_weights[0][0].dtype
        width = hidden + core.fused.input_size + 1
        self.hidden, self.days = hidden, days
        self.gathered = torch.empty(days * windows, columns, dtype=dtype)
        seen = torch.empty(days + 1, width, windows, dtype=dtype)
        seen[:, -1] = 1.0
        records = torch.empty(days + 1, 8 * hidden, windows, dtype=dtype)
        doubled, before, i, f, s, o, squashed, slope = torch.split(records, hidden, dim=1)
        gates, factors = records[:, 2 * hidden : 6 * hidden], records[:, : 3 * hidden]
        self.inputs = seen[:days, hidden:-1]
        self.start = (seen[0, :hidden], before[0])
        self.end = (seen[days, :hidden], before[days])
        # Views are made once: a fifth of the time of a day otherwise.
        self.forward_days = list(
            zip(
                *(part[:days].unbind() for part in (seen, gates, i, f, s, o, before, doubled)),
                *(part[:days].unbind() for part in (squashed, slope)),
                before[1:].unbind(),
                seen[1:, :hidden].unbind(),
                strict=True,
            )
        )
        threes = torch.unflatten(factors, 1, (3, hidden))
        kept = (seen, gates, threes, f, squashed, slope)
        self.backward_days = list(zip(*(part[:days].unbind() for part in kept), strict=True))
        self.errors = torch.empty(4 * hidden, windows, dtype=dtype)
        self.activation, self.of_hidden, self.of_memory = (
            torch.empty(hidden, windows, dtype=dtype) for _ in range(3)
        )
        self.of_weights = torch.empty(width, 4 * hidden, dtype=dtype)


@dataclass(slots=True)
class BufferPool:
    """Unused buffers by their sizes; fresh pages cost as much as the work in them."""

    free: dict[tuple[object, ...], list[Buffers]] = field(default_factory=dict)

    @contextmanager
    def lent(self, days: int, windows: int, columns: int, core: LSTMCore) -> Iterator[Buffers]:
        """Yield unused buffers of these sizes, to several threads at once."""
        sizes = (days, windows, columns, core.hidden_size, core.fused.all_weights[0][0].dtype)
        free = self.free.setdefault(sizes, [])
        try:
            buffers = free.pop()
        except IndexError:  # asking first would be a race between threads
            buffers = Buffers(days, windows, columns, core)
        try:
            yield buffers
        finally:
            free.append(buffers)


@torch.no_grad()
def lstm_window_gradients(
    network: Network, x: Tensor, rows: Tensor, last: Batch, horizon: int, pool: BufferPool
) -> Gradients:
    """Differentiate the last day's losses of windows on a CPU; see `gradients`.

    `x` (N, F) are the inputs of all rows, `rows` (L, W) those of the windows, oldest first, `last`
    their last day, as `NetworkRun` reads it. Errors travel through `horizon` days, at most L.
    """
    core = single_lstm(network)
    if core is None:
        raise ValueError(f"{type(network.core).__name__} is not one LSTM layer; use another way.")
    days, windows = rows.shape
    with pool.lent(days, windows, x.shape[1], core) as buffers:
        torch.index_select(x, 0, rows.reshape(-1), out=buffers.gathered)
        read = buffers.gathered.view(days, windows, -1)[..., : core.fused.input_size]
        buffers.inputs.copy_(read.transpose(1, 2))
        # (4H, H + F + 1): recurrent and input weights and bias, the candidate's rows doubled.
        of_inputs, of_hidden, first_bias, second_bias = core.fused.all_weights[0]
        bias = (first_bias + second_bias)[:, None]
        weights = torch.cat([of_hidden, of_inputs, bias], dim=1)
        weights[_candidate(core.hidden_size)] *= 2.0
        _run_forward(network, weights, buffers)
        hidden, memory = (tensor.t() for tensor in buffers.end)
        loss, of_last, of_head = _last_day_gradients(network, hidden.clone(), last)
        buffers.of_hidden.copy_(of_last.t())
        _run_backward(weights, buffers, horizon)
        state = RecurrentState((hidden[None].clone(), memory[None] / 2))
        gradients = _by_parameter(network, core, buffers, horizon)
    gradients.update(of_head)
    parameters = dict(network.named_parameters())
    return Gradients(
        loss=loss,
        by_name={name: gradients[parameter] for name, parameter in parameters.items()},
        states=(state,),
        parameters=parameters,
    )


def _last_day_gradients(
    network: Network, hidden: Tensor, last: Batch
) -> tuple[Tensor, Tensor, dict[Tensor, Tensor]]:
    """Forecast from hidden units (W, H); return the loss, dE/dh and the head's gradients."""
    assert last.mask is not None and last.count is not None
    parameters, (features, noise) = tuple(network.head.parameters()), last.x
    with torch.enable_grad():
        leaf = hidden.requires_grad_()
        dropped = network.dropout(leaf[None]) if noise is None else leaf[None] * noise
        output = network.read(dropped, features)
        loss = scored_loss(network.head.loss, output, last.y, last.mask)[0] / last.count
        of_last, *others = torch.autograd.grad(loss, (leaf, *parameters))
    return loss.detach(), of_last, dict(zip(parameters, others, strict=True))


def _candidate(hidden: int) -> slice:
    """Return the rows of the candidate among torch's gates i, f, g, o."""
    return slice(2 * hidden, 3 * hidden)


def _run_forward(network: Network, weights: Tensor, buffers: Buffers) -> None:
    first_hidden, first_memory = buffers.start
    if len(network.start):
        first_hidden.copy_(network.start[0][0].t().expand_as(first_hidden))
        torch.mul(network.start[1][0].t().expand_as(first_memory), 2.0, out=first_memory)
    else:
        first_hidden.zero_()
        first_memory.zero_()
    activation = buffers.activation
    minus_one, minus_two = weights.new_tensor(-1.0), weights.new_tensor(-2.0)
    for day in buffers.forward_days:
        seen, gates, i, f, s, o, before, doubled, squashed, slope, memory, hidden = day
        torch.mm(weights, seen, out=gates)
        gates.sigmoid_()
        torch.add(minus_two, s, alpha=4.0, out=doubled)
        torch.mul(f, before, out=memory).addcmul_(i, doubled)
        torch.sigmoid(memory, out=activation)
        _sigmoid_backward(o, activation, grad_input=slope)
        torch.add(minus_one, activation, alpha=2.0, out=squashed)
        torch.mul(o, squashed, out=hidden)


def _run_backward(weights: Tensor, buffers: Buffers, horizon: int) -> None:
    """Fill `of_weights` and the first day's errors, from `of_hidden`, the last day's dE/dh."""
    hidden, errors = buffers.hidden, buffers.errors
    back = weights[:, :hidden].t().contiguous()
    back[:, _candidate(hidden)] *= 4.0
    of_hidden, of_memory = buffers.of_hidden, buffers.of_memory.zero_()
    of_weights = buffers.of_weights.zero_()
    first_three, last = errors[: 3 * hidden].view(3, hidden, -1), errors[3 * hidden :]
    across = errors.t()
    for seen, gates, factors, f, squashed, slope in buffers.backward_days[: -horizon - 1 : -1]:
        of_memory.addcmul_(of_hidden, slope, value=2.0)
        torch.mul(of_memory, factors, out=first_three)
        torch.mul(of_hidden, squashed, out=last)
        _sigmoid_backward(errors, gates, grad_input=errors)
        of_memory.mul_(f)
        of_weights.addmm_(seen, across)
        torch.mm(back, errors, out=of_hidden)


def _by_parameter(
    network: Network, core: LSTMCore, buffers: Buffers, horizon: int
) -> dict[Tensor, Tensor]:
    """Split the sums by parameter; undo the factors of the candidate's rows."""
    hidden = buffers.hidden
    of_weights = buffers.of_weights.t().clone()
    of_weights[_candidate(hidden)] *= 8.0
    of_bias = of_weights[:, -1].clone()
    parts = (of_weights[:, hidden:-1].clone(), of_weights[:, :hidden].clone(), of_bias)
    found: dict[Tensor, Tensor] = dict(
        zip(core.fused.all_weights[0], (*parts, of_bias.clone()), strict=True)
    )
    # Errors travel to the first day in full BPTT only; otherwise a start has no gradient.
    reached = float(horizon == buffers.days)
    for start, errors, factor in zip(
        network.start, (buffers.of_hidden, buffers.of_memory), (1.0, 2.0), strict=False
    ):
        found[start] = (errors.sum(dim=1) * (reached * factor)).view_as(start)
    return found
