"""The result of an evaluation: scores, tests, coverage and forecasts, target by target."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import pandas as pd

from forecaster.evaluation.direction import Backtest, DirectionTest
from forecaster.evaluation.scored_forecasts import ScoredForecasts
from forecaster.evaluation.scores import (
    DENSITY_METRICS,
    POINT_METRICS,
    QLIKE,
    Alarm,
    implausible_scores,
)
from forecaster.evaluation.significance import Comparison, ConfidenceSet, SpaTest
from forecaster.evaluation.splits import EvaluationCount, Walk


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparisons:
    """A version's losses tested against those of other forecasters.

    `all` are the tests of the version (and its ensemble) against every other forecaster, in every
    loss that both have. Of these `main` are those against the naive forecast and the best
    benchmarks, `same_inputs` those against the benchmarks with the version's own inputs.
    `by_ticker` are tests against the naive forecast in squared error. `spa` tests whether any
    forecaster beats the naive one; `mcs` holds those that may be the best.
    """

    all: tuple[Comparison, ...]
    main: tuple[Comparison, ...]
    same_inputs: tuple[Comparison, ...]
    by_ticker: dict[str, Comparison]
    spa: SpaTest
    mcs: ConfidenceSet


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetEvaluation:
    """Evaluation of one target's forecasters, all on the same test rows.

    `forecaster` is the name of the version's network. The tables have a row per value, None with
    its `reason` where undefined:

    - `scores`: `target, forecaster, metric, value, low, high, days, forecasts, reason`, the
      version first, then the naive forecast; `scores_by_ticker` with a `ticker` more;
    - `scores_by_seed`: `target, metric, seeds, mean, sd, min, max`;
    - `coverage`: `target, forecaster, intervals` (`uncalibrated` or `conformal`), `by` (`all`,
      `ticker`, `year`), `key, nominal, coverage, forecasts, interval_score`.

    `rows` are the forecasts of every forecaster with their outcomes, `pit` counts of probability
    integral transforms in equal bins by forecaster, `direction` and `backtests` (of returns only)
    are by forecaster. `choices` are the variants of benchmarks that the validation days chose,
    `unscored` the tickers without a test day that can be scored.
    """

    target: str
    forecaster: str
    scores: pd.DataFrame
    scores_by_ticker: pd.DataFrame
    scores_by_seed: pd.DataFrame
    coverage: pd.DataFrame
    rows: ScoredForecasts
    comparisons: Comparisons
    direction: dict[str, DirectionTest]
    backtests: dict[str, Backtest]
    pit: dict[str, list[int]]
    choices: dict[str, str]
    unscored: tuple[str, ...]

    @property
    def forecasts(self) -> pd.DataFrame:
        """A row (`FORECAST_COLUMNS`) per forecast and forecaster, made by each call."""
        return pd.concat(self.rows.tables(), ignore_index=True)

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """The forecaster's own scores that are too good to be true."""
        own = self.scores[self.scores["forecaster"] == self.forecaster]
        direction = self.direction.get(self.forecaster)
        p_values = {
            "skill": self.comparisons.main[0].p_value,  # against the naive forecast
            "directional_accuracy": direction.p_value if direction else None,
        }
        return implausible_scores(own, p_values)

    def scorecard(self, *, by_ticker: bool = False) -> pd.DataFrame:
        """Return a row per forecaster, the version first, with a column per main score.

        With `by_ticker` a row per ticker, with the version's own scores.
        """
        key = "ticker" if by_ticker else "forecaster"
        own = self.scores_by_ticker["forecaster"] == self.forecaster
        table = self.scores_by_ticker[own] if by_ticker else self.scores
        wide = table.pivot(index=key, columns="metric", values="value")
        metrics = DENSITY_METRICS if wide["log_score"].notna().any() else POINT_METRICS
        shown = [*metrics, *({QLIKE} & {*wide.columns})]
        return wide.loc[table[key].unique(), shown].reset_index()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Evaluation of a version on test days, which it was neither trained nor validated on.

    `blocks` maps train, validation and test to their first and last day; `folds` has a row per
    fit. `costs_bps` are those of the backtest, per side. `notes` are what a benchmark could not do,
    `missing` the tickers trained on that are left out: without prices now, or a bug.
    """

    version: str
    walk: Walk
    count: EvaluationCount
    blocks: dict[str, tuple[date, date]]
    folds: pd.DataFrame
    by_target: dict[str, TargetEvaluation]
    costs_bps: float
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def __repr__(self) -> str:
        first, last = self.blocks["test"]
        text = f"Evaluation of version {self.version}, test {first} to {last}"
        for name, part in self.by_target.items():
            table = part.scorecard().head(5).to_string(index=False, float_format="{:.4g}".format)
            text += f"\n{name}, {part.scores['forecaster'].nunique()} forecasters:\n{table}"
        return text

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets."""
        return tuple(self.by_target)

    @property
    def scores(self) -> pd.DataFrame:
        """Scores of all targets."""
        return self.table("scores")

    @property
    def forecasts(self) -> pd.DataFrame:
        """Forecasts of all targets, a row each; see `forecast_tables`."""
        return pd.concat(self.forecast_tables(), ignore_index=True)

    def forecast_tables(self) -> Iterator[pd.DataFrame]:
        """Yield the forecasts (`FORECAST_COLUMNS`), a table per target and forecaster."""
        for part in self.by_target.values():
            yield from part.rows.tables()

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """Scores of the version itself that are too good to be true."""
        return tuple(alarm for part in self.by_target.values() for alarm in part.alarms)

    def table(self, name: str) -> pd.DataFrame:
        """Return a table of `TargetEvaluation` for all targets together."""
        # Objects: a column of one part may be all None, which pandas would make NaN.
        parts = [getattr(part, name).astype(object) for part in self.by_target.values()]
        table: pd.DataFrame = pd.concat(parts, ignore_index=True).infer_objects()
        return table
