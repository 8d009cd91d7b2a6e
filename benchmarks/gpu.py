"""An NVIDIA GPU: the CPU's numbers, no waiting in a step, memory, and speed beside plain cuDNN.

Usage: python -m benchmarks.gpu [--device cuda|cpu] [--quick]

Needs torch and this checkout, no prices, under eight minutes. Ends with an error if a gradient or
forecast is further from the CPU's than TOLERANCE, if recomputing needs more than half of the
memory, or if an epoch takes more than 1.1 times that of a plain loop over cuDNN's LSTM with the
same rows, the same k and the same batch. `--device cpu --quick` only shows that the script runs.

TOLERANCE is relative to the largest element of the same tensor, in float32 without TF32: sums over
hundreds of days in another order differ by 3e-6 of it (see docs/gradient-verification.md).
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from forecaster.bptt.batch import Gradients
from forecaster.bptt.plan import Plan
from forecaster.data.sequence_packing import PackedSequences, pack_sequences
from forecaster.models.heads import PointForm
from forecaster.models.network import Architecture, Network, build_network
from forecaster.training.epoch import Position, Sampling, epoch_gradients
from forecaster.training.inference import (
    allow_tf32,
    forecast_histories,
    forecast_windows,
    uploaded,
)
from forecaster.training.micro_batches import Learner, TrainingArrays, Workers
from forecaster.training.trainer import Callbacks, Options, train
from tests.training.cases import CASES, LOOKBACK, OFFSETS, Case, arrays

CPU = torch.device("cpu")
TOLERANCE = 1e-4
AT_MOST = 1.1
ROUNDS = 7


def unvalidated(network: Network) -> float:
    """Stand in for a validation."""
    return 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Series of as many days, a network, and the chunk k."""

    series: int = 500
    days: int = 2520
    inputs: int = 26
    hidden: int = 128
    k: int = 63

    def packed(self) -> PackedSequences:
        """Pack all series side by side."""
        first = self.days * np.arange(self.series)
        draw = np.random.default_rng(0)
        return pack_sequences(first, first + self.days, self.series, self.k, draw, self.k)

    def arrays(self, device: torch.device) -> TrainingArrays:
        """Draw noise."""
        draw, rows = np.random.default_rng(1), self.series * self.days
        x = draw.standard_normal((rows, self.inputs), dtype=np.float32)
        y = draw.standard_normal((rows, 1), dtype=np.float32)
        return TrainingArrays.on(device, x, y, np.ones((rows, 1), dtype=np.bool_))

    def network(self, model: str = "lstm") -> Network:
        """Build a network with one output."""
        torch.manual_seed(0)
        shape = Architecture(
            model=model, inputs=self.inputs, hidden=self.hidden, forms=(PointForm(),)
        )
        return build_network(shape)

    def options(self, plan: Plan) -> Options:
        """Return one epoch's options; its validation costs nothing."""
        return Options(
            plan=plan,
            sampling=Sampling(),
            max_steps=len(self.packed()) if plan.k2 else 1,
            learning_rate=1e-3,
            weight_decay=1e-3,
            clip_grad=1.0,
            evaluate_every=10**6,
            patience=10**6,
        )


QUICK = Size(series=6, days=60, inputs=4, hidden=8, k=21)


def distance(numbers: Callable[[torch.device], list[Tensor]], device: torch.device) -> float:
    """Return the largest distance from the CPU's numbers, over the largest of each tensor."""
    pairs = zip(numbers(CPU), numbers(device), strict=True)
    return max(float((a - b).abs().max() / a.abs().max().clamp_min(1e-12)) for a, b in pairs)


def case_numbers(case: Case, device: torch.device) -> list[Tensor]:
    """Compute the gradients of a case's epoch at fixed weights, and forecasts."""
    undropped = {"hidden": 32, "dropout": 0.0, "input_dropout": 0.0}
    case = replace(case, network=case.network | undropped)
    network, data = case.build().to(device).train(), arrays(device)
    if case.windows:
        forecasts = forecast_windows(network, data.inputs, np.array([3, 9, 17]), LOOKBACK)
    else:
        forecasts = forecast_histories(network, data.inputs, OFFSETS)
    learner = Learner(network=network, arrays=data, plan=case.plan, workers=Workers())
    return [
        torch.from_numpy(forecasts),
        *gradients(epoch_gradients(learner, case.epoch(1), case.sampling, Position())),
    ]


def long_numbers(model: str, plan: Plan, device: torch.device) -> list[Tensor]:
    """Compute the gradients of eight histories of 500 days, and the forecasts of all days."""
    size = Size(series=8, days=500, hidden=64, k=plan.k2 or 500)
    network, data = size.network(model).to(device).train(), size.arrays(device)
    offsets = size.days * np.arange(size.series + 1)
    learner = Learner(network=network, arrays=data, plan=plan, workers=Workers())
    steps = epoch_gradients(learner, size.packed(), Sampling(), Position())
    forecasts = forecast_histories(network, data.inputs, offsets)
    return [torch.from_numpy(forecasts), *gradients(steps)]


def gradients(steps: Iterable[Gradients]) -> list[Tensor]:
    """List the losses and gradients of some steps, in main memory."""
    return [part.cpu() for step in steps for part in (step.loss, *step.values)]


COMPARED: dict[str, Callable[[torch.device], list[Tensor]]] = {
    **{name: partial(case_numbers, case) for name, case in CASES.items()},
    **{
        f"{model}, 500 days, {plan.kind}": partial(long_numbers, model, plan)
        for model in ("elman", "gru", "lstm", "mlp")
        for plan in (Plan.truncated(k2=63), Plan.full(memory="recompute"))
    },
}


