"""What closes are adjusted for, compared with the splits and dividends of their own file.

Shape letters: D bars of a history.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd

from forecaster.data.event_rules import SMALLEST_SPLIT
from forecaster.data.history import BASES, Basis, History
from forecaster.data.sources.files import FileContents, Form
from forecaster.errors import Question

# Odds of a thousand to one contradict a basis; twenty to one confirm it.
CONTRADICTS: Final = float(np.log(1000.0))
CONFIRMS: Final = float(np.log(20.0))
# No ex-date counts more than ten to one, so that at least three contradict a basis.
_MOST_OF_ONE: Final = float(np.log(10.0))
FEWEST_EX_DATES: Final = 3
_SESSIONS_AROUND: Final = 21  # on each side, whose moves show what is ordinary
_TOTAL: Final = "total-return"

_READ: Final = ("close", "dividend", "split")
_NAMED: Final = {
    "adjusted": "a column of adjusted closes is read",
    "as-history": "its columns are those of yfinance's Ticker.history()",
}
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a file's own events say: splits that leave no jump, and log odds for total returns.

    `dividends` are the ex-dates that can decide; positive `log_odds` favour closes that are
    adjusted for dividends.
    """

    splits: int
    adjusted_splits: int
    dividends: int
    log_odds: float

    def bases(self) -> tuple[Basis, ...]:
        """Return the bases that nothing contradicts; all where everything is contradicted."""
        out: set[str] = set()
        if 2 * self.adjusted_splits > self.splits:
            out |= {"as-traded"}
        if 2 * self.adjusted_splits < self.splits:
            out |= {"split-adjusted", _TOTAL}
        if self.log_odds > CONTRADICTS:
            out |= {"as-traded", "split-adjusted"}
        if self.log_odds < -CONTRADICTS:
            out |= {_TOTAL}
        return tuple(basis for basis in BASES if basis not in out) or BASES

    def describe(self, basis: Basis) -> str:
        """Describe what contradicts a basis; empty if nothing does."""
        odds = -self.log_odds if basis == _TOTAL else self.log_odds
        if odds > CONTRADICTS:
            falls = "fall" if basis == _TOTAL else "do not fall"
            return f"the closes {falls} on {self.dividends:,} ex-dates"
        odd = self.adjusted_splits if basis == "as-traded" else self.splits - self.adjusted_splits
        if 2 * odd <= self.splits:
            return ""
        shown = "leave no jump in" if basis == "as-traded" else "are a jump of"
        return f"{odd} of {self.splits} splits {shown} the close"


def evidence_of(history: History) -> Evidence:
    """Compare the closes of a history with its splits and its dividends.

    On a split of s new shares for an old one a close as traded falls to 1/s, a close that is
    adjusted for it does not. On an ex-date a close falls by the dividend unless it is adjusted
    for it: with normal moves of the spread around, one date has the log odds
    (2 m d + d^2) / (2 sigma^2) for a move m and a dividend yield d.
    """
    bars = history.bars
    close, dividend, split = (bars[name].to_numpy(np.float64) for name in _READ)
    with np.errstate(invalid="ignore", divide="ignore"):
        move = np.diff(np.log(close), prepend=np.nan)
        factor, paid = np.log(split), np.log1p(dividend / close)
    known = np.isfinite(move) & np.isfinite(factor) & np.isfinite(paid)
    splits = np.flatnonzero(known & (np.abs(factor) >= np.log(SMALLEST_SPLIT)))
    fell = np.abs(move[splits] + factor[splits]) < np.abs(move[splits])
    ordinary = pd.Series(np.where(known & (dividend == 0) & (factor == 0), move, np.nan))
    around = ordinary.rolling(2 * _SESSIONS_AROUND + 1, min_periods=10, center=True)
    spread = around.std().to_numpy()
    ex_dates = np.flatnonzero(known & (dividend > 0) & (factor == 0) & (spread > 0))
    m, d, sigma = (column[ex_dates] for column in (move - ordinary.median(), paid, spread))
    odds = (2 * m * d + d**2) / (2 * sigma**2)
    return Evidence(
        splits=len(splits),
        adjusted_splits=len(splits) - int(fell.sum()),
        dividends=len(ex_dates),
        log_odds=float(odds.clip(-_MOST_OF_ONE, _MOST_OF_ONE).sum()),
    )


