"""Data validation: every rule for a history of sound bars, and what the rules find.

To add a rule, write the function that finds its rows and add it to BAR_RULES or DAY_RULES. Rules
for moves and for events on record have modules of their own, and `history.py` checks single bars.
`docs/data-validation.md` explains each rule and threshold.

Shape letters: D bars of a history.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Literal

import numpy as np

from forecaster.data.calendar_fit import contradiction, describe_off_calendar
from forecaster.data.event_rules import dividend_slips, odd_dividends, split_slips
from forecaster.data.history import History
from forecaster.data.intervals import regular_interval
from forecaster.data.move_rules import fresh_jumps, jumps, spikes, unit_slips
from forecaster.data.series import Hit, Series
from forecaster.data.sessions import (
    MAX_MISSED_SESSIONS,
    count_sessions,
    describe_gaps,
    gaps,
    last_final_session,
    missed_sessions,
)
from forecaster.data.trading_calendar import base_name

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A bar that breaks a rule, with the reason in words.

    `known_since` is the session of the bar without which nothing is wrong: its own, or a later.
    """

    ticker: str
    rule: str
    severity: Severity
    session: date
    reason: str
    known_since: date

    def __str__(self) -> str:
        """Return ticker, day, rule and reason on one line."""
        return f"{self.ticker}: {self.session} {self.rule}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: `error` where the numbers cannot be right, `warning` where they may be."""

    name: str
    severity: Severity
    find: Callable[[Series], list[Hit]]


CELL: Final = 2.5  # GameStop rose to 2.07 times its close on 2021-01-25
CELL_REACH: Final = 11.0  # ordinary ranges
FROZEN_SESSIONS: Final = 5  # as many as may be missing in a row
SAME_PRICE: Final = 1e-6


def wrong_cells(series: Series) -> list[Hit]:
    """Find an open, high or low that is far from both closes, the day's and the one before.

    Far is outside them by a factor that the ticker's own ranges make impossible.
    """
    before = np.where(np.isnan(series.move), series.close, series.close / np.exp(series.move))
    upper, lower = np.maximum(series.close, before), np.minimum(series.close, before)
    limit = np.maximum(np.log(CELL), CELL_REACH * series.reach)
    found: dict[int, Hit] = {}
    for name in ("open", "high", "low"):
        prices = getattr(series, name)
        far = np.maximum(np.log(prices / upper), np.log(lower / prices)) > limit
        for row in np.flatnonzero(far).tolist():
            reason = (
                f"{name} {prices[row]:.6g} is far from the close {series.close[row]:.6g} "
                f"and the one before"
            )
            found.setdefault(row, Hit(row, reason))
    return [found[row] for row in sorted(found)]


def frozen(series: Series) -> list[Hit]:
    """Find runs of sessions without any move, between them or within, once they are too long."""
    close = series.close
    same = np.abs(np.diff(close, prepend=np.nan)) <= SAME_PRICE * close
    still = same & (series.high - series.low <= SAME_PRICE * close)
    edges = np.flatnonzero(np.diff(np.r_[False, still, False].astype(np.int8)))
    runs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    return [
        Hit(
            first + FROZEN_SESSIONS - 2,
            f"{end - first + 1} sessions at {close[first]:.6g} without any move, "
            f"from {series.days[first - 1]}",
        )
        for first, end in runs
        if end - first + 1 >= FROZEN_SESSIONS
    ]


def missing_sessions(series: Series) -> list[Hit]:
    """Find where sessions lack a bar, fewer in a row than make a gap; one hit for all."""
    calendar = series.history.listing.calendar
    missed = missed_sessions(series.history)
    rows = np.flatnonzero((missed > 0) & (missed <= MAX_MISSED_SESSIONS)) + 1
    if len(rows) == 0:
        return []
    where = "before this day" if len(rows) == 1 else f"at {len(rows):,} places"
    lacking = int(missed[rows - 1].sum())
    return [Hit(int(rows[0]), f"no bar for {lacking:,} sessions of {base_name(calendar)} {where}")]


