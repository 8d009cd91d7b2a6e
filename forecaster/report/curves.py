"""What is drawn of forecasts and outcomes: small tables, computed from the table of forecasts.

Tables in, tables out; knows no figure, no network and no file. Everything that the page of an
evaluation shows is in them, so that other programs can have it too.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

TOMORROW_IS_TODAY = ("zero-return", "persistence")
ENDS = {"q025": 0.025, "q10": 0.1, "q90": 0.9, "q975": 0.975}
INTERVALS = {"80 %": ("q10", "q90", 0.80), "95 %": ("q025", "q975", 0.95)}
QUARTER, MONTH = 63, 21  # trading days
DISTRIBUTIONS_DRAWN = 6


def own_name(rows: pd.DataFrame) -> str:
    """Name the forecaster that is evaluated: the first of a target's rows."""
    return str(rows["forecaster"].iloc[0])


def leading_benchmarks(rows: pd.DataFrame, at_most: int = 5) -> list[str]:
    """Name "tomorrow = today" and those whose squared errors leave the least to gain."""
    own, error = own_name(rows), _wide(rows, _squared_error(rows))
    relative = (error.sub(error[own], axis=0)).mean().drop(own)
    first = [str(name) for name in relative.index if name in TOMORROW_IS_TODAY]
    others = [str(name) for name in relative.sort_values().index if name not in first]
    return [*first, *others][:at_most]


def gains(rows: pd.DataFrame, benchmarks: Sequence[str]) -> pd.DataFrame:
    """Cumulate by how much the own squared errors are smaller than each rival's.

    Args:
        rows: one target's forecasts; a rival may lack some, which are left out against it.
        rivals: names of forecasters.

    Returns:
        Rows of `rival, session, gain`: the share of the rival's whole loss that was saved until
        that day. It rises where the own forecasts are better and ends at 1 - own MSE / rival
        MSE. A rival without any loss has no rows.
    """
    error, own = _wide(rows, _squared_error(rows)), own_name(rows)
    found = []
    for benchmark in benchmarks:
        whole = error[benchmark].sum()
        if whole > 0.0:
            saved = (error[benchmark] - error[own]).dropna().groupby("session").sum()
            found.append(_cumulated(saved / whole, benchmark))
    return _joined(found)


