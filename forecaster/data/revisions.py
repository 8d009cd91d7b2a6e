"""Served bars compared with stored ones: what is new, what has changed, what an answer has lost.

To add a rule about a changed past, write the function that finds its rows and add it to
REVISION_RULES. `docs/data-validation.md` explains each.

Shape letters: D stored bars, S served bars, C days that both have.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.data.checks import Finding
from forecaster.data.columns import log_total_return
from forecaster.data.history import BAR_COLUMNS, Basis, History
from forecaster.data.move_rules import JUMP

OTHER_MOVES: Final = "other-moves"
SAME_PRICE: Final = 1e-4  # relative; identical calls to Yahoo differ by less
SAME_VOLUME: Final = 5e-3  # volume still moves by half a percent for weeks after the session
_VALUES: Final = list(BAR_COLUMNS[1:])
_TOLERANCES: Final = np.array([SAME_VOLUME if name == "volume" else SAME_PRICE for name in _VALUES])
_VISIBLE: Final = 2.0  # standard deviations from which one day's closes show an event
_MOVED: Final = 5  # sessions by which a source corrects an ex-date
_LOST_VOLUMES: Final = 3
_FEWEST_MOVES: Final = 20
_ALIKE: Final = 0.25  # share of equal moves, of which another security has a tenth by chance
_SAME_MOVE: Final = (1e-3, 0.2)  # absolute, and in standard deviations
_UNIT: Final = 10.0
_UNIT_TOLERANCE: Final = 1.02


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """Stored (D,) and served (S,) bars, and where in the two are the days that both have (C,).

    `same` is whether the values of BAR_COLUMNS agree there up to jitter, by column (C,).
    """

    stored: pd.DataFrame
    served: pd.DataFrame
    rows: NDArray[np.intp]
    served_rows: NDArray[np.intp]
    same: dict[str, NDArray[np.bool_]]

    @classmethod
    def of(cls, stored: pd.DataFrame, served: pd.DataFrame) -> Self:
        """Find the days that both have."""
        days = (stored["session"].to_numpy(), served["session"].to_numpy())
        _, rows, served_rows = np.intersect1d(*days, return_indices=True)
        old = stored[_VALUES].to_numpy(np.float64)[rows]
        new = served[_VALUES].to_numpy(np.float64)[served_rows]
        # NaN equals nothing.
        same = np.abs(new - old) <= _TOLERANCES * np.abs(old)
        return cls(stored, served, rows, served_rows, dict(zip(_VALUES, same.T, strict=True)))

    @property
    def old(self) -> pd.DataFrame:
        """The stored bars of the days that both have (C,)."""
        return self.stored.iloc[self.rows]

    @property
    def new(self) -> pd.DataFrame:
        """The served bars of the days that both have (C,)."""
        return self.served.iloc[self.served_rows]

    def news(self) -> pd.DataFrame:
        """Return the served bars that are not stored, or differ by more than jitter."""
        is_known = np.zeros(len(self.served), dtype=np.bool_)
        is_known[self.served_rows] = np.all(list(self.same.values()), axis=0)
        return self.served[~is_known].reset_index(drop=True)

    def agrees(self) -> bool:
        """Whether nothing but opens, highs and lows differs on the days that both have."""
        return all(self.same[name].all() for name in ("close", "volume", "dividend", "split"))

    def changed_past(self, basis: Basis) -> str:
        """Return where closes or splits differ from those stored, in words; empty if nowhere.

        A split on a day after the stored ones rescales them where closes are adjusted for it, and
        so does a dividend where they are total returns.
        """
        differ = ~(self.same["close"] & self.same["split"])
        if differ.any():
            old, new = self.old[differ].iloc[0], self.new[differ].iloc[0]
            return (
                f"{differ.sum():,} of {len(differ):,} days differ (first {old.session:%Y-%m-%d}: "
                f"close {old.close:.6g}, split {old.split:g} stored; "
                f"{new.close:.6g} and {new.split:g} served)"
            )
        later = self.served[self.served["session"] > self.stored["session"].max()]
        events = {
            "split": (later["split"] != 1.0) & (basis != "as-traded"),
            "dividend": (later["dividend"] > 0) & (basis == "total-return"),
        }
        for event, rows in events.items():
            if rows.any():
                day = later["session"][rows].iloc[0]
                return f"a {event} of {day:%Y-%m-%d} rescales what is stored"
        return ""

    def late_dividend(self) -> str:
        """Return which stored day's dividend has changed, in words; empty if none has."""
        differ = ~self.same["dividend"]
        if not differ.any():
            return ""
        old, new = self.old[differ].iloc[0], self.new[differ].iloc[0]
        return (
            f"a late dividend of {old.session:%Y-%m-%d}: {old.dividend:g} stored, "
            f"{new.dividend:g} served"
        )

    def stranded(self) -> pd.DataFrame:
        """Return the stored bars that the answer lacks and that would be on another scale.

        That is so unless the close of the nearest day that both have, the earlier or else the
        later, is unchanged. The answer must be for the complete stored span.
        """
        lacking = self.stored[~self.stored["session"].isin(self.served["session"])]
        if not len(self.rows):
            return lacking
        before = self.old["session"].searchsorted(lacking["session"]) - 1
        left: pd.DataFrame = lacking[~self.same["close"][before.clip(min=0)]]
        return left


