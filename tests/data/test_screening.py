"""Served bars on their way into the store: rows left out, tickers refused and accepted again."""

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest

from forecaster.data.ingest import admit
from forecaster.data.quarantine import Entry
from forecaster.data.screening import check_served, screen
from forecaster.data.store import PriceStore
from forecaster.errors import DataError
from tests.data.broken_series import BROKEN, CALM, CLEAN, DAYS, priced, scaled
from tests.data.histories import scaled_rows, walk, with_bars

MONDAY = datetime(2024, 3, 4, 22, tzinfo=UTC)


@pytest.fixture
def store(tmp_path):
    with PriceStore.open_for_writing(tmp_path) as opened:
        yield opened


def noted(store, state="held"):
    found = store.quarantine.entries()
    return [(one.session.day, one.rule) for one in found if one.state == state]


def test_good_bars_pass_unchanged_and_nothing_is_noted(store):
    one = priced(CALM)
    pd.testing.assert_frame_equal(screen(store, one, MONDAY).bars, one.bars)
    check_served(store, one, MONDAY)
    assert noted(store) == []


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("close", np.nan, "missing-value"),
        ("open", np.inf, "impossible-value"),
        ("low", -1.0, "impossible-value"),
        ("high", 40.0, "impossible-bar"),
    ],
)
def test_an_impossible_row_is_quarantined_and_warned_of(store, caplog, column, value, rule):
    """Not filled, not interpolated: the day has no bar."""
    one = priced(CALM)
    one.bars.loc[3, column] = value
    kept = screen(store, one, MONDAY).bars
    assert kept["session"].tolist() == one.bars["session"].drop(3).tolist()
    assert kept["close"].tolist() == [*CALM[:3], *CALM[4:]]
    assert noted(store) == [(5, rule)]
    assert f"ACME: 1 rows left out and put in quarantine (first 2024-01-05, {rule}" in caplog.text
    caplog.clear()
    screen(store, one, MONDAY)
    assert caplog.text == ""


def test_a_row_that_the_source_corrects_leaves_quarantine(store):
    one = priced(CALM)
    screen(store, with_bars(one, one.bars.assign(close=[np.nan, *CALM[1:]])), MONDAY)
    assert noted(store) == [(2, "missing-value")]
    screen(store, one, MONDAY)
    assert noted(store) == []


def test_too_many_flaws_are_another_kind_of_table(store):
    one = priced(CALM)
    bad = one.bars.assign(high=[1.0] * 6 + CALM[6:])
    with pytest.raises(DataError, match=r"2024-01-02 has open 50\.0, .*\(6 such\)"):
        screen(store, with_bars(one, bad), MONDAY)
    assert noted(store) == []


@pytest.mark.parametrize(("column", "value"), [("split", 4.0), ("dividend", 0.5)])
def test_a_flaw_that_would_lose_a_split_or_dividend_is_refused(store, column, value):
    one = priced(CALM)
    one.bars.loc[3, ["close", column]] = [np.nan, value]
    with pytest.raises(DataError, match="2024-01-05 cannot be used, and a dividend or split"):
        screen(store, one, MONDAY)
    assert noted(store) == [(5, "missing-value")]
    store.quarantine.decide(store.quarantine.entries(), "dropped", MONDAY)
    assert len(screen(store, one, MONDAY).bars) == DAYS - 1


def test_rows_are_sorted_and_the_later_of_two_is_taken(store):
    one = priced(CALM)
    again, other = one.bars.iloc[[4]], one.bars.iloc[[6]].assign(close=one.bars["close"][6] * 1.001)
    shuffled = pd.concat([one.bars.iloc[::-1], again, other])
    kept = admit(store, with_bars(one, shuffled), MONDAY).bars
    expected = one.bars.assign(
        close=one.bars["close"].where(one.bars.index != 6, other["close"][6])
    )
    pd.testing.assert_frame_equal(kept, expected)
    assert noted(store) == [(10, "duplicate-day")]


def test_a_date_that_cannot_be_refuses_the_ticker(store):
    one = priced(CALM)
    one.bars.loc[3, "session"] = pd.NaT
    with pytest.raises(DataError, match="session NaT"):
        admit(store, one, MONDAY)
    with pytest.raises(DataError, match="session NaT"):
        screen(store, one, MONDAY)


