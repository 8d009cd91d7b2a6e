"""Small tables behind the figures of an evaluation, computed from its forecasts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from forecaster.evaluation.evaluation import TargetEvaluation

NAIVE = ("zero-return", "persistence")
ENDS = {"q025": 0.025, "q10": 0.1, "q90": 0.9, "q975": 0.975}
INTERVALS = {"80 %": ("q10", "q90", 0.80), "95 %": ("q025", "q975", 0.95)}
QUARTER, MONTH = 63, 21  # trading days
DISTRIBUTIONS_DRAWN = 4


def curves_of(part: TargetEvaluation) -> dict[str, pd.DataFrame]:
    """Compute every table that is drawn of one target, by name."""
    rows = part.rows.table(part.forecaster)
    own, errors = with_intervals(rows), part.rows.squared_errors()
    benchmarks = leading_benchmarks(errors)
    return {
        "gains": gains(errors, benchmarks),
        "log_gains": log_gains(part.rows.log_scores(), part.forecaster),
        "bins": bins(rows),
        "below_ends": below_ends(own),
        "pit": pit_shares(part.pit.get(part.forecaster, [])),
        "coverage_over_time": coverage_over_time(own),
        "coverage_by_ticker": coverage(own, own["ticker"]),
        "gains_by_ticker": gains_by_ticker(errors, benchmarks),
    }


def pit_shares(counts: Sequence[int]) -> pd.DataFrame:
    """Convert counts of equal bins to rows of `low, high, share`; none for no outcome."""
    edges = np.linspace(0.0, 1.0, len(counts) + 1)
    shares = np.array(counts) / max(sum(counts), 1)
    table = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "share": shares})
    return table if sum(counts) else table.iloc[:0]


def leading_benchmarks(errors: pd.DataFrame, at_most: int = 4) -> list[str]:
    """Return the naive forecast and the benchmarks with the smallest `squared_errors`."""
    own = errors.columns[0]
    relative = errors.sub(errors[own], axis=0).mean().drop(own)
    first = [str(name) for name in relative.index if name in NAIVE]
    others = [str(name) for name in relative.sort_values().index if name not in first]
    return [*first, *others][:at_most]


def gains(errors: pd.DataFrame, benchmarks: Sequence[str]) -> pd.DataFrame:
    """Compute the cumulated gain of the own squared errors over each benchmark's.

    Returns:
        Rows of `benchmark, session, gain`: the share of the benchmark's total loss that was saved
        until that day. It ends at 1 - own MSE / benchmark MSE. A benchmark without any loss has no
        rows.
    """
    own, saved = errors.iloc[:, 0], {}
    for benchmark in benchmarks:
        total = errors[benchmark].sum()
        if total > 0.0:
            by_day = (errors[benchmark] - own).dropna().groupby("session").sum()
            saved[benchmark] = by_day / total
    return _cumulated(saved)


def log_gains(scores: pd.DataFrame, own: str) -> pd.DataFrame:
    """Compute the cumulated gain of the own log score over each benchmark's, in nats per series.

    Returns:
        Rows of `benchmark, session, gain`; none where the `log_scores` are not known for the own
        forecaster and a benchmark.
    """
    if own not in scores:
        return _cumulated({})
    gaps = scores.drop(columns=own).rsub(scores[own], axis=0).dropna(axis="columns", how="all")
    daily = {str(name): gaps[name].dropna().groupby("session").mean() for name in gaps}
    best = sorted(daily, key=lambda name: float(daily[name].mean()))[:DISTRIBUTIONS_DRAWN]
    return _cumulated({name: daily[name] for name in best})


def _cumulated(daily: Mapping[str, "pd.Series[float]"]) -> pd.DataFrame:
    columns = ["benchmark", "session", "gain"]
    tables = {name: values.cumsum().rename("gain").reset_index() for name, values in daily.items()}
    parts = [table.assign(benchmark=name)[columns] for name, table in tables.items()]
    return pd.concat(parts or [pd.DataFrame(columns=columns)], ignore_index=True)


def bins(own: pd.DataFrame, count: int = 12) -> pd.DataFrame:
    """Compute the means of the own forecasts and their outcomes in groups of like forecasts.

    Returns:
        Rows of `forecast, actual, error, forecasts`, lowest forecasts first: the means of each
        group and the standard error of the outcomes' mean, where the outcomes of one day count
        as one draw; NaN in a group of a single day.
    """
    place = ((own["forecast"].rank() - 0.5) / len(own) * count).astype(int)
    found = []
    for _, group in own.groupby(place):
        mean = group["actual"].mean()
        days = (group["actual"] - mean).groupby(group["session"]).sum()
        error = np.sqrt((days**2).sum()) / len(group) if len(days) > 1 else float("nan")
        found.append((group["forecast"].mean(), mean, error, len(group)))
    return pd.DataFrame(found, columns=["forecast", "actual", "error", "forecasts"])


def with_intervals(rows: pd.DataFrame) -> pd.DataFrame:
    """Select the forecasts with both intervals."""
    return rows.dropna(subset=[*ENDS])


def below_ends(own: pd.DataFrame) -> pd.DataFrame:
    """Compute the share of outcomes below each end of the intervals of `with_intervals`.

    Returns:
        Rows of `nominal, observed, forecasts`; none without intervals.
    """
    found = [
        (level, float((own["actual"] < own[end]).mean()), len(own)) for end, level in ENDS.items()
    ]
    return pd.DataFrame(found if len(own) else [], columns=["nominal", "observed", "forecasts"])


def coverage_over_time(own: pd.DataFrame) -> pd.DataFrame:
    """Compute the coverage of intervals in equal periods of about a quarter, `first` their day.

    A period is about a month where there is less than a year.
    """
    days = np.sort(own["session"].unique())
    length = QUARTER if len(days) >= 4 * QUARTER else MONTH
    periods = np.array_split(days, max(round(len(days) / length), 1))
    first = {day: period[0] for period in periods for day in period}
    return coverage(own, own["session"].map(first).rename("first"))


def coverage(own: pd.DataFrame, groups: "pd.Series[Any]") -> pd.DataFrame:
    """Compute the coverage of the intervals of `with_intervals` by group.

    Returns:
        Rows of `interval, nominal, coverage, forecasts` and the name of the groups.
    """
    found = []
    for name, (low, high, nominal) in INTERVALS.items():
        inside = (own["actual"] >= own[low]) & (own["actual"] <= own[high])
        table = inside.groupby(groups, sort=True).agg(coverage="mean", forecasts="size")
        found.append(table.reset_index().assign(interval=name, nominal=nominal))
    columns = ["interval", "nominal", str(groups.name), "coverage", "forecasts"]
    return pd.concat(found, ignore_index=True)[columns]


def gains_by_ticker(errors: pd.DataFrame, benchmarks: Sequence[str]) -> pd.DataFrame:
    """Compute the share of each benchmark's squared error that the own forecasts save, by ticker.

    Returns:
        Rows of `benchmark, ticker, gain`; none for a ticker without benchmark error.
    """
    own, found = errors.columns[0], []
    for benchmark in benchmarks:
        both = errors[[own, benchmark]].dropna().groupby("ticker").sum()
        some = both[both[benchmark] > 0.0]
        gain = (1.0 - some[own] / some[benchmark]).rename("gain").reset_index()
        found.append(gain.assign(benchmark=benchmark)[["benchmark", "ticker", "gain"]])
    return pd.concat(found, ignore_index=True)
