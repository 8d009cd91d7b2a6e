"""Scores of forecasts beside the persistence forecast of the same days.

The one table in: a row per forecast and forecaster with at least `ticker, as_of, session,
target, forecaster, forecast, actual`; knows no network and no baseline but persistence.
"""

import numpy as np
import pandas as pd
from sklearn.metrics import mean_absolute_error, mean_squared_error

PERSISTENCE = ("zero-return", "persistence")  # "tomorrow = today", per target
R2_ALARM, DIRECTION_ALARM = 0.01, 0.55
ALARM_MIN_DAYS = 250  # a year; below that chance alone passes the alarm levels
METRICS = ("mse", "mae", "skill", "direction_accuracy")


def scores(table: pd.DataFrame, by: tuple[str, ...] = ()) -> pd.DataFrame:
    """Score every forecaster of every target.

    Args:
        table: the forecast table; every forecast has its persistence row beside it.
        by: further columns to score within, such as `("ticker",)`.

    Returns:
        Rows of `target, *by, forecaster, metric, value, days, forecasts`: `mse` and `mae`
        in the target's own units (squared), `skill` = 1 - mse / mse of persistence,
        `direction_accuracy` = share of moves away from persistence whose side was
        right. A value that is not defined is NaN. `days` counts distinct sessions.
    """
    rows = []
    keys = ["target", *by, "forecaster"]
    for key, group in _with_reference(table).groupby(keys, sort=False):
        base = dict(zip(keys, key, strict=True))
        counts = {"days": group["session"].nunique(), "forecasts": len(group)}
        for metric, value in _score(group).items():
            rows.append({**base, "metric": metric, "value": value, **counts})
    return pd.DataFrame(rows, columns=[*keys, "metric", "value", "days", "forecasts"])


def _with_reference(table: pd.DataFrame) -> pd.DataFrame:
    """Put the persistence forecast of the same ticker, day and target into each row."""
    keys = ["target", "ticker", "as_of"]
    persistence = table[table["forecaster"].isin(PERSISTENCE)]
    reference = persistence[[*keys, "forecast"]].rename(columns={"forecast": "reference"})
    return table.merge(reference, on=keys, how="left", validate="many_to_one")


def _score(group: pd.DataFrame) -> dict[str, float]:
    actual, forecast = group["actual"].to_numpy(), group["forecast"].to_numpy()
    reference = group["reference"].to_numpy()
    mse = float(mean_squared_error(actual, forecast))
    persistence = float(mean_squared_error(actual, reference))
    return {
        "mse": mse,
        "mae": float(mean_absolute_error(actual, forecast)),
        "skill": 1.0 - mse / persistence if persistence > 0 else float("nan"),
        "direction_accuracy": direction_accuracy(forecast - reference, actual - reference),
    }


def direction_accuracy(forecast_move: np.ndarray, actual_move: np.ndarray) -> float:
    """Share of days whose side was forecast, among days on which both moved.

    Returns:
        0..1, or NaN where the forecaster never takes a side (persistence itself).
    """
    sided = (forecast_move != 0) & (actual_move != 0)
    if not sided.any():
        return float("nan")
    return float(np.mean(np.sign(forecast_move[sided]) == np.sign(actual_move[sided])))


def alarms(table: pd.DataFrame) -> list[str]:
    """Say which return forecasts are too good to be true.

    Args:
        table: pooled `scores`.

    Returns:
        One sentence per alarm: R-squared over zero above 1 % or direction accuracy
        above 55 % on daily returns, over at least 250 days, is a leak until explained.
    """
    limits = {
        "skill": (R2_ALARM, "R2 over zero"),
        "direction_accuracy": (DIRECTION_ALARM, "direction accuracy"),
    }
    found = []
    for metric, (limit, label) in limits.items():
        rows = table[(table["target"] == "return") & (table["metric"] == metric)]
        rows = rows[(rows["days"] >= ALARM_MIN_DAYS) & (rows["value"] > limit)]
        found += [
            f"{name}: {label} of {value:.2%} on daily returns is above {limit:.0%}; take it for a "
            "leak until you have explained it."
            for name, value in zip(rows["forecaster"], rows["value"], strict=True)
        ]
    return found
