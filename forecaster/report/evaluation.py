"""The page of an evaluation: the conclusions first, then what they rest on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from forecaster.errors import name_some
from forecaster.evaluation.evaluation import Evaluation, TargetEvaluation
from forecaster.evaluation.significance import Comparison
from forecaster.registry.manifest import Manifest
from forecaster.report import evaluation_figures as figures
from forecaster.report import sentences
from forecaster.report.curves import curves_of
from forecaster.report.page import Section, Table, render_page

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
    **{"directional_accuracy": "directional accuracy", "log_score": "log score"},
    **{"skill": "skill", "pinball": "pinball"},
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
Rows = tuple[str, str, list[str], list[list[str]]]
SURVIVORS = (
    "Survivorship bias: tickers chosen today are survivors. Companies that failed, shrank or were "
    "bought are missing, so these prices rose more and crashed less than those of a choice made "
    "at the time. All forecasters are scored on the same tickers, which weakens this bias and does "
    "not remove it."
)


def evaluation_page(
    result: Evaluation,
    learning: Mapping[str, Sequence[tuple[int, float]]],
    settings: Mapping[str, str],
) -> str:
    """Render an evaluation on one page that needs no network.

    Args:
        result: the evaluation.
        learning: validation losses by optimizer step, by name of the training.
        settings: of `version_settings`.
    """
    several = len(result.targets) > 1
    lead, sections = [], []
    for target in result.targets:
        first, *others = sentences.conclusions(result, target)
        lead.append([f"{target.capitalize()}: {first}" if several else first, *others])
        sections += _of_target(result, target)
    sections.append(figures.learning_section(learning))
    if settings:
        table = Table(columns=["setting", "value"], rows=list(settings.items()), prose=True)
        sections.append(Section(heading="Data and settings", table=table))
    title, notes = sentences.title(result), [SURVIVORS, *result.notes]
    alarms = [sentences.alarm_text(alarm) for alarm in result.alarms]
    return render_page(title, lead, _facts(result), alarms, sections, notes=notes)


def drawn_tables(result: Evaluation) -> dict[str, dict[str, dict[str, list[Any]]]]:
    """Return every table behind the figures, by target and name, as lists by column."""
    return {
        target: {
            name: {str(column): table[column].tolist() for column in table}
            for name, table in curves_of(part).items()
        }
        for target, part in result.by_target.items()
    }


def version_settings(manifest: Manifest) -> dict[str, str]:
    """Return label and value of a version's data, network and training."""
    data, network, base = manifest.data, manifest.network, manifest.base
    heads = ", ".join(f"{t} ({h})" for t, h in zip(manifest.targets, network.heads, strict=True))
    shown_above = ("validations", "model", "hidden", "layers", "base", "head")
    trained = {
        name.replace("_", " "): str(value)
        for name, value in manifest.training.items()
        if name not in shown_above and value is not None
    }
    plural = "s" if network.layers > 1 else ""
    return {
        "tickers": f"{len(data.tickers):,}: {', '.join(data.tickers)}",
        "rows": f"{data.days:,} of {data.blocks.first} to {data.blocks.last}",
        "data fingerprint": data.fingerprint,
        "network": f"{network.model}, {network.hidden} hidden, {network.layers} layer{plural}",
        "targets": heads,
        "base": "none" if base is None else f"{base.kind}, {len(base.inputs)} inputs",
        "inputs": f"{len(manifest.inputs)}: {', '.join(manifest.inputs)}",
        **trained,
        "created": f"{manifest.created_at}, forecaster {manifest.code_version}, torch "
        f"{manifest.torch_version}",
    }


def _of_target(result: Evaluation, target: str) -> list[Section]:
    """Return one target's heading and scores, its figures, then its other tables."""
    part = result.by_target[target]
    drawn = curves_of(part)
    own = part.rows.table(part.forecaster)
    first, last = own["session"].min(), own["session"].max()
    heading = Section(
        heading=f"The next day's {target}",
        words=f"{len(own):,} forecasts by {sentences.label(part.forecaster)} of "
        f"{own['session'].nunique():,} test days, {first:%Y-%m-%d} to {last:%Y-%m-%d}; the "
        f"benchmarks forecast the same days and tickers. An undefined score is {NOTHING}.",
        table=_score_table(part.scores),
    )
    sections = figures.gain_sections(drawn)
    sections += figures.against_sections(own, drawn["bins"], ".4~%" if target == "return" else "")
    sections += figures.calibration_sections(drawn)
    if len(drawn["gains_by_ticker"]):
        sections.append(figures.ticker_gains_section(drawn["gains_by_ticker"]))
    sections += _tables(result, part)
    return [heading, *(replace(section, level=3) for section in sections)]


def _facts(result: Evaluation) -> dict[str, str]:
    """Return label and value of what the conclusions rest on."""
    walk = result.walk
    found = {f"{name} days": f"{first} to {last}" for name, (first, last) in result.blocks.items()}
    if walk.refit_every is None:
        found["weights"] = "the version's own throughout"
    else:
        window = f"the last {walk.train_days:,} days" if walk.train_days else "all days before"
        found["weights"] = (
            f"trained again every {walk.refit_every} days on {window}, {walk.weights} start, "
            f"{len(result.folds)} fits"
        )
    if walk.seeds > 1:
        found["seeds"] = f"{walk.seeds}, the version's own first"
    tests = sum(len(part.comparisons.all) for part in result.by_target.values())
    found["comparisons"] = f"{tests:,}, p-values adjusted"
    count = result.count
    found["test-set evaluations"] = (
        "not counted: the home cannot be written"
        if count.total is None
        else f"{count.total:,} of these test days, {count.questions:,} different questions"
    )
    if result.missing:
        found["missing"] = f"{name_some(result.missing)}: trained on, left out here"
    for target, part in result.by_target.items():
        if part.unscored:
            found[f"{target}, not scored"] = name_some(part.unscored)
    return found


def _score_table(scores: pd.DataFrame) -> Table:
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


def _tables(result: Evaluation, part: TargetEvaluation) -> list[Section]:
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


def _test(each: Comparison) -> list[str]:
    size = f"{each.difference:+.4f} {each.unit}" if each.unit else f"{each.difference:+.2%}"
    p_values = [_number(p, ".2g") for p in (each.p_value, each.adjusted_p_value)]
    return [size if math.isfinite(each.difference) else NOTHING, *p_values, each.conclusion]


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
