"""One ticker's history: its name, its listing, its validated bars and their hash.

Tables in, tables and reasons out; knows no source, no store and no calendar.

Shape letters: D bars of a history.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.errors import DataError, UsageError

_TICKER: Final = re.compile(r"[A-Z0-9^][A-Z0-9.&=^-]{0,19}")
_STILL: Final = 1e-6
_STILL_WEEK, _STILL_MONTH = 5, 22  # sessions
_SHOWN: Final = 40  # characters of what is no ticker

Basis = Literal["split-adjusted", "as-traded", "total-return"]
BASES: tuple[Basis, ...] = get_args(Basis)

PRICE_COLUMNS = ("open", "high", "low", "close")
BAR_COLUMNS = ("session", *PRICE_COLUMNS, "volume", "dividend", "split")
_COLUMN_TYPES = dict.fromkeys(BAR_COLUMNS, "float64") | {"session": "datetime64[s]"}
OWN_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,30}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a source knows of a ticker beside its bars.

    `basis` is what the stored prices are adjusted for: nothing (as traded), splits, or splits and
    dividends (total return). `calendar` is the exchange calendar whose sessions the bars follow.
    `currency` is the source's own code: `GBp` is pence.
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
    """One ticker's bars, oldest first, with its listing.

    After BAR_COLUMNS the bars may have own columns: numbers that a user keeps beside the prices.
    Bars of a file that are not screened yet have their lines or rows as a named index, and
    `notes` says by these what cannot be read; such a value is NaN.
    """

    listing: Listing
    bars: pd.DataFrame
    notes: Mapping[int, str] = field(default_factory=dict)

    @property
    def days(self) -> NDArray[np.datetime64]:
        """(D,) datetime64[D] sessions of the bars."""
        return self.bars["session"].to_numpy("datetime64[D]")


def own_names(bars: pd.DataFrame) -> tuple[str, ...]:
    """List the columns that bars have beside BAR_COLUMNS."""
    return tuple(str(name) for name in bars.columns if name not in BAR_COLUMNS)


def check_positive(ticker: str, bars: pd.DataFrame, names: Iterable[str]) -> None:
    """Raise DataError for the first value of some own columns that has no logarithm."""
    for name in names:
        values = bars[name].to_numpy(np.float64)
        wrong = np.flatnonzero(~(np.isnan(values) | ((values > 0.0) & (values < np.inf))))
        if len(wrong):
            day = bars["session"].iloc[wrong[0]]
            raise DataError(
                f"{ticker}: {name} is {values[wrong[0]]:g} on {day:%Y-%m-%d}; a finite number "
                f"above 0 is needed ({len(wrong):,} such). Correct it, or leave its cell empty."
            )


def still_sessions(history: History) -> int:
    """Count the newest bars without any move if they show a halt: a week without volume, a month.

    0 if the price moved since, or nothing is known of a halt.
    """
    bars = history.bars
    close, volume = bars["close"].to_numpy(np.float64), bars["volume"].to_numpy(np.float64)
    moved = (bars["high"] != bars["low"]).to_numpy(np.bool_)
    moved = moved | (np.abs(close - close[-1]) > _STILL * close[-1])
    still = int(np.argmax(np.r_[moved[::-1], True]))
    is_halt = still >= _STILL_MONTH or (still >= _STILL_WEEK and not volume[-still:].any())
    return still if is_halt else 0


def normalise_ticker(text: str) -> str:
    """Convert a ticker as typed to upper case, or raise `UsageError`: `brk-b`, `M&M.NS`."""
    if not isinstance(text, str):
        raise UsageError(f"{text!r} is not a ticker: need text, for example 'BRK-B'.")
    # Only ASCII is upper-cased: str.upper() would turn look-alikes such as U+0131 into letters.
    ticker = text.upper() if text.isascii() else text
    if not _TICKER.fullmatch(ticker):
        shown = ascii(text[:_SHOWN])
        if len(text) > _SHOWN:
            shown += f"... ({len(text)} characters)"
        raise UsageError(
            f"{shown} is not a ticker: need 1 to 20 letters, digits or .&=^- "
            "starting with a letter, digit or ^, for example BRK-B or ^GSPC."
        )
    return ticker


def normalise_tickers(tickers: str | Iterable[str]) -> list[str]:
    """Normalise each ticker, in order; a plain string is one ticker, not its letters."""
    return [normalise_ticker(one) for one in ([tickers] if isinstance(tickers, str) else tickers)]


MISSING_VALUE: Final = "missing-value"
IMPOSSIBLE_VALUE: Final = "impossible-value"
IMPOSSIBLE_BAR: Final = "impossible-bar"
BAD_DATE: Final = "bad-date"
UNREADABLE_VALUE: Final = "unreadable-value"  # found where a file is read
FLAWS: Final = (MISSING_VALUE, IMPOSSIBLE_VALUE, IMPOSSIBLE_BAR, BAD_DATE, UNREADABLE_VALUE)
# More flawed rows than this, in number and in share, are another kind of table.
_MAX_FLAWS: Final = 5
_MAX_FLAWED_SHARE: Final = 0.05
_MAX_EMPTY_SHARE: Final = 0.5  # of rows without any price: a holiday's, another market's

_TOLERANCE: Final = 0.001  # a high less below the close is rounding or an auction
# No price and no volume of any exchange comes near.
_MIN_PRICE: Final = 1e-15
_MAX_PRICE: Final = 1e12
_MAX_VOLUME: Final = 1e18
_OLDEST: Final = np.datetime64("1900-01-01", "s")  # of all calendars

# Smallest and largest value.
_BOUNDS: Final = {
    **dict.fromkeys(PRICE_COLUMNS, (_MIN_PRICE, _MAX_PRICE)),
    "volume": (0.0, _MAX_VOLUME),
    "dividend": (0.0, _MAX_PRICE),
    "split": (_MIN_PRICE, _MAX_PRICE),
}

Flags = NDArray[np.bool_]

# By what is needed.
_SESSION_RULES: Final[dict[str, Callable[[NDArray[Any]], Flags]]] = {
    "a value": np.isnat,
    "one bar per session": lambda days: pd.Series(days).duplicated().to_numpy(),
    "sessions from old to new": lambda days: np.r_[False, days[1:] < days[:-1]],
    "a date without time of day": lambda days: days.astype("datetime64[D]") < days,
    "a day from 1900-01-01 on": lambda days: days < _OLDEST,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """A row that cannot be a bar, the first rule it breaks, and how many `such` rows there are."""

    row: int
    rule: str
    reason: str
    such: int


class _Checked(NamedTuple):
    """A rule, the columns it is about, what it needs in words, and the bars (D,) that break it."""

    rule: str
    columns: tuple[str, ...]
    needed: str
    broken: Flags


def _check_bars(bars: pd.DataFrame) -> list[_Checked]:
    """Apply every rule, in the order in which the flaws of one row are reported."""
    columns = {name: bars[name].to_numpy() for name in BAR_COLUMNS}
    checked = [
        _Checked(BAD_DATE, ("session",), needed, breaks(columns["session"]))
        for needed, breaks in _SESSION_RULES.items()
    ]
    for name, (smallest, largest) in _BOUNDS.items():
        values, least = columns[name], "above 0" if smallest else "not below 0"
        outside = (values < smallest) | (values > largest)
        checked += [
            _Checked(MISSING_VALUE, (name,), "a value", np.isnan(values)),
            _Checked(IMPOSSIBLE_VALUE, (name,), f"a finite number {least}", outside),
        ]
    opening, high, low, close = (columns[name] for name in PRICE_COLUMNS)
    sunken = high < np.maximum(opening, close) * (1 - _TOLERANCE)
    raised = low > np.minimum(opening, close) * (1 + _TOLERANCE)
    for needed, broken in (("high not below", sunken), ("low not above", raised)):
        wanted = f"a {needed} open and close"
        checked.append(_Checked(IMPOSSIBLE_BAR, PRICE_COLUMNS, wanted, broken))
    return checked


def flaws(bars: pd.DataFrame) -> list[Flaw]:
    """List the rows, oldest first, that cannot be bars; `bars` has BAR_COLUMNS in this order."""
    if bars.empty:
        return []
    checked = _check_bars(bars)
    broken = np.array([one.broken for one in checked])
    found = []
    for row in np.flatnonzero(broken.any(axis=0)).tolist():
        first, values = checked[int(broken[:, row].argmax())], bars.iloc[row]
        shown = ", ".join(f"{name} {values[name]}" for name in first.columns)
        reason = f"{shown}; {first.needed} is needed"
        found.append(Flaw(row=row, rule=first.rule, reason=reason, such=int(first.broken.sum())))
    return found


def is_too_flawed(bars: pd.DataFrame, found: Sequence[Flaw]) -> bool:
    """Whether too many rows are flawed to trust the others; an empty row weighs less."""
    empty = bars[list(PRICE_COLUMNS)].isna().all(axis=1).to_numpy()
    contradicting = sum(not empty[flaw.row] for flaw in found)
    return contradicting > most_flawed(len(bars)) or (
        len(found) > max(_MAX_FLAWS, _MAX_EMPTY_SHARE * len(bars))
    )


def most_flawed(rows: int) -> float:
    """Return how many of some rows may be flawed while the others are still trusted."""
    return max(_MAX_FLAWS, _MAX_FLAWED_SHARE * rows)


def place_of(bars: pd.DataFrame, row: int) -> str:
    """Return where a row stands in its file, such as "line 17: "; empty for a source's."""
    return f"{bars.index.name} {bars.index[row]}: " if bars.index.name else ""