class Change:
    """The columns of the days that both have (C,), stored and served.

    `was` and `now` are the log total return from each to the next common day, at the later one;
    the first is 0.
    """

    def __init__(self, overlap: Overlap, basis: Basis) -> None:
        self.basis = basis
        self.served_rows = overlap.served_rows
        both = overlap.old, overlap.new
        pairs = {
            name: [bars[name].to_numpy(np.float64) for bars in both]
            for name in ("close", "volume", "dividend", "split")
        }
        self.close, self.volume, self.dividend, self.split = pairs.values()
        # What closes are divided by on split-adjusted basis: the splits after each day.
        self.later_splits = (
            _later_splits(overlap.stored)[overlap.rows],
            _later_splits(overlap.served)[overlap.served_rows],
        )
        self.was = _between(overlap.stored, overlap.rows, basis)
        self.now = _between(overlap.served, overlap.served_rows, basis)
        self.volatility = 1.4826 * float(np.median(np.abs(self.now)))

    @property
    def is_worse_by(self) -> NDArray[np.float64]:
        """How much farther from 0 each day's return is in the answer (C,)."""
        farther: NDArray[np.float64] = np.abs(self.now) - np.abs(self.was)
        return farther


def _between(bars: pd.DataFrame, rows: NDArray[np.intp], basis: Basis) -> NDArray[np.float64]:
    """Return the log total return from each of these rows to the next, at the later one."""
    close, dividend, split = (
        bars[name].to_numpy(np.float64) for name in ("close", "dividend", "split")
    )
    level = np.nancumsum(log_total_return(close, dividend, split, basis))[rows]
    return np.diff(level, prepend=level[0])


def _later_splits(bars: pd.DataFrame) -> NDArray[np.float64]:
    """Return the log of the product of the splits after each day."""
    factor = np.log(bars["split"].to_numpy(np.float64))
    later: NDArray[np.float64] = factor.sum() - np.cumsum(factor)
    return later


# Position of a day among the common ones, and what the answer has lost in words.
Hit = tuple[int, str]


def lost_splits(change: Change) -> list[Hit]:
    """Find stored splits that the answer lacks, or alters while a jump of that size appears."""
    (was, now), worse = change.split, change.is_worse_by
    lost, added = np.abs(np.log(was / now)), np.flatnonzero((was == 1.0) & (now != 1.0))
    found = []
    for row in np.flatnonzero((was != 1.0) & (lost > SAME_PRICE)).tolist():
        reason = f"the split of {was[row]:.6g} that is stored is {now[row]:.6g} in the answer"
        is_moved = bool((np.abs(added - row) <= _MOVED).any())
        if worse[row] > lost[row] / 2:
            factor = np.exp(np.abs(change.now[row]))
            found.append((row, f"{reason}, and its closes jump by a factor of {factor:.4g}"))
        elif now[row] == 1.0 and worse[row] > -lost[row] / 2 and not is_moved:
            found.append((row, reason))
    return found


def lost_dividends(change: Change) -> list[Hit]:
    """Find stored dividends that the answer lacks, unless its closes show that none was paid."""
    if change.basis == "total-return":  # the closes have them
        return []
    was, now = change.dividend
    added = np.flatnonzero((now > 0) & ((was == 0) | (now == was)))
    size, found = np.abs(change.now - change.was), []
    for row in np.flatnonzero((was > 0) & (now == 0)).tolist():
        is_moved = bool((np.abs(added - row) <= _MOVED).any())
        is_visible = size[row] >= _VISIBLE * change.volatility
        if not is_moved and not (is_visible and change.is_worse_by[row] < 0):
            found.append(
                (row, f"the dividend of {was[row]:.6g} that is stored is not in the answer")
            )
    return found


