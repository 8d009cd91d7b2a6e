"""Inputs from the exchange's scheduled calendar: the next session's, and today's own.

Today's matter as well: a volume that expiries or a half day explain says less of tomorrow.

Shape letters as in `derived.py`.
"""

import numpy as np

from forecaster.data.piece import Columns, Piece, lagged

SCHEDULED = (
    *("next_mon", "next_tue", "next_wed", "next_thu", "next_fri"),
    *("gap_days", "holiday_gap", "half_day", "month_end", "option_expiry", "holiday_before"),
)
_TODAY = ("holiday_gap", "half_day", "month_end", "option_expiry", "holiday_before")


def calendar_group(piece: Piece) -> Columns:
    """Describe the next scheduled session and how today differs from an ordinary one.

    `quarter_end` and `triple_expiry` are those of March, June, September and December,
    `year_end` runs from Christmas to New Year,
    `season_*` are the first two harmonics of the year.
    """
    following = piece.next_days
    months = following.astype("datetime64[M]").astype(np.int64) % 12
    day_of_year = (following - following.astype("datetime64[Y]")).astype(np.int64)
    day_of_month = (following - following.astype("datetime64[M]")).astype(np.int64) + 1
    quarterly = (months % 3 == 2).astype(np.float64)
    columns = {name: piece[name] for name in SCHEDULED}
    columns |= {
        "quarter_end": piece["month_end"] * quarterly,
        "triple_expiry": piece["option_expiry"] * quarterly,
        "year_end": ((months == 11) & (day_of_month >= 24)).astype(np.float64),
    }
    for harmonic in (1, 2):
        angle = 2.0 * np.pi * harmonic * day_of_year / 365.25
        columns |= {f"season_sin{harmonic}": np.sin(angle), f"season_cos{harmonic}": np.cos(angle)}
    for name in (*_TODAY, "quarter_end", "triple_expiry", "year_end"):
        columns[f"today_{name}"] = lagged(columns[name], 1)
    return columns
