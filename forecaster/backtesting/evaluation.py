"""What an evaluation found: tables and values that the terminal, the page and JSON share."""

from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Any

import pandas as pd

from forecaster.backtesting.walk_forward import Walk
from forecaster.evaluation.backtest import StrategyResult
from forecaster.evaluation.direction import DirectionTest
from forecaster.evaluation.evaluation import EvaluationCount
from forecaster.evaluation.multiple_comparisons import ConfidenceSet, Superiority
from forecaster.evaluation.significance import Comparison

SHOWN = ("mse", "mae", "skill", "direction_accuracy")
SHOWN_OF_DISTRIBUTIONS = ("mse", "skill", "direction_accuracy", "crps", "log_score")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What forecasters of the same report days are worth.

    `verdicts` by target are sentences, the most important first. `forecasts` has one row per
    forecast and forecaster (`FORECAST_COLUMNS`); `scores`, `per_ticker`, `seeds` and `coverage`
    are long tables (`SCORE_COLUMNS`, `COVERAGE_COLUMNS`), a value that is not defined None with
    its reason.

    `comparisons` test the version (and its ensemble) against every other forecaster, in every
    loss that both have; `ticker_comparisons` against "tomorrow = today", ticker by ticker.
    `superiority`, `confidence_sets`, `direction`, `strategies` and `pit` are by target.
    `alarms` are scores too good to be true, `unscored` by target the tickers without a report
    day that can be scored.
    """

    verdicts: dict[str, tuple[str, ...]]
    scores: pd.DataFrame
    per_ticker: pd.DataFrame
    seeds: pd.DataFrame
    coverage: pd.DataFrame
    forecasts: pd.DataFrame
    comparisons: tuple[Comparison, ...]
    ticker_comparisons: dict[str, tuple[tuple[str, Comparison], ...]]
    superiority: dict[str, Superiority]
    confidence_sets: dict[str, ConfidenceSet]
    direction: dict[str, dict[str, DirectionTest]]
    strategies: dict[str, dict[str, StrategyResult]]
    pit: dict[str, dict[str, list[int]]]
    costs_bps: float
    alarms: tuple[str, ...]
    unscored: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation(Judged):
    """What a version is worth on days that it never saw; see `Judged` for most of it.

    `walk` is how it walked and `looks` how often anyone looked at these days; `blocks` maps
    fit, select and report to their first and last day, `folds` has a row per fit. `choices`
    says, by target, which variant of a baseline the select block preferred; `notes` what a
    rival could not do; `missing` are tickers trained on that have no prices here any more.
    """

    version: str
    targets: tuple[str, ...]
    walk: Walk
    looks: EvaluationCount
    blocks: dict[str, tuple[date, date]]
    folds: pd.DataFrame
    choices: dict[str, dict[str, str]]
    notes: tuple[str, ...]
    missing: tuple[str, ...]

    def scorecard(self, target: str, *, by_ticker: bool = False) -> pd.DataFrame:
        """Lay a target's scores out as a table, one column per metric of the terminal's.

        Returns:
            A row per forecaster, the version first; with `by_ticker` a row per ticker, the
            version's own scores alone.
        """
        table = self.per_ticker if by_ticker else self.scores
        table = table[table["target"] == target]
        own = table["forecaster"].iloc[0]
        if by_ticker:
            table = table[table["forecaster"] == own]
        key = "ticker" if by_ticker else "forecaster"
        wide = table.pivot(index=key, columns="metric", values="value").reset_index()
        order = {name: place for place, name in enumerate(table[key].unique())}
        dense = wide["log_score"].notna().any()
        shown = SHOWN_OF_DISTRIBUTIONS if dense else SHOWN
        return wide.sort_values(key, key=lambda k: k.map(order))[[key, *shown]]

    def in_words(self, target: str) -> list[str]:
        """Say in a line each what the table of scores does not show."""
        own = str(self.scores[self.scores["target"] == target]["forecaster"].iloc[0])
        lines = [*self._intervals(target, own), *self._sides(target, own)]
        found = self.confidence_sets[target]
        if found.reason:
            lines.append(f"best    cannot be told: {found.reason}")
        else:
            chance = f"{1 - found.size:.0%}"
            lines.append(f"best    {', '.join(found.included)} ({chance} confidence set)")
        superior = self.superiority[target]
        if superior.p_value is not None:
            chance = f"p = {superior.p_value:.2g}" if superior.p_value > 0.0 else "p < 0.001"
            lines.append(
                f"any     best of {superior.benchmarks} against {superior.benchmark}: {chance} (SPA)"
            )
        return [*lines, *self._trades(target, own), *self._spread(target)]

    def _intervals(self, target: str, own: str) -> list[str]:
        table = self.coverage
        mine = table[(table["target"] == target) & (table["forecaster"] == own)]
        lines = []
        for kind, rows in mine.groupby("intervals", sort=False):
            parts = []
            for coverage, held in rows.groupby("coverage"):
                share = held[held["by"] == "all"]["inside"].iloc[0]
                each = held[held["by"] == "ticker"]["inside"]
                ends = f" ({each.min():.1%}..{each.max():.1%} by ticker)" if len(each) > 1 else ""
                parts.append(f"{share:.1%} inside {coverage:.0%}{ends}")
            lines.append(f"held    {kind}: {', '.join(parts)}")
        return lines

    def _sides(self, target: str, own: str) -> list[str]:
        found = self.direction[target][own]
        if found.right is None or found.by_chance is None or found.p_value is None:
            return [f"sides   cannot be told: {found.reason}"]
        return [
            f"sides   {found.right:.1%} right, {found.by_chance:.1%} by chance, "
            f"p = {found.p_value:.2g} (Pesaran-Timmermann)"
        ]

    def _trades(self, target: str, own: str) -> list[str]:
        if target not in self.strategies:
            return []
        found = self.strategies[target][own]
        if found.sharpe is None:
            return [f"trades  {found.reason}"]
        lines = [
            f"trades  {found.yearly_return:+.1%} a year after {self.costs_bps:g} bps a side, "
            f"Sharpe {found.sharpe:.2f}, drawdown {found.drawdown:.0%}, "
            f"{found.turnover:.0%} a day traded"
        ]
        held = self.strategies[target].get("mean")
        if held is not None and held.sharpe is not None:
            lines.append(
                f"        (by the mean, mostly buy and hold: {held.yearly_return:+.1%} a year, "
                f"Sharpe {held.sharpe:.2f}, drawdown {held.drawdown:.0%})"
            )
        return lines

    def _spread(self, target: str) -> list[str]:
        table = self.seeds[(self.seeds["target"] == target) & (self.seeds["seeds"] > 1)]
        table = table[table["metric"].isin(["mse", "crps", "log_score"])]
        return [
            f"seeds   {row.seeds}: {row.metric} {row.mean:.6g}, sd {row.sd:.2g}, "
            f"{row.min:.6g}..{row.max:.6g}"
            for row in table.itertuples()
        ]

    def content(self) -> dict[str, Any]:
        """Lay everything out by name, for JSON; the forecasts themselves go to a file."""
        return {
            "version": self.version,
            "target": ",".join(self.targets),
            "walk": asdict(self.walk),
            "looks": asdict(self.looks),
            "blocks": self.blocks,
            "folds": self.folds,
            "verdicts": self.verdicts,
            "choices": self.choices,
            "scores": self.scores,
            "per_ticker": self.per_ticker,
            "seeds": self.seeds,
            "coverage": self.coverage,
            "pit": self.pit,
            "comparisons": [_told(one) for one in self.comparisons],
            "ticker_comparisons": [
                {"ticker": ticker, **_told(one)}
                for found in self.ticker_comparisons.values()
                for ticker, one in found
            ],
            "superiority": {target: asdict(one) for target, one in self.superiority.items()},
            "confidence_sets": {
                target: asdict(one) for target, one in self.confidence_sets.items()
            },
            "direction": {
                target: {name: asdict(test) for name, test in found.items()}
                for target, found in self.direction.items()
            },
            "strategies": {
                target: {name: _traded(one) for name, one in found.items()}
                for target, found in self.strategies.items()
            },
            "costs_bps": self.costs_bps,
            "alarms": self.alarms,
            "notes": self.notes,
            "missing": self.missing,
            "unscored": self.unscored,
        }


def _told(one: Comparison) -> dict[str, Any]:
    return {**asdict(one), "verdict": one.verdict, "sentence": one.sentence}


def _traded(one: StrategyResult) -> dict[str, Any]:
    """Write the days and their returns as lists."""
    whole = {part.name: getattr(one, part.name) for part in fields(one)}
    return {
        **whole,
        "days": one.days.astype("datetime64[D]").astype(str).tolist(),
        "daily": one.daily.tolist(),
    }
