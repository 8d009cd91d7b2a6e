"""Every number that a model reads, in one list.

The linear base reads all FEATURES, a network those of NETWORK_FEATURES. All are causal: row t
reads rows up to t of its own segment, and the exchange's calendar of the next session.

Shape letters: D days of one segment of a series.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import pandas as pd

from forecaster.data.columns import CALENDAR_INPUTS, MARKET_COLUMNS, TRAILING_DAYS, Columns

WEEK, MONTH, QUARTER, YEAR = 5, TRAILING_DAYS, 66, 250  # in sessions
ECHO_DAYS: Final = (91, 182, 273, 364)  # calendar days
ECHO_AROUND: Final = 2  # sessions to either side; earnings reports move by a day or two
_GARMAN_KLASS: Final = 2.0 * np.log(2.0) - 1.0


def mean_over(values: np.ndarray, days: int) -> np.ndarray:
    """Average as `trailing_mean` does, by cumulative sums, on whose last bits models depend."""
    known = np.isfinite(values)
    total = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    count = np.concatenate([[0], np.cumsum(known)])
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - days, 0)
    seen = count[last] - count[first]
    means = np.full(len(values), np.nan)
    np.divide(total[last] - total[first], seen, out=means, where=seen > 0)
    return means


def lagged(values: np.ndarray, days: int) -> np.ndarray:
    """Return the value `days` rows earlier, (D,); NaN in the first rows."""
    before = np.full(len(values), np.nan)
    before[days:] = values[: max(len(values) - days, 0)]
    return before


class SegmentRows:
    """The columns and features of one segment by name, each (D,) float64, computed once.

    `days` are the segment's dates, `next_days` the scheduled session after each.
    """

    def __init__(self, columns: Columns, days: np.ndarray, targets: Iterable[str] = ()) -> None:
        gap = columns["gap_days"].astype(np.int64) + 1
        self.days = days
        self.next_days = days + gap.astype("timedelta64[D]")
        self._columns = columns
        self._compute = dict(_COMPUTE)
        for name in targets:
            self._compute |= target_features(name)
        self._values: dict[str, np.ndarray] = {}
        self._means: dict[tuple[str, int], np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a column, a feature or a value that several features share."""
        if name not in self._values:
            values = self._columns[name] if name in self._columns else self._compute[name](self)
            self._values[name] = values.astype(np.float64, copy=False)
        return self._values[name]

    def mean(self, name: str, days: int) -> np.ndarray:
        """Return the trailing mean of a named value."""
        if (name, days) not in self._means:
            self._means[name, days] = mean_over(self[name], days)
        return self._means[name, days]


