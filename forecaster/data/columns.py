"""The columns that a panel stores: a ticker's own, the exchange's schedule, the market's means.

Point-in-time: a later bar, split or dividend changes no earlier value.

Shape letters: D days of one series, oldest first, S sessions of a calendar, N rows of the panel,
T days of all calendars, C columns.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.data.history import BASES, Basis, History, check_positive
from forecaster.data.sessions import check_days
from forecaster.data.trading_calendar import FIRST, LAST, Days, trading_calendar
from forecaster.errors import UsageError

Daily = NDArray[np.float64]
Columns = Mapping[str, np.ndarray]

TRAILING_DAYS: Final = 22  # sessions; the longest of HAR's three horizons


def log_total_return(close: Daily, dividend: Daily, split: Daily, basis: Basis) -> Daily:
    """Return the log total return from each close to the next, (D,); the first is NaN.

    Split-adjusted: log((C_t + D_t) / C_{t-1}). As-traded: log(split_t (C_t + D_t) / C_{t-1}),
    where one old share has become split_t new ones and D_t is paid on each of these.
    Total-return: log(C_t / C_{t-1}), since these closes contain what was paid.

    Raises:
        UsageError: `basis` is none of BASES.
    """
    if basis not in BASES:
        raise UsageError(f"basis {basis!r} is not known; use one of {', '.join(BASES)}.")
    worth = close if basis == "total-return" else close + dividend
    if basis == "as-traded":
        worth = split * worth
    earned = np.full(len(close), np.nan)
    earned[1:] = np.log(worth[1:] / close[:-1])
    return earned


def log_range(high: Daily, low: Daily) -> Daily:
    """Return log(log(H/L)), the day's volatility on a scale without bounds; NaN where H = L."""
    return _log_above_zero(np.log(high / low))


def log_dollar_volume(close: Daily, volume: Daily) -> Daily:
    """Return log(C x V), which no split changes; NaN where nothing was traded."""
    return _log_above_zero(close * volume)


def _log_above_zero(values: Daily) -> Daily:
    found: Daily = np.log(values, out=np.full(len(values), np.nan), where=values > 0)
    return found


def trailing_mean(values: np.ndarray, days: int) -> np.ndarray:
    """Average each day with the `days - 1` before it, (D,); missing days are skipped."""
    return pd.Series(values).rolling(days, min_periods=1).mean().to_numpy()


