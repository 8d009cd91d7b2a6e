"""The store at scale: 3,000 tickers x 10 years, invented, 7.5 million bars.

Usage: python -m benchmarks.scale [--tickers 3000] [--days 2500]

Measures, each in a process of its own: the append of one session to all tickers, through the same
function as `forecaster fetch` with a source that answers from memory, and the panel for training.
The limit of the append is in proportion to the tickers.  Needs 4 GB of disk.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.data.history import BAR_COLUMNS, History, Listing
from forecaster.data.sessions import sessions_between
from forecaster.data.store import PriceStore
from forecaster.pipeline.fetch import fetch

FIRST = date(2014, 1, 2)
AT_ONCE = 100
LIMIT_MIB = 1536
APPEND_SECONDS = 0.015  # per ticker, 45 s for 3,000: Yahoo itself takes a second per ticker


@dataclass(frozen=True, slots=True)
class Memory:
    """A source that answers at once, from memory."""

    bars: dict[str, pd.DataFrame]
    name: str = "invented"

    def tickers(self) -> tuple[str, ...]:
        """Return nothing: there is no fixed list."""
        return ()

    def history(self, ticker: str, start: date | None, end: date | None) -> History:
        """Return the bars of a ticker from a day on."""
        bars = self.bars[ticker]
        begin = int(bars["session"].searchsorted(pd.Timestamp(start or FIRST)))
        return History(listing=listing_of(ticker), bars=bars.iloc[begin:])


def listing_of(ticker: str) -> Listing:
    """Return the listing of an invented ticker."""
    return Listing(
        ticker=ticker, source="invented", basis="split-adjusted", calendar="XNYS", currency="USD"
    )


def name_of(number: int) -> str:
    """Return the name of a ticker by its number."""
    return f"T{number:04d}"


def drawn(number: int, days: int) -> pd.DataFrame:
    """Draw one ticker's bars: a random walk with a dividend each quarter."""
    generator = np.random.default_rng(number)
    sessions = sessions_between("XNYS", FIRST, date(2040, 1, 1))[:days]
    noise = 0.01 * generator.standard_normal((2, days))
    close = 50.0 * np.exp(np.cumsum(noise[0]))
    opening = close * np.exp(0.3 * noise[1])
    horizon = np.exp(np.abs(noise[1]) + 1e-3)
    values = {
        "session": sessions.astype("datetime64[s]"),
        "open": opening,
        "high": np.maximum(opening, close) * horizon,
        "low": np.minimum(opening, close) / horizon,
        "close": close,
        "volume": np.round(1e6 * np.exp(generator.standard_normal(days))),
        "dividend": np.where(np.arange(days) % 63 == 62, np.round(close * 0.005, 4), 0.0),
        "split": 1.0,
    }
    return pd.DataFrame(values)[list(BAR_COLUMNS)]


def fill(home: Path, tickers: int, days: int) -> None:
    """Store all sessions but the last."""
    with PriceStore.open_for_writing(home) as store:
        for begin in range(0, tickers, AT_ONCE):
            numbers = range(begin, min(begin + AT_ONCE, tickers))
            histories = [
                History(listing=listing_of(name_of(n)), bars=drawn(n, days).iloc[:-1])
                for n in numbers
            ]
            store.upsert_all(histories, datetime.now(UTC))


def append(home: Path, tickers: int, days: int) -> float:
    """Fetch the last session of every ticker; return the seconds that it took.

    Prints the CPU seconds on stderr: on a busy machine the two differ.
    """
    newest = {name_of(n): drawn(n, days).tail(20) for n in range(tickers)}
    source = Memory(newest)
    fetch(next(iter(newest)), home=home, source=source)  # loads the calendar
    began, cpu = time.perf_counter(), time.process_time()
    report = fetch(list(newest), home=home, source=source)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(f"append: {cpu:.1f} s of CPU time", file=sys.stderr)
    added = int(report.table["rows_changed"].sum())
    if report.failures or added != tickers - 1:
        raise SystemExit(f"{added:,} bars added, {tickers - 1:,} expected; {report.failures}")
    return seconds


def load(home: Path) -> float:
    """Build the panel for a training on all tickers; return the seconds that it took."""
    from forecaster.forecasting.data_set import training_panel
    from forecaster.settings import TrainSettings

    began = time.perf_counter()
    panel, _, _ = training_panel(None, home, (), None, TrainSettings())
    seconds = time.perf_counter() - began
    if not np.isfinite(panel.close).all():
        raise SystemExit("a close of the panel is not finite")
    return seconds


def measured(step: str, home: Path, tickers: int, days: int) -> tuple[float, float]:
    """Run a step in a process of its own; return its seconds and its peak memory in MiB."""
    command = [sys.executable, "-m", "benchmarks.scale", "--step", step]
    command += ["--home", str(home), "--tickers", str(tickers), "--days", str(days)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds, peak = json.loads(done.stdout)
    return seconds, peak


def take(step: str, home: Path, tickers: int, days: int) -> None:
    """Run a step in this process; print its seconds and its peak memory."""
    if step == "fill":
        began = time.perf_counter()
        fill(home, tickers, days)
        seconds = time.perf_counter() - began
    else:
        seconds = append(home, tickers, days) if step == "append" else load(home)
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def report(home: Path, tickers: int, days: int) -> None:
    """Measure every step and print it with its limit."""
    seconds, _ = measured("fill", home, tickers, days)
    megabytes = (home / "data" / "prices.db").stat().st_size / 1e6
    print(f"{tickers:,} tickers x {days:,} days = {tickers * days:,} bars, {megabytes:.0f} MB")
    print(f"first storage        {seconds:7.1f} s")
    for step, words in (("append", "append one session"), ("panel", "panel")):
        seconds, peak = measured(step, home, tickers, days)
        most = APPEND_SECONDS * tickers
        limit = f" of {most:.1f} s ({seconds / most:.0%})" if step == "append" else ""
        share = f"{peak:.0f} of {LIMIT_MIB} MiB ({peak / LIMIT_MIB:.0%})"
        print(f"{words:20} {seconds:7.1f} s{limit}, peak memory {share}")


def main() -> None:
    """Parse the command line; measure, or run one step for the measuring process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tickers", type=int, default=3000)
    parser.add_argument("--days", type=int, default=2500)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        take(given.step, given.home, given.tickers, given.days)
        return
    with tempfile.TemporaryDirectory() as folder:
        report(Path(folder), given.tickers, given.days)


if __name__ == "__main__":
    main()
