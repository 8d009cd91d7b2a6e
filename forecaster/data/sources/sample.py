"""Real daily index prices from the `arch` package: no network, no file.

The S&P 500 and the NASDAQ Composite, 1999-2018; knows no store.
"""

from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from forecaster.data.history import PRICE_COLUMNS, History, Listing
from forecaster.errors import DataError, UnknownNameError

_NAMES: Final = {"NASDAQ": "NASDAQ Composite", "SP500": "S&P 500"}


class SampleSource:
    """The prices that every installation has."""

    name = "sample"

    def tickers(self) -> tuple[str, ...]:
        """Return the two indices."""
        return tuple(_NAMES)

    def history(self, ticker: str, start: date | None, end: date | None) -> History:
        """Return the part of an index from `start` to `end`; see `Source.history`."""
        if ticker not in _NAMES:
            raise UnknownNameError(
                f"{ticker}: is not in the sample, which has {' and '.join(_NAMES)}. "
                "Choose one of these, or --source yahoo."
            )
        listing = Listing(
            ticker=ticker,
            source=self.name,
            basis="split-adjusted",
            calendar="XNYS",
            name=_NAMES[ticker],
            currency="USD",
        )
        bars = _bars(ticker)
        known = f"{bars['session'].iloc[0]:%Y-%m-%d} to {bars['session'].iloc[-1]:%Y-%m-%d}"
        first = pd.Timestamp(start) if start else bars["session"].iloc[0]
        last = pd.Timestamp(end) if end else bars["session"].iloc[-1]
        bars = bars[bars["session"].between(first, last)].reset_index(drop=True)
        if bars.empty:
            raise DataError(
                f"{ticker}: the sample has no session from {first:%Y-%m-%d} to {last:%Y-%m-%d}; it "
                f"has {known}. Ask for a part of these."
            )
        return History(listing=listing, bars=bars)


def open_source(home: Path) -> SampleSource:
    """Open the sample; a home is not needed."""
    return SampleSource()


def check() -> str:
    """Count the days of the sample."""
    return f"the sample has {len(_bars('SP500')):,} days of SP500"


def _bars(ticker: str) -> pd.DataFrame:
    from arch.data import nasdaq, sp500

    frame: pd.DataFrame = (nasdaq if ticker == "NASDAQ" else sp500).load()
    columns = {
        name: frame[name.title()].to_numpy(np.float64) for name in (*PRICE_COLUMNS, "volume")
    }
    sessions = frame.index.to_numpy().astype("datetime64[s]")
    return pd.DataFrame({"session": sessions, **columns, "dividend": 0.0, "split": 1.0})
