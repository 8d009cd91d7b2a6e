"""Data validation: every rule for a history of sound bars, and what the rules find.

To add a rule, write the function that finds its rows and add it to MOVE_RULES or DAY_RULES.
`docs/data-validation.md` explains each rule and threshold; `history.py` checks single bars.

Shape letters: D bars of a history.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from forecaster.data.calendar_fit import contradiction, regular_interval
from forecaster.data.columns import log_total_return
from forecaster.data.history import PRICE_COLUMNS, History
from forecaster.data.sessions import (
    MAX_MISSED_SESSIONS,
    count_sessions,
    describe_gaps,
    describe_off_calendar,
    gaps,
    last_final_session,
    missed_sessions,
)
from forecaster.data.trading_calendar import base_name

Severity = Literal["error", "warning"]
Daily = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A bar that breaks a rule, with the reason in words."""

    ticker: str
    rule: str
    severity: Severity
    session: date
    reason: str

    def __str__(self) -> str:
        """Return ticker, day, rule and reason on one line."""
        return f"{self.ticker}: {self.session} {self.rule}: {self.reason}"


class Series:
    """A history's columns as arrays (D,), with each day's log total return, the first NaN."""

    def __init__(self, history: History) -> None:
        bars = history.bars
        self.history = history
        self.days = history.days
        self.prices = bars[list(PRICE_COLUMNS)].to_numpy(np.float64)
        _, self.high, self.low, self.close = self.prices.T
        self.dividend = bars["dividend"].to_numpy(np.float64)
        self.split = bars["split"].to_numpy(np.float64)
        basis = history.listing.basis
        self.move = log_total_return(self.close, self.dividend, self.split, basis)

    def describe_move(self, row: int) -> str:
        """Return the closes of a row and of the one before in words."""
        return f"close {self.close[row]:.6g} after {self.close[row - 1]:.6g}"


