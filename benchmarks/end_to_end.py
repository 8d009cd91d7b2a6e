"""Measure what each command costs, and compare two checkouts in one run.

Usage: python -m benchmarks.end_to_end --after CHECKOUT [--before CHECKOUT] [--prices DIR]
           [--pairs 3] [--only predict,status] [--beside-busy]

Each checkout runs with its own .venv, on the sample prices (demo) and on the CSV and parquet files
of DIR (prices), such as those of 20 large caps. Every run has a fresh copy of the home that it
needs, and the checkouts alternate. Printed as Markdown: processor seconds, user and system, of a
command with its workers, their ratio after / before beside the most that it may be, and the
resident memory of the largest process; all medians.

With --beside-busy: wall-clock seconds of CHECKOUT after, alone and beside one busy process. Only an
otherwise idle machine with two cores gives figures that mean something.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

FUTURE = "2099-01-01"
SLOWER_MOST = 1.6  # beside one busy process
DAILY = "retrain --no-fetch --as-of {last}"

# The home that it is copied from, and the command that completes it.
HOMES: dict[str, tuple[str | None, str]] = {
    "demo": (None, "fetch --source sample"),
    "demo trained": ("demo", "train --as-of {last}"),
    "demo daily": ("demo", DAILY),
    "prices": (None, "data import {files}"),
    "prices trained": ("prices", "train --as-of {last}"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A command, the home that it runs in, and the most that it may take of what it took before."""

    name: str
    words: str
    home: str
    most: float
    exit_code: int = 0


ROWS = (
    Row(name="predict", words="predict --as-of {last}", home="prices trained", most=0.45),
    Row(
        name="predict one",
        words="predict {ticker} --as-of {last}",
        home="prices trained",
        most=0.40,
    ),
    Row(name="predict demo", words="predict --as-of {last}", home="demo trained", most=0.45),
    Row(name="train demo", words="train --as-of {last}", home="demo", most=0.60),
    Row(name="train", words="train --as-of {last}", home="prices", most=0.65),
    Row(name="evaluate demo", words="evaluate --as-of {last}", home="demo trained", most=0.35),
    Row(name="first daily run", words=DAILY, home="demo", most=0.50),
    Row(name="daily run, nothing due", words=DAILY, home="demo daily", most=0.50),
    Row(name="status", words="status", home="demo daily", most=0.60),
    Row(name="data list", words="data list", home="demo daily", most=0.60),
    Row(name="models list", words="models list", home="demo daily", most=0.60),
    *(
        Row(
            name=f"usage error of {command}",
            words=f"{command} --as-of {FUTURE}",
            home="demo trained",
            most=0.15,
            exit_code=2,
        )
        for command in ("train", "evaluate", "predict", "retrain", "audit", "memory")
    ),
)
BESIDE_BUSY = ("train demo", "evaluate demo", "predict demo")


@dataclass(frozen=True, slots=True)
class Cost:
    """Processor and wall-clock seconds of a run, and the peak MiB of its largest process."""

    cpu: float
    wall: float
    mib: float


