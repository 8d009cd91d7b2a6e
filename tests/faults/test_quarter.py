"""A simulated quarter: Yahoo lies or fails at every tenth call, in every way there is.

63 sessions, 20 tickers, the real client and the real command line; only the clock is pretended.
One ticker splits on the way, one pays a dividend, one is delisted, one falls by a third in truth,
and one for a day in the source's numbers alone.
"""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path

import pandas as pd
import pytest

from forecaster.data.store import PriceStore
from forecaster.registry.champion_history import champion_status, decisions
from forecaster.registry.forecast_log import read_forecasts
from forecaster.registry.run_history import session_records, trainings
from tests.yahoo.charts import JUMPS, series, sessions
from tests.yahoo.faults import CHARTS, WIRE, fine, gone, last_price
from tests.yahoo.server import LoopbackYahoo

ROOT = Path(__file__).parents[2]
TICKERS = ["AAPL", "SPLIT", "ENDED", "JUMP", *(f"T{number:02}" for number in range(16))]
ENDED_AFTER = 40  # sessions
SHUT, EXTRA = date(2024, 6, 11), date(2024, 5, 18)  # no session, and one, against the calendar
JUMPED_AT, CONFIRMED = JUMPS["JUMP"][0], 3  # sessions that confirm it
FALSE, FALSE_AT = "T07", 25  # a jump that is corrected the next day
QUARTER = 63
FIRST, LAST = date(2021, 6, 1), date(2024, 6, 28)
SHARE, SEED = 0.1, 6
RUNS_A_NIGHT = 6  # cron would do more
ALLOWED = {0, 3, 69, 75}
TOML = """
[train]
hidden = 4
max_steps = 30
evaluate_every = 10
"""
# Runs a command line at so many hours after a session; returns its exit code.
At = Callable[[date, int, str], int]


@pytest.fixture
def yahoo() -> Iterator[LoopbackYahoo]:
    with LoopbackYahoo() as server:
        yield server


@pytest.fixture
def stderr(tmp_path: Path) -> Path:
    """Where all that the commands print is found."""
    return tmp_path / "stderr"


@pytest.fixture
def at(yahoo: LoopbackYahoo, stderr: Path) -> Iterator[At]:
    command = [sys.executable, "-m", "tests.faults.clocked", yahoo.url]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": environment}
    with (
        stderr.open("w") as errors,
        subprocess.Popen(command, cwd=ROOT, text=True, bufsize=1, stderr=errors, **pipes) as child,
    ):
        assert child.stdin and child.stdout

        def run(day: date, hours: int, line: str) -> int:
            yahoo.newest = day
            moment = datetime.combine(day, time_of_day(21, 15), UTC) + timedelta(hours=hours)
            print(moment.isoformat(), line, file=child.stdin, flush=True)
            return int(child.stdout.readline().removeprefix("exit "))

        yield run


def bars(home: Path, ticker: str) -> pd.DataFrame:
    with PriceStore.open_for_reading(home) as store:
        return store.bars(ticker)


def unlike(home: Path, other: Path) -> list[str]:
    """Name the tickers whose stored bars or listings differ, the delisted one apart."""
    with PriceStore.open_for_reading(home) as one, PriceStore.open_for_reading(other) as same:
        return [
            name
            for name in TICKERS
            if name != "ENDED"
            and not (
                one.bars(name).equals(same.bars(name)) and one.listing(name) == same.listing(name)
            )
        ]


