"""Equal epochs are not equal steps: truncation "wins" because it steps more often.

Run: python docs/labs/equal_steps.py
"""

import numpy as np
import torch

from forecaster.bptt.plan import Plan
from forecaster.data.sequence_packing import pack_sequences
from forecaster.models.heads import PointForm
from forecaster.models.network import Architecture, Network, build_network
from forecaster.training.epoch import Sampling
from forecaster.training.inference import forecast_histories
from forecaster.training.micro_batches import TrainingArrays
from forecaster.training.trainer import Callbacks, Options, train

SERIES, DAYS, TRAIN = 24, 750, 500
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
    level = (level - level[:TRAIN].mean()) / level[:TRAIN].std()
    flat = level.T.astype(np.float32)
    return flat[:, :-1].reshape(-1, 1), flat[:, 1:].reshape(-1, 1)


def error(network: Network, inputs: torch.Tensor, y: np.ndarray) -> float:
    """Mean squared error on the days after the training days, the state carried up to them."""
    later = np.tile(np.arange(DAYS) >= TRAIN, SERIES)
    forecast = forecast_histories(network, inputs, OFFSETS)
    return float(np.mean((forecast[later] - y[later]) ** 2))


def run(name: str, plan: Plan, epochs: int) -> None:
    """Train for a number of epochs and print the error."""
    inputs, y = volatility_panel()
    train_rows = np.tile(np.arange(DAYS) < TRAIN, SERIES)[:, None]
    arrays = TrainingArrays.on(torch.device("cpu"), inputs, y, train_rows)
    chunk = plan.chunk_days(TRAIN)
    stops = OFFSETS[:-1] + TRAIN
    batches = pack_sequences(OFFSETS[:-1], stops, SERIES, chunk, np.random.default_rng(0), chunk)
    steps = epochs * (1 if plan.step_per == "epoch" else len(batches))
    torch.manual_seed(0)
    network = build_network(
        Architecture(model="gru", inputs=1, forms=(PointForm(),), hidden=16, layers=1, dropout=0.0)
    )
    options = Options(
        plan=plan,
        sampling=Sampling(),
        max_steps=steps,
        learning_rate=3e-3,
        weight_decay=0.0,
        clip_grad=1.0,
        evaluate_every=steps,
        patience=1,
    )
    train(network, arrays, lambda number: batches, options, Callbacks(validate=lambda _: 0.0))
    found = error(network, arrays.inputs, y)
    print(f"{name:<35}{epochs:>7}{steps:>9}{found:>10.4f}")


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    _, y = volatility_panel()
    later = np.tile(np.arange(DAYS) >= TRAIN, SERIES)
    print("run                                 epochs    steps     error")
    print(f"{'the mean':<51}{float(np.mean(y[later] ** 2)):>10.4f}")
    run("full", Plan.full(), 12)
    run("truncated at 50", Plan.truncated(k2=50), 12)
    run("truncated at 50, one step per epoch", Plan.truncated(k2=50, step_per="epoch"), 12)
    run("full", Plan.full(), 120)
    run("truncated at 50, one step per epoch", Plan.truncated(k2=50, step_per="epoch"), 120)
    run("truncated at 5, one step per epoch", Plan.truncated(k2=5, step_per="epoch"), 120)


if __name__ == "__main__":
    main()
