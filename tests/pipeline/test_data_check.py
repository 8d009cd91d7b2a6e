"""What `data check` finds in a store, and what a person's decisions do."""

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from forecaster.data.quarantine import screen
from forecaster.data.store import PriceStore
from forecaster.errors import DataError, UnknownNameError, UsageError
from forecaster.pipeline.data_check import check_prices, drop, quarantine_table, release
from tests.data.broken_series import BROKEN, CALM, CLEAN, DAYS, priced, scaled
from tests.data.histories import with_bars

NOW = datetime(2024, 1, 18, 23, tzinfo=UTC)
SPIKE = priced(scaled([4], 2.1), "BAD")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clean ticker and one with a spike, after the close of their last session."""
    monkeypatch.setattr("forecaster.clock.now", lambda: NOW)
    with PriceStore.open_for_writing(tmp_path) as store:
        store.upsert_all([priced(CALM, "GOOD"), SPIKE], NOW)
    return tmp_path


def findings(home: Path, *tickers: str) -> list[tuple[str, str, str]]:
    table = check_prices(tickers, home=home).table
    return list(zip(table["ticker"], table["rule"], table["severity"], strict=True))


def test_a_clean_store_needs_no_review(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forecaster.clock.now", lambda: NOW)
    with PriceStore.open_for_writing(tmp_path) as store:
        store.upsert(priced(CALM), NOW)
    report = check_prices(home=tmp_path)
    assert report.table.empty and (report.tickers, report.bars) == (1, DAYS)
    report.raise_errors()


def test_errors_need_review_and_come_first(home: Path) -> None:
    with PriceStore.open_for_writing(home) as store:
        store.upsert(priced([14.55] * DAYS, "AAA", high=[14.55] * DAYS, low=[14.55] * DAYS), NOW)
    report = check_prices(home=home)
    assert findings(home) == [("BAD", "spike", "error"), ("AAA", "frozen", "warning")]
    assert report.table["where"].tolist() == ["store", "store"]
    assert (report.count("error"), report.count("warning")) == (1, 1)
    with pytest.raises(DataError, match="1 errors in BAD need manual review"):
        report.raise_errors()


def test_warnings_need_no_review(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later = datetime(2024, 3, 1, tzinfo=UTC)
    monkeypatch.setattr("forecaster.clock.now", lambda: later)
    assert findings(home, "GOOD") == [("GOOD", "stale", "warning")]
    check_prices("GOOD", home=home).raise_errors()


def test_tickers_are_chosen_and_unknown_ones_refused(home: Path) -> None:
    assert findings(home, "good") == []
    with pytest.raises(UnknownNameError, match=r"GOOF.*did you mean GOOD"):
        check_prices(["GOOF"], home=home)


def test_held_entries_are_listed_even_of_a_ticker_that_is_not_stored(home: Path) -> None:
    new = priced(CALM, "NEW")
    new.bars.loc[2, "close"] = np.nan
    with PriceStore.open_for_writing(home) as store:
        screen(store, new, NOW)
    assert ("NEW", "missing-value", "error") in findings(home)
    (row,) = check_prices("NEW", home=home).table.itertuples(index=False)
    assert (row.where, f"{row.session:%Y-%m-%d}") == ("quarantine", "2024-01-04")


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


@pytest.mark.parametrize("name", [*BROKEN, *CLEAN])
def test_stored_bars_are_checked_by_the_same_rules(tmp_path: Path, name: str) -> None:
    """A store that was filled before there were rules."""
    one = BROKEN[name][2] if name in BROKEN else CLEAN[name]
    with PriceStore.open_for_writing(tmp_path) as store:
        store.upsert(with_bars(one, one.bars), NOW)
    errors = [rule for _, rule, severity in findings(tmp_path) if severity == "error"]
    assert (BROKEN[name][0] in errors) if name in BROKEN else errors == []