Compute = Callable[[SegmentRows], np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A named value, or its trailing mean over so many rows, some rows earlier.

    With `less` the trailing month of that column is subtracted, both as of today.
    """

    of: str
    mean: int = 0
    lag: int = 0
    less: str = ""

    def __call__(self, rows: SegmentRows) -> np.ndarray:
        """Compute the value of every row, (D,); NaN in the first `lag` rows."""
        values = rows.mean(self.of, self.mean) if self.mean else rows[self.of]
        if self.lag:
            values = lagged(values, self.lag)
        return values - rows.mean(self.less, MONTH) if self.less else values


def _deviations(quantity: str) -> dict[str, Compute]:
    """List today, lags, week, quarter and year of a log quantity, less its trailing month."""
    column = f"log_{quantity}"
    lags = {f"lag{days}": Past(of=column, lag=days, less=column) for days in range(1, WEEK)}
    spans = {"week": WEEK, "quarter": QUARTER, "year": YEAR}
    means = {name: Past(of=column, mean=days, less=column) for name, days in spans.items()}
    found = {"today": Past(of=column, less=column)} | lags | means
    return {f"{quantity}_{name}": compute for name, compute in found.items()}


def target_features(name: str) -> dict[str, Compute]:
    """List the features of an own column that is forecast, as `OWN_FEATURES` has the range's."""
    found = _deviations(name) | {f"{name}_level": Past(of=f"log_{name}", mean=MONTH)}
    return found | {f"{name}_missing": Past(of=f"{name}_missing")}


def _signed_and_absolute(name: str) -> dict[str, Compute]:
    """List a part of the return and its absolute value, with trailing means."""
    return {
        name: Past(of=name),
        f"{name}_week": Past(of=name, mean=WEEK),
        f"abs_{name}": lambda rows: np.abs(rows[name]),
        f"abs_{name}_week": Past(of=f"abs_{name}", mean=WEEK),
        f"abs_{name}_month": Past(of=f"abs_{name}", mean=MONTH),
    }


def _garman_klass(rows: SegmentRows) -> np.ndarray:
    """Return half the log of Garman and Klass's (1980) variance 0.5 r^2 - (2 ln 2 - 1) i^2.

    With r the log high/low and i the intraday return. (Parkinson's is the range itself.)
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = 0.5 * np.exp(2.0 * rows["log_range"]) - _GARMAN_KLASS * rows["intraday"] ** 2
        values: np.ndarray = 0.5 * np.log(variance)
    values[~np.isfinite(values)] = np.nan
    return values


def _is_year_end(rows: SegmentRows) -> np.ndarray:
    """Flag a next session from Christmas to New Year."""
    months = rows.next_days.astype("datetime64[M]")
    day_of_month = (rows.next_days - months).astype(np.int64) + 1
    found: np.ndarray = (months.astype(np.int64) % 12 == 11) & (day_of_month >= 24)
    return found


def _echoes(quantity: str) -> dict[str, Compute]:
    """List abnormal range or volume `ECHO_DAYS` before the next session, and their mean.

    For each distance the session on that date (or the first after it), and the mean over 5
    sessions around it; NaN where the segment begins later.
    """
    source, names = f"abnormal_{quantity}", [f"{quantity}_echo{days}" for days in ECHO_DAYS]
    found: dict[str, Compute] = {}
    for name, days in zip(names, ECHO_DAYS, strict=True):
        for suffix, around in (("", 0), ("_around", ECHO_AROUND)):
            found[f"{name}{suffix}"] = partial(_echo, source=source, days=days, around=around)
    return found | {
        f"{quantity}_echo": lambda rows: (
            pd.DataFrame({name: rows[name] for name in names}).mean(axis=1).to_numpy()
        )
    }


def _echo(rows: SegmentRows, *, source: str, days: int, around: int) -> np.ndarray:
    """Read a value of so many calendar days before, or its mean over sessions around it."""
    values = rows.mean(source, 2 * around + 1) if around else rows[source]
    dates = rows.next_days - np.timedelta64(days, "D")
    place = np.searchsorted(rows.days, dates, side="left") + around
    place = np.minimum(place, np.arange(len(place)))  # none of the row's own future
    return np.where(dates >= rows.days[0], values[place], np.nan)


_TODAY = (
    *("holiday_gap", "half_day", "month_end", "option_expiry", "holiday_before"),
    *("quarter_end", "triple_expiry", "year_end"),
)

# The order, here and in MARKET_FEATURES, is that of the weights of stored models.
OWN_FEATURES: Final[dict[str, Compute]] = {
    **_deviations("range"),
    "range_level": Past(of="log_range", mean=MONTH),
    "range_missing": Past(of="range_missing"),
    "gk": Past(of="garman_klass", less="log_range"),
    "gk_week": Past(of="garman_klass", mean=WEEK, less="log_range"),
    "gk_month": Past(of="garman_klass", mean=MONTH, less="log_range"),
    **_deviations("volume"),
    "volume_missing": Past(of="volume_missing"),
    **_signed_and_absolute("log_return"),
    **_signed_and_absolute("overnight"),
    **_signed_and_absolute("intraday"),
    "log_return_month": Past(of="log_return", mean=MONTH),
    "fall": lambda rows: np.minimum(rows["log_return"], 0.0),
    "fall_week": Past(of="fall", mean=WEEK),
    "fall_month": Past(of="fall", mean=MONTH),
    **{name: Past(of=name) for name in CALENDAR_INPUTS},
    "quarter_end": lambda rows: rows["month_end"] * rows["is_quarterly"],
    "triple_expiry": lambda rows: rows["option_expiry"] * rows["is_quarterly"],
    "year_end": _is_year_end,
    "season_sin1": lambda rows: np.sin(rows["year_angle"]),
    "season_cos1": lambda rows: np.cos(rows["year_angle"]),
    "season_sin2": lambda rows: np.sin(2.0 * rows["year_angle"]),
    "season_cos2": lambda rows: np.cos(2.0 * rows["year_angle"]),
    **{f"today_{name}": Past(of=name, lag=1) for name in _TODAY},
    **_echoes("range"),
    **_echoes("volume"),
}
# Of panels with several tickers.
MARKET_FEATURES: Final[dict[str, Compute]] = {
    "panel_log_return": Past(of="panel_log_return"),
    "panel_overnight": Past(of="panel_overnight"),
    "panel_intraday": Past(of="panel_intraday"),
    **{
        f"{name}{suffix}": Past(of=name, mean=days)
        for name in ("panel_range_deviation", "panel_volume_deviation", "panel_abs_return")
        for suffix, days in (("", 0), ("_week", WEEK), ("_month", MONTH))
    },
    "panel_range_deviation_lag1": Past(of="panel_range_deviation", lag=1),
    "panel_volume_deviation_lag1": Past(of="panel_volume_deviation", lag=1),
    "panel_fall": lambda rows: np.minimum(rows["panel_log_return"], 0.0),
}
FEATURES: Final = OWN_FEATURES | MARKET_FEATURES

# With the values that several features share; `is_quarterly` to `year_angle` of the next session,
# an abnormal value is the deviation from the mean of the 22 days before.
_COMPUTE: Final[dict[str, Compute]] = FEATURES | {
    "garman_klass": _garman_klass,
    "is_quarterly": lambda rows: rows.next_days.astype("datetime64[M]").astype(np.int64) % 3 == 2,
    "day_of_year": lambda rows: rows.next_days - rows.next_days.astype("datetime64[Y]"),
    "year_angle": lambda rows: 2.0 * np.pi * rows["day_of_year"] / 365.25,
    "abnormal_range": lambda rows: rows["log_range"] - lagged(rows.mean("log_range", MONTH), 1),
    "abnormal_volume": lambda rows: rows["log_volume"] - lagged(rows.mean("log_volume", MONTH), 1),
}

# The network's memory covers what lies between; with more features it overfits.
NETWORK_FEATURES: Final = (
    *("log_return", "overnight", "intraday", "abs_log_return", "fall"),
    *("range_today", "range_week", "range_level", "gk", "volume_today", "volume_week"),
    *("range_missing", "volume_missing"),
    *CALENDAR_INPUTS,
    *("triple_expiry", "year_end", "range_echo", "volume_echo"),
    *MARKET_COLUMNS,
)
# Of an own column that is forecast.
NETWORK_TARGET_FEATURES: Final = ("today", "week", "level", "missing")
