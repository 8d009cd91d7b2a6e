"""Dates and numbers as people write them, parsed a column (R rows) at a time.

Text in; arrays and masks of unreadable cells out.  Knows no file and no field.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_EMPTY: Final = frozenset({"", "nan", "null", "none", "n/a", "na", "-", "nat"})
# [0-9], since \d takes every script's digits.
_NUMBER: Final = r"[+-]?\$?(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)?(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?"
_CLOCK: Final = r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?"
_TIME: Final = rf"(?:[ T](?P<time>{_CLOCK})\s*(?P<zone>Z|UTC|[+-][0-9]{{2}}:?[0-9]{{2}})?)?"
_YEAR: Final = "(?P<y>[0-9]{4})"
_ONE_OR_TWO: Final = "[0-9]{1,2}"
_NAME: Final = "(?P<m>[A-Za-z]{3,9})"
_YEAR_FIRST: Final = (
    r"^(?=[0-9]{4}[-/.]|[0-9]{8}(?![0-9]))"
    rf"{_YEAR}([-/.]?)(?P<m>{_ONE_OR_TWO})\2(?P<d>{_ONE_OR_TWO}){_TIME}$"
)
_YEAR_LAST: Final = rf"^(?P<a>{_ONE_OR_TWO})([-/.])(?P<b>{_ONE_OR_TWO})\2{_YEAR}{_TIME}$"
_DAY_NAMED: Final = rf"^(?P<d>{_ONE_OR_TWO})[- ]{_NAME}[- ,]+{_YEAR}{_TIME}$"
_MONTH_NAMED: Final = rf"^{_NAME}\.? (?P<d>{_ONE_OR_TWO}),? {_YEAR}{_TIME}$"
_MONTHS: Final = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_MONTH_NUMBERS: Final = {month: str(number) for number, month in enumerate(_MONTHS, start=1)}

DateOrder = Literal["mdy", "dmy", "ymd"]  # of dates with the month as a number
Flags = NDArray[np.bool_]
Texts = pd.Series


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedDays:
    """Dates as written (R,), and the instants (R,) of the rows in UTC.

    NaT in `days` is an unreadable cell; NaT in `instants` one whose date as written is the
    exchange's own.  `ambiguous` flags cells whose day and month could be swapped.
    """

    days: NDArray[np.datetime64]
    instants: NDArray[np.datetime64]
    ambiguous: Flags


def is_empty(cells: "Texts[str]") -> Flags:
    """Return which cells are empty: blank, or a word such as "null"."""
    return cells.str.strip().str.lower().isin(_EMPTY).to_numpy(np.bool_)


def parse_numbers(cells: "Texts[str]", *, decimal_comma: bool) -> tuple[NDArray[np.float64], Flags]:
    """Parse text (R,) with thousands separators; 1.234,5 with a decimal comma.

    Values are NaN where a cell is empty; the flags mark cells that are not a number.
    """
    text = cells.str.strip()
    if decimal_comma:
        text = text.str.translate(str.maketrans(",.", ".,"))
    empty = is_empty(cells)
    looks_right = text.str.fullmatch(_NUMBER).to_numpy(np.bool_)
    plain = text.where(looks_right & ~empty, "").str.replace(r"[$,]", "", regex=True)
    values = pd.to_numeric(plain, errors="coerce").to_numpy(np.float64)
    return values, np.isnan(values) & ~empty


def is_time_of_day(cells: "Texts[str]") -> Flags:
    """Return which cells are a time without a date, such as 11:34."""
    return cells.astype(str).str.strip().str.fullmatch(_CLOCK).to_numpy(np.bool_)


def parse_days(cells: "Texts[str]", order: DateOrder | None = None) -> ParsedDays:
    """Parse dates in any form in which day and month cannot be confused.

    Year first, or the month by name; with the year last and the month as a number only if a day
    above 12 in some row shows which of the two numbers it is, or the order is given.
    """
    # A long table has each date once per ticker; parsing it once is 20 times faster.
    kinds = cells.astype("category").cat
    distinct = [*map(str, kinds.categories), ""]
    once = _parse_distinct(pd.Series(distinct, dtype=str), order)
    # The last place is that of missing cells, whose code is -1.
    codes = kinds.codes.to_numpy()
    return ParsedDays(
        days=once.days[codes], instants=once.instants[codes], ambiguous=once.ambiguous[codes]
    )


def _parse_distinct(cells: "Texts[str]", order: DateOrder | None) -> ParsedDays:
    text = cells.str.strip()
    parts = _split(text, _YEAR_FIRST)
    for pattern in (_DAY_NAMED, _MONTH_NAMED):
        named = _split(text, pattern)
        numbers = named["m"].str.lower().str[:3].map(_MONTH_NUMBERS)
        parts = parts.fillna(named.assign(m=numbers))
    year_last, ambiguous = _ordered(_split(text, _YEAR_LAST), order)
    parts = parts.fillna(year_last)
    fields = pd.DataFrame(
        {unit: pd.to_numeric(parts[unit[0]]) for unit in ("year", "month", "day")}
    )
    days = pd.to_datetime(fields, errors="coerce").to_numpy().astype("datetime64[D]")
    return ParsedDays(days=days, instants=_utc_instants(days, parts), ambiguous=ambiguous)


def _split(text: "Texts[str]", pattern: str) -> pd.DataFrame:
    found = text.str.extract(pattern)
    return found.filter(["y", "m", "d", "a", "b", "time", "zone"]).astype(object)


def _ordered(parts: pd.DataFrame, order: DateOrder | None) -> tuple[pd.DataFrame, Flags]:
    """Sort day from month by the given order, or by rows where only one can be the day."""
    first, second = pd.to_numeric(parts["a"]), pd.to_numeric(parts["b"])
    month_first, day_first = bool((second > 12).any()), bool((first > 12).any())
    if order is not None:
        month_first, day_first = order == "mdy", order == "dmy"
    day, month = ("a", "b") if day_first else ("b", "a")
    ambiguous = first.notna().to_numpy(np.bool_) & (month_first == day_first)
    named = parts.rename(columns={day: "d", month: "m"})
    return named.where(~pd.Series(ambiguous, index=parts.index), None), ambiguous


def _utc_instants(days: NDArray[np.datetime64], parts: pd.DataFrame) -> NDArray[np.datetime64]:
    """Return the instants of rows in UTC; none if all are midnights: dates given a zone."""
    instants = np.full(len(days), np.datetime64("NaT"), dtype="datetime64[s]")
    in_utc = parts["zone"].isin(["Z", "UTC", "+00:00", "+0000", "-00:00"]).to_numpy(np.bool_)
    in_utc = in_utc & ~np.isnat(days)
    clock = parts["time"][in_utc].str.split(":", expand=True)
    if clock.empty:
        return instants
    seconds = pd.to_numeric(clock[0]) * 3600 + pd.to_numeric(clock[1]) * 60
    if seconds.any():
        since_midnight = seconds.to_numpy().astype("timedelta64[s]")
        instants[in_utc] = days[in_utc].astype("datetime64[s]") + since_midnight
    return instants
