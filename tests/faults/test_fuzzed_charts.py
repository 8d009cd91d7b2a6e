"""Thousands of answers that went wrong: each is refused in one line or stored as valid bars.

All else stays as it was: the bars of other tickers, and their forecasts in a whole daily run.
"""

import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from curl_cffi.requests import Response

from forecaster import clock
from forecaster.data.history import validate_bars
from forecaster.data.ingest import FetchRequest, refresh
from forecaster.data.price_database import store_path
from forecaster.data.sources.yahoo import YahooSource
from forecaster.data.store import PriceStore
from forecaster.errors import ForecasterError
from forecaster.operations import daily_run
from forecaster.operations.daily_run import Decided
from forecaster.operations.run_log import log_path
from forecaster.pipeline.retrain import retrain
from forecaster.registry.forecast_log import read_forecasts
from tests.faults.mutated_charts import CLASSES, LARGE, mutated
from tests.faults.test_fuzz import Canned
from tests.yahoo.charts import chart, series

FUZZED, OTHERS = "AAPL", ("AAA", "ZZZ")
TICKERS = (OTHERS[0], FUZZED, OTHERS[1])
BEFORE, NEWEST = date(2024, 6, 27), date(2024, 6, 28)
ONE_DAY = timedelta(days=1)
AFTER_CLOSE = datetime(2024, 6, 28, 22, tzinfo=UTC)
DAYS = 60  # of a chart; AAPL paid a dividend on the 26th of them
SEED = 12
RUNS = 2_000 if os.environ.get("FAULTS") == "all" else 200
Show = Callable[[str], None]


@cache
def good(ticker: str, newest: date) -> dict[str, Any]:
    """Return the chart of a ticker's days until the newest."""
    known = series(ticker)
    last = known.days.index(newest)
    first = known.days.index(BEFORE) - DAYS
    return chart(ticker, int(known.stamps[first]), int(known.stamps[last]) + 1, newest)


class Fuzzing(Canned):
    """A session that answers each ticker with its own chart, and `FUZZED` with given bytes."""

    def __init__(self, newest: date, fuzzed: bytes = b"") -> None:
        super().__init__()
        self._max_bytes = LARGE // 2
        self.newest, self.fuzzed = newest, fuzzed

    def send(self, method: Any, url: str, **options: Any) -> Response:
        """Answer by the ticker at the end of the address."""
        ticker = url.rpartition("/")[2]
        if ticker in TICKERS:
            self.body = json.dumps(good(ticker, self.newest)).encode()
        if ticker == FUZZED and self.fuzzed:
            self.body = self.fuzzed
        return super().send(method, url, **options)


def source_of(home: Path, session: Fuzzing) -> YahooSource:
    return YahooSource(home / "data" / "yahoo", session, lambda seconds: None)


def bars_of(home: Path, ticker: str) -> pd.DataFrame:
    with PriceStore.open_for_reading(home) as store:
        return store.bars(ticker)


@dataclass(frozen=True, slots=True)
class Ready:
    """A home before its newest session, and what the undisturbed run of it leaves."""

    before: Path
    bars: dict[str, pd.DataFrame]
    forecasts: pd.DataFrame
    stored: int


@pytest.fixture
def ready(
    tmp_path: Path, forgetful_yfinance: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ready]:
    """Three tickers whose sessions the baseline forecasts; trainings take no time."""
    decided = Decided(outcome="kept", version=None, reason="no better")
    monkeypatch.setattr(daily_run, "train_and_decide", lambda work, day: decided)
    logging.getLogger("forecaster").setLevel(logging.ERROR)
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    run(before, Fuzzing(BEFORE), AFTER_CLOSE - ONE_DAY, TICKERS)
    stored = len(bars_of(before, FUZZED))
    shutil.copytree(before, after)
    assert run(after, Fuzzing(NEWEST)) == 0
    bars = {ticker: bars_of(after, ticker) for ticker in TICKERS}
    yield Ready(before, bars, read_forecasts(after, since=NEWEST), stored)
    logging.getLogger("forecaster").setLevel(logging.NOTSET)


def run(
    home: Path, session: Fuzzing, moment: datetime = AFTER_CLOSE, tickers: tuple[str, ...] = ()
) -> int:
    """Do the daily run of a moment and return its exit code."""
    with clock.as_if(moment):
        return int(retrain(tickers, home=home, source=source_of(home, session)).exit_code)


@pytest.mark.slow
def test_ten_thousand_answers_are_stored_or_refused(ready: Ready, shown: Show) -> None:
    """Only our own errors leave; what is stored is valid, and the others' bars are as before."""
    home, file = ready.before, store_path(ready.before)
    kept, session = file.read_bytes(), Fuzzing(NEWEST)
    source, request = source_of(home, session), FetchRequest(None, None, False, 0)
    others = {ticker: bars_of(home, ticker) for ticker in OTHERS}
    found: Counter[str] = Counter()
    refusing: Counter[str] = Counter()
    number, numbers = 0, 10_000
    while number < numbers:
        file.write_bytes(kept)
        with PriceStore.open_for_writing(home) as store:
            store.defer_sync()
            untouched = store._connection.total_changes
            while store._connection.total_changes == untouched and number < numbers:
                name, session.fuzzed = mutated(good(FUZZED, NEWEST), number, SEED)
                try:
                    with clock.as_if(AFTER_CLOSE):
                        changed = refresh(store, source, FUZZED, request, AFTER_CLOSE)
                except ForecasterError as error:
                    text = str(error)
                    assert text.isprintable() and len(text) < 700, (number, name, text)
                    found["refused"] += 1
                    refusing[name] += 1
                else:
                    found["stored" if changed else "nothing new"] += 1
                number += 1
            bars = validate_bars(FUZZED, store.bars(FUZZED))
            assert len(bars) >= ready.stored, (number, name)
            for ticker, before in others.items():
                pd.testing.assert_frame_equal(store.bars(ticker), before)
    shown(f"{dict(found)}; refused by class {dict(refusing)}")
    assert min(found.values()) > 300 and set(refusing) <= set(CLASSES)


@pytest.mark.slow
def test_a_fuzzed_answer_costs_no_other_ticker_its_forecast(
    ready: Ready, tmp_path: Path, shown: Show
) -> None:
    """Whole daily runs of three tickers; the same bars, the same forecasts of the others."""
    codes: Counter[int] = Counter()
    wanted = ready.forecasts[ready.forecasts["ticker"].isin(OTHERS)]
    for number in range(RUNS):
        home = tmp_path / "home"
        shutil.copytree(ready.before, home)
        name, body = mutated(good(FUZZED, NEWEST), number, SEED + 1)
        code = run(home, Fuzzing(NEWEST, body))
        codes[code] += 1
        assert code in (0, 3), (number, name)
        for ticker in OTHERS:
            pd.testing.assert_frame_equal(bars_of(home, ticker), ready.bars[ticker])
        made = read_forecasts(home, since=NEWEST)
        mine = made[made["ticker"].isin(OTHERS)]
        keys = ["ticker", "target", "as_of", "session", "forecast"]
        assert mine[keys].to_dict("records") == wanted[keys].to_dict("records"), (number, name)
        assert np.isfinite(mine[["q025", "q10", "q90", "q975"]]).all(axis=None), (number, name)
        assert len(validate_bars(FUZZED, bars_of(home, FUZZED))) >= ready.stored
        assert "Traceback" not in log_path(home).read_text(), (number, name)
        shutil.rmtree(home)
    shown(f"exit codes {dict(codes)}")
    assert set(codes) == {0, 3}
