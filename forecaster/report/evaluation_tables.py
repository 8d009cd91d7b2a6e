"""Tables of an evaluation in words, for its page."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from forecaster.evaluation.evaluation import Evaluation, TargetEvaluation
from forecaster.evaluation.significance import Comparison
from forecaster.report.page import Section, Table
from forecaster.report.sentences import mcs_text, percent, spa_text

NOTHING = "-"
TICKERS_AT_MOST = 40
FORMATS = {
    **dict.fromkeys(["mse", "mae", "crps", "pinball", "width_80", "width_95"], "#.4g"),
    **dict.fromkeys(["skill", "r2_over_zero"], "+.2%"),
    **dict.fromkeys(["directional_accuracy", "coverage_80", "coverage_95"], ".1%"),
    **dict.fromkeys(["mcc", "ic", "rank_ic"], "+.3f"),
    **dict.fromkeys(["ic_t", "rank_ic_t"], "+.1f"),
    "log_score": ".3f",
}
SHOWN_METRICS = (  # those that fit beside each other; the rest is below
    *("mse", "skill", "directional_accuracy", "ic", "rank_ic"),
    *("crps", "log_score", "coverage_80", "coverage_95"),
)
NAMES = {
    **{"mse": "MSE", "mae": "MAE", "crps": "CRPS", "mcc": "MCC", "r2_over_zero": "R² over zero"},
    **{"ic": "IC", "rank_ic": "rank IC", "ic_t": "IC t", "rank_ic_t": "rank IC t"},
    **{"coverage_80": "coverage 80 %", "coverage_95": "coverage 95 %"},
    **{"width_80": "width 80 %", "width_95": "width 95 %"},
}


def score_table(scores: pd.DataFrame) -> Table:
    """Return a row per forecaster, a column per metric of `SHOWN_METRICS` that any of them has."""
    defined = set(scores.dropna(subset=["value"])["metric"])
    metrics = [metric for metric in SHOWN_METRICS if metric in defined]
    values = scores.set_index(["forecaster", "metric"])["value"].to_dict()
    return Table(
        columns=["forecaster", *map(_metric_name, metrics)],
        rows=[
            [name, *(_score(values.get((name, metric)), metric) for metric in metrics)]
            for name in dict.fromkeys(scores["forecaster"])
        ],
        stressed=True,
    )


def target_tables(result: Evaluation, target: str) -> list[Section]:
    """Return the tables below a target's figures."""
    part = result.by_target[target]
    sections = [
        _intervals_of_scores(part),
        _comparisons(part),
        _by_ticker(part),
        _coverage(part),
        _backtests(part, result.costs_bps),
        _by_seed(part),
        _folds(result),
    ]
    return [section for section in sections if section.table and section.table.rows]


def settings_section(settings: Mapping[str, str]) -> list[Section]:
    """Return the data and the settings of the version as a table."""
    if not settings:
        return []
    table = Table(columns=["setting", "value"], rows=list(settings.items()), prose=True)
    return [Section(heading="Data and settings", table=table)]


def _intervals_of_scores(part: TargetEvaluation) -> Section:
    own = part.scores[part.scores["forecaster"] == part.forecaster]
    rows = [
        [_metric_name(metric), *(_score(value, metric) for value in values), reason or ""]
        for metric, *values, reason in own[["metric", "value", "low", "high", "reason"]].itertuples(
            index=False
        )
    ]
    return _section(
        "Scores with intervals",
        "95 % intervals by the stationary bootstrap: blocks of days are drawn again, all tickers "
        "of a day together.",
        ["score", "value", "from", "to", ""],
        rows,
    )


def _comparisons(part: TargetEvaluation) -> Section:
    found = part.comparisons
    rows = [
        [f"{each.forecaster} vs {each.benchmark}", each.loss, *_test(each)] for each in found.all
    ]
    return _section(
        "Comparisons",
        f"Model confidence set: {mcs_text(found.mcs)}. Superior predictive ability (SPA): "
        f"{spa_text(found.spa)}. Differences are relative to the benchmark's loss, or in nats; "
        "negative is better. The adjusted p-value counts all comparisons made, and decides.",
        ["forecasters", "loss", "difference", "p", "adjusted p", "conclusion"],
        rows,
    )


