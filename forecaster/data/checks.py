"""Data-quality rules: their names, severities, and what they find in a history.

Histories in, findings out.  Repairs nothing; knows no source and no store.  `docs/md`
says which rule catches which fault, and why its threshold is what it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.data.calendar_gaps import MOST_MISSED, describe_holes, describe_strays, holes
from forecaster.data.history import PRICE_COLUMNS, History
from forecaster.data.returns import log_total_return
from forecaster.data.sessions import count_sessions, last_final_session, missed_sessions

Severity = Literal["error", "warning"]

# Position of a bar in the history, and what is odd about it in words.
Sign = tuple[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: `error` where the numbers cannot be right, `warning` where they may be.

    `find` is a pure function from a sound history to the bars that break the rule.
    """

    name: str
    severity: Severity
    find: Callable[[History], list[Sign]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A bar that breaks a rule, with the reason in words."""

    ticker: str
    rule: str
    severity: Severity
    session: date
    reason: str

    def __str__(self) -> str:
        """Name ticker, day and rule before the reason, on one line."""
        return f"{self.ticker}: {self.session} {self.rule}: {self.reason}"


Daily = NDArray[np.float64]

# A smaller split is lost among ordinary moves of a day.
SMALLEST_SPLIT: Final = 1.4
# Yahoo applies a split some days late, or to the wrong days around it; months away a move of
# the same size is the market's (AAPL fell by half 70 sessions after its 2:1 of 2000).
SPLIT_SESSIONS: Final = 10
# What the market itself moved on the day of the slip.
SPLIT_TOLERANCE: Final = 0.10
# Pence for pounds, cents for dollars.  No share has moved so far in a day and been right.
UNIT: Final = 100.0
UNIT_TOLERANCE: Final = 1.4
# GameStop's wildest day was a factor of 2.35, and its way back one of 1.8.
SPIKE: Final = 2.0
SPIKE_RETURN: Final = 1.1
# qlib's health check asks at the same step; crises and mergers get there, too.
JUMP: Final = 1.5
# As many as may be missing in a row: a week of one price is a halt, or a source that repeats.
FROZEN_SESSIONS: Final = 5
SAME_PRICE: Final = 1e-6
LARGE_DIVIDEND: Final = 0.1
REPEATED_DIVIDEND_SESSIONS: Final = 3


def split_slips(history: History) -> list[Sign]:
    """Find moves near a split that are as large as the split: it is missing or applied twice."""
    move, split = _moves(history), _column(history, "split")
    found = {}
    for row in np.flatnonzero(np.abs(np.log(split)) >= np.log(SMALLEST_SPLIT)).tolist():
        size = abs(float(np.log(split[row])))
        first = max(0, row - SPLIT_SESSIONS)
        near = np.abs(np.abs(move[first : row + SPLIT_SESSIONS + 1]) - size) < SPLIT_TOLERANCE
        day = history.bars["session"].iloc[row]
        for at in (first + np.flatnonzero(near)).tolist():
            found[at] = (
                f"{_step(history, at)} is the split of {split[row]:.6g} on {day:%Y-%m-%d}, "
                "missing or applied twice"
            )
    return sorted(found.items())


def unit_slips(history: History) -> list[Sign]:
    """Find factors of 100 between two closes, or between the prices of one bar."""
    prices = history.bars[list(PRICE_COLUMNS)].to_numpy(np.float64)
    inside = np.log(prices.max(axis=1) / prices.min(axis=1))
    between = np.abs(_moves(history))
    slip, band = np.log(UNIT), np.log(UNIT_TOLERANCE)
    within, across = np.abs(inside - slip) < band, np.abs(between - slip) < band
    return [
        (row, f"{_step(history, row)} is a factor of about 100")
        if across[row]
        else (row, f"its prices {_shown(prices[row])} are a factor of about 100 apart")
        for row in np.flatnonzero(within | across).tolist()
    ]


def spikes(history: History) -> list[Sign]:
    """Find single bars that leave both neighbours by a factor, and these agree."""
    move = _moves(history)
    there, back = move[1:-1], move[2:]
    left = (np.abs(there) >= np.log(SPIKE)) & (np.abs(back) >= np.log(SPIKE))
    rows = 1 + np.flatnonzero(left & (np.abs(there + back) < np.log(SPIKE_RETURN)))
    return [(row, f"{_step(history, row)}, and back the next day") for row in rows.tolist()]


def jumps(history: History) -> list[Sign]:
    """Find moves that no dividend or split explains, nor the way back of a spike."""
    rows = np.flatnonzero(np.abs(_moves(history)) > np.log(JUMP))
    back = {row + 1 for row, _ in spikes(history)}
    return [
        (row, f"{_step(history, row)} without a split or dividend to explain it")
        for row in rows.tolist()
        if row not in back
    ]


def fresh_jumps(history: History) -> list[Sign]:
    """Find a jump of the newest bar, which no later bar bears out yet."""
    newest = len(history.bars) - 1
    return [
        (row, f"{reason}; the next session will tell")
        for row, reason in jumps(history)
        if row == newest
    ]


def frozen(history: History) -> list[Sign]:
    """Find runs of sessions without any move, between them or within."""
    high, low, close = (_column(history, name) for name in ("high", "low", "close"))
    same = np.abs(np.diff(close, prepend=np.nan)) <= SAME_PRICE * close
    still = same & (high - low <= SAME_PRICE * close)
    edges = np.flatnonzero(np.diff(np.r_[False, still, False].astype(np.int8)))
    runs = zip(edges[::2], edges[1::2], strict=True)
    return [
        (int(first - 1), f"{end - first + 1} sessions at {close[first]:.6g} without any move")
        for first, end in runs
        if end - first + 1 >= FROZEN_SESSIONS
    ]


def odd_dividends(history: History) -> list[Sign]:
    """Find dividends that the close did not fall by, and the same one paid twice within days."""
    close, dividend = _column(history, "close"), _column(history, "dividend")
    # In shares of the day before on either basis.
    scale = np.exp(_moves(history)) * np.r_[np.nan, close[:-1]] / (close + dividend)
    before = np.r_[np.nan, close[:-1]]
    paid, fell = dividend * scale, before - close * scale
    unseen = (paid >= LARGE_DIVIDEND * before) & (fell < paid / 2)
    found = {
        int(row): f"dividend {dividend[row]:.6g} on a close of {before[row]:.6g} left no mark"
        for row in np.flatnonzero(unseen)
    }
    paying = np.flatnonzero(dividend > 0)
    for earlier, row in pairwise(paying.tolist()):
        if dividend[row] == dividend[earlier] and row - earlier <= REPEATED_DIVIDEND_SESSIONS:
            day = history.bars["session"].iloc[earlier]
            found[row] = f"dividend {dividend[row]:.6g} stands on {day:%Y-%m-%d}, too"
    return sorted(found.items())


def _moves(history: History) -> Daily:
    """Return each day's log total return (D,), the first NaN."""
    close, dividend, split = (_column(history, name) for name in ("close", "dividend", "split"))
    return log_total_return(close, dividend, split, history.listing.basis)


def _column(history: History, name: str) -> Daily:
    return history.bars[name].to_numpy(np.float64)


def _step(history: History, row: int) -> str:
    close = _column(history, "close")
    return f"close {close[row]:.6g} after {close[row - 1]:.6g}"


def _shown(prices: Daily) -> str:
    return ", ".join(f"{price:.6g}" for price in prices)


def gaps(history: History) -> list[Sign]:
    """Find where sessions lack a bar, fewer in a row than make a hole; one sign tells all."""
    days = history.bars["session"].to_numpy("datetime64[D]")
    missed = missed_sessions(history.listing.calendar, days)
    rows = np.flatnonzero((missed > 0) & (missed <= MOST_MISSED)) + 1
    if len(rows) == 0:
        return []
    lacking = int(missed[rows - 1].sum())
    what = f"{lacking:,} sessions of {history.listing.calendar} before this day"
    if len(rows) > 1:
        what = f"{lacking:,} sessions of {history.listing.calendar} at {len(rows):,} places"
    return [(int(rows[0]), f"no bar for {what}")]


def series_cuts(history: History) -> list[Sign]:
    """Find the holes at which the series is cut."""
    return [
        (int(row), _without_ticker(describe_holes(history, row[None]))) for row in holes(history)
    ]


def strays(history: History) -> list[Sign]:
    """Find bars on days that are no session; one sign tells all."""
    told = describe_strays(history)
    return [(0, _without_ticker(told))] if told else []


def staleness(history: History, last_final: date) -> list[Sign]:
    """Tell how many sessions the newest bar lies behind, where it is too many to forecast from.

    Args:
        history: at least one bar.
        last_final: newest session that has closed and settled.
    """
    newest = history.bars["session"].iloc[-1]
    first = (newest + pd.Timedelta(days=1)).date()
    missed = (
        count_sessions(history.listing.calendar, first, last_final) if first <= last_final else 0
    )
    if missed <= MOST_MISSED:
        return []
    return [(len(history.bars) - 1, f"the newest bar; {missed:,} sessions have passed since")]


def _without_ticker(sentence: str) -> str:
    return sentence.split(": ", 1)[1]


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
    Rule(name="gap", severity="warning", find=gaps),
    Rule(name="hole", severity="warning", find=series_cuts),
    Rule(name="stray", severity="warning", find=strays),
)
RULES: Final = (*MOVE_RULES, *DAY_RULES)
STALE: Final = "stale"
ERRORS: Final = frozenset(rule.name for rule in RULES if rule.severity == "error")


