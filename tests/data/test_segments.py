import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.data.segments import PADDING, pack_sequences


def ranges_of(lengths, gap=0):
    """Row ranges of series, `gap` rows left unused after each."""
    stop = np.cumsum(np.asarray(lengths, dtype=np.int64) + gap) - gap
    return stop - np.asarray(lengths, dtype=np.int64), stop


def packed(lengths, batch_rows=3, chunk=8, phase=8, seed=0, gap=0):
    first, stop = ranges_of(lengths, gap)
    return pack_sequences(first, stop, batch_rows, chunk, np.random.default_rng(seed), phase)


@st.composite
def layouts(draw):
    """Series, lanes and grids of all kinds: empty series, one lane, chunks of one day."""
    chunk = draw(st.integers(1, 12))
    return {
        "lengths": draw(st.lists(st.integers(0, 40), min_size=1, max_size=12)),
        "lanes": draw(st.integers(1, 6)),
        "chunk": chunk,
        "phase": draw(st.integers(1, chunk)),
        "seed": draw(st.integers(0, 99)),
        "gap": draw(st.integers(0, 3)),
    }


def test_one_series_by_hand():
    """10 days, chunks of 4, the first of 3: 3 + 4 + 3, one start."""
    segments = list(packed([10], batch_rows=1, chunk=4, phase=3))
    assert [segment.rows[:, 0].tolist() for segment in segments] == [
        [0, 1, 2],
        [3, 4, 5, 6],
        [7, 8, 9],
    ]
    assert [segment.starts.tolist() for segment in segments] == [[True], [False], [False]]


def test_two_series_in_one_lane_by_hand():
    """The second begins on a grid line; the place before it is padding beside a longer lane."""
    segments = list(packed([9, 3, 3], batch_rows=2, chunk=4, phase=4))
    rows = np.concatenate([segment.rows for segment in segments])
    long = int(np.argmax((rows != PADDING).sum(axis=0)))
    assert rows[:, long].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    short = rows[:, 1 - long].tolist()
    assert short[3] == short[7] == PADDING
    assert sorted([short[:3], short[4:7]]) == [[9, 10, 11], [12, 13, 14]]
    starts = [segment.starts[1 - long] for segment in segments]
    assert starts == [True, True, False]


@settings(deadline=None)
@given(layouts())
def test_each_row_once_in_order_in_one_lane(layout):
    """Read lane by lane, the rows are whole series, one after another, nothing left out."""
    batch_rows = packed(**layout)
    first, stop = ranges_of(layout["lengths"], layout["gap"])
    expected = {(int(a), int(b)) for a, b in zip(first, stop, strict=True) if b > a}
    found = []
    for batch_row in range(batch_rows.width):
        column = np.concatenate([segment.rows[:, batch_row] for segment in batch_rows])
        column = column[column != PADDING]
        cuts = np.flatnonzero(np.isin(column, first[stop > first]))
        found += [(int(part[0]), int(part[-1]) + 1) for part in np.split(column, cuts)[1:]]
        for part in np.split(column, cuts)[1:]:
            assert (np.diff(part) == 1).all()
    assert sorted(found) == sorted(expected)


@settings(deadline=None)
@given(layouts())
def test_starts_exactly_where_a_series_enters(layout):
    """The flag is up when a series' first row leads the segment, and at no other time."""
    first, stop = ranges_of(layout["lengths"], layout["gap"])
    for segment in packed(**layout):
        assert segment.starts.tolist() == np.isin(segment.rows[0], first[stop > first]).tolist()


@settings(deadline=None)
@given(layouts())
def test_no_segment_mixes_series(layout):
    """Within a lane a segment holds one run of consecutive rows, then padding only."""
    _, stop = ranges_of(layout["lengths"], layout["gap"])
    for segment in packed(**layout):
        assert segment.rows.dtype == np.int64
        for column in segment.rows.T:
            real = column[column != PADDING]
            assert (column[len(real) :] == PADDING).all()
            owners = {int(np.searchsorted(stop, row, side="right")) for row in real}
            assert len(owners) <= 1
            assert (np.diff(real) == 1).all()