def _test(each: Comparison) -> list[str]:
    unit = f"{each.difference:+.4f} {each.unit}" if each.unit else f"{each.difference:+.2%}"
    return [
        unit if math.isfinite(each.difference) else NOTHING,
        _number(each.p_value, ".2g"),
        _number(each.adjusted_p_value, ".2g"),
        each.conclusion,
    ]


def _by_ticker(part: TargetEvaluation) -> Section:
    found = part.comparisons.by_ticker
    fits = len(found) <= TICKERS_AT_MOST
    rows = [
        [ticker, *_test(each)]
        for ticker, each in found.items()
        if fits or each.conclusion != "no significant difference"
    ]
    counts = [each.conclusion for each in found.values()]
    benchmark = next(iter(found.values())).benchmark
    return _section(
        "By ticker",
        f"Against {benchmark}, squared error: better on {counts.count('better'):,}, worse on "
        f"{counts.count('worse'):,} of {len(found):,} tickers, Holm-adjusted over them."
        + ("" if fits else " Those with a significant difference:"),
        ["ticker", "difference", "p", "adjusted p", "conclusion"],
        rows,
    )


def _coverage(part: TargetEvaluation) -> Section:
    table = part.coverage
    by_year = (table["by"] == "year") & (table["forecaster"] == part.forecaster)
    table = table[(table["by"] == "all") | by_year]
    rows = []
    for (name, kind, key), group in table.groupby(["forecaster", "intervals", "key"], sort=False):
        coverage = dict(zip(group["nominal"], group["coverage"], strict=True))
        shares = [_number(coverage.get(nominal), ".1%") for nominal in (0.8, 0.95)]
        forecasts = f"{group['forecasts'].iloc[0]:,}"
        rows.append([f"{name}, {kind}", str(key or "all days"), *shares, forecasts])
    return _section(
        "Coverage by year",
        "Shares of outcomes inside the 80 and 95 % intervals: uncalibrated as the distribution "
        "has them, conformal after adapting to the outcomes known by then.",
        ["intervals", "year", "80 %", "95 %", "forecasts"],
        rows,
    )


def _backtests(part: TargetEvaluation, costs_bps: float) -> Section:
    rows = [
        [
            name,
            _number(each.annualised_return, "+.1%"),
            _number(each.volatility, ".1%"),
            _number(each.sharpe_ratio, ".2f"),
            _number(each.maximum_drawdown, ".1%"),
            _number(each.turnover, ".1%"),
            each.reason,
        ]
        for name, each in part.backtests.items()
    ]
    columns = ["forecaster", "annualised return", "volatility", "Sharpe ratio", "maximum drawdown"]
    return _section(
        "Backtest",
        "Long or short in every ticker by the sign of its forecast, equal weights, after "
        f"{costs_bps:g} basis points per side. It shows the size of things and is not a way to "
        "trade: filled at the close that the forecast was made from, at any size.",
        [*columns, "turnover a day", ""],
        rows,
    )


def _by_seed(part: TargetEvaluation) -> Section:
    table = part.scores_by_seed[part.scores_by_seed["seeds"] > 1]
    rows = [
        [_metric_name(metric), *(_number(value, ".5g") for value in values)]
        for metric, *values in table[["metric", "mean", "sd", "min", "max"]].itertuples(index=False)
    ]
    return _section(
        "Scores by seed",
        "The same training from other initial weights: the differences are chance.",
        ["score", "mean", "standard deviation", "lowest", "highest"],
        rows,
    )


def _folds(result: Evaluation) -> Section:
    columns = [str(name).replace("_", " ") for name in result.folds.columns]
    rows = [[str(value) for value in row] for row in result.folds.itertuples(index=False)]
    return _section(
        "Folds",
        "Each is trained, validated and calibrated before the first day that it forecasts.",
        columns,
        rows if len(rows) > 1 else [],
    )


def _section(heading: str, words: str, columns: list[str], rows: list[list[str]]) -> Section:
    return Section(heading=heading, words=words, table=Table(columns=columns, rows=rows), level=3)


def _metric_name(metric: str) -> str:
    return NAMES.get(metric, metric.replace("_", " "))


def _score(value: Any, metric: str) -> str:
    return _number(value, FORMATS.get(metric, ".4g"))


def _number(value: Any, form: str) -> str:
    """Return a number as text, shares as "5.5 %"; a dash where it is undefined."""
    if not isinstance(value, float | int) or pd.isna(value):
        return NOTHING
    return percent(value, form.removesuffix("%") + "f") if form.endswith("%") else f"{value:{form}}"
