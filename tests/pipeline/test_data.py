"""Stored prices: shown, checked, and decided on."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import Result

from forecaster.data.history import BAR_COLUMNS, History, Listing, fingerprint
from forecaster.data.screening import screen
from forecaster.data.store import PriceStore
from forecaster.errors import DataError, UnknownNameError
from forecaster.pipeline.data import check_prices
from tests.data.broken_series import BROKEN, CALM, CLEAN, DAYS, priced, scaled
from tests.data.histories import with_bars
from tests.synthetic import bars_of

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


@pytest.mark.parametrize("name", [*BROKEN, *CLEAN])
def test_stored_bars_are_checked_by_the_same_rules(tmp_path: Path, name: str) -> None:
    """A store that was filled before there were rules."""
    one = BROKEN[name][2] if name in BROKEN else CLEAN[name]
    with PriceStore.open_for_writing(tmp_path) as store:
        store.upsert(with_bars(one, one.bars), NOW)
    errors = [rule for _, rule, severity in findings(tmp_path) if severity == "error"]
    assert (BROKEN[name][0] in errors) if name in BROKEN else errors == []


Run = Callable[..., Result]
SERVED = datetime(2024, 6, 14, 22, tzinfo=UTC)
BARS = bars_of("VOD.L", 30)[list(BAR_COLUMNS)]
VODAFONE = Listing(
    ticker="VOD.L",
    source="yahoo",
    basis="split-adjusted",
    calendar="XLON",
    name="Vodafone Group Plc",
    exchange="LSE",
    currency="GBp",
    first_trade=date(1988, 10, 26),
)


@pytest.fixture
def vodafone(tmp_path: Path) -> Path:
    """A home whose one ticker had its past changed once."""
    with PriceStore.open_for_writing(tmp_path) as store:
        store.upsert(History(listing=VODAFONE, bars=BARS.assign(volume=1.0)), SERVED)
        store.upsert(History(listing=VODAFONE, bars=BARS), SERVED, "a late split of 2010-02-01")
    return tmp_path


def test_metadata_and_revision_are_shown(run: Run, vodafone: Path) -> None:
    """Pence stay pence."""
    lines = run("data", "show", "VOD.L", "--home", vodafone).stdout.splitlines()
    assert "currency    GBp" in lines
    assert "name        Vodafone Group Plc" in lines
    assert "first trade 1988-10-26" in lines
    assert "revision    2 of 2024-06-14T22:00:00+00:00: a late split of 2010-02-01" in lines
    assert not any(line.startswith("fingerprint") for line in lines)


def test_json_has_the_same(run: Run, vodafone: Path) -> None:
    shown = json.loads(run("data", "show", "VOD.L", "--json", "--home", vodafone).stdout)
    assert (shown["currency"], shown["first_trade"]) == ("GBp", "1988-10-26")
    assert shown["revision"] == {
        "number": 2,
        "reason": "a late split of 2010-02-01",
        "raised_at": "2024-06-14T22:00:00+00:00",
    }


@pytest.mark.parametrize("days", [30, 12])
def test_the_fingerprint_is_that_of_the_bars(run: Run, vodafone: Path, days: int) -> None:
    """Of all of them, or of those up to a day: what a training as of that day reads."""
    until = BARS["session"].iloc[days - 1]
    options = ["--fingerprint", "--rows", "1", "--until", f"{until:%Y-%m-%d}", "--home", vodafone]
    expected = fingerprint([History(listing=VODAFONE, bars=BARS.head(days))])
    assert f"fingerprint {expected}" in run("data", "show", "VOD.L", *options).stdout
    shown = json.loads(run("data", "show", "VOD.L", *options, "--json").stdout)
    assert (shown["fingerprint"], shown["days"]) == (expected, days)


def test_the_list_has_revisions(run: Run, vodafone: Path) -> None:
    (row,) = json.loads(run("data", "list", "--json", "--home", vodafone).stdout)["tickers"]
    assert (row["ticker"], row["revision"]) == ("VOD.L", 2)
    assert pd.Timestamp(row["fetched_at"]) == SERVED
