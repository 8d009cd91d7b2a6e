"""Whole histories against windows: how long one scored outcome takes to learn from.

Usage: python -m benchmarks.sequences

Both train the same LSTM on the same invented panel, alternately, so that a busy machine slows
both. Prints the median seconds per million scored outcomes of each, and the ratio pair by pair.
"""

import statistics
import time

import numpy as np
import torch

from forecaster.bptt.plan import Plan
from forecaster.data.sequence_packing import WindowBatches, pack_sequences, window_ends
from forecaster.models.heads import PointForm
from forecaster.models.network import Architecture, build_network
from forecaster.training.epoch import Epoch, Sampling
from forecaster.training.micro_batches import TrainingArrays
from forecaster.training.trainer import Callbacks, Options, train

SERIES, DAYS, INPUTS, HIDDEN = 20, 2520, 26, 64
LOOKBACK, CHUNK, BATCH = 60, 63, 256
STEPS, ROUNDS = 60, 5


def seconds_per_million(batches: Epoch, scored: int, *, windows: bool) -> float:
    """Train `STEPS` optimizer steps and divide by the outcomes that they scored."""
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    rows = SERIES * DAYS
    arrays = TrainingArrays.on(
        torch.device("cpu"),
        generator.standard_normal((rows, INPUTS), dtype=np.float32),
        generator.standard_normal((rows, 1), dtype=np.float32),
        np.ones((rows, 1), dtype=np.bool_),
    )
    network = build_network(
        Architecture(
            model="lstm", inputs=INPUTS, forms=(PointForm(),), hidden=HIDDEN, layers=1, dropout=0.2
        )
    )
    options = Options(
        plan=Plan.full() if windows else Plan.truncated(k2=CHUNK),
        sampling=Sampling(last_day_only=windows),
        max_steps=STEPS,
        learning_rate=1e-3,
        weight_decay=0.0,
        clip_grad=1.0,
        evaluate_every=STEPS,
        patience=1,
    )
    started = time.perf_counter()
    train(
        network,
        arrays,
        lambda number: batches,
        options,
        Callbacks(validate=lambda network: 0.0),
    )
    return (time.perf_counter() - started) / (scored * STEPS / len(batches)) * 1e6


def main() -> None:
    """Measure in turn and print."""
    torch.set_num_threads(1)
    offsets = np.arange(SERIES + 1, dtype=np.int64) * DAYS
    generator = np.random.default_rng(0)
    batch_rows = pack_sequences(offsets[:-1], offsets[1:], SERIES, CHUNK, generator, CHUNK)
    ends = window_ends(offsets, LOOKBACK, np.ones(SERIES * DAYS, dtype=np.bool_))
    batches = WindowBatches.drawn(ends, LOOKBACK, BATCH, generator)
    pairs = []
    for _ in range(ROUNDS + 1):
        whole = seconds_per_million(batch_rows, SERIES * DAYS, windows=False)
        windowed = seconds_per_million(batches, len(ends), windows=True)
        pairs.append((whole, windowed))
    pairs = pairs[1:]  # the first round warms up
    ratios = [windowed / whole for whole, windowed in pairs]
    print(
        f"LSTM {HIDDEN}, {INPUTS} inputs, {SERIES} series of {DAYS} days, one thread, "
        f"{ROUNDS} rounds"
    )
    for name, column in (("whole histories, k = 63", 0), ("windows of 60 days", 1)):
        seconds = statistics.median(pair[column] for pair in pairs)
        print(f"{name:<26} {seconds:8.1f} s per million scored outcomes")
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    print(f"windows / whole histories  {middle:8.1f} x (pairs from {low:.1f} to {high:.1f})")


if __name__ == "__main__":
    main()
