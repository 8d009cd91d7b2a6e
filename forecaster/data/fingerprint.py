"""A content hash of exactly the bars that a training saw.

The same bars give the same hash, in whatever order they were fetched.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from forecaster.data.bars import BAR_COLUMNS, History


class Fingerprint:
    """The hash of histories that come one after another, tickers in alphabetical order."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, history: History) -> None:
        """Count in a ticker, its basis and every column of its bars."""
        listing, bars = history.listing, history.bars
        self._digest.update(f"{listing.ticker} {listing.basis} {len(bars)}\n".encode())
        self._digest.update(bars["session"].to_numpy("datetime64[D]").astype("<i8").tobytes())
        values = bars[list(BAR_COLUMNS[1:])].to_numpy(np.float64)
        # + 0.0 turns -0.0 into 0.0: equal bars must not differ by a sign of nothing
        self._digest.update(np.ascontiguousarray(values + 0.0, dtype="<f8").tobytes())

    @property
    def text(self) -> str:
        """64 hexadecimal digits (SHA-256)."""
        return self._digest.hexdigest()


def fingerprint(histories: Sequence[History]) -> str:
    """Hash tickers, bases and every column of their bars, tickers in alphabetical order.

    Returns:
        64 hexadecimal digits (SHA-256).
    """
    found = Fingerprint()
    for history in sorted(histories, key=lambda history: history.listing.ticker):
        found.add(history)
    return found.text