@dataclass(frozen=True)
class Checkout:
    """A checkout of the project, and the folder in which its homes are made."""

    path: Path
    folder: Path
    files: tuple[Path, ...]

    def run(self, words: str, home: Path, exit_code: int = 0) -> Cost:
        """Run a command in a home; stop if it ends with another exit code."""
        given = {**os.environ, "FORECASTER_HOME": str(home)}
        command = [str(self.path / ".venv" / "bin" / "forecaster"), *words.split()]
        with tempfile.TemporaryFile() as printed:
            began = time.perf_counter()
            child = subprocess.Popen(command, cwd=home, env=given, stdout=printed, stderr=printed)
            _, status, used = os.wait4(child.pid, 0)
            wall = time.perf_counter() - began
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode != exit_code:
                printed.seek(0)
                raise SystemExit(f"{self.path}: {words}: {status}\n{printed.read().decode()}")
        return Cost(used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024)

    def home(self, name: str) -> Path:
        """Return a home, made at the first call."""
        made = self.folder / name.replace(" ", "-")
        if not made.exists():
            parent, words = HOMES[name]
            if parent is None:
                made.mkdir(parents=True)
            else:
                shutil.copytree(self.home(parent), made)
            self.run(self.completed(words, name), made)
        return made

    def completed(self, words: str, home: str) -> str:
        """Fill in the last day, a ticker and the files."""
        if "{files}" in words:
            return words.format(files=" ".join(map(str, self.files)))
        if "{" not in words:
            return words
        ticker, last = self.stored[home.split()[0]]
        return words.format(ticker=ticker, last=last)

    @cached_property
    def stored(self) -> dict[str, tuple[str, str]]:
        """A ticker and the last day of the homes without a parent."""
        found = {}
        for name in ["demo", *(["prices"] if self.files else [])]:
            command = [str(self.path / ".venv" / "bin" / "forecaster"), "data", "list", "--json"]
            command += ["--home", str(self.home(name))]
            tickers = json.loads(subprocess.check_output(command))["tickers"]
            found[name] = (tickers[0]["ticker"], min(one["last"] for one in tickers))
        return found

    def measure(self, row: Row) -> Cost:
        """Run a row's command in a copy of its home."""
        words = self.completed(row.words, row.home)
        self.folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            home = Path(folder, "home")
            shutil.copytree(self.home(row.home), home)
            return self.run(words, home, row.exit_code)


def median(costs: list[Cost], part: Callable[[Cost], float]) -> float:
    """Return the median of one part of some costs."""
    return statistics.median(map(part, costs))


def compare(checkouts: list[Checkout], rows: list[Row], pairs: int) -> None:
    """Print each row: before, after, their ratio and the most that it may be."""
    print("| command | before, CPU s | after, CPU s | ratio | at most | before, MiB | after, MiB |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        costs: list[list[Cost]] = [[] for _ in checkouts]
        for _ in range(pairs):
            for checkout, mine in zip(checkouts, costs, strict=True):
                mine.append(checkout.measure(row))
        seconds = [median(mine, lambda cost: cost.cpu) for mine in costs]
        memory = [f"{median(mine, lambda cost: cost.mib):.0f}" for mine in costs]
        ratio = seconds[-1] / seconds[0]
        cells = [f"{seconds[0]:.2f}", f"{seconds[-1]:.2f}", f"{ratio:.2f}", f"{row.most:.2f}"]
        print(f"| {row.name} | {' | '.join([*cells, memory[0], memory[-1]])} |", flush=True)


@contextmanager
def busy_process() -> Iterator[None]:
    """Keep one core busy inside a `with` block."""
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        child.kill()
        child.wait()


def beside_busy(checkout: Checkout, rows: list[Row], pairs: int) -> None:
    """Print the wall clock of each row alone and beside one busy process."""
    print(
        "| command | alone, s | beside a busy process, s | ratio | at most |\n|---|---|---|---|---|"
    )
    for row in rows:
        alone, beside = list[Cost](), list[Cost]()
        for _ in range(pairs):
            alone.append(checkout.measure(row))
            with busy_process():
                beside.append(checkout.measure(row))
        free, shared = (median(mine, lambda cost: cost.wall) for mine in (alone, beside))
        print(f"| {row.name} | {free:.1f} | {shared:.1f} | {shared / free:.2f} | {SLOWER_MOST} |")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path)
    parser.add_argument("--after", type=Path, default=Path())
    parser.add_argument("--prices", type=Path, metavar="DIR")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--only", default="", help="comma-separated beginnings of rows")
    parser.add_argument("--beside-busy", action="store_true")
    given = parser.parse_args()
    found = sorted(given.prices.iterdir()) if given.prices else []
    files = tuple(file.absolute() for file in found if file.suffix in (".csv", ".parquet"))
    rows = [row for row in ROWS if files or row.home.startswith("demo")]
    rows = [row for row in rows if row.name.startswith(tuple(given.only.split(",")))]
    with tempfile.TemporaryDirectory() as folder:
        checkouts = [
            Checkout(path.absolute(), Path(folder, name), files)
            for name, path in (("before", given.before), ("after", given.after))
            if path is not None
        ]
        if given.beside_busy:
            beside_busy(
                checkouts[-1], [row for row in rows if row.name in BESIDE_BUSY], given.pairs
            )
        else:
            compare(checkouts, rows, given.pairs)


if __name__ == "__main__":
    main()
