"""Every number that a model reads, in one list.

A panel stores a few columns per row: a ticker's own, the exchange's schedule and the market's
means. FEATURES are computed from these when a model needs them, and stored nowhere. The linear
base reads all of them, a network those of NETWORK_FEATURES. All are causal: row t reads rows up
to t of its own segment, and the exchange's calendar of the next session.

Shape letters: D days of one segment of a series.
"""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import numpy as np
import pandas as pd

from forecaster.data import returns
from forecaster.data.history import History
from forecaster.data.market_means import MARKET_COLUMNS, Columns
from forecaster.data.sessions import CALENDAR_INPUTS

WEEK, MONTH, QUARTER, YEAR = 5, 22, 66, 250  # in sessions
TRAILING_DAYS: Final = MONTH  # the longest of HAR's three horizons
ECHO_DAYS: Final = (91, 182, 273, 364)  # calendar days
ECHO_AROUND: Final = 2  # sessions to either side; earnings reports move by a day or two
_GARMAN_KLASS: Final = 2.0 * np.log(2.0) - 1.0


def trailing_mean(values: np.ndarray, days: int) -> np.ndarray:
    """Average each day with the `days - 1` before it, skipping missing days.

    Args:
        values: (D,) oldest first, NaN where missing.
        days: length of the trailing window; fewer days count at the start.

    Returns:
        (D,) means; NaN only where every day of the window is missing.
    """
    return pd.Series(values).rolling(days, min_periods=1).mean().to_numpy()


def own_columns(history: History) -> dict[str, np.ndarray]:
    """Compute the columns that a segment's own bars give, each (D,).

    Logs of ratios, so free of currency and basis, except `log_volume`, the log of close x
    volume in the listing's currency. A value that does not exist (the first day's return, the
    range of a day without one) is NaN.
    """
    bars = history.bars
    price = {name: bars[name].to_numpy(np.float64) for name in bars.columns if name != "session"}
    total = returns.log_total_return(
        price["close"], price["dividend"], price["split"], history.listing.basis
    )
    log_range = returns.log_range(price["high"], price["low"])
    log_volume = returns.log_dollar_volume(price["close"], price["volume"])
    return {
        "log_return": total,
        "overnight": returns.overnight(total, price["open"], price["close"]),
        "intraday": returns.intraday(price["open"], price["close"]),
        "log_range": log_range,
        "log_volume": log_volume,
        "range_deviation": log_range - trailing_mean(log_range, MONTH),
        "volume_deviation": log_volume - trailing_mean(log_volume, MONTH),
        "range_missing": np.isnan(log_range),
        "volume_missing": np.isnan(log_volume),
    }


def mean_over(values: np.ndarray, days: int) -> np.ndarray:
    """Average each day with the `days - 1` before it, (D,), as `trailing_mean` does.

    From cumulative sums: the last bits differ, and stored models depend on them.
    """
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
            stored = name in self._columns
            values = self._columns[name] if stored else _COMPUTE[name](self)
            self._values[name] = values.astype(np.float64, copy=False)
        return self._values[name]

    def mean(self, name: str, days: int) -> np.ndarray:
        """Return the trailing mean of a named value."""
        if (name, days) not in self._means:
            self._means[name, days] = mean_over(self[name], days)
        return self._means[name, days]

    def lag(self, name: str, days: int) -> np.ndarray:
        """Return a named value so many rows earlier."""
        return lagged(self[name], days)


Group = Literal["range", "volume", "return", "calendar", "echo", "market"]
Scale = Literal["log", "flag", "days", "cycle"]
Compute = Callable[[SegmentRows], np.ndarray]


class Feature(NamedTuple):
    """A feature: its name, its group, the unit before standardisation, what computes it.

    Features of the group `market` exist where a panel has several tickers.
    """

    name: str
    group: Group
    scale: Scale
    compute: Compute


def _column(name: str, group: Group, scale: Scale = "log") -> Feature:
    return Feature(name, group, scale, lambda rows: rows[name])


def _mean(name: str, source: str, days: int, group: Group) -> Feature:
    return Feature(name, group, "log", lambda rows: rows.mean(source, days))


def _lag(name: str, source: str, days: int, group: Group, scale: Scale = "log") -> Feature:
    return Feature(name, group, scale, lambda rows: rows.lag(source, days))


def _less_month(name: str, group: Group, column: str, compute: Compute) -> Feature:
    return Feature(name, group, "log", lambda rows: compute(rows) - rows.mean(column, MONTH))


