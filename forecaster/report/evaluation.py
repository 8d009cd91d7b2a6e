"""The page of an evaluation: the verdict first, then what it rests on.

Tables in, a page out; knows no network, no statistics and no file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from forecaster.report import curves
from forecaster.report.curves import own_name
from forecaster.report.evaluation_figures import (
    against_sections,
    calibration_sections,
    gains_section,
    learning_section,
    log_gains_section,
    ticker_gains_section,
)
from forecaster.report.page import Section, Table, render_page


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvaluationTables:
    """What is shown.

    Args:
        version: what is evaluated.
        verdicts: by target, the sentences that answer the question; the first comes first.
        facts: label and value of what the verdicts rest on: days, comparisons, looks, blocks.
        scores: a row per target, forecaster and metric with `value`, NaN where undefined, and
            perhaps `low`, `high` (a 95 % interval) and `reason`. Each target's first forecaster
            is the one evaluated.
        forecasts: a row per forecast and forecaster: `ticker`, `session` (the outcome's day),
            `target`, `forecaster`, `forecast`, `actual`, and perhaps the ends `q025`, `q10`,
            `q90`, `q975` of its intervals and its `log_score` in nats.
        pit: by target, how many outcomes fell into each of equal bins of their distributions.
        details: by target, further tables.
        learning: select loss by update of each training, by its name.
        settings: label and value of the data and the settings that made the version.
        alarms: sentences that shout.
        notes: sentences to have in mind.
    """

    version: str
    verdicts: Mapping[str, Sequence[str]]
    facts: Mapping[str, str]
    scores: pd.DataFrame
    forecasts: pd.DataFrame
    pit: Mapping[str, Sequence[int]] = field(default_factory=dict)
    details: Mapping[str, Sequence[Section]] = field(default_factory=dict)
    learning: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    alarms: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """What is forecast, in the order of the forecasts."""
        return tuple(self.forecasts["target"].unique())

    def of(self, target: str) -> pd.DataFrame:
        """Return the rows of one target's forecasts."""
        return self.forecasts[self.forecasts["target"] == target]

    def curves(self, target: str) -> dict[str, pd.DataFrame]:
        """Compute every table that is drawn of one target, by name."""
        rows = self.of(target)
        benchmarks = curves.leading_benchmarks(rows)
        return {
            "gains": curves.gains(rows, benchmarks),
            "log_gains": curves.log_gains(rows),
            "bins": curves.bins(rows),
            "below_ends": curves.below_ends(rows),
            "pit": _shares(self.pit.get(target, ())),
            "coverage_over_time": curves.coverage_over_time(rows),
            "coverage_by_ticker": curves.coverage_by_ticker(rows),
            "gains_by_ticker": curves.gains_by_ticker(rows, benchmarks),
        }

    def content(self) -> dict[str, Any]:
        """Lay out what is drawn by name, tables as lists by column; the scores are elsewhere."""
        drawn = {
            target: {
                name: {str(column): table[column].tolist() for column in table}
                for name, table in self.curves(target).items()
            }
            for target in self.targets
        }
        return {"curves": drawn, "learning": self.learning, "settings": self.settings}


def _shares(counts: Sequence[int]) -> pd.DataFrame:
    """Lay counts of equal bins out as `low, high, share`; no rows where nothing was counted."""
    edges = np.linspace(0.0, 1.0, len(counts) + 1)
    whole = max(sum(counts), 1)
    table = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "share": np.array(counts) / whole})
    return table if sum(counts) else table.iloc[:0]


SURVIVORS = (
    "Read with care: tickers chosen today are survivors. Companies that failed, shrank or were "
    "bought are missing, so these prices rose more and crashed less than those of a choice made "
    "at the time. All forecasters are scored on the same tickers, which weakens this bias and does "
    "not remove it."
)
FORMATS = {
    **dict.fromkeys(["mse", "mae", "crps", "pinball", "width_80", "width_95"], "#.4g"),
    **dict.fromkeys(["skill", "r2_over_zero"], "+.2%"),
    **dict.fromkeys(["direction_accuracy", "coverage_80", "coverage_95"], ".1%"),
    **dict.fromkeys(["mcc", "ic", "rank_ic"], "+.3f"),
    **dict.fromkeys(["ic_t", "rank_ic_t"], "+.1f"),
    "log_score": ".3f",
}
CARD = (  # what fits beside each other; the rest stands below
    *("mse", "skill", "direction_accuracy", "ic", "rank_ic"),
    *("crps", "log_score", "coverage_80", "coverage_95"),
)
NAMES = {
    "direction_accuracy": "direction",
    "ic": "IC",
    "rank_ic": "rank IC",
    "mse": "MSE",
    "mae": "MAE",
    "crps": "CRPS",
}
NAMES |= {"mcc": "MCC", "r2_over_zero": "R² over zero", "ic_t": "IC t", "rank_ic_t": "rank IC t"}
NOTHING = "-"


