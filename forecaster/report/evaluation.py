"""The page of an evaluation: the results on one screen, then what they rest on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

from forecaster import clock
from forecaster.errors import name_some
from forecaster.evaluation.evaluation import Evaluation, TargetEvaluation
from forecaster.evaluation.significance import Comparison
from forecaster.registry.manifest import Manifest
from forecaster.report import evaluation_figures as figures
from forecaster.report import sentences
from forecaster.report.curves import curves_of
from forecaster.report.evaluation_tables import NOTHING, score_table, table_sections
from forecaster.report.page import Page, Section, Table, Tile
from forecaster.report.ticker_series import TickerSeries, choose_tickers

MINUS = "\N{MINUS SIGN}"
MANY_TICKERS = 5  # from here on coverage is drawn by ticker
SURVIVORS = (
    "Survivorship bias: tickers chosen today are survivors. Companies that failed, shrank or were "
    "bought are missing, so these prices rose more and crashed less than those of a choice made "
    "at the time. All forecasters are scored on the same tickers, which weakens this bias and does "
    "not remove it."
)


Result = Literal["better", "worse", "undecided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What a page shows beside the evaluation itself.

    `learning` are `validation` and `training` losses by optimizer step, `settings` those of
    `version_settings`, `command` the command line, `show` tickers to be embedded.
    """

    learning: Mapping[str, Sequence[tuple[int, float]]]
    settings: Mapping[str, str]
    command: str = ""
    show: Sequence[str] = ()


def evaluation_page(result: Evaluation, details: Details) -> Page:
    """Return the page of an evaluation: tiles and the headline chart, then target by target."""
    parts = result.by_target
    drawn = {target: curves_of(part) for target, part in parts.items()}
    sections = [
        section
        for part in parts.values()
        for section in _of_target(result, part, drawn[part.target])
    ]
    sections.append(figures.learning_section(details.learning))
    if details.settings:
        table = Table(columns=["setting", "value"], rows=list(details.settings.items()), prose=True)
        sections.append(Section(heading="Data and settings", table=table))
    first = next(iter(parts))
    series = TickerSeries(
        rows={target: part.rows for target, part in parts.items()},
        forecaster={target: part.forecaster for target, part in parts.items()},
        wanted=choose_tickers(drawn[first]["gains_by_ticker"], details.show),
    )
    return Page(
        title=sentences.title(result),
        summary=_summary(result),
        tiles=[_tile(part) for part in parts.values()],
        headline=_headline(result),
        lead=[line for target in parts for line in _lead(result, target)],
        warnings=[sentences.alarm_text(alarm) for alarm in result.alarms],
        sections=sections,
        notes=[SURVIVORS, *result.notes],
        facts=_facts(result) | _origin(result, details),
        series=series,
    )


def _summary(result: Evaluation) -> str:
    """Return which version forecast how many days, and by which weights."""
    part = next(iter(result.by_target.values()))
    own = part.rows.table(part.forecaster)
    first, last = result.blocks["train"]
    return (
        f"Version {result.version}, trained on {first} to {last}; {len(own):,} next-day forecasts "
        f"per target on {own['session'].nunique():,} test days that it never saw. All benchmarks "
        "forecast the same days and tickers."
    )


def _lead(result: Evaluation, target: str) -> list[str]:
    several = f"{target}: " if len(result.targets) > 1 else ""
    return [several + line for line in sentences.conclusions(result, target)]


def _tile(part: TargetEvaluation) -> Tile:
    """Return a target's result in short: errors, their tests, and coverage."""
    compared = _compared_first(part)
    lines = [_error_line(one) for one in reversed(compared)]
    if held := _held(part):
        lines.append("Coverage: " + ", ".join(f"{n} interval {share}" for n, share in held))
    value, result = _in_short(compared)
    return Tile(heading=f"Next day's {part.target}", value=value, result=result, lines=lines)


def _compared_first(part: TargetEvaluation) -> list[Comparison]:
    """Return the comparisons in squared error with the naive forecast and the best benchmarks.

    The last is the best of all, those with the version's own inputs among them.
    """
    squared = [one for one in part.comparisons.main if one.loss == "MSE"]
    own = [c for c in part.comparisons.all if c.loss == "MSE" and c.forecaster == part.forecaster]
    best = [max(own, key=lambda one: one.difference)] if own else []
    return list(dict.fromkeys([*squared, *best]))


