"""Dates as people write them, parsed a column (R rows) at a time.

Text in; arrays and masks of unreadable cells out.  Knows no file and no field.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# [0-9], since \d takes every script's digits.
_CLOCK: Final = (
    r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?(?:\s*[AaPp]\.?[Mm]\.?)?|[0-9]{6}|[0-9]{4}"
)
_OFFSET: Final = r"[+-][0-9]{2}(?::?[0-9]{2})?"
_ZONE: Final = rf"(?:[A-Z]{{1,5}}|[A-Z][a-z]+(?:/[A-Za-z_]+)+)?(?:{_OFFSET})?(?:\s*\([\w\s]+\))?"
_TIME: Final = rf"(?:(?:,? |T)(?P<time>{_CLOCK})\s*(?P<zone>{_ZONE}))?"
_YEAR: Final = "(?P<y>[0-9]{4})"
_ANY_YEAR: Final = "'?(?P<y>[0-9]{4}|[0-9]{2})"
_ONE_OR_TWO: Final = "[0-9]{1,2}"
_DAY: Final = rf"(?P<d>{_ONE_OR_TWO})(?:st|nd|rd|th)?"
_NAME: Final = r"(?P<m>[^\W\d_]{3,9})\.?"
_YEAR_FIRST: Final = (
    r"^(?=[0-9]{4}[-/.]|[0-9]{8}(?![0-9]))"
    rf"{_YEAR}([-/.]?)(?P<m>{_ONE_OR_TWO})\2(?P<d>{_ONE_OR_TWO})(?:\.0)?{_TIME}$"
)
_NUMBERS: Final = (
    rf"^(?P<a>{_ONE_OR_TWO})([-/. ])(?P<b>{_ONE_OR_TWO})\2'?(?P<c>[0-9]{{4}}|[0-9]{{2}}){_TIME}$"
)
_NAMED: Final = (
    rf"^{_DAY}[-/ .]*{_NAME}[-/ ,.]*{_ANY_YEAR}{_TIME}$",
    rf"^{_NAME}[-/ ]*{_DAY}[-/ ,]+{_ANY_YEAR}{_TIME}$",
    rf"^{_YEAR}[-/ ]?{_NAME}[-/ ]?{_DAY}{_TIME}$",
)
_WEEKDAY: Final = r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?|(?:mo|di|mi|do|fr|sa|so)\."
_AROUND: Final = rf"^(?:{_WEEKDAY}),?\s+|,?\s+\(?(?:{_WEEKDAY})\)?$"
_MONTHS: Final = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_MONTH_NUMBERS: Final = {
    **{month: str(number) for number, month in enumerate(_MONTHS, start=1)},
    **{"mär": "3", "mrz": "3", "mai": "5", "okt": "10", "dez": "12"},
}
_EPOCH: Final = r"^(?P<whole>[0-9]{9,10}|[0-9]{13}|[0-9]{16}|[0-9]{19})(?:\.0+)?$"
_PIVOT: Final = 69  # as POSIX: 69 is 1969, 68 is 2068
_UTC: Final = frozenset(
    f"{name}{offset}"
    for name in ("", "UTC", "GMT")
    for offset in ("", "+00", "-00", "+0000", "-0000", "+00:00", "-00:00")
) - {""} | {"Z"}

DateOrder = Literal["mdy", "dmy", "ymd"]  # of dates with the month as a number
_ORDERS: Final[tuple[DateOrder, ...]] = ("mdy", "dmy", "ymd")
Flags = NDArray[np.bool_]
Texts = pd.Series


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedDays:
    """Dates as written (R,), and the instants (R,) of the rows in UTC.

    NaT in `days` is an unreadable cell; NaT in `instants` one whose date as written is the
    exchange's own.  `ambiguous` flags cells whose day and month could be swapped, in one of the
    `orders`.
    """

    days: NDArray[np.datetime64]
    instants: NDArray[np.datetime64]
    ambiguous: Flags
    orders: tuple[DateOrder, ...]


def is_time_of_day(cells: "Texts[str]") -> Flags:
    """Return which cells are a time without a date, such as 11:34."""
    text = cells.astype(str).str.strip()
    return (text.str.contains(":", regex=False) & text.str.fullmatch(_CLOCK)).to_numpy(np.bool_)


def parse_days(cells: "Texts[str]", order: DateOrder | None = None) -> ParsedDays:
    """Parse dates in any form in which day and month cannot be confused.

    Year first, or the month by name; with the year last and the month as a number only if a day
    above 12 in some row shows which of the two numbers it is, or the order is given. Seconds
    since 1970 are instants.
    """
    # A long table has each date once per ticker; parsing it once is 20 times faster.
    kinds = cells.astype("category").cat
    distinct = [*map(str, kinds.categories), ""]
    once = _parse_distinct(pd.Series(distinct, dtype=str), order)
    # The last place is that of missing cells, whose code is -1.
    codes = kinds.codes.to_numpy()
    return ParsedDays(
        days=once.days[codes],
        instants=once.instants[codes],
        ambiguous=once.ambiguous[codes],
        orders=once.orders,
    )


def _parse_distinct(cells: "Texts[str]", order: DateOrder | None) -> ParsedDays:
    text = cells.str.strip().str.replace(_AROUND, "", regex=True, flags=re.IGNORECASE)
    text = text.str.replace("[年月년월] ?", "-", regex=True).str.replace("[日일]", "", regex=True)
    parts = _split(text, _YEAR_FIRST)
    for pattern in _NAMED:
        named = _split(text, pattern)
        numbers = named["m"].str.lower().str[:3].map(_MONTH_NUMBERS)
        parts = parts.fillna(named.assign(m=numbers))
    numbered, ambiguous, orders = _ordered(_split(text, _NUMBERS), order)
    parts = parts.fillna(numbered)
    fields = pd.DataFrame(
        {unit: pd.to_numeric(parts[unit[0]]) for unit in ("year", "month", "day")}
    )
    short = parts["y"].str.len() == 2
    fields["year"] += short * np.where(fields["year"] < _PIVOT, 2000, 1900)
    days = pd.to_datetime(fields, errors="coerce").to_numpy().astype("datetime64[D]")
    instants = _utc_instants(days, parts)
    since_epoch = _since_epoch(text)
    is_epoch = ~np.isnat(since_epoch)
    days[is_epoch] = since_epoch[is_epoch].astype("datetime64[D]")
    # Midnights only are dates that were given a zone.
    if (since_epoch[is_epoch] != days[is_epoch]).any():
        instants[is_epoch] = since_epoch[is_epoch]
    return ParsedDays(days=days, instants=instants, ambiguous=ambiguous, orders=orders)


def _split(text: "Texts[str]", pattern: str) -> pd.DataFrame:
    found = text.str.extract(pattern)
    return found.filter(["y", "m", "d", "a", "b", "c", "time", "zone"]).astype(object)


def _ordered(
    parts: pd.DataFrame, order: DateOrder | None
) -> tuple[pd.DataFrame, Flags, tuple[DateOrder, ...]]:
    """Sort three numbers (a, b, c) by the given order, or by the only one that fits all rows."""
    found = parts["a"].notna().to_numpy(np.bool_)
    orders = (order,) if order else _orders(parts[found])
    ambiguous = found & (len(orders) != 1)
    names = dict(zip("abc", orders[0] if orders else "mdy", strict=True))
    named = parts.rename(columns=names).where(pd.Series(found & ~ambiguous), None)
    return named, ambiguous, orders or _ORDERS[:2]


def _orders(parts: pd.DataFrame) -> tuple[DateOrder, ...]:
    """Return the orders in which some rows (R,) of three numbers are dates."""
    a, b, c = (pd.to_numeric(parts[name]).to_numpy(np.float64) for name in "abc")
    month_first = not ((a > 12).any() or (b > 31).any())
    day_first = not ((b > 12).any() or (a > 31).any())
    year_first = not ((b > 12).any() or (c > 31).any() or (c == 0).any()) and len(a) > 0
    if year_first and (month_first or day_first):
        # Days change more often than years do.
        changes = len(np.unique(c)) - len(np.unique(a))
        year_first = changes >= 0
        month_first, day_first = (one and changes <= 0 for one in (month_first, day_first))
    fits = zip(_ORDERS, (month_first, day_first, year_first), strict=True)
    return tuple(name for name, fit in fits if fit)


def _utc_instants(days: NDArray[np.datetime64], parts: pd.DataFrame) -> NDArray[np.datetime64]:
    """Return the instants of rows in UTC; none if all are midnights: dates given a zone."""
    instants = np.full(len(days), np.datetime64("NaT"), dtype="datetime64[s]")
    in_utc = parts["zone"].isin(_UTC).to_numpy(np.bool_) & ~np.isnat(days)
    clock = parts["time"][in_utc].astype(str)
    if clock.empty:
        return instants
    digits = clock.str.extract(r"^(?P<h>[0-9]{1,2}):?(?P<m>[0-9]{2})")
    hours = pd.to_numeric(digits["h"])
    is_half = clock.str.contains("[AaPp]", regex=True)
    hours = hours.where(~is_half, hours % 12 + 12 * clock.str.contains("[Pp]", regex=True))
    seconds = hours * 3600 + pd.to_numeric(digits["m"]) * 60
    if seconds.any():
        since_midnight = seconds.to_numpy().astype("timedelta64[s]")
        instants[in_utc] = days[in_utc].astype("datetime64[s]") + since_midnight
    return instants


def _since_epoch(text: "Texts[str]") -> NDArray[np.datetime64]:
    """Convert seconds since 1970, or their thousandths to billionths, to instants (R,)."""
    whole = text.str.extract(_EPOCH)["whole"]
    powers = (whole.str.len().fillna(10) - 10).clip(lower=0)
    seconds = pd.to_numeric(whole) // 10**powers
    return pd.to_datetime(seconds, unit="s").to_numpy().astype("datetime64[s]")
