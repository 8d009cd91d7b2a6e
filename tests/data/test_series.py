"""The ordinary size of a ticker's moves: robust, and known before the day."""

import numpy as np
import pytest

from forecaster.data.series import MEMORY, Series, ordinary_sizes, price_step
from tests.data.histories import walk, with_bars


def ordinary_size(moves):
    return ordinary_sizes(moves[:, None])[:, 0]


def test_the_size_is_that_of_the_moves_before():
    moves = 0.02 * np.random.default_rng(0).standard_normal(2000)
    assert ordinary_size(moves)[300:].mean() == pytest.approx(0.022, rel=0.1)
    assert ordinary_size(np.r_[moves, 9.0])[-1] == ordinary_size(np.r_[moves, 0.0])[-1]


def test_a_month_of_wild_moves_is_known_at_once_and_a_few_are_no_season():
    moves = 0.01 * np.random.default_rng(1).standard_normal(400)
    seasonal, struck = moves.copy(), moves.copy()
    seasonal[380:] *= 8
    struck[[380, 385, 390]] = 4.0
    assert ordinary_size(seasonal)[-1] > 0.04
    assert ordinary_size(struck)[-1] == pytest.approx(ordinary_size(moves)[-1], rel=0.25)


def test_a_new_ticker_and_a_halted_one_have_a_least_size():
    assert ordinary_size(np.r_[np.nan, np.zeros(30)]).tolist() == [0.05] * 21 + [0.005] * 10


@pytest.mark.parametrize("days", [MEMORY, MEMORY + 1, 400])
def test_the_bars_that_are_remembered_give_the_same_sizes_as_all(days):
    whole = walk(600, seed=2, tick=0.01)
    part = Series(with_bars(whole, whole.bars.tail(days + 20)))
    for name in ("volatility", "reach", "move"):
        known, all_of_it = getattr(part, name)[-20:], getattr(Series(whole), name)[-20:]
        assert known.tolist() == all_of_it.tolist()


def test_a_move_after_days_without_a_bar_may_be_larger():
    whole = walk(100, seed=3)
    short = with_bars(whole, whole.bars.drop(index=range(60, 63)))
    assert Series(short).volatility[60] == pytest.approx(2 * Series(whole).volatility[60], rel=0.1)


@pytest.mark.parametrize(
    ("close", "step"),
    [
        ([0.01, 0.02, 0.01], 0.01),
        ([14.55, 14.5, 14.0], 0.01),
        ([5000.0, 5010.0], 1.0),
        ([0.00004, 0.00005], 1e-5),
        ([np.float32(0.01), np.float32(0.02)], 0.01),
    ],
)
def test_the_step_of_prices_is_read_from_their_decimals(close, step):
    assert price_step(np.array(close, dtype=np.float64))[-1] == pytest.approx(step)
