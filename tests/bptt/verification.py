"""Shared parts of gradient verification: a still trainer, and networks with a known answer."""

from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from forecaster.bptt import Batch, Plan, gradients
from forecaster.bptt.lags import trajectory
from forecaster.data.sequence_packing import PackedSequences, pack_sequences
from forecaster.models.base import RecurrentCore, RecurrentState
from forecaster.models.network import Network
from forecaster.training import trainer
from forecaster.training.epoch import Sampling
from forecaster.training.micro_batches import TrainingArrays
from forecaster.training.network_run import NetworkRun
from forecaster.training.optimizer import AdamW
from forecaster.training.trainer import Callbacks, Options, train


def within(error: float, tolerance: float) -> None:
    """Assert a measured error, and print it for `pytest -rP`."""
    print(f"measured {error:.2g}, tolerance {tolerance:g}")
    assert error <= tolerance


def gradients_of(network, x, y, mask, state, plan, count, noise=None, **cut):
    """The engine's gradients of days given as tensors; `cut` are further parts of the batch."""
    if noise is not None:
        network, x = NetworkRun(network), (x, noise)
    batch = Batch(x, y, mask, count=count, **cut)
    return gradients(network, batch, plan, loss=loss_of(network), state=state)


def window_gradients_of(network, x, y_last, mask_last, plan, count, noise=None):
    """The engine's gradients of windows whose last day has outcomes (B, K)."""
    noise = None if noise is None else noise.expand(len(x), -1, -1)
    return gradients_of(network, x, y_last[None], mask_last[None], None, plan, count, noise)


def path_of(network, x, y, mask):
    """The network's way through days that are scored where the mask is True, on average."""
    return trajectory(network, Batch(x, y, mask), loss=loss_of(network))


def loss_of(network):
    """The loss of a network's own head."""
    return getattr(network, "module", network).head.loss


def arrays_of(inputs: np.ndarray, y: np.ndarray, scored: np.ndarray | None = None):
    """Arrays in which everything known is scored, unless `scored` is given."""
    chosen = np.isfinite(y) if scored is None else scored
    return TrainingArrays.on(torch.device("cpu"), inputs, y, chosen)


def offsets_of(lengths) -> np.ndarray:
    """(S + 1,) first row of each series, and the number of rows."""
    return np.concatenate([[0], np.cumsum(lengths)])


def epochs_of(
    lengths, batch_rows: int, chunk: int, *, phase: int | None = None, seed: int = 0
) -> Callable[[int], PackedSequences]:
    """Epochs of packed series; the phase is drawn again in each unless it is given."""
    offsets, generator = offsets_of(lengths), np.random.default_rng(seed)

    def one_epoch(number: int) -> PackedSequences:
        drawn = phase or int(generator.integers(1, chunk + 1))
        return pack_sequences(offsets[:-1], offsets[1:], batch_rows, chunk, generator, drawn)

    return one_epoch


def fit(
    made: Network,
    data: TrainingArrays,
    epochs,
    plan: Plan,
    steps: int,
    *,
    learning_rate: float = 0.01,
    clip: float = 1e30,
    last_day_only: bool = False,
    burn_in: int | None = None,
    on_step=lambda step, validation: None,
):
    """Train with the product's loop; return its one validation, after the last step."""
    options = Options(
        plan=plan,
        sampling=Sampling(last_day_only=last_day_only, burn_in=burn_in),
        max_steps=steps,
        learning_rate=learning_rate,
        weight_decay=0.0,
        clip_grad=clip,
        evaluate_every=steps,
        patience=1,
    )
    return train(made, data, epochs, options, Callbacks(validate=lambda _: 1.0, on_step=on_step))


class Watched(AdamW):
    """An AdamW that remembers every gradient that it was given."""

    made: list["Watched"]

    def __init__(self, *args):
        super().__init__(*args)
        self.seen: list[list[Tensor]] = []
        type(self).made.append(self)

    def step(self, gradients, *rates):
        """Note the gradients, then move."""
        self.seen.append([gradient.clone() for gradient in gradients])
        self.move(gradients, *rates)

    def move(self, gradients, *rates):
        """Move as AdamW does."""
        super().step(gradients, *rates)


