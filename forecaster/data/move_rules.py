"""Rules for moves between closes that no dividend or split on record explains.

`docs/data-validation.md` explains each threshold, with its false alarms and its power.

Shape letters: D bars of a history.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from forecaster.data.series import Daily, Hit, Series

# Another unit, a misplaced decimal point or a redenomination; dozens, and shillings of a pound.
UNITS: Final = (10.0, 12.0, 20.0, 100.0, 240.0, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8)
UNIT_TOLERANCE: Final = (1.15, 1.4)  # at least and at most: what the day itself moved
UNIT_NOISE: Final = 2.5  # in volatilities, between these two
UNIT_MOVE: Final = 17.0  # volatilities; less may be a wild day
SPIKE: Final = 2.0  # GameStop's wildest day was a factor of 2.35, and its way back one of 1.8
SPIKE_RETURN: Final = 1.1
SPIKE_NOISE: Final = 2.5  # volatilities, where these are more
JUMP: Final = 1.5  # as in qlib's health check; crises and mergers get there, too
WILD: Final = 14.0  # volatilities; a coin moves by JUMP within an ordinary month
CONFIRMED: Final = 3  # sessions after which a jump is believed: a wrong price is mended in two
CONFIRMED_SLOWLY: Final = 10  # Yahoo applies a split some days late, see event_rules.py
REMAINS: Final = 0.25  # of a jump; of GameStop's wildest day three tenths did
SPLIT_RATIOS: Final = (1.5, *map(float, range(2, 11)), 12.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0)
EVENT_TOLERANCE: Final = 0.02  # log; a fall of 35 % is 0.025 from the split 3:2


def resembles_event(move: float) -> str:
    """Describe the split ratio or unit that a log move is near; empty if it is near none."""
    for word, sizes in (("a split of", SPLIT_RATIOS), ("a factor of", UNITS)):
        for size in sizes:
            if abs(abs(move) - np.log(size)) <= EVENT_TOLERANCE:
                return f"{word} {size:g}"
    return ""


def nearest_unit(moves: Daily) -> Daily:
    """Return the log of the unit that is nearest to each absolute log move, (D,)."""
    logs = np.log(UNITS)
    edges = (logs[1:] + logs[:-1]) / 2
    nearest: Daily = logs[np.searchsorted(edges, np.abs(moves))]
    return nearest


def unit_slips(series: Series) -> list[Hit]:
    """Find steps from one unit to another: into a block of wrong bars, or out of a longer one."""
    size, unit = np.abs(series.move), nearest_unit(series.move)
    least, most = np.log(UNIT_TOLERANCE)
    tolerance = np.clip(UNIT_NOISE * series.volatility, least, most)
    tolerance[unit >= np.log(100.0)] = most
    near = (np.abs(size - unit) <= tolerance) & (size >= UNIT_MOVE * series.volatility)
    return [
        Hit(row, f"{series.describe_move(row)} is a factor of about {np.exp(unit[row]):,.0f}")
        for row in _without_return(series, near)
    ]


def spikes(series: Series) -> list[Hit]:
    """Find single bars that leave both neighbours by a factor, and these agree."""
    least = np.maximum(np.log(SPIKE), WILD * series.volatility[1:-1])
    there, back = series.move[1:-1], series.move[2:]
    left = (np.abs(there) >= least) & (np.abs(back) >= least)
    noise = np.maximum(np.log(SPIKE_RETURN), SPIKE_NOISE * series.volatility[1:-1])
    rows = 1 + np.flatnonzero(left & (np.abs(there + back) < noise))
    return [
        Hit(row, f"{series.describe_move(row)}, and back the next day", shown_by=row + 1)
        for row in rows.tolist()
    ]


def jumps(series: Series) -> list[Hit]:
    """Find moves that no dividend or split explains, nor the way back of a spike."""
    large = np.abs(series.move) > np.maximum(np.log(JUMP), WILD * series.volatility)
    return [
        Hit(row, f"{series.describe_move(row)} without a split or dividend to explain it")
        for row in _without_return(series, large)
    ]


def _without_return(series: Series, found: NDArray[np.bool_]) -> list[int]:
    """Return the bars found (D,) that do not come back from a spike."""
    back = {hit.row + 1 for hit in spikes(series)}
    return [row for row in np.flatnonzero(found).tolist() if row not in back]


def fresh_jumps(series: Series) -> list[Hit]:
    """Find jumps that too few later sessions confirm: with volume, and not back at the old level.

    One as large as a split or a unit takes ten of them, any other three; after ten sessions with
    volume at whatever level it is a move of the past. A ticker without volumes needs none.
    """
    volume = series.history.bars["volume"].to_numpy(np.float64)
    found = []
    for row, reason, _ in jumps(series):
        is_traded = volume[row + 1 :] > 0
        if not (volume[max(row - CONFIRMED_SLOWLY, 0) : row] > 0).any():
            is_traded[:] = True
        size = series.move[row]
        remains = 1.0 + np.cumsum(series.move[row + 1 :]) / size >= REMAINS
        event = resembles_event(size)
        needed = CONFIRMED_SLOWLY if event else CONFIRMED
        if is_traded.sum() < CONFIRMED_SLOWLY and (is_traded & remains).sum() < needed:
            why = f"; about {event}" if event else ""
            found.append(Hit(row, f"{reason}{why}; {needed} sessions with volume confirm it"))
    return found