@pytest.mark.parametrize("name", BROKEN)
def test_bars_that_break_a_rule_are_refused_with_rule_and_remedy(store, name):
    rule, row, broken = BROKEN[name]
    with pytest.raises(
        DataError, match=r"ACME: quarantined, not stored: 2024.*quarantine release ACME"
    ):
        check_served(store, broken, MONDAY)
    assert (broken.bars["session"][row].day, rule) in noted(store)


@pytest.mark.parametrize("name", CLEAN)
def test_what_can_be_true_is_not_refused(store, name):
    check_served(store, CLEAN[name], MONDAY)
    assert noted(store) == []


def test_new_bars_are_checked_together_with_stored_ones(store):
    """Two bars in pounds are no slip of their own, only beside the pence before them."""
    one = priced(scaled([10, 11], 0.01))
    new = with_bars(one, one.bars.tail(2))
    check_served(store, new, MONDAY)
    store.upsert(with_bars(one, one.bars.head(10)), MONDAY)
    with pytest.raises(DataError, match="kept as stored, up to 2024-01-16: 2024-01-17 unit-slip"):
        check_served(store, new, MONDAY)


def test_a_finding_in_bars_long_stored_does_not_stop_new_ones(store):
    one = priced(scaled([4], 2.1))
    store.upsert(with_bars(one, one.bars.head(10)), MONDAY)
    check_served(store, with_bars(one, one.bars.tail(2)), MONDAY)
    assert noted(store) == []


def test_a_released_finding_stays_released_while_its_prices_are_the_same(store):
    one = priced(scaled([4], 2.1))
    with pytest.raises(DataError):
        check_served(store, one, MONDAY)
    store.quarantine.decide(store.quarantine.entries(), "released", MONDAY)
    check_served(store, one, MONDAY)
    with pytest.raises(DataError, match="spike"):
        check_served(store, priced(scaled([4], 2.3)), MONDAY)


def test_a_dropped_bar_is_left_out_while_its_prices_are_the_same(store):
    one = priced(scaled([4], 2.1))
    with pytest.raises(DataError):
        check_served(store, one, MONDAY)
    store.quarantine.decide(store.quarantine.entries(), "dropped", MONDAY)
    kept = screen(store, one, MONDAY)
    assert len(kept.bars) == DAYS - 1
    check_served(store, kept, MONDAY)
    assert len(screen(store, priced(CALM), MONDAY).bars) == DAYS


def test_what_the_source_corrects_is_accepted(store):
    with pytest.raises(DataError):
        check_served(store, priced(scaled([4], 2.1)), MONDAY)
    assert noted(store) == [(8, "spike")]
    check_served(store, priced(CALM), MONDAY)
    assert noted(store) == []


def jumped(factor, at=50, back=None, **columns):
    """A calm series of 70 bars that jumps at one of them, and back at another."""
    close = [100.0 * (1.01 if day % 2 else 1.0) for day in range(70)]
    end = 70 if back is None else back
    close = [value * (factor if at <= day < end else 1.0) for day, value in enumerate(close)]
    return priced(close, **columns)


def days_refused(store, one, first=50, last=70):
    """The days, counted from the jump, on which the ticker is refused."""
    store.upsert(with_bars(one, one.bars.head(first)), MONDAY)
    refused = []
    for end in range(first + 1, last + 1):
        part = with_bars(one, one.bars.iloc[max(0, first - 10) : end])
        try:
            check_served(store, part, MONDAY)
        except DataError:
            refused.append(end - first)
    return refused


@pytest.mark.parametrize(
    ("factor", "options", "days_held"),
    [
        (0.65, {}, 3),  # a true -35 % after earnings
        (1.7, {}, 3),
        (0.43, {}, 3),
        (0.5, {}, 10),  # two for one
        (2.0, {}, 10),
        (1 / 3, {}, 10),
        (0.05, {}, None),  # a unit is held by its own rule, too
        (0.65, {"volume": [1.0] * 51 + [0.0] * 2 + [1.0] * 17}, 5),
        (0.65, {"volume": [1.0] * 51 + [0.0] * 19}, 20),
        (0.65, {"volume": [0.0] * 70}, 3),
    ],
)
def test_a_jump_is_believed_after_sessions_with_volume(store, factor, options, days_held):
    """Not because it is there again: three of them, ten where it is as large as a split."""
    found = days_refused(store, jumped(factor, **options))
    assert found == list(range(1, (days_held or 20) + 1))
    assert noted(store) == [] or len(found) == 20