def _deviations(group: Literal["range", "volume"]) -> list[Feature]:
    """List today, lags, week, quarter and year of a log quantity, less its trailing month."""
    column = f"log_{group}"

    def lag(days: int) -> Feature:
        return _less_month(f"{group}_lag{days}", group, column, lambda r: r.lag(column, days))

    def mean(name: str, days: int) -> Feature:
        return _less_month(f"{group}_{name}", group, column, lambda r: r.mean(column, days))

    return [
        _less_month(f"{group}_today", group, column, lambda rows: rows[column]),
        *(lag(days) for days in range(1, WEEK)),
        mean("week", WEEK),
        mean("quarter", QUARTER),
        mean("year", YEAR),
    ]


def _signed_and_absolute(name: str) -> list[Feature]:
    """List a part of the return and its absolute value, with trailing means."""
    return [
        _column(name, "return"),
        _mean(f"{name}_week", name, WEEK, "return"),
        Feature(f"abs_{name}", "return", "log", lambda rows: np.abs(rows[name])),
        _mean(f"abs_{name}_week", f"abs_{name}", WEEK, "return"),
        _mean(f"abs_{name}_month", f"abs_{name}", MONTH, "return"),
    ]


def _garman_klass(rows: SegmentRows) -> np.ndarray:
    """Return half the log of Garman and Klass's (1980) variance 0.5 r^2 - (2 ln 2 - 1) i^2.

    With r the log high/low and i the intraday return. (Parkinson's is the range itself.)
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = 0.5 * np.exp(2.0 * rows["log_range"]) - _GARMAN_KLASS * rows["intraday"] ** 2
        values: np.ndarray = 0.5 * np.log(variance)
    values[~np.isfinite(values)] = np.nan
    return values


def _is_quarterly(rows: SegmentRows) -> np.ndarray:
    """Flag a next session in March, June, September or December."""
    months = rows.next_days.astype("datetime64[M]").astype(np.int64) % 12
    found: np.ndarray = months % 3 == 2
    return found


def _quarterly(name: str, flag: str) -> Feature:
    return Feature(name, "calendar", "flag", lambda rows: rows[flag] * rows["is_quarterly"])


def _is_year_end(rows: SegmentRows) -> np.ndarray:
    """Flag a next session from Christmas to New Year."""
    months = rows.next_days.astype("datetime64[M]")
    day_of_month = (rows.next_days - months).astype(np.int64) + 1
    found: np.ndarray = (months.astype(np.int64) % 12 == 11) & (day_of_month >= 24)
    return found


def _season(name: str, harmonic: int, function: Callable[[np.ndarray], np.ndarray]) -> Feature:
    """Return a harmonic of the year at the next session."""

    def compute(rows: SegmentRows) -> np.ndarray:
        day = (rows.next_days - rows.next_days.astype("datetime64[Y]")).astype(np.int64)
        return function(2.0 * np.pi * harmonic * day / 365.25)

    return Feature(f"season_{name}{harmonic}", "calendar", "cycle", compute)


def _echoes(quantity: Literal["range", "volume"]) -> list[Feature]:
    """List abnormal range or volume so many calendar days before the next session.

    Abnormal is the deviation from the mean of the 22 days before. For each distance the
    session on that date (or the first after it), and the mean over 5 sessions around it;
    NaN where the segment begins later. `*_echo` is the mean over the known distances.
    """
    source, names = f"abnormal_{quantity}", [f"{quantity}_echo{days}" for days in ECHO_DAYS]

    def on_the_day(days: int) -> Feature:
        def compute(rows: SegmentRows) -> np.ndarray:
            return _picked(rows[source], _rows_before(rows, days), 0)

        return Feature(f"{quantity}_echo{days}", "echo", "log", compute)

    def around_the_day(days: int) -> Feature:
        def compute(rows: SegmentRows) -> np.ndarray:
            week = rows.mean(source, 2 * ECHO_AROUND + 1)
            return _picked(week, _rows_before(rows, days), ECHO_AROUND)

        return Feature(f"{quantity}_echo{days}_around", "echo", "log", compute)

    pairs = [(on_the_day(days), around_the_day(days)) for days in ECHO_DAYS]
    mean = Feature(
        f"{quantity}_echo", "echo", "log", lambda rows: _mean_known([rows[name] for name in names])
    )
    return [*(feature for pair in pairs for feature in pair), mean]


def _abnormal(column: str) -> Compute:
    return lambda rows: rows[column] - lagged(rows.mean(column, MONTH), 1)


def _rows_before(rows: SegmentRows, days: int) -> np.ndarray:
    """Find (D,) the first session on or after a date in the past; -1 where there is none."""
    dates = rows.next_days - np.timedelta64(days, "D")
    found = np.searchsorted(rows.days, dates, side="left")
    return np.where(dates >= rows.days[0], found, -1)


def _picked(values: np.ndarray, rows: np.ndarray, later: int) -> np.ndarray:
    """Select the value `later` rows after some rows, but none of the row's own future."""
    return np.where(rows >= 0, values[np.minimum(rows + later, np.arange(len(rows)))], np.nan)


