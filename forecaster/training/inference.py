"""Forecasts of a trained network; the state is recomputed from each series' first day.

Arrays in, scaled forecasts out; knows no ticker, no target and no scale.

Shape letters: N flat rows, S series, F inputs, K targets, L lookback days, M windows.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from forecaster.models.network import Network

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
    """Forecast on every day of whole histories, the state carried from day to day.

    Args:
        network: on the device of `inputs`; its weights are used as they are now.
        inputs: (N, F) scaled, finite.
        offsets: (S + 1,) row where each series begins, and N at the end.

    Returns:
        (N, K) float64 scaled forecasts of the day after each row.
    """
    lengths = np.diff(offsets)
    longest_first = np.argsort(-lengths, kind="stable")
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    with evaluating(network):
        for begin in range(0, len(lengths), SERIES_AT_ONCE):
            group = longest_first[begin : begin + SERIES_AT_ONCE]
            parts.extend(_walk(network, inputs, offsets[group], lengths[group]))
    # Not np.empty: a row left out would have an earlier call's numbers and look right.
    forecasts = np.full((len(inputs), parts[0][1].shape[-1]), np.nan)
    for rows, values in parts:
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
        yield rows[inside], prediction.double().cpu().numpy()[inside]


def forecast_windows(
    network: Network, inputs: Tensor, ends: np.ndarray, lookback: int
) -> np.ndarray:
    """Forecast the day after each window, started in the initial state.

    Args:
        network: on the device of `inputs`.
        inputs: (N, F) scaled, finite.
        ends: (M,) last row of each window; may be empty.
        lookback: days per window; the rows up to an end are its window.

    Returns:
        (M, K) float64 scaled forecasts.
    """
    parts = []
    back = torch.arange(1 - lookback, 1, device=inputs.device)[:, None]
    with evaluating(network):
        # At least one batch, if need be an empty one: it knows K and the device.
        for begin in range(0, max(len(ends), 1), WINDOWS_AT_ONCE):
            batch = torch.from_numpy(ends[begin : begin + WINDOWS_AT_ONCE]).to(inputs.device)
            prediction, _ = network(inputs[batch + back], network.initial_state(len(batch)))
            parts.append(prediction[-1].double().cpu().numpy())
    return np.concatenate(parts)
