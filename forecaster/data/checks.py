"""Data-quality rules: their names, severities, and what they find in a history.

Histories in, findings out.  Repairs nothing; knows no source and no store.  `docs/checks.md`
says which rule catches which fault, and why its threshold is what it is.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import numpy as np

from forecaster.data import check_days, check_moves
from forecaster.data.bars import History
from forecaster.data.check_moves import SMALLEST_SPLIT
from forecaster.data.findings import Finding, Rule, Severity, Sign
from forecaster.data.sessions import last_final_session

MOVE_RULES: Final = (
    Rule(name="split-slip", severity="error", find=check_moves.split_slips),
    Rule(name="unit-slip", severity="error", find=check_moves.unit_slips),
    Rule(name="spike", severity="error", find=check_moves.spikes),
    Rule(name="fresh-jump", severity="error", find=check_moves.fresh_jumps),
    Rule(name="jump", severity="warning", find=check_moves.jumps),
    Rule(name="odd-dividend", severity="warning", find=check_moves.odd_dividends),
    Rule(name="frozen", severity="warning", find=check_moves.frozen),
)
DAY_RULES: Final = (
    Rule(name="gap", severity="warning", find=check_days.gaps),
    Rule(name="hole", severity="warning", find=check_days.series_cuts),
    Rule(name="stray", severity="warning", find=check_days.strays),
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
        late = check_days.staleness(history, last)
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