@pytest.mark.slow
def test_a_quarter_of_faults_ends_like_one_without(
    tmp_path: Path, yahoo: LoopbackYahoo, at: At, stderr: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A forecast in time for every session of every ticker, the same prices, no traceback."""
    home, clean = tmp_path / "home", tmp_path / "clean"
    home.mkdir()
    clean.mkdir()
    (home / "forecaster.toml").write_text(TOML)
    yahoo.opened, yahoo.closed = frozenset({EXTRA}), frozenset({SHUT})
    days = [day for day in sessions() if day <= LAST]
    before, quarter = days[-QUARTER - 2], days[-QUARTER - 1 : -1]
    first = f"forecaster fetch {' '.join(TICKERS)} --start {FIRST} --quiet"
    assert at(before, 0, f"{first} --home {home}") == 0
    begun, asked = time.monotonic(), len(yahoo.calls)
    yahoo.at_random(SHARE, SEED)
    codes: Counter[int] = Counter()
    for number, day in enumerate(quarter):
        if number == ENDED_AFTER:
            yahoo.always("ENDED", gone)
            yahoo.ended["ENDED"] = quarter[number - 1]
        yahoo.always(FALSE, last_price(0.65) if number == FALSE_AT else fine)
        waiting = set(quarter[quarter.index(JUMPED_AT) :][:CONFIRMED])
        without = {"ENDED"} if number >= ENDED_AFTER else set()
        without |= {"JUMP"} if day in waiting else set()
        without |= {FALSE} if number == FALSE_AT else set()
        without = set(TICKERS) if day == SHUT else without
        tradable = [name for name in TICKERS if name not in without]
        for hour in range(RUNS_A_NIGHT):
            codes[at(day, hour, f"forecaster retrain --quiet --home {home}")] += 1
            rows = read_forecasts(home, "return", day)
            made = set(rows.loc[rows["as_of"] == pd.Timestamp(day), "ticker"])
            if made >= set(tradable):
                break
        assert made >= set(tradable), f"{day}: no forecast of {set(tradable) - made}"
        assert not made & without, f"{day}: forecasts of {made & without}"
    asked, took = len(yahoo.calls) - asked, time.monotonic() - begun
    yahoo.at_random(0, SEED)
    assert at(quarter[-1], RUNS_A_NIGHT, f"{first.replace(' ENDED', '')} --home {clean}") == 0
    in_doubt = unlike(home, clean)
    assert at(LAST, 0, f"forecaster fetch --quiet --home {clean}") == 0
    code = at(LAST, 0, f"forecaster retrain --quiet --home {home}")
    with PriceStore.open_for_reading(home) as store:
        held = set(store.quarantine.blocking())
    # Of a ticker that is gone nothing better comes: a person decides.
    assert held <= {"ENDED"} and code == (3 if held else 0)
    with capsys.disabled():
        print()
        report(home, codes, yahoo, asked, took, len(in_doubt))
    assert unlike(home, clean) == []
    rows = read_forecasts(home, "return")
    assert not rows.duplicated(["ticker", "as_of"]).any()
    of_sessions = rows["as_of"].dt.date.isin(quarter) & (rows["ticker"] != "ENDED")
    assert not rows.loc[of_sessions, "late"].any()
    ended = series("ENDED", yahoo.opened, yahoo.closed)
    assert bars(home, "ENDED")["session"].dt.date.tolist() == [
        day for day in ended.days if FIRST <= day <= quarter[ENDED_AFTER - 1]
    ]
    logged = stderr.read_text() + (home / "logs" / "forecaster.log").read_text()
    assert "Traceback" not in logged and "a bug" not in logged
    assert set(codes) <= ALLOWED
    assert set(yahoo.played) == set(WIRE | CHARTS)
    assert not [run.reason for run in trainings(home) if run.state != "done"]
    for line in ("status --max-age 26h", "doctor --offline", "score --json"):
        assert at(LAST, 1, f"forecaster {line} --home {home}") == 0, line


def report(
    home: Path, codes: Counter[int], yahoo: LoopbackYahoo, asked: int, took: float, unlike: int
) -> None:
    """Print the quarter's figures, as docs/daily.md has them."""
    known = session_records(home, "return")
    with PriceStore.open_for_reading(home) as store:
        revisions = sum(len(store.revisions(ticker)) for ticker in TICKERS) - len(TICKERS)
    outcomes = Counter(one.outcome for one in decisions(home, "return"))
    played = sum(yahoo.played.values())
    again = sum(codes.values()) - QUARTER
    log = (home / "logs" / "forecaster.log").read_text()
    late = sum(len(re.findall(r'"late bars".*', line)) for line in log.splitlines())
    print(f"calls     {asked:,}, of which {played:,} went wrong in {len(yahoo.played)} ways")
    print(f"runs      {sum(codes.values())}, {again} of them to ask again; exit {dict(codes)}")
    print(
        f"forecasts {len(read_forecasts(home, 'return')):,} in {len(known)} sessions; {late} late"
    )
    print(
        f"trainings {len(trainings(home))}: {dict(outcomes)}; "
        f"{champion_status(home, 'return').champion}"
    )
    print(f"store     {revisions} revisions; {unlike} tickers unlike before a clean run")
    print(f"time      {took:.0f} s")
