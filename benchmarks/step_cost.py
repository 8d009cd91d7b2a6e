"""Processor time of an optimizer step beside that of torch's own operations in it.

Usage: python -m benchmarks.step_cost [--steps 2500]

Everything is tiny: 4 rows of 2 days, LSTM with 4 hidden units. Torch's own are the forward run,
the loss and the gradient of the same network; what a step takes beyond them is its fixed cost:
batches, masks, norm, clipping, optimizer, schedule, bookkeeping. Each time is the least of blocks
of 50 steps. Run it in two checkouts, in turn, to compare them.
"""

import argparse
import time

import numpy as np
import torch

from forecaster.bptt.plan import Plan
from forecaster.data.sequence_packing import WindowBatches, pack_sequences
from forecaster.models.heads import PointForm, StudentTForm
from forecaster.models.network import Architecture, Network, build_network
from forecaster.training.epoch import Sampling
from forecaster.training.micro_batches import TrainingArrays
from forecaster.training.trainer import Callbacks, Options, train

SERIES, DAYS, INPUTS, HIDDEN, ROWS, CHUNK, BLOCK = 4, 252, 4, 4, 4, 2, 50
OFFSETS = np.arange(SERIES + 1) * DAYS


def step_seconds(network: Network, kind: str, steps: int) -> float:
    """Train on whole histories or windows; return the processor seconds of a step."""
    draw = np.random.default_rng(0)
    x = draw.standard_normal((SERIES * DAYS, INPUTS), dtype=np.float32)
    y = draw.standard_normal((SERIES * DAYS, 1), dtype=np.float32)
    data = TrainingArrays.on(torch.device("cpu"), x, y, np.ones(y.shape, dtype=np.bool_))
    windows = kind == "windows"
    whole = pack_sequences(OFFSETS[:-1], OFFSETS[1:], ROWS, CHUNK, draw, CHUNK)
    drawn = WindowBatches(draw.permutation(np.arange(CHUNK, SERIES * DAYS)), CHUNK, ROWS)
    options = Options(
        plan=Plan.full() if windows else Plan.truncated(k2=CHUNK),
        sampling=Sampling(last_day_only=windows),
        max_steps=steps,
        learning_rate=1e-3,
        weight_decay=1e-3,
        clip_grad=1.0,
        evaluate_every=steps,
        patience=1,
    )
    times: list[float] = []

    def on_step(step: int, validation: object) -> None:
        if step % BLOCK == 0:
            times.append(time.process_time())

    callbacks = Callbacks(validate=lambda network: 0.0, on_step=on_step)
    train(network, data, lambda number: drawn if windows else whole, options, callbacks)
    return float(np.diff(times).min()) / BLOCK


def torch_seconds(network: Network, blocks: int) -> float:
    """Run, score and differentiate alone; return the processor seconds of once."""
    x, y = torch.randn(CHUNK, ROWS, INPUTS), torch.randn(CHUNK, ROWS, 1)
    parameters, start, times = tuple(network.parameters()), network.initial_state(ROWS), []
    for _ in range(blocks):
        begun = time.process_time()
        for _ in range(BLOCK):
            hidden, _ = network.core.fused(x, start.tensors)
            loss = network.head.loss(network.head.linear(hidden), y).sum()
            torch.autograd.grad(loss, parameters)
        times.append(time.process_time() - begun)
    return min(times) / BLOCK


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=2500)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    print("| learns from | head | step, ms | torch's own | fixed |\n|---|---|---|---|---|")
    for form in (PointForm(), StudentTForm()):
        network = build_network(
            Architecture(model="lstm", inputs=INPUTS, forms=(form,), hidden=HIDDEN)
        )
        for kind in ("whole histories", "windows"):
            step = 1e3 * step_seconds(network, kind, steps)
            own = 1e3 * torch_seconds(network, steps // BLOCK)
            print(f"| {kind} | {form.name} | {step:.3f} | {own:.3f} | **{step - own:.3f}** |")


if __name__ == "__main__":
    main()
