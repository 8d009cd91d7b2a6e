"""Other futures for the same past: bars after a date are cut off, blanked or corrupted.

Every bar up to the date stays as it is, and every table remains valid.

Shape letters: D bars of a history.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.data.history import PRICE_COLUMNS, History, own_names
from forecaster.data.sessions import as_date, next_session

Kind = Literal["cut", "blanked", "corrupted"]
KINDS: Final[tuple[Kind, ...]] = ("cut", "blanked", "corrupted")

_NOISE = 0.05  # standard deviation of a corrupted day's log return, about three times a real one's
_LOG_BOUNDS = (-9.0, 20.0)  # of corrupted prices; validation refuses those beyond 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class Alteration:
    """A change of all bars after `cut`; `turn` seeds it, so that an audit repeats none."""

    kind: Kind
    cut: np.datetime64
    turn: int = 0

    @property
    def keeps_rows(self) -> bool:
        """Whether there are as many bars as before, so that no bit may differ."""
        return self.kind != "cut"

    def of(self, histories: Sequence[History]) -> list[History]:
        """Alter the bars after the date; a history without any bar left is dropped."""
        if self.kind == "cut":
            return [
                replace(one, bars=one.bars[one.days <= self.cut].reset_index(drop=True))
                for one in histories
                if one.days[0] <= self.cut
            ]
        alter = _blanked if self.kind == "blanked" else _corrupted
        found = []
        for number, history in enumerate(histories):
            rows = np.flatnonzero(history.days > self.cut)
            draw = np.random.default_rng((self.turn, number))
            found.append(alter(history, rows, draw) if len(rows) else history)
        return found


def with_gaps(histories: Sequence[History], cut: np.datetime64, turn: int) -> list[History]:
    """Remove from the past what filling from the future would restore.

    Every other ticker has neither range nor volume on the day of the cut, and one ticker, if
    there are several, begins on that day, so that its first return is missing.
    """
    prepared = list(histories)
    for number in range(turn % 2, len(prepared), 2):
        bars, here = histories[number].bars.copy(), histories[number].days == cut
        for name in PRICE_COLUMNS[:-1]:
            bars.loc[here, name] = bars.loc[here, "close"]
        bars.loc[here, "volume"] = 0.0
        bars.loc[here, [*own_names(bars)]] = np.nan
        prepared[number] = replace(histories[number], bars=bars)
    number = turn % len(prepared)
    young = prepared[number].bars
    young = young[young["session"] >= pd.Timestamp(cut)].reset_index(drop=True)
    if len(prepared) > 1 and len(young) > 1:
        prepared[number] = replace(prepared[number], bars=young)
    return prepared


def _blanked(history: History, rows: NDArray[np.intp], draw: np.random.Generator) -> History:
    """Replace half of the days, the first one always, by the close before the date."""
    bars = history.bars.copy()
    chosen = rows[(draw.random(len(rows)) < 0.5) | (rows == rows[0])]
    before = bars["close"].to_numpy()[np.maximum(rows[0] - 1, 0)]
    blank = dict.fromkeys(PRICE_COLUMNS, before) | {"volume": 0.0, "dividend": 0.0, "split": 1.0}
    blank |= dict.fromkeys(own_names(bars), np.nan)
    for name, value in blank.items():
        bars.loc[chosen, name] = value
    return replace(history, bars=bars)


def _corrupted(history: History, rows: NDArray[np.intp], draw: np.random.Generator) -> History:
    """Draw another path: mirrored returns and noise, other scale, dates, dividends.

    Every bar moves to the next one's session, so that the first session has no bar.
    """
    bars, count, start = history.bars.copy(), len(rows), max(rows[0] - 1, 0)
    logs = np.log(bars["close"].to_numpy())
    mirrored = 2.0 * logs[start] - logs[rows] + np.cumsum(draw.normal(0.0, _NOISE, count))
    close = np.exp(np.clip(mirrored + draw.choice([-3.0, 3.0]), *_LOG_BOUNDS))
    opening = close * np.exp(draw.normal(0.0, _NOISE, count))
    spread = np.exp(np.abs(draw.normal(0.0, _NOISE, count)))
    following = next_session(history.listing.calendar, as_date(history.days[-1]))
    moved = np.append(history.days[rows][1:], np.datetime64(following, "D"))
    values = {
        "session": moved.astype("datetime64[s]"),
        "open": opening,
        "high": np.maximum(opening, close) * spread,
        "low": np.minimum(opening, close) / spread,
        "close": close,
        "volume": bars["volume"].to_numpy()[rows] * np.exp(draw.normal(0.0, 2.0, count)),
        "dividend": np.where(draw.random(count) < 0.05, 0.02 * close, 0.0),
        "split": draw.choice([1.0, 2.0, 0.25], count, p=[0.9, 0.05, 0.05]),
        **{name: np.exp(draw.normal(0.0, 2.0, count)) for name in own_names(bars)},
    }
    for name, part in values.items():
        column = bars[name].to_numpy(copy=True)
        column[rows] = part
        bars[name] = column
    return replace(history, bars=bars)
