"""What the page of an evaluation is made of: plain tables and sentences.

Knows no network, no statistics and no file; whoever evaluates fills it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from forecaster.report import curves
from forecaster.report.page import Section


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
        rivals = curves.leading_rivals(rows)
        return {
            "gains": curves.gains(rows, rivals),
            "log_gains": curves.log_gains(rows),
            "bins": curves.bins(rows),
            "below_ends": curves.below_ends(rows),
            "pit": _shares(self.pit.get(target, ())),
            "coverage_over_time": curves.coverage_over_time(rows),
            "coverage_by_ticker": curves.coverage_by_ticker(rows),
            "gains_by_ticker": curves.gains_by_ticker(rows, rivals),
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
