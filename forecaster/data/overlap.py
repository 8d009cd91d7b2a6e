"""Many tickers' answers held against the store at once: which bring new bars and nothing else.

Arrays in, flags out; knows no store and no source.  A ticker is *plain* where a close look
(`merge.py`, `bars.py`, `checks.py`, `schedule.py`) would find nothing to say; in doubt it is
not, and gets the close look.  One property holds the two together:
`tests/pipeline/ingesting/test_usual.py`.

Shape letters: R rows, T tickers, V values of a bar.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.data.checks import JUMP, SAME_PRICE
from forecaster.data.history import BAR_COLUMNS, PRICE_COLUMNS, are_sound
from forecaster.data.revisions import are_jitter

Days = NDArray[np.datetime64]
Flags = NDArray[np.bool_]

# So many days apart no calendar has more than `schedule.MOST_MISSED` sessions between.
_NO_HOLE: Final = np.timedelta64(6, "D")
_NAMES: Final = BAR_COLUMNS[1:]
_TYPES: Final = [np.dtype("datetime64[s]"), *[np.dtype(np.float64)] * len(_NAMES)]


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Bars of several tickers: number of the ticker (R,), day (R,), values (R, V).

    By ticker, then by day; the values in the order of BAR_COLUMNS.
    """

    owner: NDArray[np.int64]
    day: Days
    values: NDArray[np.float64]

    def at(self, rows: Flags | NDArray[np.intp]) -> "Block":
        """Keep some rows, or put them in another order."""
        return Block(self.owner[rows], self.day[rows], self.values[rows])

    def column(self, name: str) -> NDArray[np.float64]:
        """(R,) one value of each bar."""
        return self.values[:, _NAMES.index(name)]

    @property
    def key(self) -> NDArray[np.int64]:
        """(R,) ascending number of ticker and day."""
        return self.owner * 2**20 + self.day.astype(np.int64)

    @property
    def follows(self) -> Flags:
        """(R,) True where the row before is of the same ticker."""
        after: Flags = np.r_[False, self.owner[1:] == self.owner[:-1]]
        return after


def is_table(bars: pd.DataFrame) -> bool:
    """Tell whether a table has the columns of bars, in their order and of their types."""
    return list(bars.columns) == list(BAR_COLUMNS) and bars.dtypes.tolist() == _TYPES


def block_of(tables: Sequence[pd.DataFrame]) -> tuple[Block, Flags]:
    """Lay tables of bars (T) end to end; flag those (T,) with a day that is no date."""
    lengths = [len(table) for table in tables]
    owner = np.repeat(np.arange(len(tables)), lengths)
    instants = np.concatenate([table["session"].to_numpy() for table in tables])
    days = instants.astype("datetime64[D]")
    values = np.concatenate([table.iloc[:, 1:].to_numpy(np.float64) for table in tables])
    odd = np.isnat(instants) | (days != instants)
    return Block(owner, days, values), _any(owner, odd, len(tables))


def plain(held: Block, came: Block, since: Days, last: Days, final: Days) -> tuple[Flags, Block]:
    """Find the tickers whose answer agrees with the store and appends sound bars, or none.

    Args:
        held: stored bars, those since `since` and some weeks before.
        came: bars as served since `since`.
        since: (T,) first day that was asked for.
        last: (T,) newest stored day.
        final: (T,) newest day that can be final.

    Returns:
        (T,) True where there is nothing else to tell, and the new bars of these.
    """
    with np.errstate(all="ignore"):  # what has no logarithm is no plain bar
        return _plain(held, came, since, last, final)


def _plain(held: Block, came: Block, since: Days, last: Days, final: Days) -> tuple[Flags, Block]:
    came_since, is_new = since[came.owner], came.day > last[came.owner]
    bad = (came.day < came_since) | (came.day > final[came.owner]) | ~_ascending(came)
    bad |= ~are_sound({name: came.column(name) for name in _NAMES}, came.day)
    bad |= (came.column("split") != 1.0) | (is_new & (came.column("dividend") != 0.0))
    count = len(since)
    odd = _any(came.owner, bad, count) | _any(held.owner, held.column("split") != 1.0, count)
    odd |= ~_agree(held.at(held.day >= since[held.owner]), came.at(~is_new), count)
    both = _joined(held.at(held.day < since[held.owner]), came)
    served, fresh = both.day >= since[both.owner], both.day > last[both.owner]
    odd |= _any(both.owner, served & _moved(both), count)
    odd |= _any(both.owner, fresh & (_still(both) | _late(both)), count)
    return ~odd, came.at(is_new & ~odd[came.owner])


def _joined(before: Block, came: Block) -> Block:
    both = Block(
        np.concatenate([before.owner, came.owner]),
        np.concatenate([before.day, came.day]),
        np.concatenate([before.values, came.values]),
    )
    return both.at(np.argsort(both.key, kind="stable"))


def _ascending(bars: Block) -> Flags:
    later: Flags = np.r_[True, bars.day[1:] > bars.day[:-1]]
    return later | ~bars.follows


def _agree(held: Block, came: Block, count: int) -> Flags:
    """(T,) True where both have the same days with the same values but for jitter."""
    place = np.searchsorted(held.key, came.key).clip(max=len(held.owner) - 1)
    same: Flags = held.key[place] == came.key
    same &= are_jitter(held.values[place], came.values)
    found = np.bincount(came.owner[same], minlength=count)
    whole: Flags = found == np.bincount(held.owner, minlength=count)
    return whole & ~_any(came.owner, ~same, count)


def _moved(bars: Block) -> Flags:
    """(R,) True where a move or the bar's own span is as large as the smallest jump."""
    prices = bars.values[:, : len(PRICE_COLUMNS)]
    inside = np.log(prices.max(axis=1) / prices.min(axis=1))
    move = np.zeros(len(inside))
    close = bars.column("close")
    move[1:] = np.abs(np.log((close + bars.column("dividend"))[1:] / close[:-1]))
    jumped: Flags = bars.follows & ~(move < np.log(JUMP))
    jumped |= inside >= np.log(JUMP)
    return jumped


def _still(bars: Block) -> Flags:
    """(R,) True where the close is that of the day before and the bar has no span."""
    close, span = bars.column("close"), bars.column("high") - bars.column("low")
    same = np.abs(np.diff(close, prepend=np.nan)) <= SAME_PRICE * close
    still: Flags = same & (span <= SAME_PRICE * close)
    return still & bars.follows


def _late(bars: Block) -> Flags:
    """(R,) True where a hole may lie before the bar."""
    late: Flags = np.r_[False, np.diff(bars.day) > _NO_HOLE]
    return late & bars.follows


def _any(owner: NDArray[np.int64], rows: Flags, count: int) -> Flags:
    """(T,) True where a row of the ticker is flagged."""
    flagged: Flags = np.bincount(owner[rows], minlength=count) > 0
    return flagged
