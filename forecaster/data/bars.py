"""The table that every source returns: one row per session of one ticker, as served.

Also the border that every table crosses on its way in: `validate_bars`.

Knows no source, no calendar and no store.

Columns: `session` (naive exchange-local date, datetime64[s]), `open high low close`
(currency of the listing), `volume` (shares), `dividend` (currency per share, on the
ex-date, 0 otherwise), `split` (new shares per old, 1 otherwise).
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

import pandas as pd

from forecaster.errors import DataError

Basis = Literal["split-adjusted", "as-traded"]
BASES: tuple[str, ...] = get_args(Basis)

PRICE_COLUMNS = ("open", "high", "low", "close")
BAR_COLUMNS = ("session", *PRICE_COLUMNS, "volume", "dividend", "split")
_COLUMN_TYPES = dict.fromkeys(BAR_COLUMNS, "float64") | {"session": "datetime64[s]"}


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


# A high below the close by less than this is rounding or an auction, not a broken bar.
_TOLERANCE = 0.001
# No price and no volume of any exchange comes near; 1e308 is a broken source.
_LARGEST_PRICE = 1e12
_LARGEST_VOLUME = 1e18
# No calendar is known of earlier days.
_OLDEST = pd.Timestamp("1900-01-01")


def validate_bars(ticker: str, bars: pd.DataFrame) -> pd.DataFrame:
    """Return bars unchanged, or refuse them all with the first thing that is wrong.

    Whether the last bar is final is left to the caller, who knows the calendar.

    Args:
        ticker: named in the error.
        bars: one row per session, oldest first, with BAR_COLUMNS in this order.

    Raises:
        DataError: there is no row; a column or its type is wrong; a price, volume, dividend
            or split that cannot be; sessions that repeat, go back or lie before 1900; a high
            or low that the open or the close passes by more than 0.1 %.
    """
    from pandera.errors import SchemaErrors

    if [(name, str(kind)) for name, kind in bars.dtypes.items()] != list(_COLUMN_TYPES.items()):
        raise DataError(_wrong_table(ticker, bars))
    if bars.empty:
        raise DataError(f"{ticker}: no bars at all; at least one is needed. Check the source.")
    numbered = bars.reset_index(drop=True)
    try:
        _schema().validate(numbered, lazy=True)
    except SchemaErrors as error:
        raise DataError(_first_failure(ticker, numbered, error.failure_cases)) from None
    return bars


@cache
def _schema() -> Any:
    import pandera.pandas as pa

    def number(least: str, lowest: float, largest: float, *, open_end: bool) -> Any:
        check = pa.Check.in_range(
            lowest, largest, include_min=not open_end, error=f"a finite number {least}"
        )
        return pa.Column(checks=check)

    price = number("above 0", 0, _LARGEST_PRICE, open_end=True)
    sessions = [
        pa.Check(lambda days: ~days.duplicated(), error="one bar per session"),
        pa.Check(lambda days: ~(days < days.shift()), error="sessions from old to new"),
        pa.Check(lambda days: days == days.dt.normalize(), error="a date without time of day"),
        pa.Check(lambda days: ~(days < _OLDEST), error="a day from 1900-01-01 on"),
    ]
    return pa.DataFrameSchema(
        {
            "session": pa.Column(checks=sessions),
            **dict.fromkeys(PRICE_COLUMNS, price),
            "volume": number("not below 0", 0, _LARGEST_VOLUME, open_end=False),
            "dividend": number("not below 0", 0, _LARGEST_PRICE, open_end=False),
            "split": number("above 0", 0, _LARGEST_PRICE, open_end=True),
        },
        checks=[
            pa.Check(_high_is_highest, error="a high not below open and close"),
            pa.Check(_low_is_lowest, error="a low not above open and close"),
        ],
    )


def _high_is_highest(bars: pd.DataFrame) -> "pd.Series[bool]":
    # Written so that a missing price, which has its own rule, breaks no second one.
    return ~(bars["high"] < bars[["open", "close"]].max(axis=1) * (1 - _TOLERANCE))


def _low_is_lowest(bars: pd.DataFrame) -> "pd.Series[bool]":
    return ~(bars["low"] > bars[["open", "close"]].min(axis=1) * (1 + _TOLERANCE))


def _first_failure(ticker: str, bars: pd.DataFrame, failures: pd.DataFrame) -> str:
    """Tell the oldest row that breaks a rule, and how many rows break the same rule."""
    # A value that cannot be goes before what it does to the shape of the whole bar.
    failures = failures.sort_values(["index", "schema_context"], kind="stable")
    first = failures.iloc[0]
    alike = failures[
        (failures["check"] == first["check"]) & (failures["column"] == first["column"])
    ]
    row = bars.loc[int(first["index"])]
    one_value = first["schema_context"] == "Column"
    shown = [first["column"]] if one_value else PRICE_COLUMNS
    found = ", ".join(f"{name} {row[name]}" for name in shown)
    needed = "a value" if first["check"] == "not_nullable" else first["check"]
    where: str = (
        f"row {first['index']}" if pd.isna(row["session"]) else f"{row['session']:%Y-%m-%d}"
    )
    return (
        f"{ticker}: the bar of {where} has {found}; {needed} is needed "
        f"({alike['index'].nunique()} such). Correct or leave out these bars."
    )


def _wrong_table(ticker: str, bars: pd.DataFrame) -> str:
    found = ", ".join(f"{name} {kind}" for name, kind in bars.dtypes.items())
    return (
        f"{ticker}: the table has columns {found}; session datetime64[s] and float64 "
        f"{', '.join(BAR_COLUMNS[1:])} are needed, in this order."
    )
