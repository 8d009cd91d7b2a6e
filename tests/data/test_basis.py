"""Closes are compared with the splits and dividends of their own file."""

from dataclasses import replace

import numpy as np
import pytest

from forecaster.data.basis import (
    CONTRADICTS,
    Evidence,
    choose_basis,
    evidence_of,
    pooled,
    settle_bases,
)
from forecaster.data.sources.files import FileContents
from tests.data.histories import history

ADJUSTED = [10.0, 10.1, 10.2, 10.1, 10.0]
TRADED = [40.0, 40.4, 10.2, 10.1, 10.0]
FOUR = [1, 1, 4, 1, 1]
QUARTER = 63


def contradiction(one):
    return evidence_of(one).describe(one.listing.basis)


@pytest.mark.parametrize(
    ("close", "split", "basis"),
    [
        (ADJUSTED, FOUR, "split-adjusted"),
        (ADJUSTED, FOUR, "total-return"),
        (TRADED, FOUR, "as-traded"),
        (TRADED[::-1], [1, 1, 1, 0.25, 1], "as-traded"),  # four old shares become one
        (ADJUSTED, np.ones(5), "as-traded"),
        (ADJUSTED, [1, 1, 1.1, 1, 1], "as-traded"),  # too small to decide
        (ADJUSTED, [4, 1, 1, 1, 1], "as-traded"),  # nothing to compare the first day with
        ([40, 10, 9.9, 9.8, 9.7], [1, 4, 1, 4, 1], "as-traded"),  # one missed of two
    ],
)
def test_closes_that_agree_with_their_splits_are_not_reported(close, split, basis):
    assert contradiction(history(close=close, split=split, basis=basis)) == ""


@pytest.mark.parametrize(
    ("close", "basis", "words"),
    [
        (ADJUSTED, "as-traded", "1 of 1 splits leave no jump in the close"),
        (TRADED, "split-adjusted", "1 of 1 splits are a jump of the close"),
        (TRADED, "total-return", "1 of 1 splits are a jump of the close"),
    ],
)
def test_closes_on_the_other_basis_are_reported(close, basis, words):
    """A split 4:1 read on the wrong basis is a day of plus or minus 139 %."""
    assert contradiction(history(close=close, split=FOUR, basis=basis)) == words


def paying(seed, *, quarterly=0.012, years=10, volatility=0.012, falls=1.0, ticker="AAPL"):
    """Closes with quarterly dividends, of which a part is taken off on the ex-date."""
    days = 252 * years
    draw = np.random.default_rng(seed)
    dividend = np.zeros(days)
    close = 40.0 * np.exp(np.cumsum(volatility * draw.standard_t(5, days) * np.sqrt(3 / 5)))
    for day in range(40, days, QUARTER):
        dividend[day] = quarterly * close[day - 1]
        close[day:] *= 1 - falls * quarterly
    return history(ticker, first="2012-01-03", close=close, dividend=dividend, basis="as-traded")


def adjusted(one):
    """The same history as a source that adjusts for dividends serves it."""
    bars = one.bars.copy()
    for day in np.flatnonzero(bars["dividend"] > 0):
        bars.loc[: day - 1, "close"] *= 1 - bars["dividend"][day] / one.bars["close"][day - 1]
    return replace(one, bars=bars)


@pytest.mark.parametrize("falls", [1.0, 0.85])
@pytest.mark.parametrize("seed", range(5))
def test_dividends_of_five_percent_a_year_tell_within_ten_years(seed, falls):
    """Taxes let a close fall by less than the dividend."""
    one = paying(seed, falls=falls)
    assert evidence_of(one).log_odds < -3
    assert evidence_of(adjusted(one)).log_odds > CONTRADICTS


def test_small_dividends_cannot_tell():
    one = paying(0, quarterly=0.0015, volatility=0.018)
    for served in (one, adjusted(one)):
        assert abs(evidence_of(served).log_odds) < 3


def test_unadjusted_closes_are_hardly_ever_contradicted():
    """By Markov's inequality at most one in a thousand if a close falls by the dividend."""
    wrong = sum(
        evidence_of(paying(seed, quarterly=0.006, years=8)).log_odds > CONTRADICTS
        for seed in range(300)
    )
    assert wrong == 0


def test_one_dividend_never_decides():
    """A hundredfold one, or one of 95 % that was never paid, is another rule's."""
    close = 50 * np.exp(0.01 * np.random.default_rng(1).standard_normal(300))
    dividend = np.zeros(300)
    dividend[[100, 200]] = 40.0
    assert 0 < evidence_of(history(close=close, dividend=dividend)).log_odds < CONTRADICTS


def test_a_close_that_never_moves_is_no_evidence():
    dividend = np.zeros(300)
    dividend[::21] = 0.004
    found = evidence_of(history(close=np.ones(300), dividend=dividend))
    assert (found.dividends, found.log_odds) == (0, 0.0)


