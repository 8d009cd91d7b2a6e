"""The tables of an evaluation's page."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from forecaster.evaluation.evaluation import Evaluation, TargetEvaluation
from forecaster.evaluation.significance import Comparison
from forecaster.report import sentences
from forecaster.report.page import Cell, Section, Table

NOTHING = "-"
TICKERS_AT_MOST = 40
FORMATS = {
    **dict.fromkeys(["mse", "mae", "qlike", "crps", "pinball", "width_80", "width_95"], "#.4g"),
    **dict.fromkeys(["skill", "r2_over_zero"], "+.2%"),
    **dict.fromkeys(["directional_accuracy", "coverage_80", "coverage_95"], ".1%"),
    **dict.fromkeys(["mcc", "ic", "rank_ic"], "+.3f"),
    **dict.fromkeys(["ic_t", "rank_ic_t"], "+.1f"),
    "log_score": ".3f",
}
SHOWN_METRICS = (  # those that fit beside each other; the rest is below
    *("mse", "qlike", "skill", "directional_accuracy", "ic", "rank_ic"),
    *("crps", "log_score", "coverage_80", "coverage_95"),
)
NAMES = {
    **{"mse": "MSE", "mae": "MAE", "crps": "CRPS", "mcc": "MCC", "r2_over_zero": "R² over zero"},
    **{"ic": "IC", "rank_ic": "rank IC", "ic_t": "IC t", "rank_ic_t": "rank IC t"},
    **{"coverage_80": "coverage 80 %", "coverage_95": "coverage 95 %"},
    **{"width_80": "width 80 %", "width_95": "width 95 %"},
    **{"directional_accuracy": "directional accuracy", "log_score": "log score"},
    **{"skill": "skill", "pinball": "pinball", "qlike": "QLIKE"},
}
BACKTEST = {
    "annualised_return": ("annualised return", "+.1%"),
    "volatility": ("volatility", ".1%"),
    "sharpe_ratio": ("Sharpe ratio", ".2f"),
    "maximum_drawdown": ("maximum drawdown", ".1%"),
    "turnover": ("turnover a day", ".1%"),
}
TEST_COLUMNS = ("difference", "p", "adjusted p", "conclusion")
# Heading, words, columns and rows of a table.
Rows = tuple[str, str, list[str], Sequence[Sequence[str | Cell]]]


def score_table(scores: pd.DataFrame) -> Table:
    """Return a row per forecaster, a column per metric of `SHOWN_METRICS` that any of them has."""
    defined = set(scores.dropna(subset=["value"])["metric"])
    metrics = [metric for metric in SHOWN_METRICS if metric in defined]
    values = scores.set_index(["forecaster", "metric"])["value"].to_dict()
    return Table(
        columns=["forecaster", *(NAMES.get(metric, metric) for metric in metrics)],
        rows=[
            [name, *(_score(metric, values.get((name, metric))) for metric in metrics)]
            for name in dict.fromkeys(scores["forecaster"])
        ],
        stressed=True,
    )


def table_sections(result: Evaluation, part: TargetEvaluation) -> list[Section]:
    """Return the tables below a target's figures that have rows."""
    of_part = (_intervals_of_scores, _comparisons, _by_ticker, _coverage)
    found = [table(part) for table in of_part]
    found += [_backtests(part, result.costs_bps), _by_seed(part), _folds(result)]
    return [
        Section(heading=heading, words=words, table=Table(columns=columns, rows=rows))
        for heading, words, columns, rows in found
        if rows
    ]


def _intervals_of_scores(part: TargetEvaluation) -> Rows:
    own = part.scores[part.scores["forecaster"] == part.forecaster]
    columns = own[["metric", "value", "low", "high", "reason"]]
    rows = [
        [NAMES.get(metric, metric), *(_score(metric, one) for one in values), reason or ""]
        for metric, *values, reason in columns.itertuples(index=False)
    ]
    words = (
        "95 % intervals by the stationary bootstrap: blocks of days are drawn again, all tickers "
        "of a day together."
    )
    return "Scores with intervals", words, ["score", "value", "from", "to", ""], rows


def _comparisons(part: TargetEvaluation) -> Rows:
    found = part.comparisons
    rows = [[f"{one.forecaster} vs {one.benchmark}", one.loss, *_test(one)] for one in found.all]
    mcs, spa = sentences.mcs_text(found.mcs), sentences.spa_text(found.spa)
    words = (
        f"Model confidence set: {mcs}. Superior predictive ability (SPA): {spa}. "
        "Differences are relative to the benchmark's loss, or in nats; negative is "
        "better. The adjusted p-value counts all comparisons made, and decides."
    )
    return "Comparisons", words, ["forecasters", "loss", *TEST_COLUMNS], rows


