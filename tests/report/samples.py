"""An evaluation small enough to know every number, and large enough to plot."""

from datetime import date

import numpy as np
import pandas as pd

from forecaster.evaluation.evaluation import (
    Comparisons,
    Evaluation,
    EvaluationCount,
    TargetEvaluation,
)
from forecaster.evaluation.scored_forecasts import FORECAST_COLUMNS, ScoredForecasts
from forecaster.evaluation.significance import Comparison, ConfidenceSet, SpaTest
from forecaster.evaluation.splits import Walk
from forecaster.report.evaluation import Details, evaluation_page
from forecaster.report.page import render_page

OWN, FIRST = "lstm", "zero-return"


def forecast_rows(days: int = 300, tickers: int = 2, target: str = "return") -> pd.DataFrame:
    """Three forecasters of noisy outcomes; the own one knows a little, and has intervals."""
    draw = np.random.default_rng(0)
    sessions = pd.bdate_range("2020-01-01", periods=days).astype("datetime64[s]")
    parts = []
    for number in range(tickers):
        known, actual = draw.normal(size=(2, days)) / 100
        actual = actual + known
        own = {"forecast": known, "log_score": 3.0, "q025": known - 0.0196, "q10": known - 0.0128}
        own |= {"q90": known + 0.0128, "q975": known + 0.0196}
        others = {FIRST: {"forecast": 0.0}, "mean": {"forecast": 0.001, "log_score": 2.9}}
        for name, columns in {OWN: own, **others}.items():
            part = pd.DataFrame({"session": sessions, "actual": actual, **columns})
            parts.append(part.assign(ticker=f"T{number:03}", target=target, forecaster=name))
    return pd.concat(parts, ignore_index=True)


def scored(rows: pd.DataFrame, target: str = "return") -> ScoredForecasts:
    """Forecasts in one column per number, from a row per forecast and forecaster."""
    keys = ["session", "ticker"]
    index = rows[keys].drop_duplicates()
    wide = rows.set_index(["forecaster", *keys]).unstack("forecaster")
    wide = wide.reindex(pd.MultiIndex.from_frame(index))
    names = list(dict.fromkeys(rows["ticker"]))
    parts = rows["forecaster"].unique()
    numbers = [name for name in FORECAST_COLUMNS[5:] if name in rows and name != "actual"]
    return ScoredForecasts(
        target=target,
        tickers=tuple(names),
        series=np.array([names.index(name) for name in index["ticker"]], dtype=int),
        as_of=index["session"].to_numpy("datetime64[D]"),
        session=index["session"].to_numpy("datetime64[D]"),
        actual=wide["actual"].bfill(axis=1).iloc[:, 0].to_numpy(),
        last_close=np.full(len(wide), 100.0),
        columns={
            str(part): {name: wide[name][part].to_numpy(dtype=float) for name in numbers}
            for part in parts
        },
    )


def score_rows(target: str = "return") -> pd.DataFrame:
    """A score that all have, and one that the naive forecast has not."""
    rows = [
        (target, OWN, "skill", 0.0123, 0.01, 0.02, ""),
        (target, OWN, "ic", None, None, None, "one series alone"),
        (target, FIRST, "skill", 0.0, 0.0, 0.0, ""),
        (target, OWN, "directional_accuracy", 0.561, 0.5, 0.6, ""),
        (target, FIRST, "directional_accuracy", None, None, None, "never forecasts a direction"),
        (target, "mean", "skill", -0.001, -0.002, 0.0, ""),
    ]
    columns = ["target", "forecaster", "metric", "value", "low", "high", "reason"]
    return pd.DataFrame(rows, columns=columns).assign(days=300, forecasts=600)


def comparison(benchmark: str = FIRST, **changes: object) -> Comparison:
    """A test of the own forecaster, significant unless changed."""
    given = {"target": "return", "forecaster": OWN, "benchmark": benchmark, "days": 300}
    given |= {"difference": -0.0123, "p_value": 0.001, "adjusted_p_value": 0.002, "tests": 2}
    return Comparison(**{**given, **changes})  # type: ignore[arg-type]


def part_sample(target: str = "return", **changes: object) -> TargetEvaluation:
    """Everything that a page can show of one target."""
    better, even = comparison(), comparison("mean", adjusted_p_value=0.5)
    comparisons = Comparisons(
        all=(better, even),
        main=(better, even),
        same_inputs=(),
        by_ticker={"T000": better},
        spa=SpaTest(benchmark=FIRST, forecasters=2, days=300, p_value=0.03),
        mcs=ConfidenceSet(size=0.1, included=(OWN, "mean"), p_values={}, days=300),
    )
    columns = [*("target", "forecaster", "intervals", "by", "key"), "nominal", "coverage"]
    given = {
        "target": target,
        "forecaster": OWN,
        "scores": score_rows(target),
        "scores_by_ticker": pd.DataFrame(),
        "scores_by_seed": pd.DataFrame(columns=["metric", "seeds", "mean", "sd", "min", "max"]),
        "coverage": pd.DataFrame(columns=[*columns, "forecasts", "interval_score"]),
        "rows": scored(forecast_rows(target=target), target),
        "comparisons": comparisons,
        "direction": {},
        "backtests": {},
        "pit": {OWN: [10, 20, 10, 0]},
        "choices": {},
        "unscored": (),
    }
    return TargetEvaluation(**{**given, **changes})  # type: ignore[arg-type]


def sample(*parts: TargetEvaluation, **changes: object) -> Evaluation:
    """An evaluation of some targets, by default of `part_sample`."""
    day = date(2020, 1, 1)
    given = {
        "version": "20200101-120000-lstm-abcdef01",
        "walk": Walk(),
        "count": EvaluationCount(same=1, total=2, questions=2),
        "blocks": dict.fromkeys(("train", "validation", "test"), (day, day)),
        "folds": pd.DataFrame({"fold": [1]}),
        "by_target": {part.target: part for part in parts or (part_sample(),)},
        "costs_bps": 5.0,
    }
    return Evaluation(**{**given, **changes})  # type: ignore[arg-type]


LEARNING = {"validation": [(25, 0.9), (50, 0.7), (75, 0.8)], "training": [(25, 0.8), (75, 0.6)]}
SETTINGS = {"model": "lstm", "tickers": "T000, T001"}


DETAILS = Details(learning=LEARNING, settings=SETTINGS, command="forecaster evaluate --seeds 2")


def page_of(result: Evaluation | None = None, details: Details = DETAILS) -> str:
    """Render an evaluation with the samples' learning curve and settings, library inside."""
    return render_page(evaluation_page(result or sample(), details))
