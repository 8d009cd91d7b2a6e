"""`forecaster data show` and `list`: metadata, revision of the past, and hash of a ticker."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import Result

from forecaster.data.history import BAR_COLUMNS, History, Listing, fingerprint
from forecaster.data.store import PriceStore
from tests.synthetic import bars_of

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
def home(tmp_path: Path) -> Path:
    """A home whose one ticker had its past changed once."""
    with PriceStore.open_for_writing(tmp_path) as store:
        store.upsert(History(listing=VODAFONE, bars=BARS.assign(volume=1.0)), SERVED)
        store.upsert(History(listing=VODAFONE, bars=BARS), SERVED, "a late split of 2010-02-01")
    return tmp_path


def test_metadata_and_revision_are_shown(run: Run, home: Path) -> None:
    """Pence stay pence."""
    lines = run("data", "show", "VOD.L", "--home", home).stdout.splitlines()
    assert "currency    GBp" in lines
    assert "name        Vodafone Group Plc" in lines
    assert "first trade 1988-10-26" in lines
    assert "revision    2 of 2024-06-14T22:00:00+00:00: a late split of 2010-02-01" in lines
    assert not any(line.startswith("fingerprint") for line in lines)


def test_json_has_the_same(run: Run, home: Path) -> None:
    shown = json.loads(run("data", "show", "VOD.L", "--json", "--home", home).stdout)
    assert (shown["currency"], shown["first_trade"]) == ("GBp", "1988-10-26")
    assert shown["revision"] == {
        "number": 2,
        "reason": "a late split of 2010-02-01",
        "raised_at": "2024-06-14T22:00:00+00:00",
    }


@pytest.mark.parametrize("days", [30, 12])
def test_the_fingerprint_is_that_of_the_bars(run: Run, home: Path, days: int) -> None:
    """Of all of them, or of those up to a day: what a training as of that day reads."""
    until = BARS["session"].iloc[days - 1]
    options = ["--fingerprint", "--rows", "1", "--until", f"{until:%Y-%m-%d}", "--home", home]
    expected = fingerprint([History(listing=VODAFONE, bars=BARS.head(days))])
    assert f"fingerprint {expected}" in run("data", "show", "VOD.L", *options).stdout
    shown = json.loads(run("data", "show", "VOD.L", *options, "--json").stdout)
    assert (shown["fingerprint"], shown["days"]) == (expected, days)


def test_the_list_has_revisions(run: Run, home: Path) -> None:
    (row,) = json.loads(run("data", "list", "--json", "--home", home).stdout)["tickers"]
    assert (row["ticker"], row["revision"]) == ("VOD.L", 2)
    assert pd.Timestamp(row["fetched_at"]) == SERVED