def test_a_false_jump_that_is_back_waits_for_the_source_to_correct_it(store):
    """Three days at a wrong price are not confirmed by the days at the right one."""
    one = jumped(0.65, back=53)
    assert days_refused(store, one, last=59) == list(range(1, 10))
    right = jumped(1.0)
    check_served(store, with_bars(right, right.bars.iloc[40:59]), MONDAY)
    assert noted(store) == []


@pytest.mark.parametrize("event", ["split", "dividend"])
def test_an_event_that_explains_a_jump_releases_it(store, event):
    """Served the day after, with the past rescaled by the split or as it was."""
    one = jumped(0.5)
    assert days_refused(store, one, last=51) == [1]
    bars = one.bars.head(52).copy()
    if event == "split":
        bars.loc[50, "split"] = 2.0
        bars.loc[:49, ["open", "high", "low", "close"]] *= 0.5
    else:
        bars.loc[50, "dividend"] = 50.0
    check_served(store, with_bars(one, bars), MONDAY)
    assert noted(store) == []


def test_a_person_releases_a_jump_before_its_time(store):
    one = jumped(0.5)
    assert days_refused(store, one, last=51) == [1]
    store.quarantine.decide(store.quarantine.entries(), "released", MONDAY)
    assert days_refused(store, one, last=55) == []


@pytest.mark.parametrize("factor", [0.65, 0.5, 2.35])
def test_an_old_jump_of_a_new_ticker_is_no_fault(store, factor):
    check_served(store, jumped(factor), MONDAY)
    assert noted(store) == []


def test_an_entry_of_another_rule_does_not_count_as_corrected(store):
    by_hand = Entry(
        ticker="ACME", session=date(2024, 1, 4), rule="other", reason="", values=(1.0,) * 7
    )
    store.quarantine.decide([by_hand], "held", MONDAY)
    screen(store, priced(CALM), MONDAY)
    check_served(store, priced(CALM), MONDAY)
    assert noted(store) == [(4, "other")]


def test_a_warning_is_logged_once_when_its_bars_are_new(store, caplog):
    one = CLEAN["a crash"]
    check_served(store, one, MONDAY)
    assert "ACME: 2024-01-10 jump: close" in caplog.text
    assert "(1 such). See: forecaster data check ACME" in caplog.text
    caplog.clear()
    store.upsert(one, MONDAY)
    check_served(store, one, MONDAY)
    assert caplog.text == ""


@pytest.mark.parametrize(("earlier", "refused"), [(0.01, True), (0.12, False)])
def test_new_bars_are_compared_with_a_year_of_stored_ones(store, earlier, refused):
    """A coin that had a wild year before a calm month may double; a share may not."""
    moves = np.random.default_rng(1).standard_normal(330)
    moves *= np.where(np.arange(330) < 290, earlier, 0.01)
    moves[-1] = np.log(2.1)
    one = priced(50.0 * np.exp(np.cumsum(moves)))
    store.upsert(with_bars(one, one.bars.head(329)), MONDAY)
    new = with_bars(one, one.bars.tail(1))
    if refused:
        with pytest.raises(DataError, match="fresh-jump"):
            check_served(store, new, MONDAY)
    else:
        check_served(store, new, MONDAY)


def test_a_bar_that_shows_what_is_wrong_with_a_stored_one_is_refused(store):
    """Closes fell by the split of three, three sessions before it came on record."""
    one = scaled_rows(walk(100, seed=2), range(77), 3.0)
    one.bars.loc[80, "split"] = 3.0
    store.upsert(with_bars(one, one.bars.head(80)), MONDAY)
    with pytest.raises(DataError, match=f"{one.bars['session'][77]:%Y-%m-%d} split-slip"):
        check_served(store, with_bars(one, one.bars.iloc[80:81]), MONDAY)
