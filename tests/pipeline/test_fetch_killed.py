"""kill -9 in the middle of a fetch, a full disk, a home that cannot be written."""

import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from forecaster.data.price_database import store_path
from forecaster.data.store import PriceStore
from tests.pipeline.killed import DAYS, TICKERS, scaled

ROOT = Path(__file__).parents[2]
LONG = 30.0
# Starts a fetch of a round, kills it after so many seconds, returns how it ended.
FetchRound = Callable[[int, float], int]


@pytest.fixture
def fetch_round(tmp_path: Path) -> Iterator[FetchRound]:
    command = [sys.executable, "-m", "tests.pipeline.killed", str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, bufsize=1, **pipes) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == "ready\n"

        def run(number: int, seconds: float) -> int:
            print(number, seconds, file=process.stdin, flush=True)
            return int(process.stdout.readline())

        yield run


def check(home: Path, number: int, revisions: dict[str, int], *, done: bool) -> int:
    """Each ticker is whole, on this round's scale or on that of one before; count these."""
    with closing(sqlite3.connect(store_path(home))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    reached = 0
    with PriceStore.open_for_reading(home) as store:
        for ticker in store.tickers():
            bars, revision = store.bars(ticker), store.revision(ticker).number
            its_round = len(bars) - DAYS
            assert its_round <= number and revision >= revisions.get(ticker, 0)
            np.testing.assert_allclose(
                bars["close"], scaled(ticker, its_round)["close"], rtol=1e-12, atol=0
            )
            revisions[ticker] = revision
            reached += its_round == number
        assert not done or store.tickers() == list(TICKERS)
    return reached


@pytest.mark.slow
@pytest.mark.parametrize("kills", [5, 25])
def test_a_fetch_killed_at_any_moment_loses_nothing(
    tmp_path: Path, fetch_round: FetchRound, kills: int
) -> None:
    """Fault 36: the store is sound, no ticker is half a revision, and the next fetch completes."""
    revisions: dict[str, int] = {}
    begun = time.monotonic()
    assert fetch_round(0, LONG) == 0
    seconds = time.monotonic() - begun
    assert check(tmp_path, 0, revisions, done=True) == len(TICKERS)
    draw, caught = random.Random(kills), 0
    for number in range(1, kills + 1):
        ended = fetch_round(number, draw.uniform(0.0, 1.2 * seconds))
        reached = check(tmp_path, number, revisions, done=True)
        caught += ended == signal.SIGKILL and 0 < reached < len(TICKERS)
    assert caught > 0, "no kill fell into the fetch itself"
    assert fetch_round(kills + 1, LONG) == 0
    assert check(tmp_path, kills + 1, revisions, done=True) == len(TICKERS)


@pytest.mark.parametrize("share", [pytest.param(0.05, marks=pytest.mark.slow), 0.3])
def test_the_first_fetch_killed_leaves_whole_tickers_or_none(
    tmp_path: Path, fetch_round: FetchRound, share: float
) -> None:
    fetch_round(0, share)
    if store_path(tmp_path).exists():
        check(tmp_path, 0, {}, done=False)
    assert fetch_round(0, LONG) == 0
    assert check(tmp_path, 0, {}, done=True) == len(TICKERS)


def in_namespace(lines: str) -> tuple[list[int], list[str], str]:
    """Run lines as root of a namespace of its own, where file systems can be mounted.

    Returns:
        How each ended, what each printed, and the stderr of all.
    """
    program = ["unshare", "--user", "--map-root-user", "--mount", sys.executable]
    program += ["-m", "tests.forked", "forecaster.pipeline.fetch", "arch.data.sp500"]
    pipes = {"cwd": ROOT, "text": True, "capture_output": True}
    done = subprocess.run(program, input=textwrap.dedent(lines).strip(), check=True, **pipes)
    texts = re.split(r"^exit (-?\d+)\n", done.stdout, flags=re.MULTILINE)
    return [int(code) for code in texts[1::2]], texts[:-1:2], done.stderr


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    program = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none"]
    return subprocess.run([*program, "/mnt"], capture_output=True).returncode == 0


needs_mount = pytest.mark.skipif(not can_mount(), reason="no user namespaces here")


@pytest.mark.slow
@needs_mount
def test_a_full_disk_exits_74_and_the_store_is_as_it_was(tmp_path: Path) -> None:
    """Fault 34: on a disk of 1 MB 300 bars fit beside other files, the sample's 10,000 not."""
    codes, printed, stderr = in_namespace(
        f"""
        mount -t tmpfs -o size=1m none {tmp_path}
        forecaster fetch --source sample --start 2018-06-01 --home {tmp_path} --json
        forecaster data list --json --home {tmp_path}
        head -c 600k /dev/zero >{tmp_path}/films
        forecaster fetch --source sample --start 1999-01-01 --home {tmp_path}
        forecaster data list --json --home {tmp_path}
        rm {tmp_path}/films
        forecaster fetch --source sample --start 2015-01-01 --home {tmp_path} --json
        ls {tmp_path}/data
        """
    )
    assert codes == [0, 0, 0, 0, 74, 0, 0, 0, 0], stderr
    before, after = printed[2], printed[5]
    assert before == after and "SP500" in before
    assert printed[-1] == "calendars\nprices.db\n"
    assert "the disk is full; nothing was changed" in stderr


@pytest.mark.slow
@needs_mount
def test_a_read_only_home_exits_73_before_any_work_and_can_be_read(tmp_path: Path) -> None:
    """Fault 35: the disk is mounted read-only, which binds root, too."""
    codes, printed, stderr = in_namespace(
        f"""
        forecaster fetch --source sample --start 2018-06-01 --home {tmp_path}
        mount --bind {tmp_path} {tmp_path}
        mount -o remount,bind,ro {tmp_path}
        forecaster fetch AAPL --home {tmp_path}
        forecaster data list --home {tmp_path}
        """
    )
    assert codes == [0, 0, 0, 73, 0], stderr
    assert "SP500" in printed[-1]
    assert "is read-only" in stderr


@pytest.mark.slow
@needs_mount
def test_a_read_only_home_of_0_1_0_can_be_read(tmp_path: Path) -> None:
    """Older files are read as migrated copies; a forecast by hand is made and not recorded."""
    shutil.copytree(ROOT / "tests" / "home_0_1_0", tmp_path, dirs_exist_ok=True)
    codes, printed, stderr = in_namespace(
        f"""
        mount --bind {tmp_path} {tmp_path}
        mount -o remount,bind,ro {tmp_path}
        forecaster status --home {tmp_path}
        forecaster score --home {tmp_path}
        forecaster predict --as-of 2017-11-08 --home {tmp_path}
        forecaster train --home {tmp_path}
        """
    )
    assert codes == [0, 0, 0, 0, 0, 73], stderr
    assert "champion" in printed[2] and "live" in printed[3] and "range (80 %)" in printed[4]
    assert "these forecasts are not recorded" in stderr
