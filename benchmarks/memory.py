"""Peak memory of training on windows of 250 days over 20 tickers x 5,402 days.

Usage: python -m benchmarks.memory

Windows are row numbers into one array. Copied out they would take 108,000 x 250 x 26 x 4 bytes =
2.8 GB; the whole process, torch included, has to stay below 1 GiB.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

LIMIT_MIB = 1024
TICKERS, DAYS, LOOKBACK, STEPS = 20, 5402, 250, 20


def measure() -> float:
    """Train in this process; return its peak resident memory in MiB.

    Not `ru_maxrss`, which begins with the size of the process that started this one.
    """
    from datetime import date

    from forecaster import TrainSettings, train
    from tests.synthetic import bars_of

    names = [f"T{number:02d}" for number in range(TICKERS)]
    bars = pd.concat(
        [bars_of(name, DAYS, first=date(1999, 11, 1)) for name in names], ignore_index=True
    )
    settings = TrainSettings(target="range", lookback=LOOKBACK, max_steps=STEPS)
    with tempfile.TemporaryDirectory() as home:
        train(bars, settings=settings, home=Path(home))
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    """Measure in a fresh process, so that nothing else counts, and print."""
    code = "from benchmarks.memory import measure; print(measure())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    peak = float(done.stdout)
    print(f"peak memory, windows of {LOOKBACK} days: {peak:.0f} MiB (limit {LIMIT_MIB} MiB)")


if __name__ == "__main__":
    main()
