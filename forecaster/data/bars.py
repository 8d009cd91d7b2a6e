"""The table that every source returns: one row per session of one ticker, as served.

Knows no source, no calendar and no store.

Columns: `session` (naive exchange-local date, datetime64[s]), `open high low close`
(currency of the listing), `volume` (shares), `dividend` (currency per share, on the
ex-date, 0 otherwise), `split` (new shares per old, 1 otherwise).
"""

from dataclasses import dataclass
from typing import Literal, get_args

import pandas as pd

Basis = Literal["split-adjusted", "as-traded"]
BASES: tuple[str, ...] = get_args(Basis)

PRICE_COLUMNS = ("open", "high", "low", "close")
BAR_COLUMNS = ("session", *PRICE_COLUMNS, "volume", "dividend", "split")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a ticker is, told by its source and stored beside its bars.

    `basis` says how the stored close is expressed, `calendar` names the exchange
    calendar whose sessions the bars follow (see `sessions.py`).
    """

    ticker: str
    source: str
    basis: Basis
    calendar: str
    name: str = ""
    exchange: str = ""
    currency: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One ticker's bars, oldest first, with its listing."""

    listing: Listing
    bars: pd.DataFrame
