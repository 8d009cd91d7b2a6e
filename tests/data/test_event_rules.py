"""Splits and dividends on record whose mark in the closes is missing, inverted or misplaced."""

import numpy as np
import pytest

from forecaster.data.event_rules import dividend_slips, odd_dividends, split_slips
from forecaster.data.series import Series
from tests.data.histories import scaled_rows, walk, with_bars

DAYS, DAY = 300, 200


def rows(rule, one):
    return [hit.row for hit in rule(Series(one))]


def with_split(ratio, *, volatility=0.01, basis="split-adjusted", seed=11):
    """A walk with a split on record, and closes that show it as the basis says."""
    one = walk(DAYS, volatility=volatility, seed=seed, basis=basis)
    bars = one.bars.assign(split=np.where(one.bars.index == DAY, ratio, 1.0))
    traded = scaled_rows(with_bars(one, bars), range(DAY), ratio)
    return traded if basis == "as-traded" else with_bars(one, bars)


RATIOS = [2.0, 1.5, 1.25, 1.4, 7.0, 20.0, 0.5, 0.1, 1 / 20, 1 / 50, 1.1]
BASES = ["split-adjusted", "as-traded"]
INVERTED = [("split-adjusted", 2), ("as-traded", -2)]


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("ratio", [*RATIOS, 1.05, 1.001])
@pytest.mark.parametrize("volatility", [0.01, 0.03])
def test_a_split_that_the_closes_show_is_right(ratio, basis, volatility):
    for seed in range(5):
        one = with_split(ratio, volatility=volatility, basis=basis, seed=seed)
        assert rows(split_slips, one) == []


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize(
    ("basis", "exponent"), [*((basis, one) for basis in BASES for one in (1, -1)), *INVERTED]
)
def test_a_split_missing_applied_twice_or_inverted_is_found_on_its_day(ratio, basis, exponent):
    """The exponent is how often closes before the day are multiplied by the ratio too often."""
    one = scaled_rows(with_split(ratio, basis=basis), range(DAY), ratio**exponent)
    assert rows(split_slips, one) == [DAY]


@pytest.mark.parametrize("ratio", [2.0, 4.0, 0.1, 1.5])
@pytest.mark.parametrize("away", [-10, -3, -1, 1, 4, 10])
def test_a_split_applied_on_another_day_is_found(ratio, away):
    late = scaled_rows(with_split(ratio), range(DAY + away), ratio)
    assert rows(split_slips, late) == [DAY + away]
    one_day = scaled_rows(with_split(ratio), [DAY + away], ratio)
    assert DAY + away in rows(split_slips, one_day)
    assert DAY + 11 not in rows(split_slips, scaled_rows(with_split(ratio), range(DAY + 11), ratio))


def test_the_power_is_what_the_volatility_allows():
    """A stock dividend of 21:20 is 5 %: plain in a calm series, a day like others in a wild one."""
    found = {}
    for volatility in (0.006, 0.03):
        missing = [
            scaled_rows(with_split(1.05, volatility=volatility, seed=seed), range(DAY), 1.05)
            for seed in range(20)
        ]
        found[volatility] = sum(bool(rows(split_slips, one)) for one in missing)
    assert found[0.006] >= 18 and found[0.03] == 0


def test_a_finding_says_which_bar_shows_it():
    """Closes that fall three days before the split is on record are wrong only once it is."""
    early = scaled_rows(with_split(4.0), range(DAY - 3), 4.0)
    (hit,) = split_slips(Series(early))
    assert (hit.row, hit.shown_by) == (DAY - 3, DAY)


def paying(dividend, *, falls=True, basis="split-adjusted"):
    """A walk that pays once, and falls by it or not."""
    one = walk(DAYS, volatility=0.015, seed=12, basis=basis)
    before = one.bars["close"][DAY - 1]
    if falls:
        one = scaled_rows(one, range(DAY, DAYS), 1 - dividend)
    paid = np.where(one.bars.index == DAY, dividend * before, 0.0)
    return with_bars(one, one.bars.assign(dividend=paid))


@pytest.mark.parametrize("share", [0.12, 0.4, 0.9, 1.0, 1.3, 80.0, 100.0])
def test_a_large_dividend_that_the_close_does_not_show_cannot_be(share):
    assert rows(dividend_slips, paying(share, falls=False)) == [DAY]


@pytest.mark.parametrize("share", [0.5, 0.95, 0.98])
def test_a_liquidation_that_the_close_falls_by_can_be(share):
    assert rows(dividend_slips, paying(share)) == rows(odd_dividends, paying(share)) == []


def test_a_dividend_larger_than_the_price_is_wrong_even_on_a_bad_day():
    one = scaled_rows(paying(1.3, falls=False), range(DAY, DAYS), 0.6)
    assert rows(dividend_slips, one) == [DAY]


@pytest.mark.parametrize("share", [0.005, 0.09])
def test_an_ordinary_dividend_is_not_looked_at(share):
    one = paying(share, falls=False)
    assert rows(dividend_slips, one) == rows(odd_dividends, one) == []


def test_a_wild_close_may_hide_a_large_dividend():
    one = walk(DAYS, volatility=0.08, seed=13)
    paid = np.where(one.bars.index == DAY, 0.12 * one.bars["close"][DAY - 1], 0.0)
    one = with_bars(one, one.bars.assign(dividend=paid))
    assert rows(dividend_slips, one) == [] and rows(odd_dividends, one) == [DAY]


def test_closes_adjusted_for_dividends_fall_by_none():
    """Not even on a day on which they rise."""
    one = scaled_rows(paying(0.2, falls=False, basis="total-return"), range(DAY, DAYS), 1.15)
    assert rows(dividend_slips, one) == rows(odd_dividends, one) == []