@settings(deadline=None)
@given(layouts())
def test_grid_is_common_to_all_lanes(layout):
    """First `phase` days, then `chunk`; a lane that goes on fills its segment."""
    segments = list(packed(**layout))
    for number, segment in enumerate(segments):
        size = layout["phase"] if number == 0 else layout["chunk"]
        assert 1 <= len(segment.rows) <= size
        assert (segment.rows[-1] != PADDING).any()
        if number + 1 < len(segments):
            following = segments[number + 1]
            goes_on = (following.rows[0] != PADDING) & ~following.starts
            assert (segment.rows[-1, goes_on] != PADDING).all()
            assert len(segment.rows) == size or not goes_on.any()


@settings(deadline=None)
@given(layouts())
def test_same_seed_same_lanes(layout):
    """Bit for bit, so that a run can be repeated."""
    for one, two in zip(packed(**layout), packed(**layout), strict=True):
        assert np.array_equal(one.rows, two.rows)
        assert np.array_equal(one.starts, two.starts)


def test_another_seed_draws_another_order():
    """Equal series in one lane come in an order that the generator draws."""
    orders = {
        tuple(int(segment.rows[0, 0]) for segment in packed([8] * 6, batch_rows=1, seed=seed))
        for seed in range(5)
    }
    assert len(orders) > 1


def test_more_lanes_than_series_are_reduced():
    """No lane is empty from the start; series without days do not count."""
    batch_rows = packed([5, 0, 7], batch_rows=64)
    assert batch_rows.width == 2
    assert next(iter(batch_rows)).starts.all()


def test_lanes_are_filled_evenly():
    """Longest first onto the emptiest lane: 6, 5, 4, 3, 2, 1 chunks make 7 + 7 + 7."""
    batch_rows = packed([48, 40, 32, 24, 16, 8], batch_rows=3)
    assert len(batch_rows) == 7
    assert batch_rows.utilisation == 1.0


LONG_AND_SHORT = np.clip(np.random.default_rng(1).exponential(3400, 3000), 60, 10080).astype(int)


@pytest.mark.parametrize("seed", [0, 1])
def test_three_thousand_histories_fill_95_percent_of_64_lanes(seed):
    """With k = 126 and any phase; the longest has 160 times the days of the shortest."""
    for phase in (1, 63, 126):
        batch_rows = packed(LONG_AND_SHORT, batch_rows=64, chunk=126, phase=phase, seed=seed)
        assert batch_rows.width == 64
        assert batch_rows.utilisation >= 0.95
        assert (batch_rows.end - batch_rows.begin).sum() == LONG_AND_SHORT.sum()


def test_lanes_are_staggered_in_time():
    """Histories that end on the same day: few lanes of a segment show the same dates.

    64 stocks of one day, correlated at 0.3, are worth three independent ones. PackedSequences that took
    their series in the same order of lengths would share 21 % of their dates.
    """
    batch_rows = packed(LONG_AND_SHORT, batch_rows=64, chunk=126, phase=126)
    _, stop = ranges_of(LONG_AND_SHORT)
    before_the_end = stop[np.searchsorted(stop, batch_rows.begin, side="right").clip(max=2999)]
    date = batch_rows.begin - before_the_end
    shared = [
        np.clip(1.0 - np.abs(days[:, None] - days) / 126, 0.0, None)[~np.eye(64, dtype=bool)]
        for days in date[:-20]  # the last segments have lanes that have run out
    ]
    assert np.mean(shared) < 0.05


def test_full_history_segments_hold_whole_series_of_like_length():
    """With the longest series as the chunk, every row of every segment is a fresh series."""
    lengths = [100, 98, 50, 49, 10, 9]
    batch_rows = packed(lengths, batch_rows=2, chunk=100, phase=100)
    segments = list(batch_rows)
    assert all(segment.starts.all() for segment in segments)
    assert sorted(len(segment.rows) for segment in segments) == [10, 50, 100]
    assert batch_rows.utilisation == pytest.approx(316 / 320)


def test_nothing_to_pack_is_empty():
    """Series without days give no segments; the caller, who knows the tickers, says so."""
    batch_rows = packed([0, 0])
    assert len(batch_rows) == 0
    assert list(batch_rows) == []


@pytest.mark.parametrize(
    ("lanes", "chunk", "phase"), [(0, 8, 8), (1, 8, 0), (1, 8, 9), (1, 0, 0), (-1, 8, 1)]
)
def test_impossible_grids_are_refused(batch_rows, chunk, phase):
    """The message names all three numbers."""
    with pytest.raises(ValueError, match=rf"lanes {batch_rows}, phase {phase} and chunk {chunk}"):
        packed([5], batch_rows=batch_rows, chunk=chunk, phase=phase)
