"""A content hash of exactly the bars that a training saw.

The same bars give the same hash, in whatever order they were fetched.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any, Final, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.errors import DataError, UsageError

_SHAPE = re.compile(r"[A-Z0-9^][A-Z0-9.&=^-]{0,19}")
_SHOWN = 40


def normalise_ticker(text: str) -> str:
    """Upper-case a ticker and refuse whatever cannot be one.

    Args:
        text: what the user typed, e.g. `brk-b`, `^GSPC`, `EURUSD=X`, `M&M.NS`.

    Raises:
        UsageError: not 1-20 letters, digits or `.&=^-`, or the first is one of `.&=-`.
    """
    if not isinstance(text, str):
        raise UsageError(f"{text!r} is not a ticker: need text, for example 'BRK-B'.")
    # Only ASCII is upper-cased: str.upper() would turn look-alikes such as U+0131 into letters.
    ticker = text.upper() if text.isascii() else text
    if not _SHAPE.fullmatch(ticker):
        raise UsageError(
            f"{_shown(text)} is not a ticker: need 1 to 20 letters, digits or .&=^- "
            "starting with a letter, digit or ^, for example BRK-B or ^GSPC."
        )
    return ticker


def normalise_tickers(tickers: str | Iterable[str]) -> list[str]:
    """Normalise each ticker, in order; a text by itself is one ticker, not its letters.

    Raises:
        UsageError: one cannot be a ticker.
    """
    return [normalise_ticker(one) for one in ([tickers] if isinstance(tickers, str) else tickers)]


def _shown(text: str) -> str:
    """Quote text so that it stays one short printable line."""
    quoted = ascii(text[:_SHOWN])
    return quoted if len(text) <= _SHOWN else f"{quoted}... ({len(text)} characters)"


Basis = Literal["split-adjusted", "as-traded"]
BASES: tuple[str, ...] = get_args(Basis)

PRICE_COLUMNS = ("open", "high", "low", "close")
BAR_COLUMNS = ("session", *PRICE_COLUMNS, "volume", "dividend", "split")
_COLUMN_TYPES = dict.fromkeys(BAR_COLUMNS, "float64") | {"session": "datetime64[s]"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a ticker is, told by its source and stored beside its bars.

    `basis` says how the stored close is expressed, `calendar` names the exchange
    calendar whose sessions the bars follow (see `sessions.py`). `currency` is the source's
    own code: `GBp` is pence. `first_trade` is the exchange-local date of the first trade.
    """

    ticker: str
    source: str
    basis: Basis
    calendar: str
    name: str = ""
    exchange: str = ""
    currency: str = ""
    first_trade: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One ticker's bars, oldest first, with its listing."""

    listing: Listing
    bars: pd.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """Why a row (its position) cannot be a bar: the rule it breaks, found and needed in words."""

    row: int
    rule: str
    reason: str


MISSING_VALUE: Final = "missing-value"
IMPOSSIBLE_VALUE: Final = "impossible-value"
IMPOSSIBLE_BAR: Final = "impossible-bar"
BAD_DATE: Final = "bad-date"
FLAWS: Final = (MISSING_VALUE, IMPOSSIBLE_VALUE, IMPOSSIBLE_BAR, BAD_DATE)
# More bad rows than this, in number and in share, are not a slip but another kind of table.
_MOST_FLAWS: Final = 5
_LARGEST_FLAWED_SHARE: Final = 0.01

# A high below the close by less than this is rounding or an auction, not a broken bar.
_TOLERANCE: Final = 0.001
# No price and no volume of any exchange comes near; 1e308 is a broken source.
_LARGEST_PRICE: Final = 1e12
_LARGEST_VOLUME: Final = 1e18
# No calendar is known of earlier days.
_OLDEST: Final = pd.Timestamp("1900-01-01")

# Largest value, and whether 0 is one.
_BOUNDS: Final = {
    **dict.fromkeys(PRICE_COLUMNS, (_LARGEST_PRICE, False)),
    "volume": (_LARGEST_VOLUME, True),
    "dividend": (_LARGEST_PRICE, True),
    "split": (_LARGEST_PRICE, False),
}


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
    if [(name, str(kind)) for name, kind in bars.dtypes.items()] != list(_COLUMN_TYPES.items()):
        raise DataError(_wrong_table(ticker, bars))
    if bars.empty:
        raise DataError(f"{ticker}: no bars at all; at least one is needed. Check the source.")
    if not _is_sound(bars):
        numbered = bars.reset_index(drop=True)
        raise DataError(_first_failure(ticker, numbered, _failures(numbered)))
    return bars


def flaws(bars: pd.DataFrame) -> list[Flaw]:
    """Tell every row that cannot be a bar, by the first rule that it breaks.

    Args:
        bars: one row per session, oldest first, with BAR_COLUMNS in this order.
    """
    if bars.empty or _is_sound(bars):
        return []
    numbered = bars.reset_index(drop=True)
    first = _failures(numbered).drop_duplicates("index")
    return [_flaw(numbered, failure) for _, failure in first.iterrows()]


def is_too_flawed(bars: pd.DataFrame, found: Sequence[Flaw]) -> bool:
    """Tell whether too many rows are flawed for the others to be believed."""
    return len(found) > max(_MOST_FLAWS, _LARGEST_FLAWED_SHARE * len(bars))


