"""The quarantine: entries held, corrected, released and dropped."""

import math
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime

import pytest

from forecaster.data.price_database import store_path
from forecaster.data.quarantine import Entry, Scope
from forecaster.data.store import PriceStore
from tests.data.broken_series import CALM, priced

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
