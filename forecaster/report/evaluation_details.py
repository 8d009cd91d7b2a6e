"""Tables of an evaluation in words, for the page: comparisons, coverage, spread, trades, folds."""

import math

import pandas as pd

from forecaster.backtesting.evaluation import Evaluation
from forecaster.evaluation.significance import Comparison
from forecaster.report.page import Section, Table

NOTHING = "-"
TICKERS_AT_MOST = 40


def details(result: Evaluation, target: str) -> list[Section]:
    """Lay out what the page shows of one target beside its figures."""
    parts = [
        _comparisons(result, target),
        _tickers(result, target),
        _coverage(result, target),
        _strategies(result, target),
        _seeds(result, target),
        _folds(result),
    ]
    return [section for section in parts if section.table and section.table.rows]


def _comparisons(result: Evaluation, target: str) -> Section:
    rows = [
        [f"{each.forecaster} against {each.benchmark}", each.loss, *_tested(each)]
        for each in result.comparisons
        if each.target == target
    ]
    return _section(
        "Comparisons",
        f"{_many(result, target)} Differences are relative to the rival's loss, or in nats; "
        "negative is better. The adjusted p-value counts all comparisons made, and decides.",
        ["who", "loss", "difference", "p", "adjusted p", "verdict"],
        rows,
    )


def _many(result: Evaluation, target: str) -> str:
    """Say who may be the best, and whether any is better than tomorrow = today."""
    best, any_better = result.confidence_sets[target], result.superiority[target]
    told = (
        f"Which is best cannot be told: {best.reason}."
        if best.reason
        else f"The best is among {', '.join(best.included)} ({1 - best.size:.0%} confidence set)."
    )
    if any_better.p_value is None:
        return told
    return (
        f"{told} The best of {any_better.benchmarks} beats {any_better.benchmark} with p = "
        f"{any_better.p_value:.2g} after all of them were tried (SPA)."
    )


def _tested(each: Comparison) -> list[str]:
    unit = f"{each.difference:+.4f} {each.unit}" if each.unit else f"{each.difference:+.2%}"
    return [
        unit if math.isfinite(each.difference) else NOTHING,
        _number(each.p_value, ".2g"),
        _number(each.adjusted, ".2g"),
        each.verdict,
    ]


def _tickers(result: Evaluation, target: str) -> Section:
    found = result.ticker_comparisons.get(target, ())
    all_fit = len(found) <= TICKERS_AT_MOST
    rows = [
        [ticker, *_tested(each)]
        for ticker, each in found
        if all_fit or each.verdict != "not distinguishable"
    ]
    verdicts = [each.verdict for _, each in found]
    benchmark = found[0][1].benchmark if found else ""
    return _section(
        "Ticker by ticker",
        f"Against {benchmark}, squared error: better on {verdicts.count('better'):,}, worse on "
        f"{verdicts.count('worse'):,} of {len(found):,} tickers, after as many comparisons."
        + ("" if all_fit else " Those that can be told from chance:"),
        ["ticker", "difference", "p", "adjusted p", "verdict"],
        rows,
    )


def _coverage(result: Evaluation, target: str) -> Section:
    table = result.coverage
    own = result.scores.loc[result.scores["target"] == target, "forecaster"].iloc[0]
    shown = (table["by"] == "all") | ((table["by"] == "year") & (table["forecaster"] == own))
    table = table[(table["target"] == target) & shown]
    rows = []
    for (name, kind, key), part in table.groupby(["forecaster", "intervals", "key"], sort=False):
        held = dict(zip(part["coverage"], part["inside"], strict=True))
        when = key or "all days"
        shares = [_number(held.get(level), ".1%") for level in (0.8, 0.95)]
        rows.append([f"{name}, {kind}", str(when), *shares, f"{part['forecasts'].iloc[0]:,}"])
    return _section(
        "Coverage by year",
        "Shares inside the 80 and 95 % intervals: raw as the distribution states them, "
        "calibrated after adapting to the outcomes known by then.",
        ["intervals", "year", "80 %", "95 %", "forecasts"],
        rows,
    )


def _strategies(result: Evaluation, target: str) -> Section:
    rows = [
        [
            name,
            _number(each.yearly_return, "+.1%"),
            _number(each.volatility, ".1%"),
            _number(each.sharpe, ".2f"),
            _number(each.drawdown, ".1%"),
            _number(each.turnover, ".1%"),
            each.reason,
        ]
        for name, each in result.strategies.get(target, {}).items()
    ]
    return _section(
        "If one had traded it",
        "Long or short in every ticker by the sign of its forecast, equal weights, after "
        f"{result.costs_bps:g} basis points per side. To show the size of things, not a way to "
        "trade: filled at the close that the forecast was made from, at any size.",
        ["who", "a year", "volatility", "Sharpe", "drawdown", "traded a day", ""],
        rows,
    )


def _seeds(result: Evaluation, target: str) -> Section:
    table = result.seeds
    table = table[(table["target"] == target) & (table["seeds"] > 1)]
    columns = ["mean", "sd", "min", "max"]
    rows = [
        [str(metric), *(_number(value, ".5g") for value in values)]
        for metric, *values in zip(table["metric"], *(table[c] for c in columns), strict=True)
    ]
    return _section(
        "Spread over seeds",
        "The same training from other starting points: what differs here is chance.",
        ["score", "mean", "standard deviation", "lowest", "highest"],
        rows,
    )


def _folds(result: Evaluation) -> Section:
    columns = [str(name) for name in result.folds.columns]
    rows = [[str(value) for value in row] for row in result.folds.itertuples(index=False)]
    return _section(
        "Folds",
        "Each is fitted, selected and calibrated before the first day that it forecasts.",
        [name.replace("_", " ") for name in columns],
        rows if len(rows) > 1 else [],
    )


def _section(heading: str, words: str, columns: list[str], rows: list[list[str]]) -> Section:
    return Section(heading=heading, words=words, table=Table(columns=columns, rows=rows), level=3)


def _number(value: object, form: str) -> str:
    known = isinstance(value, float | int) and not pd.isna(value)
    return format(value, form) if known else NOTHING
