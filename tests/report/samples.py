"""Tables of an evaluation small enough to know every number, and large enough to draw."""

import numpy as np
import pandas as pd

from forecaster.report.evaluation import EvaluationTables

OWN, FIRST = "lstm", "zero-return"


def forecast_rows(days: int = 300, tickers: int = 2, target: str = "return") -> pd.DataFrame:
    """Three forecasters of noisy outcomes; the own one knows a little, and states intervals."""
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


def score_rows(target: str = "return") -> pd.DataFrame:
    """A score that all have, and one that tomorrow = today has not."""
    rows = [
        (target, OWN, "skill", 0.0123, 0.01, 0.02, ""),
        (target, OWN, "ic", None, None, None, "one series alone"),
        (target, FIRST, "skill", 0.0, 0.0, 0.0, ""),
        (target, OWN, "direction_accuracy", 0.561, 0.5, 0.6, ""),
        (target, FIRST, "direction_accuracy", None, None, None, "never takes a side"),
        (target, "mean", "skill", -0.001, -0.002, 0.0, ""),
    ]
    columns = ["target", "forecaster", "metric", "value", "low", "high", "reason"]
    return pd.DataFrame(rows, columns=columns)


def sample(**changes: object) -> EvaluationTables:
    """Everything that a page can show of one target."""
    given = {
        "version": "20200101-120000-lstm-abcdef01",
        "verdicts": {"return": ["lstm is better than zero-return", "lstm is worse than garch-t"]},
        "facts": {"days": "300", "looks": "2 looks at these days"},
        "scores": score_rows(),
        "forecasts": forecast_rows(),
        "pit": {"return": [10, 20, 10, 0]},
        "learning": {"seed 0": [(25, 0.9), (50, 0.7), (75, 0.8)]},
        "settings": {"model": "lstm", "tickers": "T000, T001"},
        "alarms": ["R2 of 20% is too good to be true"],
    }
    return EvaluationTables(**{**given, **changes})  # type: ignore[arg-type]