def _flaw(bars: pd.DataFrame, failure: "pd.Series[Any]") -> Flaw:
    row = int(failure["index"])
    found, needed = _found_and_needed(bars.iloc[row], failure)
    return Flaw(row=row, rule=_rule_of(failure), reason=f"{found}; {needed} is needed")


def _rule_of(failure: "pd.Series[Any]") -> str:
    if failure["schema_context"] != "Column":
        return IMPOSSIBLE_BAR
    if failure["column"] == "session":
        return BAD_DATE
    return MISSING_VALUE if failure["check"] == "not_nullable" else IMPOSSIBLE_VALUE


def _is_sound(bars: pd.DataFrame) -> bool:
    """Tell whether no rule is broken: what the schema tells, thirty times faster."""
    values = {name: bars[name].to_numpy() for name in bars.columns}
    days = values.pop("session")
    return bool(
        are_sound(values, days).all()
        and (days[1:] > days[:-1]).all()
        and (days == days.astype("datetime64[D]")).all()
    )


def are_sound(values: Mapping[str, Any], days: Any) -> NDArray[np.bool_]:
    """Tell which bars break no rule by themselves, whatever stands before and after them.

    Args:
        values: (D,) each, by name.
        days: (D,) their sessions.
    """
    sound: NDArray[np.bool_] = days >= _OLDEST.to_datetime64()
    for name, (largest, zero) in _BOUNDS.items():
        above = values[name] >= 0 if zero else values[name] > 0
        sound &= above & (values[name] <= largest)
    for rule in _SHAPE_RULES.values():
        sound &= rule(values)
    return sound


def _failures(bars: pd.DataFrame) -> pd.DataFrame:
    """List every cell and row that breaks a rule, oldest first; there is at least one."""
    from pandera.errors import SchemaErrors

    try:
        _schema().validate(bars, lazy=True)
    except SchemaErrors as error:
        # A value that cannot be goes before what it does to the shape of the whole bar.
        found: pd.DataFrame = error.failure_cases
        return found.sort_values(["index", "schema_context"], kind="stable")
    raise AssertionError("the schema and _is_sound disagree")


@cache
def _schema() -> Any:
    import pandera.pandas as pa

    def number(largest: float, zero: bool) -> Any:
        least = "not below 0" if zero else "above 0"
        check = pa.Check.in_range(0, largest, include_min=zero, error=f"a finite number {least}")
        return pa.Column(checks=check)

    sessions = [pa.Check(rule, error=needed) for needed, rule in _SESSION_RULES.items()]
    return pa.DataFrameSchema(
        {
            "session": pa.Column(checks=sessions),
            **{name: number(*bounds) for name, bounds in _BOUNDS.items()},
        },
        checks=[pa.Check(rule, error=needed) for needed, rule in _SHAPE_RULES.items()],
    )


# Written so that a missing price, which has its own rule, breaks no second one.
def _high_is_highest(bars: Any) -> Any:
    return ~(bars["high"] < np.maximum(bars["open"], bars["close"]) * (1 - _TOLERANCE))


def _low_is_lowest(bars: Any) -> Any:
    return ~(bars["low"] > np.minimum(bars["open"], bars["close"]) * (1 + _TOLERANCE))


# By what is needed, as a person is told it.
_SESSION_RULES: Final[dict[str, Callable[[Any], Any]]] = {
    "one bar per session": lambda days: ~days.duplicated(),
    "sessions from old to new": lambda days: ~(days < days.shift()),
    "a date without time of day": lambda days: days == days.dt.normalize(),
    "a day from 1900-01-01 on": lambda days: ~(days < _OLDEST),
}
_SHAPE_RULES: Final[dict[str, Callable[[Any], Any]]] = {
    "a high not below open and close": _high_is_highest,
    "a low not above open and close": _low_is_lowest,
}


def _first_failure(ticker: str, bars: pd.DataFrame, failures: pd.DataFrame) -> str:
    """Tell the oldest row that breaks a rule, and how many rows break the same rule."""
    first = failures.iloc[0]
    alike = failures[
        (failures["check"] == first["check"]) & (failures["column"] == first["column"])
    ]
    row = bars.iloc[int(first["index"])]
    found, needed = _found_and_needed(row, first)
    where: str = (
        f"row {first['index']}" if pd.isna(row["session"]) else f"{row['session']:%Y-%m-%d}"
    )
    return (
        f"{ticker}: the bar of {where} has {found}; {needed} is needed "
        f"({alike['index'].nunique()} such). Correct or leave out these bars."
    )


def _found_and_needed(row: "pd.Series[Any]", failure: "pd.Series[Any]") -> tuple[str, str]:
    one_value = failure["schema_context"] == "Column"
    shown = [failure["column"]] if one_value else PRICE_COLUMNS
    found = ", ".join(f"{name} {row[name]}" for name in shown)
    return found, "a value" if failure["check"] == "not_nullable" else failure["check"]


def _wrong_table(ticker: str, bars: pd.DataFrame) -> str:
    found = ", ".join(f"{name} {kind}" for name, kind in bars.dtypes.items())
    return (
        f"{ticker}: the table has columns {found}; session datetime64[s] and float64 "
        f"{', '.join(BAR_COLUMNS[1:])} are needed, in this order."
    )


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
