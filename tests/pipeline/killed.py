"""A process whose children fetch and are killed: `python -m tests.pipeline.killed HOME`.

For each line on stdin, a round's number and seconds, it forks a child that fetches into HOME,
kills it after so many seconds, and says how it ended: 0, or the signal.  Imports and calendar
are paid once, not by each child.
"""

import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd

from forecaster.data.history import BAR_COLUMNS, PRICE_COLUMNS, History, Listing
from forecaster.pipeline.fetch import fetch
from tests.synthetic import bars_of

TICKERS = tuple(f"T{number:02}" for number in range(12))
DAYS = 150


@dataclass(frozen=True, slots=True)
class Rounds:
    """A source that rescales every past and brings a new day with each round."""

    round: int
    name: str = "rounds"

    def tickers(self) -> tuple[str, ...]:
        """Serve these and no others."""
        return TICKERS

    def history(self, ticker: str, start: date | None, end: date | None) -> History:
        """Serve bars on this round's scale."""
        bars = scaled(ticker, self.round)
        bars = bars[bars["session"] >= pd.Timestamp(start or "1900-01-01")]
        listing = Listing(ticker=ticker, source=self.name, basis="split-adjusted", calendar="XNYS")
        return History(listing=listing, bars=bars.reset_index(drop=True))


def scaled(ticker: str, number: int) -> pd.DataFrame:
    """The truth of a round: a day more than the round before, all prices one percent lower."""
    bars = bars_of(ticker, DAYS + number)[list(BAR_COLUMNS)]
    bars[list(PRICE_COLUMNS)] *= 0.99**number
    return bars


def ended(child: int, seconds: float) -> int:
    """Wait for a child, but no longer than so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)  # until it is waited for, its id is nobody else's
    return os.waitpid(child, 0)[1]


if __name__ == "__main__":
    home = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as elsewhere:
        fetch(TICKERS[0], home=Path(elsewhere), source=Rounds(0))
    print("ready", flush=True)
    for line in sys.stdin:
        number, seconds = line.split()
        child = os.fork()
        if child == 0:
            sys.stderr = open(os.devnull, "w")
            fetch(home=home, source=Rounds(int(number)))
            os._exit(0)
        print(ended(child, float(seconds)), flush=True)
