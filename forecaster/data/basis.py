"""What the closes of a file are expressed in, held against its own splits.

Shape letters: D bars of a history.
"""

import numpy as np

from forecaster.data.checks import SMALLEST_SPLIT
from forecaster.data.history import History


def describe_basis(history: History) -> str:
    """Describe in a sentence that closes look expressed on the other basis; empty if not.

    On a split of s new shares for an old one a close as traded falls to 1/s.
    """
    bars, basis = history.bars, history.listing.basis
    factor = np.log(bars["split"].to_numpy(np.float64))
    move = np.diff(np.log(bars["close"].to_numpy(np.float64)), prepend=np.nan)
    splits = np.flatnonzero((np.abs(factor) >= np.log(SMALLEST_SPLIT)) & np.isfinite(move))
    fell = np.abs(move[splits] + factor[splits]) < np.abs(move[splits])
    odd = splits[fell != (basis == "as-traded")]
    if 2 * len(odd) <= len(splits):
        return ""
    shown = "leave no jump in" if basis == "as-traded" else "are a jump of"
    return (
        f"{history.listing.ticker}: {len(odd)} of {len(splits)} splits {shown} the close "
        f"(first {history.days[odd[0]]}), yet the closes are taken for {basis}"
    )
