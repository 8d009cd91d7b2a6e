"""Inputs that are computed from a panel's columns when they are needed, and kept nowhere.

A panel of millions of rows holds a score of raw columns; the linear base reads about ninety,
the network about thirty, most of them trailing means of those. All are causal: row t reads
rows up to t of its own piece, and the exchange's calendar of the next session.

Shape letters: N rows of the panel, D days of one piece, C inputs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from forecaster.data.features import TRAILING_DAYS
from forecaster.data.panel import Panel

Columns = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A piece's raw columns by name, each (D,), with its days and the next scheduled ones."""

    columns: Mapping[str, np.ndarray]
    days: np.ndarray
    next_days: np.ndarray

    def __getitem__(self, name: str) -> np.ndarray:
        """Give a raw column."""
        return self.columns[name]

    @property
    def has_market(self) -> bool:
        """Whether the panel knows the mean over its tickers."""
        return "panel_log_return" in self.columns

    @classmethod
    def of(cls, panel: Panel, start: int, stop: int) -> "Piece":
        """Take rows `start` to `stop`, which must be one piece, of a panel."""
        columns = dict(zip(panel.input_names, panel.inputs[start:stop].T, strict=True))
        days = panel.days[start:stop]
        gap = columns["gap_days"].astype(np.int64) + 1
        return cls(columns=columns, days=days, next_days=days + gap.astype("timedelta64[D]"))