# Position of a bar in the history, and what is wrong with it in words.
Hit = tuple[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: `error` where the numbers cannot be right, `warning` where they may be."""

    name: str
    severity: Severity
    find: Callable[[Series], list[Hit]]


SMALLEST_SPLIT: Final = 1.4  # a smaller one is lost among ordinary moves of a day
# Yahoo applies a split some days late; AAPL fell by half 70 sessions after its 2:1 of 2000.
SPLIT_SESSIONS: Final = 10
SPLIT_TOLERANCE: Final = 0.10  # what the market itself moved on the day of the slip
UNIT: Final = 100.0  # pence for pounds, cents for dollars
UNIT_TOLERANCE: Final = 1.4
SPIKE: Final = 2.0  # GameStop's wildest day was a factor of 2.35, and its way back one of 1.8
SPIKE_RETURN: Final = 1.1
JUMP: Final = 1.5  # as in qlib's health check; crises and mergers get there, too
FROZEN_SESSIONS: Final = 5  # as many as may be missing in a row
SAME_PRICE: Final = 1e-6
LARGE_DIVIDEND: Final = 0.1
REPEATED_DIVIDEND_SESSIONS: Final = 3


def split_slips(series: Series) -> list[Hit]:
    """Find moves near a split that are as large as the split: it is missing or applied twice."""
    factor = np.log(series.split)
    found = {}
    for row in np.flatnonzero(np.abs(factor) >= np.log(SMALLEST_SPLIT)).tolist():
        first = max(0, row - SPLIT_SESSIONS)
        moves = np.abs(series.move[first : row + SPLIT_SESSIONS + 1])
        near = np.abs(moves - np.abs(factor[row])) < SPLIT_TOLERANCE
        for moved in (first + np.flatnonzero(near)).tolist():
            found[moved] = (
                f"{series.describe_move(moved)} is the split of {series.split[row]:.6g} on "
                f"{series.days[row]}, missing or applied twice"
            )
    return sorted(found.items())


def unit_slips(series: Series) -> list[Hit]:
    """Find factors of 100 between two closes, or between the prices of one bar."""
    span = np.log(series.prices.max(axis=1) / series.prices.min(axis=1))
    within, across = (
        np.flatnonzero(np.abs(log_factor - np.log(UNIT)) < np.log(UNIT_TOLERANCE)).tolist()
        for log_factor in (span, np.abs(series.move))
    )
    found = {}
    for row in within:
        shown = ", ".join(f"{price:.6g}" for price in series.prices[row])
        found[row] = f"its prices {shown} are a factor of about 100 apart"
    for row in across:
        found[row] = f"{series.describe_move(row)} is a factor of about 100"
    return sorted(found.items())


def spikes(series: Series) -> list[Hit]:
    """Find single bars that leave both neighbours by a factor, and these agree."""
    there, back = series.move[1:-1], series.move[2:]
    left = (np.abs(there) >= np.log(SPIKE)) & (np.abs(back) >= np.log(SPIKE))
    rows = 1 + np.flatnonzero(left & (np.abs(there + back) < np.log(SPIKE_RETURN)))
    return [(row, f"{series.describe_move(row)}, and back the next day") for row in rows.tolist()]


def jumps(series: Series) -> list[Hit]:
    """Find moves that no dividend or split explains, nor the way back of a spike."""
    rows = np.flatnonzero(np.abs(series.move) > np.log(JUMP))
    back = {row + 1 for row, _ in spikes(series)}
    return [
        (row, f"{series.describe_move(row)} without a split or dividend to explain it")
        for row in rows.tolist()
        if row not in back
    ]


def fresh_jumps(series: Series) -> list[Hit]:
    """Find a jump of the newest bar, which no later bar confirms yet."""
    return [
        (row, f"{reason}; the next session will settle it")
        for row, reason in jumps(series)[-1:]
        if row == len(series.days) - 1
    ]


def frozen(series: Series) -> list[Hit]:
    """Find runs of sessions without any move, between them or within."""
    close = series.close
    same = np.abs(np.diff(close, prepend=np.nan)) <= SAME_PRICE * close
    still = same & (series.high - series.low <= SAME_PRICE * close)
    edges = np.flatnonzero(np.diff(np.r_[False, still, False].astype(np.int8)))
    runs = zip(edges[::2], edges[1::2], strict=True)
    return [
        (int(first - 1), f"{end - first + 1} sessions at {close[first]:.6g} without any move")
        for first, end in runs
        if end - first + 1 >= FROZEN_SESSIONS
    ]


def odd_dividends(series: Series) -> list[Hit]:
    """Find dividends that the close did not fall by, and the same one paid twice within days."""
    close, dividend = series.close, series.dividend
    is_adjusted = series.history.listing.basis == "total-return"
    before = np.r_[np.nan, close[:-1]]
    # In shares of the day before on either basis.
    scale = np.exp(series.move) * before / (close + dividend)
    paid, fell = dividend * scale, before - close * scale
    found = {
        int(row): f"dividend {dividend[row]:.6g} on a close of {before[row]:.6g} left no mark"
        for row in np.flatnonzero((paid >= LARGE_DIVIDEND * before) & (fell < paid / 2))
        if not is_adjusted
    }
    for earlier, row in pairwise(np.flatnonzero(dividend > 0).tolist()):
        if dividend[row] == dividend[earlier] and row - earlier <= REPEATED_DIVIDEND_SESSIONS:
            found[row] = f"dividend {dividend[row]:.6g} was paid on {series.days[earlier]}, too"
    return sorted(found.items())


def missing_sessions(series: Series) -> list[Hit]:
    """Find where sessions lack a bar, fewer in a row than make a gap; one hit for all."""
    calendar = series.history.listing.calendar
    missed = missed_sessions(series.history)
    rows = np.flatnonzero((missed > 0) & (missed <= MAX_MISSED_SESSIONS)) + 1
    if len(rows) == 0:
        return []
    where = "before this day" if len(rows) == 1 else f"at {len(rows):,} places"
    lacking = int(missed[rows - 1].sum())
    return [(int(rows[0]), f"no bar for {lacking:,} sessions of {base_name(calendar)} {where}")]


def series_gaps(series: Series) -> list[Hit]:
    """Find the gaps at which the series is split into segments."""
    return [
        (int(row), describe_gaps(series.history, row[None]).split(": ", 1)[1])
        for row in gaps(series.history)
    ]


def off_calendar(series: Series) -> list[Hit]:
    """Find bars on days that are no session; one hit for all."""
    _, _, sentence = describe_off_calendar(series.history).partition(": ")
    return [(0, sentence)] if sentence else []


def other_interval(series: Series) -> list[Hit]:
    """Find bars of another interval than a day: sessions are missing in a regular pattern."""
    found = regular_interval(series.history)
    return [(found[0], f"{found[1]}, not daily ones; import daily bars")] if found else []


def other_calendar(series: Series) -> list[Hit]:
    """Find bars that follow another calendar than the ticker's."""
    if regular_interval(series.history):
        return []
    _, _, sentence = contradiction(series.history).partition(": ")
    return [(0, sentence)] if sentence else []


# Warnings about new bars are logged when they are stored; those of DAY_RULES by `ingest`.
MOVE_RULES: Final = (
    Rule(name="split-slip", severity="error", find=split_slips),
    Rule(name="unit-slip", severity="error", find=unit_slips),
    Rule(name="spike", severity="error", find=spikes),
    Rule(name="fresh-jump", severity="error", find=fresh_jumps),
    Rule(name="jump", severity="warning", find=jumps),
    Rule(name="odd-dividend", severity="warning", find=odd_dividends),
    Rule(name="frozen", severity="warning", find=frozen),
)
DAY_RULES: Final = (
    Rule(name="interval", severity="error", find=other_interval),
    Rule(name="other-calendar", severity="error", find=other_calendar),
    Rule(name="missing-sessions", severity="warning", find=missing_sessions),
    Rule(name="gap", severity="warning", find=series_gaps),
    Rule(name="off-calendar", severity="warning", find=off_calendar),
)
RULES: Final = (*MOVE_RULES, *DAY_RULES)
STALE: Final = "stale"


def check_history(history: History, now: datetime | None = None) -> list[Finding]:
    """Apply all rules to the bars of one ticker, at least one; `stale` where an instant is passed.

    Errors come first, then by day.
    """
    series = Series(history)
    hits = [(rule.name, rule.severity, *hit) for rule in RULES for hit in rule.find(series)]
    if now is not None:
        calendar, following = history.listing.calendar, series.days[-1].item() + timedelta(days=1)
        final = last_final_session(calendar, now)
        missed = count_sessions(calendar, following, final) if following <= final else 0
        if missed > MAX_MISSED_SESSIONS:
            reason = f"the newest bar; {missed:,} sessions have passed since"
            hits.append((STALE, "warning", len(series.days) - 1, reason))
    ticker, days = history.listing.ticker, series.days.tolist()
    found = [
        Finding(ticker=ticker, rule=rule, severity=severity, session=days[row], reason=reason)
        for rule, severity, row, reason in hits
    ]
    explained = {finding.session for finding in found if finding.severity == "error"}
    kept = [one for one in found if one.rule != "jump" or one.session not in explained]
    return sorted(kept, key=lambda finding: (finding.severity, finding.session))