def _mean_known(columns: list[np.ndarray]) -> np.ndarray:
    """Average columns row by row, missing values skipped; NaN where all are."""
    values = np.column_stack(columns)
    known = np.isfinite(values)
    means = np.full(len(values), np.nan)
    np.divide(np.where(known, values, 0.0).sum(1), known.sum(1), out=means, where=known.any(1))
    return means


def _market_means(name: str) -> list[Feature]:
    return [
        _column(name, "market"),
        _mean(f"{name}_week", name, WEEK, "market"),
        _mean(f"{name}_month", name, MONTH, "market"),
    ]


_TODAY = ("holiday_gap", "half_day", "month_end", "option_expiry", "holiday_before")

# The order is that of the weights of stored models.
FEATURES: Final[tuple[Feature, ...]] = (
    *_deviations("range"),
    _mean("range_level", "log_range", MONTH, "range"),
    _column("range_missing", "range", "flag"),
    _less_month("gk", "range", "log_range", lambda rows: rows["garman_klass"]),
    _less_month("gk_week", "range", "log_range", lambda rows: rows.mean("garman_klass", WEEK)),
    _less_month("gk_month", "range", "log_range", lambda rows: rows.mean("garman_klass", MONTH)),
    *_deviations("volume"),
    _column("volume_missing", "volume", "flag"),
    *_signed_and_absolute("log_return"),
    *_signed_and_absolute("overnight"),
    *_signed_and_absolute("intraday"),
    _mean("log_return_month", "log_return", MONTH, "return"),
    Feature("fall", "return", "log", lambda rows: np.minimum(rows["log_return"], 0.0)),
    _mean("fall_week", "fall", WEEK, "return"),
    _mean("fall_month", "fall", MONTH, "return"),
    *(
        _column(name, "calendar", "days" if name == "gap_days" else "flag")
        for name in CALENDAR_INPUTS
    ),
    _quarterly("quarter_end", "month_end"),
    _quarterly("triple_expiry", "option_expiry"),
    Feature("year_end", "calendar", "flag", _is_year_end),
    _season("sin", 1, np.sin),
    _season("cos", 1, np.cos),
    _season("sin", 2, np.sin),
    _season("cos", 2, np.cos),
    *(
        _lag(f"today_{name}", name, 1, "calendar", "flag")
        for name in (*_TODAY, "quarter_end", "triple_expiry", "year_end")
    ),
    *_echoes("range"),
    *_echoes("volume"),
    _column("panel_log_return", "market"),
    _column("panel_overnight", "market"),
    _column("panel_intraday", "market"),
    *_market_means("panel_range_deviation"),
    *_market_means("panel_volume_deviation"),
    *_market_means("panel_abs_return"),
    _lag("panel_range_deviation_lag1", "panel_range_deviation", 1, "market"),
    _lag("panel_volume_deviation_lag1", "panel_volume_deviation", 1, "market"),
    Feature("panel_fall", "market", "log", lambda rows: np.minimum(rows["panel_log_return"], 0.0)),
)

# Values that several features share.
_SHARED: Final[dict[str, Compute]] = {
    "garman_klass": _garman_klass,
    "is_quarterly": _is_quarterly,
    "abnormal_range": _abnormal("log_range"),
    "abnormal_volume": _abnormal("log_volume"),
}
_COMPUTE: Final = _SHARED | {feature.name: feature.compute for feature in FEATURES}

# Today, the week and the level; the network's memory covers what lies between. A third of all
# features, since with more it overfits.
NETWORK_FEATURES: Final = (
    *("log_return", "overnight", "intraday", "abs_log_return", "fall"),
    *("range_today", "range_week", "range_level", "gk", "volume_today", "volume_week"),
    *("range_missing", "volume_missing"),
    *CALENDAR_INPUTS,
    *("triple_expiry", "year_end", "range_echo", "volume_echo"),
    *MARKET_COLUMNS,
)
