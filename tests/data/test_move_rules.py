"""Unit slips, spikes and jumps: what a ticker's own volatility makes impossible, and what not."""

import numpy as np
import pytest

from forecaster.data.move_rules import jumps, resembles_event, spikes, unit_slips
from forecaster.data.series import Series
from tests.data.histories import history, scaled_rows, walk, with_bars

DAYS = 300
UNITS = [10, 12, 20, 100, 240, 1000, 10_000, 1e6, 0.1, 1 / 12, 0.05, 0.01, 1e-3, 1e-4]


def rows(rule, one):
    return [hit.row for hit in rule(Series(one))]


@pytest.mark.parametrize("volatility", [0.005, 0.02, 0.04])
@pytest.mark.parametrize("factor", UNITS)
@pytest.mark.parametrize(
    ("first", "end", "steps"),
    [
        (150, 151, [150]),
        (150, 154, [150, 154]),
        (100, 260, [100, 260]),
        (0, 5, [5]),  # open at the start
        (290, DAYS, [290]),  # open at the end: a block, or a redenomination
        (DAYS - 1, DAYS, [DAYS - 1]),
    ],
)
def test_a_block_in_another_unit_is_found_where_it_begins_and_ends(
    factor, first, end, steps, volatility
):
    one = scaled_rows(walk(DAYS, volatility=volatility, seed=4), range(first, end), factor)
    assert rows(unit_slips, one) == steps


@pytest.mark.parametrize("factor", [0.65, 0.4, 3.0, 2.35, 1 / 15.4, 7.5, 50.0, 0.5])
def test_a_step_that_is_no_unit_is_only_a_jump(factor):
    """An earnings day, a biotech, a merger: a person may look, the ticker goes on."""
    one = scaled_rows(walk(DAYS, seed=5), range(150, DAYS), factor)
    assert rows(unit_slips, one) == rows(spikes, one) == []
    assert rows(jumps, one) == [150]


@pytest.mark.parametrize("volatility", [0.10, 0.15])
def test_a_wild_series_may_move_by_a_factor_of_ten(volatility):
    """What its own volatility does not make impossible is not refused."""
    one = walk(DAYS, volatility=2 * volatility, seed=6)
    wild = scaled_rows(one, range(150, DAYS), 10.0)
    assert rows(unit_slips, wild) == []


@pytest.mark.parametrize(
    "close",
    [
        [0.01, 0.02] * 40,
        [0.01] * 60 + [0.02, 0.01, 0.01, 0.02, 0.01, 0.03, 0.01],
        [0.0001] * 40 + [0.0002, 0.0001] * 5,
        [0.02, 0.02, 0.01, 0.02] * 20,
        [0.02, 0.05, 0.02, 0.03] * 20,
    ],
)
def test_a_penny_stock_moves_by_whole_price_steps(close):
    one = history(open=close, high=close, low=close, close=close)
    assert rows(spikes, one) == rows(unit_slips, one) == rows(jumps, one) == []


@pytest.mark.parametrize(("factor", "found"), [(2.1, [150]), (0.3, [150]), (1.9, [])])
def test_a_spike_is_found_by_the_bar_that_leaves(factor, found):
    one = scaled_rows(walk(DAYS, volatility=0.01, seed=8), [150], factor)
    assert rows(spikes, one) == found and rows(jumps, one)[:1] in ([150], found)


def test_a_coin_may_double_and_halve():
    one = scaled_rows(walk(DAYS, volatility=0.10, seed=9), [150], 2.2)
    assert rows(spikes, one) == rows(jumps, one) == []


def test_a_jump_after_years_without_a_bar_is_no_unit():
    """A share that is listed again at a twelfth of its price."""
    one = scaled_rows(walk(700, seed=10), range(650, 700), 1 / 12)
    bars = one.bars.drop(index=range(150, 650)).reset_index(drop=True)
    assert rows(unit_slips, with_bars(one, bars)) == []


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (0.5, "a split of 2"),
        (2.02, "a split of 2"),
        (1 / 3, "a split of 3"),
        (0.66, "a split of 1.5"),
        (1 / 50, "a split of 50"),
        (100.5, "a factor of 100"),
        (0.001, "a factor of 1000"),
        (0.65, ""),
        (0.4, ""),
        (2.35, ""),
    ],
)
def test_a_jump_of_the_size_of_an_event_is_described(factor, words):
    assert resembles_event(float(np.log(factor))) == words