def waits_at(size: Size, device: torch.device) -> str | None:
    """Return torch's own complaint if a step after the first waits for the GPU, or None."""

    def watch(step: int, validation: object) -> None:
        torch.cuda.set_sync_debug_mode("error" if step < options.max_steps - 1 else "default")

    options = size.options(Plan.truncated(k2=size.k))
    network, data = size.network().to(device), size.arrays(device)
    try:
        epoch = size.packed()
        train(
            network, data, lambda _: epoch, options, Callbacks(validate=unvalidated, on_step=watch)
        )
    except RuntimeError as error:
        return str(error)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return None


def peak_mib(size: Size, device: torch.device, plan: Plan) -> float:
    """Return the most memory that one epoch holds on the GPU."""
    network, data, epoch = size.network().to(device), size.arrays(device), size.packed()
    if plan.k2 is None:
        epoch = replace(size, k=size.days).packed()
    torch.cuda.reset_peak_memory_stats(device)
    train(network, data, lambda _: epoch, size.options(plan), Callbacks(validate=unvalidated))
    return torch.cuda.max_memory_allocated(device) / 2**20


def plain_epoch(size: Size, device: torch.device, *, learns: bool = True) -> Callable[[], None]:
    """Return a function that runs an epoch of torch's LSTM over the same chunks.

    Without `learns`, its kernels alone: forward and backward, without optimizer and clipping.
    """
    data, epoch = size.arrays(device), size.packed()
    core = nn.LSTM(size.inputs, size.hidden).to(device)
    head = nn.Linear(size.hidden, 1).to(device)
    weights = [*core.parameters(), *head.parameters()]
    adam = torch.optim.AdamW(weights, lr=1e-3, fused=True)
    rows = [uploaded(batch.rows, device) for batch in epoch]

    def run() -> None:
        state = None
        for chosen in rows:
            hidden, ended = core(data.inputs[chosen], state)
            state = tuple(tensor.detach() for tensor in ended)
            loss = nn.functional.mse_loss(head(hidden), data.y[chosen])
            adam.zero_grad()
            loss.backward()
            if learns:
                nn.utils.clip_grad_norm_(weights, 1.0)
                adam.step()

    return run


def our_epoch(size: Size, device: torch.device) -> Callable[[], None]:
    """Return a function that trains for one epoch."""
    network, data, epoch = size.network().to(device), size.arrays(device), size.packed()
    options = size.options(Plan.truncated(k2=size.k))

    def run() -> None:
        train(network, data, lambda _: epoch, options, Callbacks(validate=unvalidated))

    return run


def seconds(device: torch.device, *runs: Callable[[], None]) -> list[float]:
    """Return the median wall time of each of some functions, run in turn."""
    taken: list[list[float]] = [[] for _ in runs]
    for round_ in range(ROUNDS + 1):
        for run, times in zip(runs, taken, strict=True):
            started = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if round_:  # the first one chooses kernels
                times.append(time.perf_counter() - started)
    return [statistics.median(times) for times in taken]


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow TF32 inside."""
    allow_tf32(allowed)
    try:
        yield
    finally:
        allow_tf32(False)


def speed(size: Size, device: torch.device) -> bool:
    """Print a row without and one with TF32; return whether both ratios are small enough."""
    print("\n| TF32 | ours s | plain s | ratio | LSTM's share | bound by launches |")
    print("|---|---|---|---|---|---|")
    good = True
    # A few units in a few rows: what remains of a step is its launches.
    tiny = replace(size, series=8, hidden=8)
    for allowed in (False, True):
        with tf32(allowed):
            ours, plain, kernels, launches = seconds(
                device,
                our_epoch(size, device),
                plain_epoch(size, device),
                plain_epoch(size, device, learns=False),
                our_epoch(tiny, device),
            )
        ratio = ours / plain
        good &= ratio <= AT_MOST
        print(
            f"| {'on' if allowed else 'off'} | {ours:.3f} | {plain:.3f} | {ratio:.2f} "
            f"| {kernels / ours:.0%} | {launches / ours:.0%} |"
        )
    print("A CUDA graph could save at most the share bound by launches.")
    return good


def main(arguments: list[str]) -> int:
    """Print all of it; return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args(arguments)
    device, size = torch.device(asked.device), QUICK if asked.quick else Size()
    if device.type == "cuda" and not torch.cuda.is_available():
        print("SKIPPED: torch finds no NVIDIA GPU here; nothing was compared or measured.")
        return 0
    allow_tf32(False)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "this CPU"
    print(f"torch {torch.__version__} on {name}, {size}\n")
    print(f"| training | distance from the CPU, at most {TOLERANCE:g} |\n|---|---|")
    found = {name: distance(numbers, device) for name, numbers in COMPARED.items()}
    for name, far in found.items():
        print(f"| {name} | {far:.1e} |")
    good = max(found.values()) <= TOLERANCE
    if device.type == "cuda":
        waits, fewer = waits_at(size, device), replace(size, series=100)  # 2 GiB stored
        print(f"\nwaiting in a step: {waits or 'none'}")
        stored, recomputed = (
            peak_mib(fewer, device, Plan.full(memory=kind)) for kind in ("store", "recompute")
        )
        chunked = peak_mib(fewer, device, Plan.truncated(k2=size.k))
        print(f"peak MiB of {fewer.series} series: k = {size.k}: {chunked:,.0f}; ", end="")
        print(f"full, stored: {stored:,.0f}; ", end="")
        print(f"full, recomputed: {recomputed:,.0f}")
        good &= waits is None and recomputed <= stored / 2
    good &= speed(size, device) or asked.quick
    print("all as it should be" if good else "NOT as it should be")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
