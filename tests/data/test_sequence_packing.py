"""Packed sequences and windows: each row once, in order, never across series."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.data.sequence_packing import PADDING, pack_sequences, window_ends, window_rows


def ranges_of(lengths, gap=0):
    """Row ranges of series, `gap` rows left unused after each."""
    stop = np.cumsum(np.asarray(lengths, dtype=np.int64) + gap) - gap
    return stop - np.asarray(lengths, dtype=np.int64), stop


def packed(lengths, batch_rows=3, chunk=8, phase=8, seed=0, gap=0):
    first, stop = ranges_of(lengths, gap)
    return pack_sequences(first, stop, batch_rows, chunk, np.random.default_rng(seed), phase)


@st.composite
def layouts(draw):
    """Series, batch rows and grids of all kinds: empty series, one batch row, chunks of one day."""
    chunk = draw(st.integers(1, 12))
    return {
        "lengths": draw(st.lists(st.integers(0, 40), min_size=1, max_size=12)),
        "batch_rows": draw(st.integers(1, 6)),
        "chunk": chunk,
        "phase": draw(st.integers(1, chunk)),
        "seed": draw(st.integers(0, 99)),
        "gap": draw(st.integers(0, 3)),
    }


def test_one_series_by_hand():
    """10 days, chunks of 4, the first of 3: 3 + 4 + 3, one start."""
    batches = list(packed([10], batch_rows=1, chunk=4, phase=3))
    assert [batch.rows[:, 0].tolist() for batch in batches] == [
        [0, 1, 2],
        [3, 4, 5, 6],
        [7, 8, 9],
    ]
    assert [batch.starts.tolist() for batch in batches] == [[True], [False], [False]]


def test_two_series_in_one_batch_row_by_hand():
    """The second begins on a grid line; the place before it is padding beside a longer row."""
    batches = list(packed([9, 3, 3], batch_rows=2, chunk=4, phase=4))
    rows = np.concatenate([batch.rows for batch in batches])
    long = int(np.argmax((rows != PADDING).sum(axis=0)))
    assert rows[:, long].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    short = rows[:, 1 - long].tolist()
    assert short[3] == short[7] == PADDING
    assert sorted([short[:3], short[4:7]]) == [[9, 10, 11], [12, 13, 14]]
    starts = [batch.starts[1 - long] for batch in batches]
    assert starts == [True, True, False]


@settings(deadline=None)
@given(layouts())
def test_each_row_once_in_order_in_one_batch_row(layout):
    """Read batch row by batch row, the rows are complete series, one after another."""
    batch_rows = packed(**layout)
    first, stop = ranges_of(layout["lengths"], layout["gap"])
    expected = {(int(a), int(b)) for a, b in zip(first, stop, strict=True) if b > a}
    found = []
    for batch_row in range(batch_rows.width):
        column = np.concatenate([batch.rows[:, batch_row] for batch in batch_rows])
        column = column[column != PADDING]
        cuts = np.flatnonzero(np.isin(column, first[stop > first]))
        found += [(int(part[0]), int(part[-1]) + 1) for part in np.split(column, cuts)[1:]]
        for part in np.split(column, cuts)[1:]:
            assert (np.diff(part) == 1).all()
    assert sorted(found) == sorted(expected)


@settings(deadline=None)
@given(layouts())
def test_starts_exactly_where_a_series_enters(layout):
    """The flag is set when a series' first row leads the batch, and at no other time."""
    first, stop = ranges_of(layout["lengths"], layout["gap"])
    for batch in packed(**layout):
        assert batch.starts.tolist() == np.isin(batch.rows[0], first[stop > first]).tolist()


@settings(deadline=None)
@given(layouts())
def test_no_batch_row_mixes_series(layout):
    """Each column of a batch is one run of consecutive rows, then padding only."""
    _, stop = ranges_of(layout["lengths"], layout["gap"])
    for batch in packed(**layout):
        assert batch.rows.dtype == np.int64
        for column in batch.rows.T:
            real = column[column != PADDING]
            assert (column[len(real) :] == PADDING).all()
            owners = {int(np.searchsorted(stop, row, side="right")) for row in real}
            assert len(owners) <= 1
            assert (np.diff(real) == 1).all()


@settings(deadline=None)
@given(layouts())
def test_the_grid_is_common_to_all_batch_rows(layout):
    """First `phase` days, then `chunk`; a batch row that goes on fills its column."""
    batches = list(packed(**layout))
    for number, batch in enumerate(batches):
        size = layout["phase"] if number == 0 else layout["chunk"]
        assert 1 <= len(batch.rows) <= size
        assert (batch.rows[-1] != PADDING).any()
        if number + 1 < len(batches):
            following = batches[number + 1]
            goes_on = (following.rows[0] != PADDING) & ~following.starts
            assert (batch.rows[-1, goes_on] != PADDING).all()
            assert len(batch.rows) == size or not goes_on.any()


@settings(deadline=None)
@given(layouts())
def test_same_seed_same_batches(layout):
    """Bit for bit, so that a run can be repeated."""
    for one, two in zip(packed(**layout), packed(**layout), strict=True):
        assert np.array_equal(one.rows, two.rows)
        assert np.array_equal(one.starts, two.starts)


def test_another_seed_draws_another_order():
    """Equal series in one batch row come in an order that the generator draws."""
    orders = {
        tuple(int(batch.rows[0, 0]) for batch in packed([8] * 6, batch_rows=1, seed=seed))
        for seed in range(5)
    }
    assert len(orders) > 1


def test_more_batch_rows_than_series_are_reduced():
    """No batch row is empty from the start; series without days do not count."""
    batch_rows = packed([5, 0, 7], batch_rows=64)
    assert batch_rows.width == 2
    assert next(iter(batch_rows)).starts.all()