def log_gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Cumulate by how much the own log score is higher than each rival's, in nats per series.

    Returns:
        Rows of `rival, session, gain`; none without a column `log_score` that is known of the
        own forecaster and of a rival.
    """
    if "log_score" not in rows:
        return _joined([])
    score, own = _wide(rows, rows["log_score"]), own_name(rows)
    gaps = score.drop(columns=own).rsub(score[own], axis=0).dropna(axis="columns", how="all")
    daily = [
        (str(benchmark), gaps[benchmark].dropna().groupby("session").mean()) for benchmark in gaps
    ]
    best = sorted(daily, key=lambda each: float(each[1].mean()))[:DISTRIBUTIONS_DRAWN]
    return _joined([_cumulated(gap, benchmark) for benchmark, gap in best])


def _squared_error(rows: pd.DataFrame) -> "pd.Series[float]":
    error: pd.Series[float] = (rows["forecast"] - rows["actual"]) ** 2
    return error


def _wide(rows: pd.DataFrame, values: "pd.Series[float]") -> pd.DataFrame:
    """Lay values out by day and ticker, oldest day first, a column per forecaster."""
    keys = [rows["session"], rows["ticker"], rows["forecaster"]]
    return (
        values.groupby(keys, sort=True).first().unstack("forecaster")[rows["forecaster"].unique()]
    )


def _cumulated(daily: "pd.Series[float]", benchmark: str) -> pd.DataFrame:
    table = daily.cumsum().rename("gain").reset_index().assign(benchmark=benchmark)
    return table[["rival", "session", "gain"]]


def _joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    empty = pd.DataFrame(columns=["rival", "session", "gain"])
    return pd.concat(parts, ignore_index=True) if parts else empty


def bins(rows: pd.DataFrame, count: int = 12) -> pd.DataFrame:
    """Average the own forecasts and their outcomes in groups of like forecasts.

    Returns:
        Rows of `forecast, actual, error, forecasts`, lowest forecasts first: the means of each
        group and the standard error of the outcomes' mean, where the outcomes of one day count
        as one draw; NaN in a group of a single day.
    """
    own = rows[rows["forecaster"] == own_name(rows)]
    place = ((own["forecast"].rank() - 0.5) / len(own) * count).astype(int)
    found = []
    for _, group in own.groupby(place):
        mean = group["actual"].mean()
        days = (group["actual"] - mean).groupby(group["session"]).sum()
        error = np.sqrt((days**2).sum()) / len(group) if len(days) > 1 else float("nan")
        found.append((group["forecast"].mean(), mean, error, len(group)))
    return pd.DataFrame(found, columns=["forecast", "actual", "error", "forecasts"])


def below_ends(rows: pd.DataFrame) -> pd.DataFrame:
    """Compare the share of outcomes below each end of the own intervals with what it should be.

    Returns:
        Rows of `stated, observed, forecasts`; none where no interval is stated.
    """
    own = _with_intervals(rows)
    found = [
        (level, float((own["actual"] < own[end]).mean()), len(own)) for end, level in ENDS.items()
    ]
    return pd.DataFrame(found if len(own) else [], columns=["stated", "observed", "forecasts"])


def coverage_over_time(rows: pd.DataFrame) -> pd.DataFrame:
    """Share of outcomes inside the own intervals in equal stretches of about a quarter.

    A stretch is about a month where there is less than a year.

    Returns:
        Rows of `interval, nominal, first, coverage, forecasts`; `first` is the stretch's first
        day.
    """
    own = _with_intervals(rows)
    days = np.sort(own["session"].unique())
    length = QUARTER if len(days) >= 4 * QUARTER else MONTH
    stretches = np.array_split(days, max(round(len(days) / length), 1))
    first = {day: stretch[0] for stretch in stretches for day in stretch}
    return _coverage(own, own["session"].map(first).rename("first"))


def coverage_by_ticker(rows: pd.DataFrame) -> pd.DataFrame:
    """Share of outcomes inside the own intervals by ticker.

    Returns:
        Rows of `interval, nominal, ticker, coverage, forecasts`.
    """
    own = _with_intervals(rows)
    return _coverage(own, own["ticker"])


def _coverage(own: pd.DataFrame, groups: "pd.Series[Any]") -> pd.DataFrame:
    found = []
    for name, (low, high, nominal) in INTERVALS.items():
        inside = (own["actual"] >= own[low]) & (own["actual"] <= own[high])
        table = inside.groupby(groups, sort=True).agg(coverage="mean", forecasts="size")
        found.append(table.reset_index().assign(interval=name, nominal=nominal))
    columns = ["interval", "nominal", str(groups.name), "coverage", "forecasts"]
    return pd.concat(found, ignore_index=True)[columns]


def gains_by_ticker(rows: pd.DataFrame, benchmarks: Sequence[str]) -> pd.DataFrame:
    """Share of each rival's squared error that the own forecasts save, by ticker.

    Returns:
        Rows of `rival, ticker, gain`; a ticker on which the rival makes no error is left out.
    """
    error, own, found = _wide(rows, _squared_error(rows)), own_name(rows), []
    for benchmark in benchmarks:
        both = error[[own, benchmark]].dropna().groupby("ticker").sum()
        some = both[both[benchmark] > 0.0]
        gain = (1.0 - some[own] / some[benchmark]).rename("gain").reset_index()
        found.append(gain.assign(benchmark=benchmark)[["rival", "ticker", "gain"]])
    return pd.concat(found, ignore_index=True)


def _with_intervals(rows: pd.DataFrame) -> pd.DataFrame:
    own = rows[rows["forecaster"] == own_name(rows)]
    ends = [end for end in ENDS if end in own]
    if len(ends) < len(ENDS):
        return own.iloc[:0].reindex(columns=[*own.columns.difference([*ENDS]), *ENDS])
    return own.dropna(subset=[*ENDS, "actual"])