def check_history(
    history: History, now: datetime | None = None, rules: Sequence[Rule] = RULES
) -> list[Finding]:
    """Apply rules to the bars of one ticker.

    Args:
        history: bars that `validate_bars` accepts, oldest first.
        now: aware instant by which to tell a stale ticker; None to leave that out.
        rules: which; all unless told otherwise.

    Returns:
        Findings, errors first, then by day.
    """
    found = [
        _finding(history, rule.name, rule.severity, sign)
        for rule in rules
        for sign in rule.find(history)
    ]
    if now is not None:
        last = last_final_session(history.listing.calendar, now)
        late = staleness(history, last)
        found += [_finding(history, STALE, "warning", sign) for sign in late]
    explained = {finding.session for finding in found if finding.severity == "error"}
    told = [one for one in found if one.rule != "jump" or one.session not in explained]
    return sorted(told, key=lambda finding: (finding.severity, finding.session))


def _finding(history: History, rule: str, severity: Severity, sign: Sign) -> Finding:
    row, reason = sign
    return Finding(
        ticker=history.listing.ticker,
        rule=rule,
        severity=severity,
        session=history.bars["session"].iloc[row].date(),
        reason=reason,
    )


def describe_basis(history: History) -> str:
    """Say in a sentence that closes look expressed on the other basis; empty where they do not.

    On a split of s new shares for an old one a close as traded falls to 1/s, a split-adjusted
    one does not.  Splits below 7:5 tell nothing.
    """
    bars, basis = history.bars, history.listing.basis
    factor = np.log(bars["split"].to_numpy(np.float64))
    move = np.diff(np.log(bars["close"].to_numpy(np.float64)), prepend=np.nan)
    splits = np.flatnonzero((np.abs(factor) >= np.log(SMALLEST_SPLIT)) & np.isfinite(move))
    jumps = np.abs(move[splits] + factor[splits]) < np.abs(move[splits])
    odd = splits[jumps != (basis == "as-traded")]
    if 2 * len(odd) <= len(splits):
        return ""
    day = bars["session"].iloc[odd[0]]
    shown = "leave no jump in" if basis == "as-traded" else "are a jump of"
    return (
        f"{history.listing.ticker}: {len(odd)} of {len(splits)} splits {shown} the close "
        f"(first {day:%Y-%m-%d}), yet the closes are taken for {basis}"
    )