def altered_dividends(change: Change) -> list[Hit]:
    """Find dividends of another amount that explain the close of their day worse than before."""
    was, now = change.dividend
    least = max(np.log(1.05), _VISIBLE * change.volatility)
    rows = np.flatnonzero((was > 0) & (now > 0) & (change.is_worse_by > least))
    return [
        (
            row,
            f"the dividend is {now[row]:.6g} in the answer and {was[row]:.6g} stored, and the "
            "close does not show the difference",
        )
        for row in rows.tolist()
    ]


def past_jumps(change: Change) -> list[Hit]:
    """Find jumps between two days that the store knows without one."""
    size = np.log(JUMP)
    rows = np.flatnonzero((np.abs(change.now) > size) & (change.is_worse_by > size / 2))
    return [
        (
            row,
            f"the answer has a jump by a factor of {np.exp(np.abs(change.now[row])):.4g} in the "
            f"past, where the store has one of {np.exp(np.abs(change.was[row])):.4g}",
        )
        for row in rows.tolist()
    ]


def lost_volumes(change: Change) -> list[Hit]:
    """Find that most days have lost their volume; one hit for all."""
    was, now = change.volume
    lost = np.flatnonzero((was > 0) & (now == 0))
    if len(lost) < _LOST_VOLUMES or 2 * len(lost) <= (was > 0).sum():
        return []
    return [(int(lost[0]), f"{len(lost):,} days have lost their volume")]


def rescaled(change: Change) -> list[Hit]:
    """Find that all closes are in another unit without a split; one hit for all."""
    scale = np.log(change.close[1] / change.close[0])
    if change.basis != "as-traded":
        scale += change.later_splits[1] - change.later_splits[0]
    scale = float(np.median(scale))
    powers = round(scale / np.log(_UNIT))
    if powers == 0 or abs(scale - powers * np.log(_UNIT)) > np.log(_UNIT_TOLERANCE):
        return []
    return [(0, f"closes are those stored times {np.exp(scale):.6g}, without a split")]


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionRule:
    """One rule about a changed past; all are of severity `error`."""

    name: str
    find: Callable[[Change], list[Hit]]


REVISION_RULES: Final = (
    RevisionRule(name="lost-split", find=lost_splits),
    RevisionRule(name="lost-dividend", find=lost_dividends),
    RevisionRule(name="lost-dividend", find=altered_dividends),
    RevisionRule(name="past-jump", find=past_jumps),
    RevisionRule(name="lost-volume", find=lost_volumes),
    RevisionRule(name="rescaled", find=rescaled),
)


def other_moves(overlap: Overlap, served: History) -> list[Finding]:
    """Find that most closes move otherwise than those stored; one for all.

    For files only: a source says by other marks that a ticker is another security.
    """
    if len(overlap.rows) < _FEWEST_MOVES:
        return []
    change = Change(overlap, served.listing.basis)
    rows = np.flatnonzero(np.maximum(np.abs(change.was), np.abs(change.now)) > SAME_PRICE)
    if len(rows) < _FEWEST_MOVES:
        return []
    was, now = change.was[rows], change.now[rows]
    least, share = _SAME_MOVE
    ordinary = min(float(np.median(np.abs(moves))) for moves in (was, now))
    other = np.abs(now - was) > max(least, share * ordinary)
    if 1.0 - other.mean() >= _ALIKE:
        return []
    day = overlap.new["session"].iloc[rows[0]].date()
    what = f"on {other.sum():,} of {len(rows):,} days the closes move otherwise than those stored"
    finding = Finding(
        ticker=served.listing.ticker,
        rule=OTHER_MOVES,
        severity="error",
        session=day,
        reason=f"{what}; if this is another security: --ticker NAME",
        known_since=day,
    )
    return [finding]


def contradictions(overlap: Overlap, served: History) -> list[Finding]:
    """Find where an answer contradicts stored bars and is the less likely of the two."""
    if len(overlap.rows) < 2 or overlap.agrees():
        return []
    change, listing = Change(overlap, served.listing.basis), served.listing
    sessions = overlap.new["session"]
    return [
        Finding(
            ticker=listing.ticker,
            rule=rule.name,
            severity="error",
            session=sessions.iloc[row].date(),
            reason=reason,
            known_since=sessions.iloc[row].date(),
        )
        for rule in REVISION_RULES
        for row, reason in rule.find(change)
    ]
