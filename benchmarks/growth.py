"""CPU time and peak memory of import, train, evaluate and predict by number of tickers.

Usage: python -m benchmarks.growth [--tickers 100 300 1000 3000] [--days 2500]
       [--target return] [--benchmarks quick] [--jobs 1] [--steps import train evaluate predict]
       [--home FOLDER]

Prints Markdown: a row per number of tickers with invented prices, each command in a process of
its own. CPU time is user and system time, peak memory the largest sum over a command's processes
of what only they use and their share of the rest (PSS), on Linux. A panel of 3,000 tickers needs
5 GB of disk. With --home the stores and versions are kept in that folder and used again.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.scale import drawn, name_of

LIMIT_MIB = 4096
COMMANDS = ("import", "train", "evaluate", "predict")
EVERY = 0.2  # seconds between two looks at the memory
MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """CPU seconds and peak memory in MiB of a command with its children."""

    seconds: float
    peak: float


def descendants(pid: int) -> list[int]:
    """Return a process and those that it started, directly or not."""
    found = [pid]
    for one in found:
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                text = Path(f"/proc/{one}/task/{task}/children").read_text()
                found += [int(word) for word in text.split()]
        except OSError:
            continue
    return found


def proportional_bytes(pid: int) -> int:
    """Return the resident memory of a process, shared pages divided by who shares them."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) << 10 for line in text.splitlines() if line[:4] == "Pss:")


def cost_of(arguments: Sequence[str], log: Path) -> Cost:
    """Run a command of the package; raise SystemExit with its last lines if it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "forecaster", *arguments]
    ended, peaks = threading.Event(), [0]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)

        def watch() -> None:
            while not ended.wait(EVERY):
                peaks.append(sum(map(proportional_bytes, descendants(process.pid))))

        watcher = threading.Thread(target=watch)
        watcher.start()
        status = process.wait()
        ended.set()
        watcher.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if status not in (0, 3):
        lines = log.read_text(errors="replace").splitlines()[-8:]
        raise SystemExit("\n".join([" ".join(arguments), f"exit code {status}", *lines]))
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(seconds=seconds, peak=max(peaks) / MIB)


def write_prices(folder: Path, tickers: int, days: int) -> None:
    """Write a CSV file of invented prices for each ticker."""
    folder.mkdir(parents=True)
    for number in range(tickers):
        drawn(number, days).to_csv(folder / f"{name_of(number)}.csv", index=False)


def commands_of(home: Path, files: Path, given: argparse.Namespace) -> dict[str, list[str]]:
    """Return the arguments of each command by its name."""
    walk = ["--benchmarks", given.benchmarks, "--jobs", str(given.jobs)]
    seen = ["--as-of", str(drawn(0, given.days)["session"].iloc[-1].date())]
    table_name = f"forecasts.{given.format}"
    table = {
        "import": ["data", "import", str(files), "--basis", "split-adjusted", "--calendar", "XNYS"],
        "train": ["train", "--target", given.target, "--device", "cpu", *seen],
        "evaluate": ["evaluate", *walk, *seen, "--forecasts", str(home / table_name)],
        "predict": ["predict", *seen],
    }
    return {name: [*words, "--home", str(home)] for name, words in table.items()}


def row(folder: Path, tickers: int, given: argparse.Namespace) -> str:
    """Measure the commands on so many tickers; return a row of Markdown."""
    home, files = folder / f"home-{tickers}", folder / f"prices-{tickers}"
    home.mkdir(exist_ok=True)
    if "import" in given.steps and not files.exists():
        write_prices(files, tickers, given.days)
    commands, cells = commands_of(home, files, given), [f"{tickers:,}", f"{tickers * given.days:,}"]
    for name in COMMANDS:
        if name not in given.steps:
            cells.append("")
            continue
        cost = cost_of(commands[name], home / f"{name}.log")
        cells.append(f"{cost.seconds:.1f} s, {cost.peak:,.0f} MiB")
        print(f"{tickers:,} {name}: {cells[-1]}", file=sys.stderr)
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tickers", type=int, nargs="+", default=[100, 300, 1000, 3000])
    parser.add_argument("--days", type=int, default=2500)
    parser.add_argument("--target", default="return")
    parser.add_argument("--benchmarks", choices=("quick", "all"), default="quick")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--format", choices=("csv", "parquet"), default="csv")
    parser.add_argument("--steps", nargs="+", choices=COMMANDS, default=COMMANDS)
    parser.add_argument("--home", type=Path)
    given = parser.parse_args()
    print(f"{given.days:,} days, {given.target}, at most {LIMIT_MIB:,} MiB\n")
    print(f"| tickers | rows | {' | '.join(COMMANDS)} |\n|--:|--:|{'--:|' * len(COMMANDS)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.home or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for tickers in given.tickers:
            print(row(folder, tickers, given), flush=True)


if __name__ == "__main__":
    main()
