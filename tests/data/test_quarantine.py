"""The quarantine: rows left out, bars refused; entries held, corrected, released and dropped."""

import math
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest

from forecaster.data.ingest import admit
from forecaster.data.quarantine import Entry, Scope, check_served, screen
from forecaster.data.store import PriceStore
from forecaster.data.store_rows import store_path
from forecaster.errors import DataError
from tests.data.broken_series import BROKEN, CALM, CLEAN, DAYS, priced, scaled
from tests.data.histories import with_bars

MONDAY = datetime(2024, 3, 4, 22, tzinfo=UTC)
TUESDAY = datetime(2024, 3, 5, 22, tzinfo=UTC)
SCOPE = Scope(
    ticker="ACME", first=date(2024, 1, 2), last=date(2024, 1, 18), rules=frozenset({"spike"})
)


@pytest.fixture
def store(tmp_path):
    with PriceStore.open_for_writing(tmp_path) as opened:
        yield opened


def entry(day=4, close=9.0, rule="spike", ticker="ACME"):
    return Entry(
        ticker=ticker,
        session=date(2024, 1, day),
        rule=rule,
        reason="why",
        values=(9.0, 9.0, 9.0, close, 100.0, 0.0, 1.0),
    )


def held(store):
    return [
        (one.ticker, one.session.day, one.rule, one.state) for one in store.quarantine.entries()
    ]


def test_an_entry_comes_back_as_it_went_in(store):
    broken = entry(close=math.nan)
    assert store.quarantine.record([broken], SCOPE, MONDAY) == [broken]
    (found,) = store.quarantine.entries("ACME")
    assert found.noted_at == "2024-03-04T22:00:00+00:00"
    assert (found.reason, found.session, found.values[:3]) == ("why", date(2024, 1, 4), (9, 9, 9))
    assert math.isnan(found.values[3]) and found.is_about(broken.values)
    assert store.quarantine.entries("OTHER") == []


def test_infinity_can_be_held(store):
    store.quarantine.record([entry(close=math.inf)], SCOPE, MONDAY)
    assert store.quarantine.entries()[0].values[3] == math.inf


def test_what_is_found_again_is_neither_new_nor_written(store):
    store.quarantine.record([entry()], SCOPE, MONDAY)
    assert store.quarantine.record([entry()], SCOPE, TUESDAY) == []
    assert store.quarantine.entries()[0].noted_at.startswith("2024-03-04")


def test_an_entry_that_is_not_found_again_in_its_scope_was_corrected(store):
    quarantine = store.quarantine
    quarantine.record([entry(4), entry(5), entry(4, rule="jump"), entry(30)], SCOPE, MONDAY)
    quarantine.record([entry(4, ticker="OTHER")], SCOPE, MONDAY)
    quarantine.record([entry(5)], SCOPE, TUESDAY)
    assert held(store) == [
        ("ACME", 4, "jump", "held"),
        ("ACME", 5, "spike", "held"),
        ("ACME", 30, "spike", "held"),
        ("OTHER", 4, "spike", "held"),
    ]


@pytest.mark.parametrize("state", ["released", "dropped"])
def test_a_decision_stays_until_other_prices_come(store, state):
    quarantine = store.quarantine
    quarantine.decide([entry()], state, MONDAY)
    assert quarantine.record([entry(close=9.0001)], SCOPE, TUESDAY) == []
    quarantine.record([], SCOPE, TUESDAY)
    assert held(store) == [("ACME", 4, "spike", state)]
    assert len(quarantine.record([entry(close=9.1)], SCOPE, TUESDAY)) == 1
    assert held(store) == [("ACME", 4, "spike", "held")]


def test_a_dropped_bar_leaves_the_store_as_a_new_revision(store):
    one = priced(CALM)
    store.upsert(one, MONDAY)
    stored = tuple(one.bars.iloc[2][1:])
    dropped = Entry(
        ticker="ACME", session=date(2024, 1, 4), rule="spike", reason="why", values=stored
    )
    store.quarantine.decide([dropped], "released", MONDAY)
    assert len(store.bars("ACME")) == len(CALM) and store.revision("ACME").number == 1
    store.quarantine.decide([dropped], "dropped", TUESDAY)
    assert date(2024, 1, 4) not in store.bars("ACME")["session"].dt.date.tolist()
    assert len(store.bars("ACME")) == len(CALM) - 1
    assert store.revision("ACME").number == 2
    assert store.revision("ACME").reason == "1 bars dropped by hand (first 2024-01-04)"


def test_a_stored_bar_with_other_prices_stays(store):
    """What was dropped is the bar in quarantine, not the good one stored before it came."""
    store.upsert(priced(CALM), MONDAY)
    store.quarantine.decide([entry(4, close=math.nan)], "dropped", TUESDAY)
    assert len(store.bars("ACME")) == len(CALM) and store.revision("ACME").number == 1


def test_an_entry_of_0_1_0_is_read_under_the_new_name_of_its_rule(tmp_path):
    """It is renamed with the first write, so that a corrected day leaves quarantine."""
    scope = Scope(
        ticker="ACME",
        first=date(2024, 1, 2),
        last=date(2024, 1, 18),
        rules=frozenset({"duplicate-day"}),
    )
    with PriceStore.open_for_writing(tmp_path) as opened:
        opened.quarantine.record([entry(rule="duplicate-day")], scope, MONDAY)
    with closing(sqlite3.connect(store_path(tmp_path))) as connection, connection:
        connection.execute("UPDATE quarantine SET rule = 'doubled-day'")
    with PriceStore.open_for_reading(tmp_path) as opened:
        assert [one.rule for one in opened.quarantine.entries()] == ["duplicate-day"]
    with PriceStore.open_for_writing(tmp_path) as opened:
        opened.quarantine.record([], scope, TUESDAY)
        assert opened.quarantine.entries() == []


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


def test_a_jump_of_the_newest_bar_waits_for_the_next_session(store):
    one = priced(scaled([10, 11], 0.5))
    with pytest.raises(
        DataError, match=r"2024-01-17 fresh-jump: .* the next session will settle it"
    ):
        check_served(store, with_bars(one, one.bars.head(11)), MONDAY)
    check_served(store, one, MONDAY)
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
