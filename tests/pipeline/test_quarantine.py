"""What is in quarantine, shown with the bars around it, and decided by ticker, day and rule."""

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from forecaster.data.screening import check_served, screen
from forecaster.data.store import PriceStore
from forecaster.errors import DataError, UnknownNameError, UsageError
from forecaster.pipeline.quarantine import (
    drop,
    held_bars,
    quarantine_table,
    release,
    ways_to_store,
)
from tests.data.broken_series import CALM, DAYS, priced, scaled
from tests.pipeline.test_data import NOW, SPIKE, findings, home

__all__ = ["home"]
TUESDAY = datetime(2024, 1, 19, 23, tzinfo=UTC)


def test_a_released_finding_is_listed_no_more(home: Path) -> None:
    assert release("bad", home=home) == 1
    assert findings(home) == []
    table = quarantine_table(home=home)
    assert table[["ticker", "rule", "state"]].values.tolist() == [["BAD", "spike", "released"]]
    assert len(quarantine_table("GOOD", home=home)) == 0


def test_a_dropped_bar_leaves_the_store_and_the_findings(home: Path) -> None:
    day = SPIKE.bars["session"][4].date()
    assert drop("BAD", [day], home=home) == 1
    assert findings(home) == [("BAD", "missing-sessions", "warning")]
    with PriceStore.open_for_reading(home) as store:
        assert len(store.bars("BAD")) == DAYS - 1 and store.revision("BAD").number == 2


def test_any_stored_bar_may_be_dropped_by_hand(home: Path) -> None:
    drop("GOOD", [date(2024, 1, 4)], home=home)
    assert quarantine_table(home=home)["rule"].tolist() == ["by-hand"]
    with PriceStore.open_for_reading(home) as store:
        assert len(store.bars("GOOD")) == DAYS - 1


@pytest.mark.parametrize(
    ("decide", "error", "words"),
    [
        (lambda home: release("GOOD", home=home), UnknownNameError, "GOOD: nothing is in quar"),
        (
            lambda home: release("BAD", [date(2024, 1, 2)], home=home),
            UnknownNameError,
            "BAD: nothing of 2024-01-02 is",
        ),
        (
            lambda home: drop("BAD", [date(1999, 1, 4)], home=home),
            UnknownNameError,
            "nothing of 1999-01-04 is",
        ),
        (lambda home: drop("BAD", [], home=home), UsageError, "name the days"),
    ],
)
def test_a_decision_on_nothing_is_refused(home: Path, decide, error, words) -> None:
    with pytest.raises(error, match=words):
        decide(home)


def test_what_cannot_be_a_bar_cannot_be_released(home: Path) -> None:
    new = priced(CALM, "NEW")
    new.bars.loc[2, "close"] = np.nan
    with PriceStore.open_for_writing(home) as store:
        screen(store, new, NOW)
    with pytest.raises(UsageError, match=r"2024-01-04 cannot be a bar .*quarantine drop NEW"):
        release("NEW", home=home)
    drop("NEW", [date(2024, 1, 4)], home=home)
    assert findings(home, "GOOD") == []


def states(home: Path) -> list[tuple[str, str, str]]:
    table = quarantine_table(home=home)
    return list(zip(table["ticker"], table["rule"], table["state"], strict=True))


def refused(home: Path, name: str, row: int, factor: float) -> None:
    """Serve a ticker with a bar that its rules refuse."""
    with PriceStore.open_for_writing(home) as store, pytest.raises(DataError):
        check_served(store, priced(scaled([row], factor), name), NOW)


def test_several_tickers_and_a_rule_are_decided_at_once(home: Path) -> None:
    for name, factor in (("ONE", 2.1), ("TWO", 2.1), ("SIX", 0.01)):
        refused(home, name, 4, factor)
    assert release(["one", "bad"], home=home) == 2
    assert release(rule="spike", home=home) == 1
    assert [state for name, _, state in states(home) if name in ("ONE", "BAD", "TWO")] == [
        "released"
    ] * 3
    assert ("SIX", "unit-slip", "held") in states(home)
    assert drop(rule="unit-slip", home=home) == len(
        [rule for name, rule, _ in states(home) if name == "SIX" and rule == "unit-slip"]
    )
    with pytest.raises(UnknownNameError, match="--rule spike: nothing is held by it"):
        release(rule="spike", home=home)
    with pytest.raises(UsageError, match="name tickers, or --rule"):
        release(home=home)


def test_a_release_without_days_leaves_earlier_decisions_and_rows_as_they_are(home: Path) -> None:
    """The printed remedy works, though a row of the ticker was left out by itself."""
    new = priced(scaled([4], 2.1), "NEW")
    new.bars.loc[8, "close"] = np.nan
    with PriceStore.open_for_writing(home) as store, pytest.raises(DataError, match="release NEW"):
        check_served(store, screen(store, new, NOW), NOW)
    drop("BAD", [SPIKE.bars["session"][4].date()], home=home)
    assert release("NEW", home=home) == 1
    with pytest.raises(UnknownNameError):
        release("BAD", home=home)
    assert states(home) == [
        ("BAD", "spike", "dropped"),
        ("NEW", "spike", "released"),
        ("NEW", "missing-value", "held"),
    ]


def test_a_refused_answer_is_no_bar_to_decide_on(home: Path) -> None:
    with PriceStore.open_for_writing(home) as store:
        store.quarantine.refuse("GOOD", "GOOD: may be another security. Ask for it.", NOW)
        store.quarantine.refuse("GOOD", "GOOD: may be another one. Ask for it.", TUESDAY)
    (entry,) = PriceStore.open_for_reading(home).quarantine.entries("GOOD")
    assert str(entry) == "in quarantine since 2024-01-18: refused: may be another one. Ask for it."
    with pytest.raises(UsageError, match="the answer was refused, not a bar: may be another one"):
        release("GOOD", home=home)
    assert drop(rule="refused", home=home) == 1
    assert states(home) == [("GOOD", "refused", "dropped")]


def test_the_bars_around_a_held_one_are_shown_with_what_decides_it(home: Path) -> None:
    with PriceStore.open_for_writing(home) as store, pytest.raises(DataError):
        check_served(store, priced(scaled([4], 3.0), "GOOD"), NOW)
    found = held_bars("good", home=home)[0]
    assert found.bars["where"].tolist() == ["stored"] * 5 + ["served"] + ["stored"] * 5
    assert found.bars["close"][3:7].tolist() == [CALM[3], CALM[4], 3 * CALM[4], CALM[5]]
    assert found.commands == [
        "forecaster data quarantine release GOOD 2024-01-08",
        "forecaster data quarantine drop GOOD 2024-01-08",
    ]
    with pytest.raises(UnknownNameError, match="BAD: nothing is held"):
        held_bars("BAD", home=home)
    refused(home, "NEW", 4, 3.0)
    assert held_bars("NEW", home=home)[0].bars["where"].tolist() == ["served"]


def test_the_way_to_store_what_was_released_is_that_of_the_ticker(home: Path) -> None:
    assert ways_to_store(["GOOD", "BAD"], home=home) == ["fetch GOOD BAD"]
    assert ways_to_store(["NEW"], home=home) == ["fetch NEW", "data import FILE"]
    assert ways_to_store([], home=home) == ["fetch"]
