"""Forecasts of a trained network, and the device that it computes on.

The state is recomputed from each series' first day.

Shape letters: N flat rows, S series, F inputs, K targets, L lookback days, M windows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from forecaster.errors import UsageError
from forecaster.models.base import RecurrentState
from forecaster.models.network import Network

DEVICES = ("auto", "cpu", "cuda", "mps")
SERIES_AT_ONCE = 64
DAYS_AT_ONCE = 512
WINDOWS_AT_ONCE = 128  # on a CPU larger batches leave the cache and take twice as long
# Times as many series or windows on a GPU, whose cores 128 leave idle: a guess, not measured.
TIMES_ON_GPU = 16


@contextmanager
def evaluating(network: Network) -> Iterator[None]:
    """Switch dropout and gradients off inside; restore the network's mode after."""
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(was_training)


def forecast_histories(
    network: Network, inputs: Tensor, offsets: np.ndarray, stops: np.ndarray | None = None
) -> np.ndarray:
    """Forecast (N, K) the day after each row of whole histories, the state carried along.

    `inputs` (N, F) are scaled and finite, `offsets` (S + 1,) the rows where each series begins,
    and N. Rows of a series from `stops` (S,) on are NaN.
    """
    lengths = (offsets[1:] if stops is None else stops) - offsets[:-1]
    start = network.initial_state(len(lengths))
    return forecast_from(network, inputs, offsets[:-1], lengths, start)


def forecast_from(
    network: Network,
    inputs: Tensor,
    first: np.ndarray,
    lengths: np.ndarray,
    start: RecurrentState,
    ends: dict[int, RecurrentState] | None = None,
) -> np.ndarray:
    """Forecast (N, K) from the rows of S sequences, each from its own state; NaN elsewhere.

    Sequence s has `lengths[s]` rows from row `first[s]` and begins with row s of `start`. `ends`
    receives the state after the last row of each by number, at the cost of some rows again.
    """
    at_once = _at_once(SERIES_AT_ONCE, inputs.device)
    longest_first = np.argsort(-lengths, kind="stable")
    # One more row, for what is forecast from padding.
    forecasts = _not_yet_forecast(network, inputs, len(inputs) + 1)
    with evaluating(network):
        for begin in range(0, len(lengths), at_once):
            group = longest_first[begin : begin + at_once]
            state = start.rows(uploaded(group, inputs.device))
            for part in _walk(network, inputs, first[group], lengths[group], state, forecasts):
                if ends is not None:
                    found = part.ends(network, inputs)
                    ends |= {int(group[place]): state for place, state in found}
    return _downloaded(forecasts[:-1])


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Some days of a group of series: rows (T, B), how many are left (B,), states around them."""

    rows: np.ndarray
    left: np.ndarray
    before: RecurrentState
    after: RecurrentState

    def ends(self, network: Network, inputs: Tensor) -> Iterator[tuple[int, RecurrentState]]:
        """Yield the state after the last row of each series that ends here, by place."""
        finished = np.flatnonzero(self.left <= len(self.rows))
        for days in np.unique(self.left[finished]):
            places = finished[self.left[finished] == days]
            state = self.after.rows(uploaded(places, inputs.device))
            if days < len(self.rows):  # its last row was repeated until the others' end
                rows = uploaded(self.rows[:days, places], inputs.device)
                before = self.before.rows(uploaded(places, inputs.device))
                _, state = network(inputs[rows], before)
            for number, place in enumerate(places.tolist()):
                yield place, state.rows(slice(number, number + 1))


def _walk(
    network: Network,
    inputs: Tensor,
    first: np.ndarray,
    lengths: np.ndarray,
    state: RecurrentState,
    forecasts: Tensor,
) -> Iterator[_Part]:
    """Forecast a group of series, longest first, through time; finished ones drop out."""
    longest = int(lengths.max())
    for day in range(0, longest, DAYS_AT_ONCE):
        alive = int((lengths > day).sum())
        days = np.arange(day, min(day + DAYS_AT_ONCE, longest))[:, None]
        read = first[:alive] + np.minimum(days, lengths[:alive] - 1)
        written = np.where(days < lengths[:alive], read, len(inputs))
        x, before = inputs[uploaded(read, inputs.device)], state.rows(slice(0, alive))
        prediction, state = network(x, before)
        forecasts[uploaded(written, inputs.device)] = prediction.to(forecasts.dtype)
        yield _Part(read, lengths[:alive] - day, before, state)


def forecast_windows(
    network: Network, inputs: Tensor, ends: np.ndarray, lookback: int
) -> np.ndarray:
    """Forecast (M, K) the day after each window of `lookback` days that ends in a row of `ends`."""
    last, at_once = uploaded(ends, inputs.device), _at_once(WINDOWS_AT_ONCE, inputs.device)
    back = torch.arange(1 - lookback, 1, device=inputs.device)[:, None]
    # Made first: small arrays kept between the large ones of each batch would keep their pages.
    forecasts = _not_yet_forecast(network, inputs, len(ends))
    with evaluating(network):
        for begin in range(0, len(ends), at_once):
            batch = last[begin : begin + at_once]
            prediction, _ = network(inputs[batch + back], network.initial_state(len(batch)), last=1)
            forecasts[begin : begin + len(batch)] = prediction[0]
    return _downloaded(forecasts)


def uploaded(array: np.ndarray, device: torch.device) -> Tensor:
    """Move an array to a device without waiting for it; on the CPU, share its memory."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # from other memory the copy would wait
    return tensor.to(device, non_blocking=True)


def _not_yet_forecast(network: Network, inputs: Tensor, rows: int) -> Tensor:
    """Make NaN on the inputs' device: a row left out would have an earlier call's numbers."""
    # Apple's GPUs have no float64.
    dtype = torch.float64 if inputs.device.type == "cpu" else inputs.dtype
    return inputs.new_full((rows, network.head.raw_outputs), np.nan, dtype=dtype)


def _downloaded(forecasts: Tensor) -> np.ndarray:
    found: np.ndarray = forecasts.cpu().double().numpy()
    return found


def _at_once(on_cpu: int, device: torch.device) -> int:
    return on_cpu if device.type == "cpu" else TIMES_ON_GPU * on_cpu


def choose_device(name: str) -> torch.device:
    """Return the device with a name; `auto` takes CUDA, else MPS, else the CPU.

    Raises:
        UsageError: the name is unknown, or the named device is absent.
    """
    if name not in DEVICES:
        raise UsageError(f"--device {name} is not known; choose one of {', '.join(DEVICES)}.")
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    present = [*(kind for kind, available in found.items() if available), "cpu"]
    if name == "auto":
        return torch.device(present[0])
    if name not in present:
        raise UsageError(
            f"--device {name} is not available: torch {torch.__version__} finds only "
            f"{', '.join(present)} on this machine. Use --device auto or --device cpu, or "
            f"install the driver and a torch build with {name.upper()}."
        )
    return torch.device(name)


def allow_tf32(allowed: bool) -> None:
    """Set whether NVIDIA GPUs may multiply float32 with 10 bits of each factor.

    Torch's default is to forbid it in matrix products and to allow it in recurrent kernels.
    """
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error is a lack of memory, of which torch may raise a plain RuntimeError."""
    # The last one is oneDNN's, which says no more.
    words = ("can't allocate memory", "not enough memory", "could not create a primitive")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        one in str(error) for one in words
    )