def test_batch_rows_are_filled_evenly():
    """Longest first onto the emptiest batch row: 6, 5, 4, 3, 2, 1 chunks make 7 + 7 + 7."""
    batch_rows = packed([48, 40, 32, 24, 16, 8], batch_rows=3)
    assert len(batch_rows) == 7
    assert batch_rows.utilisation == 1.0


LONG_AND_SHORT = np.clip(np.random.default_rng(1).exponential(3400, 3000), 60, 10080).astype(int)


@pytest.mark.parametrize("seed", [0, 1])
def test_three_thousand_histories_fill_95_percent_of_64_batch_rows(seed):
    """With k = 126 and any phase; the longest has 160 times the days of the shortest."""
    for phase in (1, 63, 126):
        batch_rows = packed(LONG_AND_SHORT, batch_rows=64, chunk=126, phase=phase, seed=seed)
        assert batch_rows.width == 64
        assert batch_rows.utilisation >= 0.95
        assert (batch_rows.end - batch_rows.begin).sum() == LONG_AND_SHORT.sum()


def test_batch_rows_are_staggered_in_time():
    """Histories that end on the same day: few rows of a batch show the same dates.

    64 stocks of one day, correlated at 0.3, are worth three independent ones. Rows that took
    their series in the same order of lengths would share 21 % of their dates.
    """
    batch_rows = packed(LONG_AND_SHORT, batch_rows=64, chunk=126, phase=126)
    _, stop = ranges_of(LONG_AND_SHORT)
    before_the_end = stop[np.searchsorted(stop, batch_rows.begin, side="right").clip(max=2999)]
    date = batch_rows.begin - before_the_end
    shared = [
        np.clip(1.0 - np.abs(days[:, None] - days) / 126, 0.0, None)[~np.eye(64, dtype=bool)]
        for days in date[:-20]  # in the last batches some rows are exhausted
    ]
    assert np.mean(shared) < 0.05


def test_full_history_batches_have_complete_series_of_similar_length():
    """With the longest series as the chunk, every row of every batch is another series."""
    lengths = [100, 98, 50, 49, 10, 9]
    batch_rows = packed(lengths, batch_rows=2, chunk=100, phase=100)
    batches = list(batch_rows)
    assert all(batch.starts.all() for batch in batches)
    assert sorted(len(batch.rows) for batch in batches) == [10, 50, 100]
    assert batch_rows.utilisation == pytest.approx(316 / 320)


def test_nothing_to_pack_is_empty():
    """Series without days give no batches."""
    batch_rows = packed([0, 0])
    assert len(batch_rows) == 0
    assert list(batch_rows) == []


@pytest.mark.parametrize(
    ("batch_rows", "chunk", "phase"), [(0, 8, 8), (1, 8, 0), (1, 8, 9), (1, 0, 0), (-1, 8, 1)]
)
def test_impossible_grids_are_refused(batch_rows, chunk, phase):
    """The message has all three numbers."""
    with pytest.raises(ValueError, match=f"batch_rows {batch_rows}, phase {phase} and"):
        packed([5], batch_rows=batch_rows, chunk=chunk, phase=phase)


LENGTHS = st.lists(st.integers(0, 12), min_size=1, max_size=6)


def offsets_of(lengths):
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def test_windows_by_hand():
    """Series of 4 and 3 days, lookback 3: rows 2 and 3, and row 6."""
    ends = window_ends(offsets_of([4, 3]), 3, np.ones(7, dtype=bool))
    assert ends.tolist() == [2, 3, 6]
    assert window_rows(ends, 3).tolist() == [[0, 1, 4], [1, 2, 5], [2, 3, 6]]


def test_eligible_rows_only():
    """A row that may not end a window ends none; earlier rows may still be inside one."""
    eligible = np.array([True, True, False, True])
    assert window_ends(offsets_of([4]), 2, eligible).tolist() == [1, 3]


def test_lookback_of_one_is_the_rows_themselves():
    """Every eligible row is its own window."""
    eligible = np.array([True, False, True])
    ends = window_ends(offsets_of([1, 2]), 1, eligible)
    assert ends.tolist() == [0, 2]
    assert window_rows(ends, 1).tolist() == [[0, 2]]


def test_too_short_series_give_none():
    """No window is an empty array of row numbers, not an error here."""
    ends = window_ends(offsets_of([3, 0, 2]), 4, np.ones(5, dtype=bool))
    assert ends.shape == (0,)
    assert ends.dtype == np.int64
    assert window_rows(ends, 4).shape == (4, 0)


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 6), st.randoms(use_true_random=False))
def test_windows_never_cross_series_and_none_is_missed(lengths, lookback, random):
    """Exactly the runs of `lookback` days inside one series that end on an eligible row."""
    offsets = offsets_of(lengths)
    eligible = np.array([random.random() < 0.7 for _ in range(offsets[-1])], dtype=bool)
    expected = [
        list(range(last - lookback + 1, last + 1))
        for begin, stop in pairwise(offsets)
        for last in range(begin + lookback - 1, stop)
        if eligible[last]
    ]
    ends = window_ends(offsets, lookback, eligible)
    assert window_rows(ends, lookback).T.tolist() == expected


@pytest.mark.parametrize(
    ("offsets", "lookback", "message"),
    [([0, 5], 0, "lookback is 0"), ([0, 4], 2, "from 0 to 4"), ([1, 5], 2, "from 1 to 5")],
)
def test_contradicting_arguments_are_refused(offsets, lookback, message):
    """A wrong panel is not sliced into plausible windows."""
    with pytest.raises(ValueError, match=message):
        window_ends(np.array(offsets), lookback, np.ones(5, dtype=bool))
