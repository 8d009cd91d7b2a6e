"""Training speed beside a plain torch loop, in turn, on this machine.

Usage: python -m benchmarks.training [--quick] [--rounds 9] [--inputs 26]

Prints Markdown. Each ratio is the median over rounds, in each of which both ran one after the
other on the same windows; a round beside which other processes (or other guests of the host)
took a tenth of a core is taken again, on Linux. Each row has a process of its own: what the
allocator has learnt in one changes the next. The plain loop gets one or two threads of torch,
whichever is faster. "cpu" is the ratio of processor time with one worker: what
a machine with no core free still gains.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from benchmarks.plain_loop import PlainLoop
from forecaster.bptt.plan import Plan
from forecaster.data.sequence_packing import WindowBatches, pack_sequences, window_ends
from forecaster.models.heads import PointForm
from forecaster.models.network import Architecture, Network, build_network
from forecaster.training.epoch import Epoch, Sampling
from forecaster.training.micro_batches import (
    Learner,
    TrainingArrays,
    Workers,
    window_batch_gradients,
)
from forecaster.training.trainer import Callbacks, Options, train

Found = TypeVar("Found")
KINDS = ("elman", "gru", "lstm")
SERIES, DAYS, INPUTS, LOOKBACK, CHUNK = 100, 2520, 26, 60, 63
DISTURBED = 0.1  # of a core, by others
TRIES = 30  # for each round
SECONDS = 0.4  # at least this long does a plain loop run in a round, or two steps
WARM_STEPS = 2
OFFSETS = np.arange(SERIES + 1, dtype=np.int64) * DAYS
ENDS = window_ends(OFFSETS, LOOKBACK, np.ones(SERIES * DAYS, dtype=np.bool_))


def panel() -> TrainingArrays:
    """Noise: what it holds takes no time."""
    draw = np.random.default_rng(0)
    inputs = draw.standard_normal((SERIES * DAYS, INPUTS), dtype=np.float32)
    y = draw.standard_normal((SERIES * DAYS, 1), dtype=np.float32)
    return TrainingArrays.on(torch.device("cpu"), inputs, y, np.ones(y.shape, dtype=np.bool_))


def network_of(kind: str, hidden: int) -> Network:
    """Build ours, without the dropout that the plain loop has not."""
    return build_network(
        Architecture(
            model=kind, inputs=INPUTS, forms=(PointForm(),), hidden=hidden, layers=1, dropout=0.0
        )
    )


def spent(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds of a piece of work."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def taken_by_others() -> float:
    """Processor seconds that anything but this process has taken; 0 where /proc is missing."""
    try:
        with open("/proc/stat") as stat:
            user, nice, system, _, _, irq, soft, steal = map(int, stat.readline().split()[1:9])
    except OSError:
        return 0.0
    busy = (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")
    return busy - sum(os.times()[:4])


def undisturbed(work: Callable[[], Found]) -> Found:
    """Do a piece of work until others left it alone, or it is plain that they never will."""
    for _ in range(TRIES):
        wall, others = time.perf_counter(), taken_by_others()
        found = work()
        wall, others = time.perf_counter() - wall, taken_by_others() - others
        if others <= DISTURBED * wall:
            return found
    print("disturbed throughout", file=sys.stderr)
    return found


def ours(
    network: Network, data: TrainingArrays, batches: Epoch, steps: int, **how
) -> tuple[float, float]:
    """Train with everything a real training does: clipping, schedule, validation.

    Returns the wall and processor seconds of so many steps after the first two, which pay for
    what a training needs once: threads, buffers.
    """
    torch.set_num_threads(1)
    steps += WARM_STEPS
    options = Options(
        plan=how.get("plan", Plan.full()),
        sampling=Sampling(last_day_only=how.get("last_day_only", True)),
        workers=how.get("workers", 1),
        max_steps=steps,
        learning_rate=1e-3,
        weight_decay=0.0,
        clip_grad=1.0,
        evaluate_every=steps,
        patience=1,
    )
    begun = [0.0, 0.0]

    def on_step(step: int, validation: object) -> None:
        if step == WARM_STEPS:
            begun[:] = time.perf_counter(), time.process_time()

    callbacks = Callbacks(validate=lambda network: 0.0, on_step=on_step)
    train(network, data, lambda number: batches, options, callbacks)
    return time.perf_counter() - begun[0], time.process_time() - begun[1]


def plain(loop: PlainLoop, data: TrainingArrays, batches: Epoch, threads: int) -> None:
    """Run the plain loop over the same batches."""
    torch.set_num_threads(threads)
    for one in batches:
        loop.step(data.inputs, data.y, torch.from_numpy(one.rows))


def drawn(batch: int, steps: int) -> WindowBatches:
    """Windows for so many steps."""
    ends = np.random.default_rng(1).choice(ENDS, batch * steps)
    return WindowBatches(ends, LOOKBACK, batch)


def check_same_loss(loop: PlainLoop, network: Network, data: TrainingArrays) -> None:
    """Refuse to compare what does not learn the same: loss and gradients, equal weights."""
    for mine, its in zip(network.parameters(), loop.parameters, strict=True):
        mine.data.copy_(its.data)
    (one,) = drawn(256, 1)
    rows = torch.from_numpy(one.rows)
    loss = loop.loss(data.inputs, data.y, rows)
    wanted = torch.autograd.grad(loss, loop.parameters)
    learner = Learner(network=network, arrays=data, plan=Plan.full(), workers=Workers())
    found = window_batch_gradients(learner, rows, 256.0)
    torch.testing.assert_close(found.loss, loss.detach(), rtol=1e-5, atol=1e-6)
    for mine, its in zip(found.gradients, wanted, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-3, atol=1e-5)


def windows_row(kind: str, hidden: int, batch: int, rounds: int) -> str:
    """Compare window training at one cell, size and batch."""
    data = panel()
    loop, network = PlainLoop(kind, INPUTS, hidden), network_of(kind, hidden)
    check_same_loss(loop, network, data)
    probe = drawn(batch, 2)
    one, two = (
        min(spent(partial(plain, loop, data, probe, number))[0] / 2 for _ in range(3))
        for number in (1, 2)
    )
    threads, each = (1, one) if one <= two else (2, two)
    steps = min(200, max(2, int(SECONDS / each)))
    batches = drawn(batch, steps)

    def arms() -> tuple[tuple[float, float], ...]:
        return (
            spent(lambda: plain(loop, data, batches, threads)),
            ours(network, data, batches, steps),
            ours(network, data, batches, steps, workers=2),
        )

    base, alone, shared = zip(*(undisturbed(arms) for _ in range(rounds)), strict=True)
    count = batch * steps
    ratio = {
        "one": [b[0] / a[0] for b, a in zip(base, alone, strict=True)],
        "two": [b[0] / a[0] for b, a in zip(base, shared, strict=True)],
        "cpu": [b[1] / a[1] for b, a in zip(base, alone, strict=True)],
    }
    middle = {name: f"{statistics.median(values):.2f}" for name, values in ratio.items()}
    speeds = [f"{count / statistics.median(w for w, _ in arm):,.0f}" for arm in (base, shared)]
    return (
        f"| {kind} | {hidden} | {batch:,} | {speeds[0]} ({threads}) | {speeds[1]} | "
        f"**{middle['two']}** | {middle['one']} | {middle['cpu']} |"
    )


def histories(threads: int, rounds: int) -> str:
    """Compare an epoch of whole histories with the loop's epoch of the same days' windows."""
    data = panel()
    loop, network = PlainLoop("lstm", INPUTS, 64), network_of("lstm", 64)
    batch_rows = pack_sequences(
        OFFSETS[:-1], OFFSETS[1:], SERIES, CHUNK, np.random.default_rng(0), CHUNK
    )
    how = {"plan": Plan.truncated(k2=CHUNK), "last_day_only": False, "workers": threads}
    sample = 12

    def arms() -> tuple[float, float]:
        windows, _ = spent(lambda: plain(loop, data, drawn(1024, sample), threads))
        # The first two steps are not in the time; the others stand for them.
        whole, _ = ours(network, data, batch_rows, len(batch_rows), **how)
        return windows * len(ENDS) / (sample * 1024), whole

    pairs = [undisturbed(arms) for _ in range(rounds)]
    slow, fast = (statistics.median(column) for column in zip(*pairs, strict=True))
    return (
        f"| {threads} | {slow:.1f} s | {fast:.2f} s | "
        f"**{statistics.median(s / f for s, f in pairs):.0f}** |"
    )


@contextmanager
def busy_process() -> Iterator[None]:
    """Keep one core busy with something else."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            yield
        finally:
            other.kill()


