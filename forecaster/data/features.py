"""Every number that a model reads, in one list.

The linear base reads all FEATURES, a network those of NETWORK_FEATURES. All are causal: row t
reads rows up to t of its own segment, and the exchange's calendar of the next session.

Shape letters: D days of one segment of a series.
"""

from collections.abc import Callable
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

    def __init__(self, columns: Columns, days: np.ndarray) -> None:
        gap = columns["gap_days"].astype(np.int64) + 1
        self.days = days
        self.next_days = days + gap.astype("timedelta64[D]")
        self._columns = columns
        self._values: dict[str, np.ndarray] = {}
        self._means: dict[tuple[str, int], np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a column, a feature or a value that several features share."""
        if name not in self._values:
            values = self._columns[name] if name in self._columns else _COMPUTE[name](self)
            self._values[name] = values.astype(np.float64, copy=False)
        return self._values[name]

    def mean(self, name: str, days: int) -> np.ndarray:
        """Return the trailing mean of a named value."""
        if (name, days) not in self._means:
            self._means[name, days] = mean_over(self[name], days)
        return self._means[name, days]


Compute = Callable[[SegmentRows], np.ndarray]


def _column(name: str) -> Compute:
    return lambda rows: rows[name]


def _mean(name: str, days: int) -> Compute:
    return lambda rows: rows.mean(name, days)


def _lag(name: str, days: int) -> Compute:
    return lambda rows: lagged(rows[name], days)


def _fall(name: str) -> Compute:
    return lambda rows: np.minimum(rows[name], 0.0)


def _less_month(column: str, compute: Compute) -> Compute:
    return lambda rows: compute(rows) - rows.mean(column, MONTH)


def _deviations(quantity: str) -> dict[str, Compute]:
    """List today, lags, week, quarter and year of a log quantity, less its trailing month."""
    column = f"log_{quantity}"
    found = {"today": _column(column)}
    found |= {f"lag{days}": _lag(column, days) for days in range(1, WEEK)}
    spans = {"week": WEEK, "quarter": QUARTER, "year": YEAR}
    found |= {name: _mean(column, days) for name, days in spans.items()}
    return {f"{quantity}_{name}": _less_month(column, compute) for name, compute in found.items()}


def _signed_and_absolute(name: str) -> dict[str, Compute]:
    """List a part of the return and its absolute value, with trailing means."""
    return {
        name: _column(name),
        f"{name}_week": _mean(name, WEEK),
        f"abs_{name}": lambda rows: np.abs(rows[name]),
        f"abs_{name}_week": _mean(f"abs_{name}", WEEK),
        f"abs_{name}_month": _mean(f"abs_{name}", MONTH),
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


def _season(harmonic: int, function: Callable[[np.ndarray], np.ndarray]) -> Compute:
    """Return a harmonic of the year at the next session."""
    return lambda rows: function(2.0 * np.pi * harmonic * rows["day_of_year"] / 365.25)


def _echoes(quantity: str) -> dict[str, Compute]:
    """List abnormal range or volume `ECHO_DAYS` before the next session, and their mean.

    For each distance the session on that date (or the first after it), and the mean over 5
    sessions around it; NaN where the segment begins later.
    """
    source, names = f"abnormal_{quantity}", [f"{quantity}_echo{days}" for days in ECHO_DAYS]

    def echo(days: int, around: int) -> Compute:
        def compute(rows: SegmentRows) -> np.ndarray:
            values = rows.mean(source, 2 * around + 1) if around else rows[source]
            return _picked(values, _rows_before(rows, days), around)

        return compute

    found: dict[str, Compute] = {}
    for name, days in zip(names, ECHO_DAYS, strict=True):
        found |= {name: echo(days, 0), f"{name}_around": echo(days, ECHO_AROUND)}

    def mean(rows: SegmentRows) -> np.ndarray:
        return pd.DataFrame({name: rows[name] for name in names}).mean(axis=1).to_numpy()

    return found | {f"{quantity}_echo": mean}


def _abnormal(column: str) -> Compute:
    """Return the deviation from the mean of the 22 days before."""
    return lambda rows: rows[column] - lagged(rows.mean(column, MONTH), 1)


def _rows_before(rows: SegmentRows, days: int) -> np.ndarray:
    """Find (D,) the first session on or after a date in the past; -1 where there is none."""
    dates = rows.next_days - np.timedelta64(days, "D")
    found = np.searchsorted(rows.days, dates, side="left")
    return np.where(dates >= rows.days[0], found, -1)


def _picked(values: np.ndarray, rows: np.ndarray, later: int) -> np.ndarray:
    """Select the value `later` rows after some rows, but none of the row's own future."""
    return np.where(rows >= 0, values[np.minimum(rows + later, np.arange(len(rows)))], np.nan)


def _market_means(name: str) -> dict[str, Compute]:
    means = {"week": WEEK, "month": MONTH}
    return {name: _column(name)} | {f"{name}_{key}": _mean(name, n) for key, n in means.items()}


_TODAY = (
    *("holiday_gap", "half_day", "month_end", "option_expiry", "holiday_before"),
    *("quarter_end", "triple_expiry", "year_end"),
)

# The order, here and in MARKET_FEATURES, is that of the weights of stored models.
OWN_FEATURES: Final[dict[str, Compute]] = {
    **_deviations("range"),
    "range_level": _mean("log_range", MONTH),
    "range_missing": _column("range_missing"),
    "gk": _less_month("log_range", _column("garman_klass")),
    "gk_week": _less_month("log_range", _mean("garman_klass", WEEK)),
    "gk_month": _less_month("log_range", _mean("garman_klass", MONTH)),
    **_deviations("volume"),
    "volume_missing": _column("volume_missing"),
    **_signed_and_absolute("log_return"),
    **_signed_and_absolute("overnight"),
    **_signed_and_absolute("intraday"),
    "log_return_month": _mean("log_return", MONTH),
    "fall": _fall("log_return"),
    "fall_week": _mean("fall", WEEK),
    "fall_month": _mean("fall", MONTH),
    **{name: _column(name) for name in CALENDAR_INPUTS},
    "quarter_end": lambda rows: rows["month_end"] * rows["is_quarterly"],
    "triple_expiry": lambda rows: rows["option_expiry"] * rows["is_quarterly"],
    "year_end": _is_year_end,
    "season_sin1": _season(1, np.sin),
    "season_cos1": _season(1, np.cos),
    "season_sin2": _season(2, np.sin),
    "season_cos2": _season(2, np.cos),
    **{f"today_{name}": _lag(name, 1) for name in _TODAY},
    **_echoes("range"),
    **_echoes("volume"),
}
# Of panels with several tickers.
MARKET_FEATURES: Final[dict[str, Compute]] = {
    "panel_log_return": _column("panel_log_return"),
    "panel_overnight": _column("panel_overnight"),
    "panel_intraday": _column("panel_intraday"),
    **_market_means("panel_range_deviation"),
    **_market_means("panel_volume_deviation"),
    **_market_means("panel_abs_return"),
    "panel_range_deviation_lag1": _lag("panel_range_deviation", 1),
    "panel_volume_deviation_lag1": _lag("panel_volume_deviation", 1),
    "panel_fall": _fall("panel_log_return"),
}
FEATURES: Final = OWN_FEATURES | MARKET_FEATURES

# With the values that several features share; `is_quarterly` and `day_of_year` of the next session.
_COMPUTE: Final[dict[str, Compute]] = FEATURES | {
    "garman_klass": _garman_klass,
    "is_quarterly": lambda rows: rows.next_days.astype("datetime64[M]").astype(np.int64) % 3 == 2,
    "day_of_year": lambda rows: rows.next_days - rows.next_days.astype("datetime64[Y]"),
    "abnormal_range": _abnormal("log_range"),
    "abnormal_volume": _abnormal("log_volume"),
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