def _in_short(compared: Sequence[Comparison]) -> tuple[str, Result]:
    """Return what comparisons say in a few words; the first is with the naive forecast."""
    by_conclusion: dict[str, list[str]] = {}
    for one in compared:
        by_conclusion.setdefault(one.conclusion, []).append(sentences.label(one.benchmark))
    if worse := by_conclusion.get("worse"):
        return f"Worse than {' and '.join(worse)}", "worse"
    undecided = by_conclusion.get("no significant difference", [])
    if compared[0].conclusion != "better":
        return f"Not significantly better than {undecided[0]}", "undecided"
    if not undecided:
        best = compared[-1]
        name = sentences.label(best.benchmark)
        return f"{sentences.percent(-best.difference)} lower error than {name}", "better"
    better = " and ".join(by_conclusion["better"])
    return f"Better than {better}, not significantly than {' and '.join(undecided)}", "better"


def _error_line(one: Comparison) -> str:
    """Return a comparison with its confidence interval and what the test says."""
    name = sentences.label(one.benchmark)
    if not math.isfinite(one.low):
        return f"Error against {name}: {sentences.difference(one)}, too few days for a test"
    between = f"{sentences.percent(-one.high)} to {sentences.percent(-one.low)}".replace("-", MINUS)
    side = "higher" if one.difference > 0.0 else "lower"
    unsure = one.conclusion == "no significant difference"
    significant = "not significant" if unsure else "significant"
    return (
        f"Error against {name}: {sentences.percent(abs(one.difference))} {side} (95 % interval "
        f"{between}), {significant} ({sentences.p_text(one.decisive_p_value)}, adjusted)"
    )


def _held(part: TargetEvaluation) -> list[tuple[str, str]]:
    """Return the nominal and the observed coverage of the served intervals."""
    table = part.coverage[(part.coverage["forecaster"] == part.forecaster)]
    table = table[table["by"] == "all"]
    found = dict(zip(table["nominal"], table["coverage"], strict=True))  # the last kind is served
    return [(sentences.percent(n, ".0f"), sentences.percent(c)) for n, c in found.items()]


def _headline(result: Evaluation) -> Section:
    parts = result.by_target.values()
    own = {
        part.target: [
            one
            for one in part.comparisons.all
            if one.forecaster == part.forecaster and one.loss == "MSE"
        ]
        for part in parts
    }
    return figures.skill_section(own, sentences.label(next(iter(parts)).forecaster))


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
    shown_above = ("validations", "training_losses", "model", "hidden", "layers", "base", "head")
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


def _of_target(
    result: Evaluation, part: TargetEvaluation, curves: Mapping[str, pd.DataFrame]
) -> list[Section]:
    """Return one target's heading, its pictures, then its tables."""
    target, many = part.target, len(part.rows.scored) >= MANY_TICKERS
    own = part.rows.table(part.forecaster)
    first, last = own["session"].min(), own["session"].max()
    heading = Section(
        heading=f"The next day's {target}",
        words=f"{len(own):,} forecasts by {sentences.label(part.forecaster)} of "
        f"{own['session'].nunique():,} test days, {first:%Y-%m-%d} to {last:%Y-%m-%d}.",
    )
    bands = Section(
        heading="Forecasts and outcomes",
        words="Every interval was made before its day. Outcomes are points: a forecast of "
        "the next day that merely repeats the last one would look right as a line.",
        series=target,
    )
    sections = [bands, *figures.gain_sections(curves)]
    sections += figures.calibration_sections(curves, by_ticker=many)
    sections += figures.against_sections(own, curves["bins"], target)
    if many:
        sections.append(figures.ticker_gains_section(curves["gains_by_ticker"]))
    sections += figures.backtest_sections(part.backtests, part.forecaster)
    words = f"An undefined score is {NOTHING}."
    sections.append(Section(heading="Scores", words=words, table=score_table(part.scores)))
    sections += table_sections(result, part)
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


def _origin(result: Evaluation, details: Details) -> dict[str, str]:
    """Return when, by which command and on which data the page was made."""
    found = {"version": result.version, "written": f"{clock.now():%Y-%m-%d %H:%M} UTC"}
    if "data fingerprint" in details.settings:
        found["data fingerprint"] = details.settings["data fingerprint"]
    return found | ({"command": details.command} if details.command else {})