def pooled(own: Mapping[str, Evidence]) -> dict[str, Evidence]:
    """Add up the dividends of tickers of one form; one whose own odds are clear keeps them.

    So does one that seems adjusted among others that are not, to be warned of.
    """
    ex_dates = sum(one.dividends for one in own.values())
    log_odds = sum(one.log_odds for one in own.values())
    highest = CONTRADICTS if log_odds > 0 else CONFIRMS
    return {
        ticker: replace(one, dividends=ex_dates, log_odds=log_odds)
        if one.dividends and -CONTRADICTS <= one.log_odds <= highest
        else one
        for ticker, one in own.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A basis, or None where the user is asked for one of `bases`.

    `reason` is that of the question, or what is assumed; empty if nothing is to be said.
    """

    basis: Basis | None
    reason: str = ""
    bases: tuple[Basis, ...] = ()


def choose_basis(default: Basis, form: Form, evidence: Evidence) -> Choice:
    """Choose the basis of closes that no option and no column states."""
    bases, paid = evidence.bases(), evidence.dividends > 0
    is_unclear = paid and abs(evidence.log_odds) <= CONTRADICTS
    if form == "unadjusted" and is_unclear:
        bases, is_unclear = tuple(basis for basis in bases if basis != _TOTAL), False
    if form in _NAMED and _TOTAL in bases:
        if is_unclear:
            reason = f"{_NAMED[form]}, and its dividends are too small to decide what that means"
            return Choice(basis=None, reason=reason, bases=("total-return", "split-adjusted"))
        reason = f"{_NAMED[form]}; closes are taken as adjusted for splits and dividends"
        return Choice(basis=_TOTAL, reason=reason)
    if default not in bases:
        reason = f"{evidence.describe(default)}, yet the closes are taken as {default}"
        kept = tuple(basis for basis in bases if paid or basis != _TOTAL)
        return Choice(basis=None, reason=reason, bases=kept)
    if default == _TOTAL or not is_unclear or evidence.log_odds < -CONFIRMS:
        return Choice(basis=default)
    reason = (
        f"ex-dates are too few ({evidence.dividends:,}), or dividends too small, to decide whether "
        "closes are adjusted for them; taken as not adjusted. If they are: --basis total-return"
    )
    return Choice(basis=default, reason=reason)


def settle_bases(
    files: Sequence[FileContents], known: Mapping[str, Basis]
) -> tuple[list[History], dict[str, Question]]:
    """Find what the closes of each ticker are adjusted for, or ask.

    Files of one form have one source: the dividends of tickers whose basis nothing states are
    added up, and if one is asked about, so are those of all forms whose own bars cannot decide.
    `known` has the bases of stored tickers, which only a contradiction asks about.
    """
    found = [(file, one, one.listing.ticker) for file in files for one in file.histories]
    own: dict[str, Evidence] = {}
    evidence: dict[str, Evidence] = {}
    for form in {file.form for file in files}:
        fresh = {
            ticker: evidence_of(one)
            for file, one, ticker in found
            if file.form == form and not (file.basis_is_stated or ticker in known)
        }
        own |= fresh
        evidence |= pooled(fresh)
    choices = {}
    for file, one, ticker in found:
        basis = one.listing.basis
        if file.basis_is_stated:
            wrong = evidence_of(one).describe(basis)
            reason = f"{wrong}, yet the closes are taken as {basis}" if wrong else ""
            choices[ticker] = Choice(basis=basis, reason=reason)
        elif ticker in own:
            choices[ticker] = choose_basis(basis, file.form, evidence[ticker])
        else:
            choice = choose_basis(known[ticker], "", evidence_of(one))
            choices[ticker] = choice if choice.basis is None else replace(choice, reason="")
    asking = next((one for one in choices.values() if one.basis is None), None)
    if asking:
        silent = [ticker for ticker, one in own.items() if len(one.bases()) == len(BASES)]
        choices |= {name: asking for name in silent if choices[name].basis is not None}
    return _settled([one for _, one, _ in found], choices), _asked(choices)


def _settled(found: Sequence[History], choices: Mapping[str, Choice]) -> list[History]:
    settled = []
    for one in found:
        choice = choices[one.listing.ticker]
        if choice.basis is not None:
            if choice.reason:
                log.warning("%s: %s", one.listing.ticker, choice.reason)
            settled.append(replace(one, listing=replace(one.listing, basis=choice.basis)))
    return settled


def _asked(choices: Mapping[str, Choice]) -> dict[str, Question]:
    asked = {}
    for ticker, choice in choices.items():
        if choice.basis is None:
            bases = " or ".join(choice.bases)
            how, why = f"add --basis {bases}, or a column basis.", f"{ticker}: {choice.reason}."
            text = f"{why} No basis is given; {how}"
            asked[ticker] = Question(text, "basis", choice.bases, why)
    return asked