class Still(Watched):
    """An optimizer that moves nothing."""

    def move(self, gradients, *rates):
        """Leave the weights alone."""


def watched_fit(*args, optimizer: type[Watched] = Watched, **kwargs) -> Watched:
    """Train as `fit` does; return the optimizer, with all that it has seen."""
    optimizer.made = []
    with patch.object(trainer, "AdamW", optimizer):
        fit(*args, **kwargs)
    return optimizer.made[-1]


def held_still(*args, **kwargs) -> list[list[Tensor]]:
    """The gradients of each step of `fit` at weights that never move."""
    return watched_fit(*args, optimizer=Still, **kwargs).seen


class Readout(nn.Module):
    """The forecast is the hidden unit itself; squared error."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Pass the hidden units on."""
        return hidden

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Square the error."""
        return (prediction - target).square()


class CountingCore(RecurrentCore):
    """One weight per row and target, which only an error of that very row moves.

    With all weights 0 and all outcomes -1/2 the gradient of a weight is the number of times
    that its row was scored, over the count. The input is the row's number.
    """

    def __init__(self, rows: int, targets: int) -> None:
        super().__init__()
        self.hidden_size = targets
        self.table = nn.Parameter(torch.zeros(rows, targets, dtype=torch.float64))

    def forward(self, x: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        """Look the rows up; hand the state on."""
        return self.table[x[..., 0].long()], RecurrentState((state.tensors[0] * 1.0,))

    def initial_state(self, rows: int) -> RecurrentState:
        """One zero."""
        return RecurrentState((self.table.new_zeros(1, rows, 1),))


class DelayLine(RecurrentCore):
    """A shift register of `lag` + 1 units whose write gate is closed at first.

    h_t = tanh(S h_{t-1} + w e_0 x_t), S with ones below the diagonal; only w is learnt, from 0.
    """

    def __init__(self, lag: int) -> None:
        super().__init__()
        self.hidden_size = lag + 1
        self.write = nn.Parameter(torch.zeros(1, 1, dtype=torch.float64))
        shift = torch.diag(torch.ones(lag, dtype=torch.float64), diagonal=-1)
        self.register_buffer("shift", shift)
        self.register_buffer("closed", torch.zeros(lag, 1, dtype=torch.float64))

    def forward(self, x: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        """Run torch's own kernel."""
        weights = [torch.cat([self.write, self.closed]), self.shift]
        hidden, end = torch.rnn_tanh(
            x, state.tensors[0], weights, False, 1, 0.0, True, False, False
        )
        return hidden, RecurrentState((end,))

    def initial_state(self, rows: int) -> RecurrentState:
        """Zeros."""
        return RecurrentState((self.write.new_zeros(1, rows, self.hidden_size),))


class LastUnit(Readout):
    """Reads the last unit, y = v h_L; v starts at 1."""

    raw_outputs = 1

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, hidden: Tensor) -> Tensor:
        """Scale the last unit."""
        return self.read * hidden[..., -1:]


def delay_line(lag: int) -> Network:
    """The network of the write-gate experiment."""
    return Network(DelayLine(lag), LastUnit())


def lagged(series: int, days: int, lag: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs 0.3 N(0, 1) and outcomes d_t = x_{t - lag}, NaN on each series' first days."""
    x = 0.3 * np.random.default_rng(seed).standard_normal((series, days, 1))
    d = np.full_like(x, np.nan)
    d[:, lag:] = x[:, : days - lag]
    return x.reshape(-1, 1), d.reshape(-1, 1)


def relative_mse(forecast: np.ndarray, d: np.ndarray) -> float:
    """Mean squared error over the mean square of the outcomes, where they are known."""
    known = np.isfinite(d)
    return float(((forecast - d)[known] ** 2).mean() / (d[known] ** 2).mean())