def busy(rounds: int) -> str:
    """Compare windows per second with and without one other busy process."""
    data = panel()
    loop, network = PlainLoop("lstm", INPUTS, 64), network_of("lstm", 64)
    batches, steps = drawn(1024, 4), 4
    arms = {
        "plain loop, 1 thread": lambda: spent(lambda: plain(loop, data, batches, 1)),
        "plain loop, 2 threads": lambda: spent(lambda: plain(loop, data, batches, 2)),
        "ours, 1 worker": lambda: ours(network, data, batches, steps),
        "ours, 2 workers": lambda: ours(network, data, batches, steps, workers=2),
    }
    rows = []
    for name, seconds in arms.items():
        seconds()
        free, shared = [], []
        for _ in range(rounds):
            free.append(undisturbed(seconds)[0])
            with busy_process():
                shared.append(seconds()[0])
        kept = statistics.median(f / s for f, s in zip(free, shared, strict=True))
        speeds = [f"{4096 / statistics.median(times):,.0f}" for times in (free, shared)]
        rows.append(f"| {name} | {speeds[0]} | {speeds[1]} | {kept:.0%} |")
    return "\n".join(rows)


def alone(call: str) -> None:
    """Print what a call of this module gives, made in a process of its own."""
    code = f"import benchmarks.training as it; it.INPUTS = {INPUTS}; print(it.{call})"
    subprocess.run([sys.executable, "-c", code], check=True)


