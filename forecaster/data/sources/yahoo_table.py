"""From yfinance's table and Yahoo's chart header to our bars and listing.

Frames in, frames out: knows neither the network nor yfinance itself.
"""

import logging
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from forecaster.data.bars import PRICE_COLUMNS, Listing
from forecaster.data.sessions import calendar_for

SOURCE = "yahoo"
# Left to itself yfinance reads "no start" as one month; this is its own oldest date.
OLDEST = date(1900, 1, 1)

_log = logging.getLogger(__name__)


def bars_from(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn yfinance's table into the table of `bars.py`, row by row, nothing filled in."""
    columns = {name: frame[name.title()].to_numpy("float64") for name in (*PRICE_COLUMNS, "volume")}
    split = frame["Stock Splits"].to_numpy("float64")
    # Normalised: where the clocks change at midnight, a day begins at one o'clock.
    sessions = pd.DatetimeIndex(frame.index).tz_localize(None).normalize()
    return pd.DataFrame(
        {
            "session": sessions.astype("datetime64[s]"),
            **columns,
            "dividend": frame["Dividends"].to_numpy("float64"),
            "split": np.where(split == 0.0, 1.0, split),
        }
    )


def within(bars: pd.DataFrame, start: date | None, end: date | None) -> pd.DataFrame:
    """Keep the span asked for: Yahoo adds the latest price even after its end."""
    first = np.datetime64(start or OLDEST, "s")
    last = np.datetime64(end or date.max, "s")
    return bars[(bars["session"] >= first) & (bars["session"] <= last)]


def drop_null_tail(ticker: str, bars: pd.DataFrame) -> pd.DataFrame:
    """Drop the last rows as long as a price is missing: Yahoo has not filled them in yet."""
    complete = bars[list(PRICE_COLUMNS)].notna().all(axis=1).to_numpy()
    kept = int(complete.nonzero()[0].max(initial=-1)) + 1
    if kept < len(bars):
        _log.info("%s: dropped %d last rows without prices", ticker, len(bars) - kept)
    return bars.iloc[:kept].reset_index(drop=True)


def listing_from(ticker: str, meta: dict[str, Any]) -> Listing:
    """Read what the ticker is from the header of its chart."""
    zone = str(meta["exchangeTimezoneName"])
    return Listing(
        ticker=ticker,
        source=SOURCE,
        basis="split-adjusted",
        calendar=calendar_for(ticker, zone),
        name=_text(meta.get("longName") or meta.get("shortName")),
        exchange=_text(meta.get("exchangeName")),
        currency=_text(meta.get("currency")),
        first_trade=_local_date(meta.get("firstTradeDate"), zone),
    )


def _local_date(instant: object, zone: str) -> date | None:
    """Read seconds since 1970 as a date of the exchange; None where they are no number."""
    if not isinstance(instant, int):
        return None
    return datetime.fromtimestamp(instant, ZoneInfo(zone)).date()


def _text(value: object) -> str:
    """Keep what can be shown on a terminal."""
    return "".join(character for character in str(value or "") if character.isprintable())[:80]
