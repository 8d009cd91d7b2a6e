"""The trap of equal passes: truncation "wins" because it steps more often.

Run: python docs/labs/equal_updates.py
"""

import numpy as np
import torch

from forecaster.bptt.plan import BPTTPlan
from forecaster.data.sequence_packing import pack_sequences
from forecaster.models.heads import PointForm
from forecaster.models.network import Architecture, Network, build_network
from forecaster.training.epoch import Reading, TrainingArrays
from forecaster.training.inference import forecast_histories
from forecaster.training.trainer import Options, train

SERIES, DAYS, FIT = 24, 750, 500
OFFSETS = np.arange(SERIES + 1, dtype=np.int64) * DAYS


def volatility_panel() -> tuple[np.ndarray, np.ndarray]:
    """GARCH(1,1) series: yesterday's log |return| in, tomorrow's out, both standardized."""
    generator = np.random.default_rng(0)
    noise = generator.standard_normal((DAYS + 1, SERIES))
    size = np.zeros_like(noise)
    variance = np.ones(SERIES)
    for day in range(DAYS + 1):
        size[day] = np.sqrt(variance) * np.abs(noise[day])
        variance = 0.02 + 0.08 * size[day] ** 2 + 0.90 * variance
    level = np.log(size + 0.05)
    level = (level - level[:FIT].mean()) / level[:FIT].std()
    flat = level.T.astype(np.float32)
    return flat[:, :-1].reshape(-1, 1), flat[:, 1:].reshape(-1, 1)


def error(network: Network, inputs: torch.Tensor, y: np.ndarray) -> float:
    """Mean squared error on the days after the fit, the state carried up to them."""
    later = np.tile(np.arange(DAYS) >= FIT, SERIES)
    forecast = forecast_histories(network, inputs, OFFSETS)
    return float(np.mean((forecast[later] - y[later]) ** 2))


def run(name: str, plan: BPTTPlan, passes: int) -> None:
    """Train for so many passes and print what came of it."""
    inputs, y = volatility_panel()
    fit = np.tile(np.arange(DAYS) < FIT, SERIES)[:, None]
    arrays = TrainingArrays.on(torch.device("cpu"), inputs, y, fit)
    chunk = plan.chunk_days(FIT)
    stops = OFFSETS[:-1] + FIT
    segments = pack_sequences(OFFSETS[:-1], stops, SERIES, chunk, np.random.default_rng(0), chunk)
    updates = passes * (1 if plan.step_per == "epoch" else len(segments))
    torch.manual_seed(0)
    network = build_network(
        Architecture(model="gru", inputs=1, forms=(PointForm(),), hidden=16, layers=1, dropout=0.0)
    )
    options = Options(
        max_steps=updates,
        learning_rate=3e-3,
        weight_decay=0.0,
        clip_grad=1.0,
        evaluate_every=updates,
        patience=1,
    )
    train(
        network,
        arrays,
        lambda number: segments,
        plan,
        options,
        Reading(last_day_only=False),
        validate=lambda trained: 0.0,
        on_step=lambda update, look: None,
    )
    found = error(network, arrays.inputs, y)
    print(f"{name:<34}{passes:>7}{updates:>9}{found:>10.4f}")


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    _, y = volatility_panel()
    later = np.tile(np.arange(DAYS) >= FIT, SERIES)
    print("run                                passes  updates     error")
    print(f"{'the mean':<50}{float(np.mean(y[later] ** 2)):>10.4f}")
    run("full", BPTTPlan.full(), 12)
    run("truncated at 50", BPTTPlan.truncated(k2=50), 12)
    run("truncated at 50, one step per pass", BPTTPlan.truncated(k2=50, step_per="epoch"), 12)
    run("full", BPTTPlan.full(), 120)
    run("truncated at 50, one step per pass", BPTTPlan.truncated(k2=50, step_per="epoch"), 120)
    run("truncated at 5, one step per pass", BPTTPlan.truncated(k2=5, step_per="epoch"), 120)


if __name__ == "__main__":
    main()
