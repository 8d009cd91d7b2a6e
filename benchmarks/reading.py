"""What `predict TICKER` and `score` read, of a store of 10,002 tickers and a log of 5 million rows.

Usage: python -m benchmarks.reading [--tickers 10002] [--days 252] [--rounds 7]

A version is trained on two tickers. `predict` of one of them is run from a store of these two and
from the large one, in turns, each in a process of its own; at most 1.3 times the time is allowed.
Then every ticker and day of the large store gets a forecast of two targets, and `score` may take
200 MiB above its imports.  Needs 3 GB of disk.
"""

import argparse
import json
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from benchmarks.scale import drawn, fill, name_of
from forecaster.data.price_database import store_path
from forecaster.registry.registry_file import changing, registry_path

MOST_TIMES, MOST_MIB = 1.3, 200
# A forecast of each day's next session by the daily run, in time; a tenth of them by the version.
LOG = """
    INSERT INTO forecast_log
    SELECT 'return,range', CASE WHEN row > ? THEN ? ELSE 'baseline' END, ticker, target, day, next,
           0.0, -0.04, -0.02, 0.02, 0.04, NULL, close, ?, day || 'T22:00:00.000000+00:00', 1, 0,
           day, next || 'T21:00:00.000000+00:00'
    FROM (
        SELECT ticker, close, session AS day, row_number() OVER one AS row,
               lead(session) OVER one AS next
        FROM prices.bars WINDOW one AS (PARTITION BY ticker ORDER BY session)
    ), (SELECT value AS target FROM json_each('["return", "range"]'))
    WHERE next IS NOT NULL
"""


def train_small(home: Path, days: int) -> str:
    """Store two tickers in a home and train a version on them; return its id."""
    from forecaster import TrainSettings, train  # not where scoring is measured: it needs torch

    home.mkdir()
    fill(home, 2, days)
    settings = TrainSettings(target=("return", "range"), hidden=8, max_steps=20)
    return train(home=home, settings=settings).version


def predict_seconds(home: Path, day: str) -> tuple[float, float]:
    """Run the command once; return the seconds that it took, and its CPU time."""
    words = ["predict", name_of(0), "--as-of", day, "--home", str(home), "--quiet"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "forecaster", *words]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare_predict(small: Path, large: Path, day: str, rounds: int) -> None:
    """Print how much longer `predict` takes from the large store."""
    taken = [(predict_seconds(small, day), predict_seconds(large, day)) for _ in range(rounds)]
    for k, words in enumerate(("seconds", "CPU seconds")):
        few, many = (statistics.median(pair[side][k] for pair in taken) for side in (0, 1))
        limit = f"(at most {MOST_TIMES})"
        print(
            f"predict, {words:12} {few:6.2f}, large store {many:6.2f}: {many / few:.2f} x {limit}"
        )


def fill_log(home: Path, version: str, days: int) -> int:
    """Record forecasts of all tickers and days of a home; return their number."""
    with changing(home):
        pass
    with closing(sqlite3.connect(registry_path(home))) as file:
        file.execute("ATTACH ? AS prices", (str(store_path(home)),))
        with file:
            done = file.execute(LOG, (days - days // 10, version, "f" * 64))
        return done.rowcount


def peak_kib() -> int:
    """Read the peak memory of this program; that of getrusage is the parent's where it was more."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def score_in_this_process(home: Path) -> None:
    """Score a home; print the forecasts, the seconds and the peak memory before and after."""
    from forecaster.operations import scoring  # noqa: F401 part of the imports
    from forecaster.pipeline.status import score

    imports, began = peak_kib(), time.perf_counter()
    found = score(home=home)
    seconds, peak = time.perf_counter() - began, peak_kib()
    counted = found.per_ticker["forecasts"].sum() + found.pending + found.unscorable
    print(json.dumps([int(counted), seconds, imports / 1024, peak / 1024]))


def measure_score(home: Path) -> None:
    """Print the peak memory of scoring every forecast."""
    command = [sys.executable, "-m", "benchmarks.reading", "--score", str(home)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    counted, seconds, imports, peak = json.loads(done.stdout)
    print(
        f"score    {counted:,} forecasts in {seconds:.0f} s: {peak - imports:.0f} MiB above the "
        f"imports' {imports:.0f} MiB (at most {MOST_MIB})"
    )


def report(folder: Path, tickers: int, days: int, rounds: int) -> None:
    """Make both homes, measure and print."""
    small, large = folder / "small", folder / "large"
    version, day = train_small(small, days), f"{drawn(0, days)['session'].iloc[-2]:%Y-%m-%d}"
    large.mkdir()
    fill(large, tickers, days)
    shutil.copytree(small / "models", large / "models")
    print(f"stores of 2 and {tickers:,} tickers with {days - 1:,} days")
    compare_predict(small, large, day, rounds)
    print(f"log of {fill_log(large, version, days):,} forecasts")
    measure_score(large)


def main() -> None:
    """Parse the command line; measure, or score a home for the measuring process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tickers", type=int, default=10_002)
    parser.add_argument("--days", type=int, default=252)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--score", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.score:
        score_in_this_process(given.score)
        return
    with tempfile.TemporaryDirectory() as folder:
        report(Path(folder), given.tickers, given.days, given.rounds)


if __name__ == "__main__":
    main()
