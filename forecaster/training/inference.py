"""Forecasts of a trained network, and the device that it computes on.

The state is recomputed from each series' first day.

Shape letters: N flat rows, S series, F inputs, K targets, L lookback days, M windows.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from forecaster.errors import UsageError
from forecaster.models.network import Network

DEVICES = ("auto", "cpu", "cuda", "mps")
SERIES_AT_ONCE = 64
DAYS_AT_ONCE = 512
WINDOWS_AT_ONCE = 128  # on a CPU larger batches leave the cache and take twice as long


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


def forecast_histories(network: Network, inputs: Tensor, offsets: np.ndarray) -> np.ndarray:
    """Forecast (N, K) the day after each row of whole histories, the state carried along.

    `inputs` (N, F) are scaled and finite, `offsets` (S + 1,) the rows where each series begins,
    and N.
    """
    lengths = np.diff(offsets)
    longest_first = np.argsort(-lengths, kind="stable")
    # Not np.empty: a row left out would have an earlier call's numbers and look right.
    forecasts = np.full((len(inputs), network.head.raw_outputs), np.nan)
    with evaluating(network):
        for begin in range(0, len(lengths), SERIES_AT_ONCE):
            group = longest_first[begin : begin + SERIES_AT_ONCE]
            for rows, values in _walk(network, inputs, offsets[group], lengths[group]):
                forecasts[rows] = values
    return forecasts


def _walk(
    network: Network, inputs: Tensor, first: np.ndarray, lengths: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Forecast a group of series, longest first, through time; finished ones drop out."""
    state = network.initial_state(len(first))
    for day in range(0, int(lengths.max()), DAYS_AT_ONCE):
        alive = int((lengths > day).sum())
        state = state.rows(torch.arange(alive, device=inputs.device))
        days = np.arange(day, min(day + DAYS_AT_ONCE, int(lengths.max())))[:, None]
        inside = days < lengths[:alive]
        rows = first[:alive] + np.minimum(days, lengths[:alive] - 1)
        prediction, state = network(inputs[torch.from_numpy(rows).to(inputs.device)], state)
        yield rows[inside], prediction.cpu().numpy()[inside]


def forecast_windows(
    network: Network, inputs: Tensor, ends: np.ndarray, lookback: int
) -> np.ndarray:
    """Forecast (M, K) the day after each window of `lookback` days that ends in a row of `ends`."""
    back = torch.arange(1 - lookback, 1, device=inputs.device)[:, None]
    # Made first: small arrays kept between the large ones of each batch would keep their pages.
    forecasts = np.empty((len(ends), network.head.raw_outputs))
    with evaluating(network):
        for begin in range(0, len(ends), WINDOWS_AT_ONCE):
            batch = torch.from_numpy(ends[begin : begin + WINDOWS_AT_ONCE]).to(inputs.device)
            prediction, _ = network(inputs[batch + back], network.initial_state(len(batch)), last=1)
            forecasts[begin : begin + len(batch)] = prediction[0].cpu().numpy()
    return forecasts


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


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error is a lack of memory, of which torch may raise a plain RuntimeError."""
    # The last one is oneDNN's, which says no more.
    words = ("can't allocate memory", "not enough memory", "could not create a primitive")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        one in str(error) for one in words
    )
