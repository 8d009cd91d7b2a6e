"""A content hash of exactly the bars that a training saw.

The same bars give the same hash, in whatever order they were fetched.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from forecaster.data.bars import BAR_COLUMNS, History


def fingerprint(histories: Sequence[History]) -> str:
    """Hash tickers, bases and every column of their bars, tickers in alphabetical order.

    Returns:
        64 hexadecimal digits (SHA-256).
    """
    digest = hashlib.sha256()
    for history in sorted(histories, key=lambda history: history.listing.ticker):
        listing, bars = history.listing, history.bars
        digest.update(f"{listing.ticker} {listing.basis} {len(bars)}\n".encode())
        digest.update(bars["session"].to_numpy("datetime64[D]").astype("<i8").tobytes())
        values = bars[list(BAR_COLUMNS[1:])].to_numpy(np.float64)
        # + 0.0 turns -0.0 into 0.0: equal bars must not differ by a sign of nothing
        digest.update(np.ascontiguousarray(values + 0.0, dtype="<f8").tobytes())
    return digest.hexdigest()