def series_gaps(series: Series) -> list[Hit]:
    """Find the gaps at which the series is split into segments."""
    return [
        Hit(int(row), describe_gaps(series.history, row[None]).split(": ", 1)[1])
        for row in gaps(series.history)
    ]


def off_calendar(series: Series) -> list[Hit]:
    """Find bars on days that are no session; one hit for all."""
    _, _, sentence = describe_off_calendar(series.history).partition(": ")
    return [Hit(0, sentence)] if sentence else []


def other_interval(series: Series) -> list[Hit]:
    """Find bars of another interval than a day: sessions are missing in a regular pattern."""
    found = regular_interval(series.history)
    return [Hit(found[0], f"{found[1]}, not daily ones; import daily bars")] if found else []


def other_calendar(series: Series) -> list[Hit]:
    """Find bars that follow another calendar than the ticker's."""
    if regular_interval(series.history):
        return []
    _, _, sentence = contradiction(series.history).partition(": ")
    return [Hit(0, sentence)] if sentence else []


# The first of these that a bar breaks is reported. Warnings about new bars are logged when they
# are stored; those of DAY_RULES by `ingest`.
BAR_RULES: Final = (
    Rule(name="split-slip", severity="error", find=split_slips),
    Rule(name="dividend-slip", severity="error", find=dividend_slips),
    Rule(name="unit-slip", severity="error", find=unit_slips),
    Rule(name="wrong-cell", severity="error", find=wrong_cells),
    Rule(name="spike", severity="error", find=spikes),
    Rule(name="fresh-jump", severity="error", find=fresh_jumps),
    Rule(name="odd-dividend", severity="warning", find=odd_dividends),
    Rule(name="jump", severity="warning", find=jumps),
    Rule(name="frozen", severity="warning", find=frozen),
)
DAY_RULES: Final = (
    Rule(name="interval", severity="error", find=other_interval),
    Rule(name="other-calendar", severity="error", find=other_calendar),
    Rule(name="missing-sessions", severity="warning", find=missing_sessions),
    Rule(name="gap", severity="warning", find=series_gaps),
    Rule(name="off-calendar", severity="warning", find=off_calendar),
)
RULES: Final = (*BAR_RULES, *DAY_RULES)
STALE: Final = "stale"


def check_history(history: History, now: datetime | None = None) -> list[Finding]:
    """Apply all rules to the bars of one ticker, at least one; `stale` where an instant is passed.

    Errors come first, then by day. What BAR_RULES find is the same whether a bar is checked with
    the whole history or with the `series.MEMORY + event_rules.SPLIT_SESSIONS` bars before it.
    """
    series = Series(history)
    hits: list[tuple[Rule, Hit]] = []
    first: dict[int, tuple[Rule, Hit]] = {}
    for rule in RULES:
        for hit in rule.find(series):
            if rule in DAY_RULES:
                hits.append((rule, hit))
            else:
                first.setdefault(hit.row, (rule, hit))
    if now is not None:
        hits += _stale(series, now)
    ticker, days = history.listing.ticker, series.days.tolist()
    found = [
        Finding(
            ticker=ticker,
            rule=rule.name,
            severity=rule.severity,
            session=days[hit.row],
            reason=hit.reason,
            known_since=days[max(hit.row, hit.shown_by)],
        )
        for rule, hit in (*first.values(), *hits)
    ]
    return sorted(found, key=lambda finding: (finding.severity, finding.session))


def _stale(series: Series, now: datetime) -> list[tuple[Rule, Hit]]:
    """Find a newest bar that is too old at an instant."""
    calendar, following = series.history.listing.calendar, series.days[-1].item() + timedelta(1)
    final = last_final_session(calendar, now)
    missed = count_sessions(calendar, following, final) if following <= final else 0
    if missed <= MAX_MISSED_SESSIONS:
        return []
    hit = Hit(len(series.days) - 1, f"the newest bar; {missed:,} sessions have passed since")
    return [(Rule(name=STALE, severity="warning", find=lambda _: []), hit)]