def main() -> None:
    """Measure and print."""
    global INPUTS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three rounds, corners of the grid")
    parser.add_argument("--rounds", type=int, default=9, help="paired rounds of each row")
    parser.add_argument("--inputs", type=int, default=INPUTS, help="inputs per day")
    given = parser.parse_args()
    INPUTS = given.inputs
    quick, rounds = given.quick, 3 if given.quick else given.rounds
    sizes, batches = ((16, 256), (64, 1024)) if quick else ((16, 64, 256), (64, 256, 1024, 4096))
    print(f"Windows of {LOOKBACK} days, {INPUTS} inputs, median of {rounds} paired rounds.\n")
    print(
        "| cell | hidden | batch | plain windows/s (threads) | ours, 2 workers | ratio | "
        "1 worker | cpu |\n|---|---|---|---|---|---|---|---|",
        flush=True,
    )
    grid = [(k, h, b) for k in KINDS for h in sizes for b in batches]
    for kind, hidden, batch in dict.fromkeys([("lstm", 64, 1024), *grid]):
        alone(f"windows_row({kind!r}, {hidden}, {batch}, {rounds})")
    print(
        f"\nOne pass over {SERIES} x {DAYS:,} days, LSTM 64: {len(ENDS):,} windows of {LOOKBACK} "
        f"(12 of {len(ENDS) // 1024 + 1} steps timed), whole histories with k = {CHUNK}.\n\n"
        "| threads of each | plain loop | ours | ratio |\n|---|---|---|---|",
        flush=True,
    )
    for threads in (1, 2):
        alone(f"histories({threads}, {rounds})")
    full = ["-m", "benchmarks.full_bptt", "--rounds", str(2 if quick else 5)]
    subprocess.run([sys.executable, *full, "--inputs", str(INPUTS)], check=True)
    print(
        "\nLSTM 64, 1,024 windows per update, windows/s beside one other busy process.\n"
        "\n| | free | beside it | kept |\n|---|---|---|---|",
        flush=True,
    )
    alone(f"busy({rounds})")


if __name__ == "__main__":
    main()
