"""Small tables behind the figures of an evaluation, computed from its table of forecasts.

Tables in, tables out; knows no figure, no network and no file. JSON has them too.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from forecaster.evaluation.evaluation import TargetEvaluation

NAIVE = ("zero-return", "persistence")
ENDS = {"q025": 0.025, "q10": 0.1, "q90": 0.9, "q975": 0.975}
INTERVALS = {"80 %": ("q10", "q90", 0.80), "95 %": ("q025", "q975", 0.95)}
QUARTER, MONTH = 63, 21  # trading days
DISTRIBUTIONS_DRAWN = 6


def curves_of(part: TargetEvaluation) -> dict[str, pd.DataFrame]:
    """Compute every table that is drawn of one target, by name."""
    rows = part.forecasts
    benchmarks = leading_benchmarks(rows)
    return {
        "gains": gains(rows, benchmarks),
        "log_gains": log_gains(rows),
        "bins": bins(rows),
        "below_ends": below_ends(rows),
        "pit": pit_shares(part.pit.get(part.forecaster, [])),
        "coverage_over_time": coverage_over_time(rows),
        "coverage_by_ticker": coverage_by_ticker(rows),
        "gains_by_ticker": gains_by_ticker(rows, benchmarks),
    }


def pit_shares(counts: Sequence[int]) -> pd.DataFrame:
    """Convert counts of equal bins to rows of `low, high, share`; none for no outcome."""
    edges = np.linspace(0.0, 1.0, len(counts) + 1)
    shares = np.array(counts) / max(sum(counts), 1)
    table = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "share": shares})
    return table if sum(counts) else table.iloc[:0]


def own_name(rows: pd.DataFrame) -> str:
    """Return the name of the forecaster that is evaluated: the first of a target's rows."""
    return str(rows["forecaster"].iloc[0])


def leading_benchmarks(rows: pd.DataFrame, at_most: int = 5) -> list[str]:
    """Return the naive forecast and the benchmarks with the smallest squared errors."""
    own, error = own_name(rows), _wide(rows, _squared_error(rows))
    relative = (error.sub(error[own], axis=0)).mean().drop(own)
    first = [str(name) for name in relative.index if name in NAIVE]
    others = [str(name) for name in relative.sort_values().index if name not in first]
    return [*first, *others][:at_most]


def gains(rows: pd.DataFrame, benchmarks: Sequence[str]) -> pd.DataFrame:
    """Compute the cumulated gain of the own squared errors over each benchmark's.

    Args:
        rows: one target's forecasts; a benchmark may lack some, which are left out of its gain.
        benchmarks: names of forecasters.

    Returns:
        Rows of `benchmark, session, gain`: the share of the benchmark's total loss that was saved
        until that day. It rises where the own forecasts are better and ends at 1 - own MSE /
        benchmark MSE. A benchmark without any loss has no rows.
    """
    error, own = _wide(rows, _squared_error(rows)), own_name(rows)
    found = []
    for benchmark in benchmarks:
        total = error[benchmark].sum()
        if total > 0.0:
            saved = (error[benchmark] - error[own]).dropna().groupby("session").sum()
            found.append(_cumulated(saved / total, benchmark))
    return _joined(found)


def log_gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Compute the cumulated gain of the own log score over each benchmark's, in nats per series.

    Returns:
        Rows of `benchmark, session, gain`; none where `log_score` is not known for the own
        forecaster and a benchmark.
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
    """Return values by day and ticker, oldest day first, with a column per forecaster."""
    keys = [rows["session"], rows["ticker"], rows["forecaster"]]
    return (
        values.groupby(keys, sort=True).first().unstack("forecaster")[rows["forecaster"].unique()]
    )


def _cumulated(daily: "pd.Series[float]", benchmark: str) -> pd.DataFrame:
    table = daily.cumsum().rename("gain").reset_index().assign(benchmark=benchmark)
    return table[["benchmark", "session", "gain"]]


def _joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    empty = pd.DataFrame(columns=["benchmark", "session", "gain"])
    return pd.concat(parts, ignore_index=True) if parts else empty


def bins(rows: pd.DataFrame, count: int = 12) -> pd.DataFrame:
    """Compute the means of the own forecasts and their outcomes in groups of like forecasts.

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
    """Compute the share of outcomes below each end of the own intervals.

    Returns:
        Rows of `nominal, observed, forecasts`; none without intervals.
    """
    own = _with_intervals(rows)
    found = [
        (level, float((own["actual"] < own[end]).mean()), len(own)) for end, level in ENDS.items()
    ]
    return pd.DataFrame(found if len(own) else [], columns=["nominal", "observed", "forecasts"])


def coverage_over_time(rows: pd.DataFrame) -> pd.DataFrame:
    """Compute the coverage of the own intervals in equal periods of about a quarter.

    A period is about a month where there is less than a year.

    Returns:
        Rows of `interval, nominal, first, coverage, forecasts`; `first` is the period's first
        day.
    """
    own = _with_intervals(rows)
    days = np.sort(own["session"].unique())
    length = QUARTER if len(days) >= 4 * QUARTER else MONTH
    periods = np.array_split(days, max(round(len(days) / length), 1))
    first = {day: period[0] for period in periods for day in period}
    return _coverage(own, own["session"].map(first).rename("first"))


def coverage_by_ticker(rows: pd.DataFrame) -> pd.DataFrame:
    """Compute the coverage of the own intervals by ticker.

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
    """Compute the share of each benchmark's squared error that the own forecasts save, by ticker.

    Returns:
        Rows of `benchmark, ticker, gain`; none for a ticker without benchmark error.
    """
    error, own, found = _wide(rows, _squared_error(rows)), own_name(rows), []
    for benchmark in benchmarks:
        both = error[[own, benchmark]].dropna().groupby("ticker").sum()
        some = both[both[benchmark] > 0.0]
        gain = (1.0 - some[own] / some[benchmark]).rename("gain").reset_index()
        found.append(gain.assign(benchmark=benchmark)[["benchmark", "ticker", "gain"]])
    return pd.concat(found, ignore_index=True)


def _with_intervals(rows: pd.DataFrame) -> pd.DataFrame:
    own = rows[rows["forecaster"] == own_name(rows)]
    ends = [end for end in ENDS if end in own]
    if len(ends) < len(ENDS):
        return own.iloc[:0].reindex(columns=[*own.columns.difference([*ENDS]), *ENDS])
    return own.dropna(subset=[*ENDS, "actual"])