def _test(each: Comparison) -> list[str | Cell]:
    size = f"{each.difference:+.4f} {each.unit}" if each.unit else f"{each.difference:+.2%}"
    pair = f"{sentences.label(each.forecaster)} and {sentences.label(each.benchmark)}"
    tested = f"Diebold–Mariano test that {pair} have the same mean {each.loss}, {each.days:,} days"
    adjusted = f"{tested}; Holm over {each.tests:,} tests"
    return [
        size if math.isfinite(each.difference) else NOTHING,
        Cell(text=_number(each.p_value, ".2g"), tip=tested),
        Cell(text=_number(each.adjusted_p_value, ".2g"), tip=adjusted),
        each.conclusion,
    ]


def _by_ticker(part: TargetEvaluation) -> Rows:
    found = part.comparisons.by_ticker
    fits = len(found) <= TICKERS_AT_MOST
    rows = [
        [ticker, *_test(each)]
        for ticker, each in found.items()
        if fits or each.conclusion != "no significant difference"
    ]
    counts = [each.conclusion for each in found.values()]
    benchmark = next(iter(found.values())).benchmark
    words = (
        f"Against {benchmark}, squared error: better on {counts.count('better'):,}, worse on "
        f"{counts.count('worse'):,} of {len(found):,} tickers, Holm-adjusted over them."
        + ("" if fits else " Those with a significant difference:")
    )
    return "By ticker", words, ["ticker", *TEST_COLUMNS], rows


def _coverage(part: TargetEvaluation) -> Rows:
    table = part.coverage
    by_year = (table["by"] == "year") & (table["forecaster"] == part.forecaster)
    table = table[(table["by"] == "all") | by_year]
    rows = []
    for (name, kind, key), group in table.groupby(["forecaster", "intervals", "key"], sort=False):
        coverage = dict(zip(group["nominal"], group["coverage"], strict=True))
        shares = [_number(coverage.get(nominal), ".1%") for nominal in (0.8, 0.95)]
        forecasts = f"{group['forecasts'].iloc[0]:,}"
        rows.append([f"{name}, {kind}", str(key or "all days"), *shares, forecasts])
    words = (
        "Shares of outcomes inside the 80 and 95 % intervals: uncalibrated as the distribution "
        "has them, conformal after adapting to the outcomes known by then."
    )
    return "Coverage by year", words, ["intervals", "year", "80 %", "95 %", "forecasts"], rows


def _backtests(part: TargetEvaluation, costs_bps: float) -> Rows:
    rows = []
    for name, one in part.backtests.items():
        values = [_number(getattr(one, field), form) for field, (_, form) in BACKTEST.items()]
        rows.append([name, *values, one.reason])
    words = (
        "Long or short in every ticker by the sign of its forecast, equal weights, after "
        f"{costs_bps:g} basis points per side. It shows the size of things and is not a way to "
        "trade: filled at the close that the forecast was made from, at any size."
    )
    return "Backtest", words, ["forecaster", *(name for name, _ in BACKTEST.values()), ""], rows


def _by_seed(part: TargetEvaluation) -> Rows:
    table = part.scores_by_seed[part.scores_by_seed["seeds"] > 1]
    rows = [
        [NAMES.get(metric, metric), *(_number(value, ".5g") for value in values)]
        for metric, *values in table[["metric", "mean", "sd", "min", "max"]].itertuples(index=False)
    ]
    words = "The same training from other initial weights: the differences are chance."
    columns = ["score", "mean", "standard deviation", "lowest", "highest"]
    return "Scores by seed", words, columns, rows


def _folds(result: Evaluation) -> Rows:
    columns = [name.replace("_", " ") for name in result.folds.columns]
    rows = [[str(value) for value in row] for row in result.folds.itertuples(index=False)]
    words = "Each is trained, validated and calibrated before the first day that it forecasts."
    return "Folds", words, columns, rows if len(rows) > 1 else []


def _score(metric: str, value: Any) -> str:
    return _number(value, FORMATS.get(metric, ".4g"))


def _number(value: Any, form: str) -> str:
    """Return a number as text, shares as "5.5 %"; a dash where it is undefined."""
    if not isinstance(value, float | int) or pd.isna(value):
        return NOTHING
    if form.endswith("%"):
        return sentences.percent(value, form.removesuffix("%") + "f")
    return f"{value:{form}}"
