"""Exact full BPTT: one graph beside recomputation in chunks, seconds and memory of each.

Usage: python -m benchmarks.full_bptt [--rounds 5] [--inputs 26]; `benchmarks.training` runs it too.

Prints Markdown. Each gradient is taken in a process of its own, the two ways in turn.
"""

import argparse
import statistics
import subprocess
import sys

import torch

from benchmarks import training
from benchmarks.training import DAYS, KINDS, SERIES, network_of, panel, spent
from forecaster.bptt import Batch, Plan, gradients


def resident(what: str) -> int:
    """KiB of this process now (VmRSS) or at most (VmHWM); Linux only."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(what))


def full_gradient(kind: str, memory: str) -> None:
    """In a process of its own: print seconds and MiB of one exact full gradient."""
    torch.set_num_threads(1)
    network, data = network_of(kind, 64), panel()
    rows = torch.arange(SERIES * DAYS).reshape(SERIES, DAYS).T.contiguous()
    x, y, mask = data.inputs[rows], data.y[rows], data.scored[rows]
    plan = Plan.full(memory=memory)

    def once(days: int) -> None:
        batch = Batch(x[:days], y[:days], mask[:days], count=float(mask.numel()))
        gradients(network, batch, plan, loss=network.head.loss)

    once(5)
    before = resident("VmRSS")
    seconds = statistics.median(spent(lambda: once(DAYS))[0] for _ in range(3))
    print(seconds, (resident("VmHWM") - before) / 1024)


def full_row(kind: str, rounds: int) -> str:
    """Compare one graph with recomputation, processes in turn."""
    found: dict[str, list[list[float]]] = {"store": [], "recompute": []}
    for _ in range(rounds):
        for memory, results in found.items():
            code = (
                "import benchmarks.full_bptt as it; "
                f"it.training.INPUTS = {training.INPUTS}; it.full_gradient({kind!r}, {memory!r})"
            )
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
            results.append([float(word) for word in done.stdout.split()])
    pairs = list(zip(found["store"], found["recompute"], strict=True))
    faster, smaller = (statistics.median(s[i] / r[i] for s, r in pairs) for i in range(2))
    cells = [
        f"{statistics.median(r[0] for r in arm):.2f} s, {statistics.median(r[1] for r in arm):.0f}"
        " MiB"
        for arm in found.values()
    ]
    return f"| {kind} | {cells[0]} | {cells[1]} | {faster:.2f} | **{smaller:.1f}** |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="paired rounds of each row")
    parser.add_argument("--inputs", type=int, default=training.INPUTS, help="inputs per day")
    given = parser.parse_args()
    training.INPUTS = given.inputs
    print(
        f"\nExact full BPTT, {DAYS:,} days x {SERIES} batch rows, 64 hidden, separate processes.\n"
        "\n| cell | one graph | recomputed | times faster | times smaller |\n|---|---|---|---|---|",
        flush=True,
    )
    for kind in KINDS:
        print(full_row(kind, given.rounds), flush=True)


if __name__ == "__main__":
    main()