def own_columns(history: History, targets: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """Compute the columns that a segment's own bars give, each (D,).

    A value that does not exist (the first day's return, the range of a day without one) is NaN.

    Args:
        history: the bars of a segment.
        targets: own columns of the bars whose logarithms are wanted; NaN where there are none.

    Raises:
        DataError: a value of these is not above 0.
    """
    bars = history.bars
    price = {name: bars[name].to_numpy(np.float64) for name in bars.columns if name != "session"}
    total = log_total_return(
        price["close"], price["dividend"], price["split"], history.listing.basis
    )
    intraday = np.log(price["close"] / price["open"])
    ranges = log_range(price["high"], price["low"])
    volumes = log_dollar_volume(price["close"], price["volume"])
    found = {
        "log_return": total,
        # Not log(O_t / C_{t-1}): only so do the parts add up to the total on an ex-date too.
        "overnight": total - intraday,
        "intraday": intraday,
        "log_range": ranges,
        "log_volume": volumes,
        "range_deviation": ranges - trailing_mean(ranges, TRAILING_DAYS),
        "volume_deviation": volumes - trailing_mean(volumes, TRAILING_DAYS),
        "range_missing": np.isnan(ranges),
        "volume_missing": np.isnan(volumes),
    }
    for name in targets:
        check_positive(history.listing.ticker, bars, [name] if name in price else [])
        found[f"log_{name}"] = np.log(price.get(name, np.full(len(bars), np.nan)))
        found[f"{name}_missing"] = np.isnan(found[f"log_{name}"])
    return found


CALENDAR_INPUTS: Final = (
    *("next_mon", "next_tue", "next_wed", "next_thu", "next_fri"),
    *("gap_days", "holiday_gap", "half_day", "month_end", "option_expiry", "holiday_before"),
)


def scheduled_inputs(calendar: str, days: Days) -> NDArray[np.float64]:
    """Describe the next scheduled session, as it was known at the close of each day.

    Surprise closures are sessions here: on 2001-09-10 the next one was the 11th.

    Returns:
        `CALENDAR_INPUTS` (D, C). `next_mon` .. `next_fri`: its weekday, all 0 on a weekend.
        `gap_days`: days without trading until then. `holiday_gap`: one of these is no ordinary
        day off. `half_day`: it closes early. `month_end`: it is the last of its month.
        `option_expiry`: it is the third Friday, or the session before where that is a holiday.
        `holiday_before`: a holiday gap follows it.

    Raises:
        DataError: a day lies outside 1900..2100.
    """
    days = days.astype("datetime64[D]")
    check_days(days)
    sessions, described, week = _scheduled(calendar)
    following = np.searchsorted(sessions, days, side="right")
    gap_days, holiday_gap = _gaps(days, sessions[following], week)
    next_inputs = described[following]
    return np.column_stack([next_inputs[:, :5], gap_days, holiday_gap, next_inputs[:, 5:]])


@lru_cache(maxsize=128)
def _scheduled(calendar: str) -> tuple[Days, NDArray[np.float64], Days]:
    """Return scheduled sessions (S,), what is known of each in advance (S, C - 2), and the week."""
    table = trading_calendar(calendar)
    sessions = np.union1d(table.sessions, table.surprises)
    sessions = np.setdiff1d(sessions, table.unscheduled)
    # The epoch, 1970-01-01, was a Thursday.
    weekday = (sessions.astype(np.int64) + 3) % 7
    months = sessions.astype("datetime64[M]")
    first_days = np.unique(months).astype("datetime64[D]")
    third_fridays = np.busday_offset(first_days, 2, roll="forward", weekmask="Fri")
    expiries = np.searchsorted(sessions, third_fridays, side="right") - 1
    _, holiday_gap = _gaps(sessions[:-1], sessions[1:], table.week)
    columns = [
        weekday[:, None] == np.arange(5),
        np.isin(sessions, table.sessions[table.half_days]),
        np.append(months[1:] != months[:-1], True),
        np.isin(np.arange(len(sessions)), expiries),
        np.append(holiday_gap, 0.0),
    ]
    return sessions, np.column_stack(columns).astype(np.float64), table.week


def _gaps(days: Days, following: Days, week: Days) -> tuple[Daily, Daily]:
    """Count the days strictly between, and flag those gaps that hold a day of the week's trade."""
    gap_days = (following - days).astype(np.float64) - 1
    holidays = np.searchsorted(week, following) - np.searchsorted(week, days, side="right")
    return gap_days, (holidays > 0).astype(np.float64)


# What is averaged over the tickers of one exchange, from each ticker's own columns.
_AVERAGED: Final = ("log_return", "overnight", "intraday", "range_deviation", "volume_deviation")
MARKET_COLUMNS: Final = (*(f"panel_{name}" for name in _AVERAGED), "panel_abs_return")


class DailyMeans:
    """Means of `MARKET_COLUMNS` by day over the tickers of one exchange, added one by one.

    Source: Kahan (1965), "Further remarks on reducing truncation errors": sums that carry what
    rounding has lost.
    """

    def __init__(self) -> None:
        shape = (int((LAST - FIRST).astype(np.int64)) + 1, len(MARKET_COLUMNS))
        self._total, self._lost = np.zeros(shape), np.zeros(shape)
        self._count = np.zeros(shape, dtype=np.int64)

    def add(self, own: Columns, days: np.ndarray) -> None:
        """Add a ticker's own columns on its days; a missing value does not count."""
        averaged = [own[name] for name in _AVERAGED]
        values = np.column_stack([*averaged, np.abs(own["log_return"])])
        rows, known = (days - FIRST).astype(np.int64), np.isfinite(values)
        rest = values - self._lost[rows]
        added = self._total[rows] + rest
        self._lost[rows] = np.where(known, added - self._total[rows] - rest, self._lost[rows])
        self._total[rows] = np.where(known, added, self._total[rows])
        self._count[rows] += known

    @property
    def days(self) -> Days:
        """The days (D,) on which any ticker has a value."""
        found: Days = FIRST + np.flatnonzero(self._count.any(axis=1)).astype("timedelta64[D]")
        return found

    def restore(self, days: np.ndarray, means: np.ndarray) -> None:
        """Take over means (D, C) of days without any yet; no ticker can be added to these."""
        rows = (days - FIRST).astype(np.int64)
        self._count[rows] = np.isfinite(means)
        self._total[rows] = np.where(np.isfinite(means), means, 0.0)

    def at(self, days: np.ndarray) -> np.ndarray:
        """Return the means of days (D, C); NaN where no ticker has a value."""
        rows = (days - FIRST).astype(np.int64)
        means = np.full((len(days), len(MARKET_COLUMNS)), np.nan)
        count = self._count[rows]
        np.divide(self._total[rows], count, out=means, where=count > 0)
        return means


@dataclass(frozen=True, slots=True, eq=False)
class DayColumn:
    """A column (N,) that depends on exchange and day alone: their `values` (T,) at `places` (N,).

    It is read like an array, of which any part is a copy.
    """

    values: np.ndarray
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        return np.asarray(self.values[self.places[rows]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.astype(dtype or self.values.dtype)

    def astype(self, dtype: Any) -> np.ndarray:
        """Return all rows as an array."""
        return np.asarray(self.values.astype(dtype)[self.places])

    def take(self, rows: np.ndarray) -> "DayColumn":
        """Return some rows; they share the values."""
        return DayColumn(self.values, self.places[rows])


@dataclass(frozen=True, slots=True, eq=False)
class SharedDays:
    """The days of each calendar, T in all, and the place (N,) among them of each row of a panel."""

    days: Mapping[str, np.ndarray]
    places: np.ndarray

    @classmethod
    def of(
        cls, calendars: Sequence[str], days: np.ndarray, series_offsets: np.ndarray
    ) -> "SharedDays":
        """Number the days (N,) of series with these calendars.

        Raises:
            DataError: a day lies outside 1900..2100.
        """
        check_days(days)
        numbers, first = (days - FIRST).astype(np.int32), 0
        found, places = dict[str, np.ndarray](), np.empty(len(days), dtype=np.int32)
        runs = list(zip(calendars, pairwise(series_offsets.tolist()), strict=True))
        for calendar in dict.fromkeys(calendars):
            mine = [slice(*run) for name, run in runs if name == calendar]
            known = np.zeros(int((LAST - FIRST).astype(np.int64)) + 1, dtype=np.bool_)
            for rows in mine:
                known[numbers[rows]] = True
            place = first + np.cumsum(known, dtype=np.int32) - 1
            for rows in mine:
                places[rows] = place[numbers[rows]]
            found[calendar] = FIRST + np.flatnonzero(known)
            first += len(found[calendar])
        return cls(found, places)

    def columns(self, names: Sequence[str], tables: Iterable[np.ndarray]) -> dict[str, DayColumn]:
        """Make columns of a table (T_c, C) for each calendar."""
        table = np.concatenate(list(tables))
        return {
            name: DayColumn(np.ascontiguousarray(values), self.places)
            for name, values in zip(names, table.T, strict=True)
        }


def market_columns(means: Mapping[str, DailyMeans], shared: SharedDays) -> dict[str, DayColumn]:
    """Look up the market's columns (N,) of every row; NaN for a calendar without means."""
    nothing = DailyMeans()
    tables = [means.get(calendar, nothing).at(days) for calendar, days in shared.days.items()]
    return shared.columns(MARKET_COLUMNS, tables)