def evaluation_page(tables: EvaluationTables) -> str:
    """Draw everything on one page that needs no network."""
    several = len(tables.verdicts) > 1
    lead = [
        [f"{target.capitalize()}: {first}" if several else first, *others]
        for target, (first, *others) in tables.verdicts.items()
    ]
    sections = [section for target in tables.targets for section in _of_target(tables, target)]
    return render_page(
        f"What {tables.version} is worth",
        lead,
        tables.facts,
        tables.alarms,
        [*sections, learning_section(tables.learning), *_settings(tables.settings)],
        notes=[SURVIVORS, *tables.notes],
    )


def _of_target(tables: EvaluationTables, target: str) -> list[Section]:
    """Give one target's heading and scores, its figures, then its other tables."""
    rows, found = tables.of(target), tables.curves(target)
    name = own_name(rows)
    own = rows[rows["forecaster"] == name]
    first, last = own["session"].min(), own["session"].max()
    heading = Section(
        heading=f"The next day's {target}",
        words=f"{len(own):,} forecasts by {name} of {own['session'].nunique():,} days, "
        f"{first:%Y-%m-%d} to {last:%Y-%m-%d}, that it never saw; the others forecast the "
        f"same days and tickers. Where a score is not defined stands {NOTHING}.",
        table=_scorecard(tables.scores, target),
    )
    log_gains, by_ticker = found["log_gains"], found["gains_by_ticker"]
    return [
        heading,
        gains_section(found["gains"]),
        *([log_gains_section(log_gains)] if len(log_gains) else []),
        *against_sections(own, found["bins"], ".4~%" if target == "return" else ""),
        *calibration_sections(found),
        *([ticker_gains_section(by_ticker)] if len(by_ticker) else []),
        *_own_scores(tables.scores, target, name),
        *tables.details.get(target, ()),
    ]


def _scorecard(scores: pd.DataFrame, target: str) -> Table:
    """Lay out a row per forecaster, a column per metric of `CARD` that anybody has."""
    table = scores[scores["target"] == target]
    defined = set(table.dropna(subset=["value"])["metric"])
    metrics = [metric for metric in CARD if metric in defined]
    values = table.set_index(["forecaster", "metric"])["value"].to_dict()
    return Table(
        columns=["forecaster", *map(_name, metrics)],
        rows=[
            [name, *(_cell(values.get((name, metric)), metric) for metric in metrics)]
            for name in dict.fromkeys(table["forecaster"])
        ],
        stressed=True,
    )


def _own_scores(scores: pd.DataFrame, target: str, name: str) -> list[Section]:
    """Lay out the own scores with their intervals and with why one is missing."""
    table = scores[(scores["target"] == target) & (scores["forecaster"] == name)]
    if not {"low", "high", "reason"} <= set(table.columns):
        return []
    rows = [
        [_name(metric), *(_cell(value, metric) for value in values), reason or ""]
        for metric, *values, reason in zip(
            *(table[column] for column in ("metric", "value", "low", "high", "reason")), strict=True
        )
    ]
    return [
        Section(
            heading="How sure its scores are",
            words="The ends hold 95 % of what other days like these would have given: blocks of "
            "days drawn again, all tickers of a day together.",
            table=Table(columns=["score", "value", "from", "to", ""], rows=rows),
            level=3,
        )
    ]


def _settings(settings: Mapping[str, str]) -> list[Section]:
    """Lay out the data and the settings that made the version."""
    if not settings:
        return []
    table = Table(columns=["setting", "value"], rows=list(settings.items()), prose=True)
    return [Section(heading="Data and settings", table=table)]


def _name(metric: str) -> str:
    for coverage in ("80", "95"):
        if metric.endswith(f"_{coverage}"):
            name = metric.removesuffix(f"_{coverage}").replace("coverage", "inside")
            return f"{name} {coverage} %"
    return NAMES.get(metric, metric.replace("_", " "))


def _cell(value: float | None, metric: str) -> str:
    if value is None or value != value:
        return NOTHING
    return format(value, FORMATS.get(metric, ".4g"))