def of_file(*histories, stated=False, form=""):
    return FileContents(
        histories=list(histories),
        left_out=[],
        columns={},
        decimal="point",
        basis_is_stated=stated,
        form=form,
    )


SMALL = {"quarterly": 0.0015, "volatility": 0.018}


@pytest.mark.parametrize(
    ("one", "form", "basis", "bases", "words"),
    [
        (paying(0), "", "as-traded", (), ""),
        (adjusted(paying(0)), "", None, ("total-return",), "do not fall on 40 ex-dates, yet"),
        (adjusted(paying(0)), "as-history", "total-return", (), "yfinance's Ticker.history()"),
        (adjusted(paying(0)), "adjusted", "total-return", (), "adjusted closes is read"),
        (paying(0), "as-history", "as-traded", (), ""),
        (
            paying(0, **SMALL),
            "",
            "as-traded",
            (),
            "too few (40), or dividends too small, to decide",
        ),
        (paying(0, **SMALL), "unadjusted", "as-traded", (), ""),
        (
            *(paying(0, **SMALL), "as-history", None, ("total-return", "split-adjusted")),
            "too small to decide",
        ),
        (
            *(paying(0, **SMALL), "adjusted", None, ("total-return", "split-adjusted")),
            "too small to decide",
        ),
        (history(close=ADJUSTED, split=FOUR), "", None, ("split-adjusted",), "leave no jump"),
        (history(close=ADJUSTED, split=FOUR), "as-history", "total-return", (), "yfinance"),
        (history(close=ADJUSTED), "adjusted", "total-return", (), "adjusted closes"),
        (history(close=ADJUSTED), "", "as-traded", (), ""),
    ],
)
def test_a_basis_that_nothing_states_is_found_or_asked_for(one, form, basis, bases, words):
    choice = choose_basis("as-traded", form, evidence_of(one))
    assert (choice.basis, choice.bases) == (basis, bases)
    assert words in choice.reason and bool(words) == bool(choice.reason)


def test_tickers_of_one_command_are_pooled():
    """Twenty payers of small dividends show what one cannot."""
    served = [adjusted(paying(seed, quarterly=0.004)) for seed in range(20)]
    found = pooled({str(number): evidence_of(one) for number, one in enumerate(served)})
    assert all(one.log_odds > CONTRADICTS for one in found.values())


def test_an_adjusted_ticker_among_others_is_warned_of():
    """Its own dividends point to it, though they are too few to ask about."""
    odds = {"A": -9.0, "B": -6.0, "ODD": 4.0, "MUTE": 2.0}
    found = pooled(
        {
            ticker: Evidence(splits=0, adjusted_splits=0, dividends=4, log_odds=value)
            for ticker, value in odds.items()
        }
    )
    assert {name: one.log_odds for name, one in found.items()} == {**odds, "B": -9.0, "MUTE": -9.0}
    choice = choose_basis("as-traded", "", found["ODD"])
    assert choice.basis == "as-traded" and "--basis total-return" in choice.reason


def test_files_of_another_form_are_another_source():
    """A file of yfinance's says nothing of one from elsewhere."""
    small = paying(0, **SMALL, ticker="SMALL")
    settled, asked = settle_bases(
        [of_file(adjusted(paying(0)), form="as-history"), of_file(small)], {}
    )
    assert [one.listing.basis for one in settled] == ["total-return", "as-traded"] and not asked


def test_a_question_about_one_is_one_about_all_that_cannot_tell(caplog):
    """The answer is that of the source; a ticker that can decide, or is stored, goes on."""
    asks = adjusted(paying(0))
    silent = history("MUTE", close=ADJUSTED, basis="as-traded")
    clear = history("JUMP", close=TRADED, split=FOUR, basis="as-traded")
    stored = replace(silent, listing=replace(silent.listing, ticker="KNOWN"))
    settled, asked = settle_bases(
        [of_file(asks), of_file(silent, clear, stored)], {"KNOWN": "split-adjusted"}
    )
    assert {one.listing.ticker: one.listing.basis for one in settled} == {
        "JUMP": "as-traded",
        "KNOWN": "split-adjusted",
    }
    assert {name: one.choices for name, one in asked.items()} == {
        "AAPL": ("total-return",),
        "MUTE": ("total-return",),
    }
    assert "add --basis total-return, or a column basis" in str(asked["AAPL"])
    assert caplog.text == ""


def test_a_stated_basis_is_kept_with_a_warning(caplog):
    one = history(close=ADJUSTED, split=FOUR, basis="as-traded")
    settled, asked = settle_bases([of_file(one, stated=True)], {})
    assert settled[0].listing.basis == "as-traded" and not asked
    assert "AAPL: 1 of 1 splits leave no jump in the close, yet the closes are" in caplog.text