def validate_bars(ticker: str, bars: pd.DataFrame) -> pd.DataFrame:
    """Return bars, one row per session with BAR_COLUMNS, unchanged, or refuse them all.

    Raises:
        DataError: there is no row; a column or its type is wrong; a row has a flaw.
    """
    types = [(name, str(kind)) for name, kind in bars.dtypes.items()]
    own = dict.fromkeys(own_names(bars), "float64")
    if types != list((_COLUMN_TYPES | own).items()):
        shown = ", ".join(f"{name} {kind}" for name, kind in types)
        raise DataError(
            f"{ticker}: the table has columns {shown}; session datetime64[s] and float64 "
            f"{', '.join(BAR_COLUMNS[1:])} are needed, in this order."
        )
    if bars.empty:
        raise DataError(f"{ticker}: no bars at all; at least one is needed. Check the source.")
    found = flaws(bars)
    if found:
        session = bars["session"].iloc[found[0].row]
        where = f"row {found[0].row}" if pd.isna(session) else f"{session:%Y-%m-%d}"
        raise DataError(
            f"{ticker}: the bar of {where} has {found[0].reason} "
            f"({found[0].such} such). Correct or leave out these bars."
        )
    return bars


@dataclass(slots=True)
class Fingerprint:
    """The hash of histories that are read one after another, in alphabetical order of tickers.

    Of own columns it has those named, or all.
    """

    own: Collection[str] | None = None
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def watch(self, histories: Iterable[History]) -> Iterator[History]:
        """Yield histories and hash their tickers, bases and every column of their bars."""
        for history in histories:
            listing, bars = history.listing, history.bars
            self.digest.update(f"{listing.ticker} {listing.basis} {len(bars)}\n".encode())
            self.digest.update(history.days.astype("<i8").tobytes())
            own = [one for one in own_names(bars) if self.own is None or one in self.own]
            if own:
                self.digest.update(f"{' '.join(own)}\n".encode())
            values = bars[[*BAR_COLUMNS[1:], *own]].to_numpy(np.float64)
            # + 0.0 turns -0.0 into 0.0: equal bars have equal hashes
            self.digest.update(np.ascontiguousarray(values + 0.0, dtype="<f8").tobytes())
            yield history

    @property
    def text(self) -> str:
        """64 hexadecimal digits (SHA-256)."""
        return self.digest.hexdigest()


def fingerprint(histories: Sequence[History], own: Collection[str] | None = None) -> str:
    """Hash histories: 64 hexadecimal digits, the same in whatever order they were fetched."""
    digest = Fingerprint(own)
    for _ in digest.watch(sorted(histories, key=lambda history: history.listing.ticker)):
        pass
    return digest.text
