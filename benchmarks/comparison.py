"""Whole histories against windows, full against truncated: on the prices of a home.

Usage: python -m benchmarks.comparison --home HOME [--target range] [--seeds 3]
           [--steps 150] [--seconds 20]

Trains each variant with the same seeds twice: for the same number of steps, and for as many as
fit into the same processor time (each timed by a short run of its own; validations
are not counted; the learning-rate cycle spans whatever budget there is). Stopping early is switched
off; the weights of the best validation are scored on the test days. Prints Markdown. HOME gets no
version.
"""

import argparse
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from forecaster.pipeline.evaluate import evaluate
from forecaster.pipeline.train import train
from forecaster.settings import TrainSettings

VALIDATIONS = 12
PROBE = 24
VARIANTS: dict[str, dict[str, object]] = {
    "whole, truncated at 63": {},
    "whole, truncated at 63, once per epoch": {"step_per": "epoch"},
    "whole, full": {"bptt": "full"},
    "windows of 60": {"lookback": 60, "bptt": "full"},
    "windows of 60, truncated at 20": {"lookback": 60, "bptt_k2": 20},
}


def trained(home: Path, target: str, seed: int, steps: int, how: dict[str, object]) -> float:
    """Train one version in `home`; return the processor seconds of its steps alone."""
    spent: list[tuple[float, bool]] = []
    settings = TrainSettings(
        target=(target,),
        seed=seed,
        max_steps=steps,
        evaluate_every=max(1, steps // VALIDATIONS),
        patience=10**6,
        workers=1,
        **how,
    )
    train(
        settings=settings,
        home=home,
        on_step=lambda step, found: spent.append((time.process_time(), found is not None)),
    )
    alone = [then - before for (before, _), (then, validated) in pairwise(spent) if not validated]
    return statistics.fmean(alone) * steps


def row(home: Path, target: str, seeds: int, budget: dict[str, int], name: str) -> str:
    """Train a variant with every seed and lay its errors out."""
    errors, seconds = [], []
    for seed in range(seeds):
        seconds.append(trained(home, target, seed, budget[name], VARIANTS[name]))
        scores = evaluate(home=home).scores
        own = scores[scores["metric"] == "mse"].iloc[0]["value"]
        errors.append(float(own))
    cells = ", ".join(f"{error:.5g}" for error in errors)
    return f"| {name} | {budget[name]:,} | {statistics.median(seconds):.1f} | {cells} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--target", default="range")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "data").symlink_to((given.home / "data").resolve())
        budgets = {"equal steps": dict.fromkeys(VARIANTS, given.steps), "equal time": {}}
        for name, how in VARIANTS.items():
            each = trained(home, given.target, 0, PROBE, how) / PROBE
            budgets["equal time"][name] = max(2, round(given.seconds / each))
        for title, budget in budgets.items():
            print(f"\n{given.target}, {title}\n\n| variant | steps | cpu s | MSE by seed |")
            print("|---|---|---|---|")
            for name in VARIANTS:
                print(row(home, given.target, given.seeds, budget, name), flush=True)
        scores = evaluate(home=home).scores
        benchmarks = scores[scores["metric"] == "mse"].iloc[1:]
        named = [
            f"{name} {value:.5g}" for name, value in benchmarks[["forecaster", "value"]].values
        ]
        print("\nbaselines: " + ", ".join(named))


if __name__ == "__main__":
    main()
