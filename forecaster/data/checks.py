"""What a history's own numbers say against it: splits that its closes do not bear out.

Histories in, sentences out.  Repairs nothing; knows no calendar, no source and no store.
"""

from typing import Final

import numpy as np

from forecaster.data.bars import History

# A smaller split is lost among ordinary moves of a day.
_TOLD_BY_ONE_DAY: Final = np.log(1.4)


def describe_basis(history: History) -> str:
    """Say in a sentence that closes look expressed on the other basis; empty where they do not.

    On a split of s new shares for an old one a close as traded falls to 1/s, a split-adjusted
    one does not.  Splits below 7:5 tell nothing.
    """
    bars, basis = history.bars, history.listing.basis
    factor = np.log(bars["split"].to_numpy(np.float64))
    move = np.diff(np.log(bars["close"].to_numpy(np.float64)), prepend=np.nan)
    splits = np.flatnonzero((np.abs(factor) >= _TOLD_BY_ONE_DAY) & np.isfinite(move))
    jumps = np.abs(move[splits] + factor[splits]) < np.abs(move[splits])
    odd = splits[jumps != (basis == "as-traded")]
    if 2 * len(odd) <= len(splits):
        return ""
    day = bars["session"].iloc[odd[0]]
    shown = "leave no jump in" if basis == "as-traded" else "are a jump of"
    return (
        f"{history.listing.ticker}: {len(odd)} of {len(splits)} splits {shown} the close "
        f"(first {day:%Y-%m-%d}), yet the closes are taken for {basis}"
    )
