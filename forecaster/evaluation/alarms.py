"""Levels above which a forecast of daily returns is taken for a leak until it is explained."""

import pandas as pd

R2_ALARM, DIRECTION_ALARM = 0.01, 0.55
ALARM_MIN_DAYS = 250  # a year; below that chance alone passes the alarm levels


def alarms(table: pd.DataFrame) -> list[str]:
    """Say which return forecasts are too good to be true.

    Args:
        table: scores of all days: `target, forecaster, metric, value, days`.

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