def mean_of(values: np.ndarray, days: int) -> np.ndarray:
    """Average each day with the `days - 1` before it, (D,), missing days skipped.

    NaN only where every day of the window is missing.
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
    """Give the value so many rows before, (D,); NaN in the first rows."""
    before = np.full(len(values), np.nan)
    before[days:] = values[: max(len(values) - days, 0)]
    return before


WEEK, QUARTER, YEAR = 5, 66, 250
GARMAN_KLASS = 2.0 * np.log(2.0) - 1.0


def range_group(piece: Piece) -> Columns:
    """Describe the log range: lags and means as deviation from the month's, its level, jumps.

    `gk_*` are of Garman and Klass's (1980) variance 0.5 r^2 - (2 ln 2 - 1) i^2, as half its log,
    with r the log high/low and i the intraday return. (Parkinson's is the range itself.)
    """
    value = piece["log_range"]
    month = mean_of(value, TRAILING_DAYS)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = 0.5 * np.exp(2.0 * value) - GARMAN_KLASS * piece["intraday"] ** 2
        garman_klass = 0.5 * np.log(variance)
    garman_klass[~np.isfinite(garman_klass)] = np.nan
    return {
        **_deviations("range", value, month),
        "range_level": month,
        "range_missing": piece["range_missing"],
        "gk": garman_klass - month,
        "gk_week": mean_of(garman_klass, WEEK) - month,
        "gk_month": mean_of(garman_klass, TRAILING_DAYS) - month,
    }


def volume_group(piece: Piece) -> Columns:
    """Describe log volume, free of its level: lags and means as deviation from the month's."""
    value = piece["log_volume"]
    return {
        **_deviations("volume", value, mean_of(value, TRAILING_DAYS)),
        "volume_missing": piece["volume_missing"],
    }


def _deviations(name: str, value: np.ndarray, month: np.ndarray) -> Columns:
    """Give lags, the week, the quarter and the year, all less the trailing month."""
    columns = {f"{name}_lag{lag}": lagged(value, lag) - month for lag in range(1, WEEK)}
    return {
        f"{name}_today": value - month,
        **columns,
        f"{name}_week": mean_of(value, WEEK) - month,
        f"{name}_quarter": mean_of(value, QUARTER) - month,
        f"{name}_year": mean_of(value, YEAR) - month,
    }


def return_group(piece: Piece) -> Columns:
    """Describe returns and their overnight and intraday parts: signed, absolute, falls alone."""
    columns: Columns = {}
    for name in ("log_return", "overnight", "intraday"):
        value, size = piece[name], np.abs(piece[name])
        columns |= {
            name: value,
            f"{name}_week": mean_of(value, WEEK),
            f"abs_{name}": size,
            f"abs_{name}_week": mean_of(size, WEEK),
            f"abs_{name}_month": mean_of(size, TRAILING_DAYS),
        }
    fall = np.minimum(piece["log_return"], 0.0)
    columns |= {
        "log_return_month": mean_of(piece["log_return"], TRAILING_DAYS),
        "fall": fall,
        "fall_week": mean_of(fall, WEEK),
        "fall_month": mean_of(fall, TRAILING_DAYS),
    }
    return columns


def market_group(piece: Piece) -> Columns:
    """Describe the day's mean over the panel's tickers of one exchange, and its trailing means."""
    columns = {
        name: piece[name] for name in ("panel_log_return", "panel_overnight", "panel_intraday")
    }
    for name in ("range_deviation", "volume_deviation", "abs_return"):
        value = piece[f"panel_{name}"]
        columns |= {
            f"panel_{name}": value,
            f"panel_{name}_week": mean_of(value, WEEK),
            f"panel_{name}_month": mean_of(value, TRAILING_DAYS),
        }
    for name in ("range_deviation", "volume_deviation"):
        columns[f"panel_{name}_lag1"] = lagged(piece[f"panel_{name}"], 1)
    columns["panel_fall"] = np.minimum(piece["panel_log_return"], 0.0)
    return columns


SCHEDULED = (
    *("next_mon", "next_tue", "next_wed", "next_thu", "next_fri"),
    *("gap_days", "holiday_gap", "half_day", "month_end", "option_expiry", "holiday_before"),
)
_TODAY = ("holiday_gap", "half_day", "month_end", "option_expiry", "holiday_before")


def calendar_group(piece: Piece) -> Columns:
    """Describe the next scheduled session and how today differs from an ordinary one.

    `quarter_end` and `triple_expiry` are those of March, June, September and December,
    `year_end` runs from Christmas to New Year,
    `season_*` are the first two harmonics of the year.
    """
    following = piece.next_days
    months = following.astype("datetime64[M]").astype(np.int64) % 12
    day_of_year = (following - following.astype("datetime64[Y]")).astype(np.int64)
    day_of_month = (following - following.astype("datetime64[M]")).astype(np.int64) + 1
    quarterly = (months % 3 == 2).astype(np.float64)
    columns = {name: piece[name] for name in SCHEDULED}
    columns |= {
        "quarter_end": piece["month_end"] * quarterly,
        "triple_expiry": piece["option_expiry"] * quarterly,
        "year_end": ((months == 11) & (day_of_month >= 24)).astype(np.float64),
    }
    for harmonic in (1, 2):
        angle = 2.0 * np.pi * harmonic * day_of_year / 365.25
        columns |= {f"season_sin{harmonic}": np.sin(angle), f"season_cos{harmonic}": np.cos(angle)}
    for name in (*_TODAY, "quarter_end", "triple_expiry", "year_end"):
        columns[f"today_{name}"] = lagged(columns[name], 1)
    return columns


ECHO_DAYS = (91, 182, 273, 364)
AROUND = 2  # sessions to either side; reports move by a day or two


def echo_group(piece: Piece) -> Columns:
    """Give abnormal volume and range so many calendar days before the next session.

    Abnormal is the deviation from the mean of the 22 days before. Of each distance the
    session on that date (or the first after it), and the mean over 5 sessions around it;
    NaN where the piece begins later. `*_echo` is the mean over the distances there are.
    """
    columns: Columns = {}
    for name in ("range", "volume"):
        value = piece[f"log_{name}"]
        abnormal = value - lagged(mean_of(value, TRAILING_DAYS), 1)
        week = mean_of(abnormal, 2 * AROUND + 1)
        for days in ECHO_DAYS:
            rows = _rows_before(piece, days)
            columns[f"{name}_echo{days}"] = _picked(abnormal, rows, 0)
            columns[f"{name}_echo{days}_around"] = _picked(week, rows, AROUND)
        columns[f"{name}_echo"] = _mean_known([columns[f"{name}_echo{days}"] for days in ECHO_DAYS])
    return columns


def _rows_before(piece: Piece, days: int) -> np.ndarray:
    """(D,) row of the first session on or after a date in the past; -1 where there is none."""
    dates = piece.next_days - np.timedelta64(days, "D")
    rows = np.searchsorted(piece.days, dates, side="left")
    return np.where(dates >= piece.days[0], rows, -1)


def _picked(values: np.ndarray, rows: np.ndarray, later: int) -> np.ndarray:
    """Take the value `later` rows after some rows, but none of the row's own future."""
    return np.where(rows >= 0, values[np.minimum(rows + later, np.arange(len(rows)))], np.nan)


def _mean_known(columns: list[np.ndarray]) -> np.ndarray:
    """Average columns row by row, missing values skipped; NaN where all are."""
    values = np.column_stack(columns)
    known = np.isfinite(values)
    means = np.full(len(values), np.nan)
    np.divide(np.where(known, values, 0.0).sum(1), known.sum(1), out=means, where=known.any(1))
    return means


Group = Callable[[Piece], Columns]

GROUPS: tuple[Group, ...] = (range_group, volume_group, return_group, calendar_group, echo_group)

# What a network reads: today, the week and the level; a memory finds what lies between.
COMPACT = (
    *("log_return", "overnight", "intraday", "abs_log_return", "fall"),
    *("range_today", "range_week", "range_level", "gk", "volume_today", "volume_week"),
    *("range_missing", "volume_missing"),
    *SCHEDULED,
    *("triple_expiry", "year_end", "range_echo", "volume_echo"),
)
COMPACT_MARKET = (
    *("panel_log_return", "panel_overnight", "panel_intraday"),
    *("panel_range_deviation", "panel_volume_deviation", "panel_abs_return"),
)


def derived_blocks(panel: Panel, names: Sequence[str]) -> Iterator[tuple[slice, np.ndarray]]:
    """Compute inputs piece by piece.

    Args:
        panel: with or without a cross-section.
        names: of inputs, from `derived_names`.

    Yields:
        The rows of a piece and their inputs (D, C), float64, NaN where missing.
    """
    for start, stop in pairwise(panel.offsets.tolist()):
        columns = _columns(Piece.of(panel, start, stop))
        yield slice(start, stop), np.column_stack([columns[name] for name in names])


def derived_inputs(panel: Panel, names: Sequence[str]) -> np.ndarray:
    """Compute inputs of all rows, (N, C) float32, NaN where missing."""
    inputs = np.empty((len(panel.days), len(names)), dtype=np.float32)
    for rows, block in derived_blocks(panel, names):
        inputs[rows] = block
    return inputs


def compact_names(panel: Panel) -> tuple[str, ...]:
    """Name the inputs of a network: a third of all, since more overfit."""
    return (*COMPACT, *(COMPACT_MARKET if COMPACT_MARKET[0] in panel.input_names else ()))


def derived_names(panel: Panel) -> tuple[str, ...]:
    """Name every input that can be derived from this panel."""
    return tuple(_columns(Piece.of(panel, 0, 1)))


def _columns(piece: Piece) -> Columns:
    columns: Columns = {}
    for group in GROUPS:
        columns |= group(piece)
    return columns | (market_group(piece) if piece.has_market else {})
