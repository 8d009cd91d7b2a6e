"""Daily runs in unusual places: a full or read-only disk, another user's home, no terminal.

Each test runs command lines as a shell does, in children of one process.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from forecaster import clock
from forecaster.errors import TryLaterError
from forecaster.operations import daily_run
from forecaster.operations.daily_run import Decided
from forecaster.operations.lock import writer
from forecaster.pipeline.data_import import import_files
from forecaster.pipeline.retrain import retrain
from forecaster.pipeline.train import train
from forecaster.registry.forecast_log import read_forecasts
from forecaster.registry.promotion import promote
from forecaster.registry.run_history import begin_training, finish_training, session_records
from forecaster.settings import TrainSettings
from tests.operations.sessions import Daily, on, settings
from tests.pipeline.test_fetch_killed import needs_mount
from tests.synthetic import ragged_bars

ROOT = Path(__file__).parents[2]
BARS = ragged_bars({"AAA": 200, "BBB": 180})
DAYS = sorted(set(BARS["session"].dt.date))
READERS = (
    f"predict --no-record --as-of {DAYS[-3]}",
    "status",
    "score",
    "models list",
    "data list",
    "data check",
)
NOBODY = 65534
MORE_CLOSED = ("2>&-", "<&-", "<&- >&- 2>&-")
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


def can_be_another_user() -> bool:
    """Whether another user may run this checkout."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        return False
    command = [*AS_NOBODY, sys.executable, "-c", "import tests.forked"]
    return subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A champion, one session finished, and no training due: only to be copied."""
    home = tmp_path_factory.mktemp("pristine")
    BARS.to_csv(home / "bars.csv", index=False)
    import_files([home / "bars.csv"], home=home, basis="split-adjusted", calendar="XNYS")
    (home / "bars.csv").unlink()
    quick = TrainSettings(hidden=3, max_steps=2)
    version = train(settings=quick, home=home, as_of=DAYS[-5]).manifest.version
    promote(home, "return", version, reason="for the test")
    finish_training(home, begin_training(home, "return", "cold", DAYS[-5]), state="done")
    assert retrain(home=home, as_of=DAYS[-4]).exit_code == 0
    return home


@pytest.fixture
def home(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "home"))


class Done:
    """How each line ended and what it printed; the stderr of all."""

    def __init__(self, stdout: str, stderr: str) -> None:
        texts = re.split(r"^exit (-?\d+)\n", stdout, flags=re.MULTILINE)
        self.codes = [int(code) for code in texts[1::2]]
        self.printed, self.stderr = texts[:-1:2], stderr
        assert "Traceback" not in stderr and "a bug" not in stderr, stderr


def shell(lines: str, *prefix: str, **environment: str) -> Done:
    """Run lines; `prefix` is a program that runs programs."""
    command = [*prefix, sys.executable, "-m", "tests.forked", "forecaster.operations.daily_run"]
    command += ["forecaster.pipeline.predict", "forecaster.pipeline.status"]
    done = subprocess.run(
        command,
        input=textwrap.dedent(lines).strip(),
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", **environment},
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=True,
    )
    return Done(done.stdout, done.stderr)


MOUNTED = ("unshare", "--user", "--map-root-user", "--mount")


@pytest.mark.slow
@needs_mount
def test_a_run_on_a_full_disk_exits_74_and_the_next_one_does_it(home: Path) -> None:
    """Fault 34: on what is left neither log, ledger nor registry fit; what is there is read."""
    done = shell(
        f"""
        cp -r {home} {home}.kept
        mount -t tmpfs -o size=3m none {home}
        cp -r {home}.kept/. {home}
        dd if=/dev/zero of={home}/films bs=4k status=none
        forecaster retrain --as-of {DAYS[-3]} --quiet --home {home}
        forecaster models list --home {home}
        rm {home}/films
        forecaster retrain --as-of {DAYS[-3]} --quiet --home {home}
        forecaster predict --home {home} --as-of {DAYS[-3]}
        forecaster doctor --offline --home {home}
        """,
        *MOUNTED,
    )
    assert done.codes[:5] == [0, 0, 0, 1, 74], (done.codes, done.stderr)
    assert done.codes[6:9] == [0, 0, 0], (done.codes, done.stderr)
    assert "disk" in done.stderr


@pytest.mark.slow
@needs_mount
def test_a_read_only_home_exits_73_before_any_work_and_is_read(home: Path) -> None:
    """Fault 35: all that only reads works."""
    lines = [
        f"mount --bind {home} {home}",
        f"mount -o remount,bind,ro {home}",
        f"forecaster retrain --as-of {DAYS[-3]} --home {home}",
        f"forecaster models rollback --home {home}",
        *(f"forecaster {line} --home {home}" for line in READERS),
        f"forecaster predict --as-of {DAYS[-3]} --home {home}",
    ]
    done = shell("\n".join(lines), *MOUNTED)
    assert done.codes[2:4] == [73, 73] and "is read-only" in done.stderr, done.stderr
    assert done.codes[4:] == [0] * (len(READERS) + 1), (done.codes, done.stderr)


@pytest.mark.slow
def test_a_home_of_somebody_else_exits_73_and_is_read(pristine: Path) -> None:
    """Fault 35: not a read-only disk, but no permission."""
    if not can_be_another_user():
        pytest.skip("needs root, setpriv, and a checkout that others may read")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to others
        home = Path(shutil.copytree(pristine, Path(folder) / "home"))
        for path in [Path(folder), home, *home.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        reading = "\n".join(f"forecaster {line} --home {home}" for line in READERS)
        done = shell(f"forecaster retrain --as-of {DAYS[-3]} --home {home}\n{reading}", *AS_NOBODY)
        assert done.codes == [73] + [0] * len(READERS), (done.codes, done.stderr)
        assert not {path for path in home.rglob("*") if path.stat().st_uid == NOBODY}


@pytest.mark.slow
def test_without_home_terminal_or_reader_nothing_breaks(home: Path) -> None:
    """No HOME, a closed stdout, a reader that leaves, twenty columns, no locale."""
    forecaster = f"{sys.executable} -m forecaster"
    done = shell(
        f"""
        forecaster retrain --as-of {DAYS[-3]} --home {home}
        forecaster status --home {home}
        env -i {forecaster} score --home {home} >&-
        env -i {forecaster} models list --json --home {home} | head -1
        """,
        COLUMNS="20",
        TERM="dumb",
        LC_ALL="C",
    )
    assert done.codes == [0, 0, 0, 0], (done.codes, done.stderr)
    assert "Error" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    "closed", [">&-", *(pytest.param(one, marks=pytest.mark.slow) for one in MORE_CLOSED)]
)
def test_streams_that_the_caller_has_closed_are_no_error(tmp_path: Path, closed: str) -> None:
    """No traceback, and what is meant for stderr does not end on stdout."""
    line = f"{sys.executable} -m forecaster models list --json --home {tmp_path} {closed}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (">&-" in closed.replace("2>&-", "")) == (done.stdout == "")
    line = f"{sys.executable} -m forecaster models show NONE --home {tmp_path} {closed}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (66, "")
    assert ("2>&-" in closed) == (done.stderr == "")


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trainings take no time and decide nothing."""

    def train_nothing(work, day):
        number = begin_training(work.home, work.name, "cold", day)
        finish_training(work.home, number, state="done")
        return Decided(outcome="kept", version=None, reason="no better")

    monkeypatch.setattr(daily_run, "train_and_decide", train_nothing)
    yield


@pytest.mark.slow
def test_the_day_on_which_clocks_change_is_like_any_other(
    tmp_path: Path, no_training: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run every hour, one missing: Friday's and Monday's sessions an hour after the close."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    source, chosen = Daily(60), settings()
    on(date(2010, 3, 11), tmp_path, source, chosen)
    done = {}
    for hour in range(24 * 4):
        now = datetime(2010, 3, 12, 12, tzinfo=UTC) + timedelta(hours=hour)
        with clock.as_if(now):
            for one in retrain(home=tmp_path, settings=chosen, source=source).sessions:
                assert one.session not in done and one.exit_code == 0
                done[one.session] = now
    monkeypatch.undo()
    time.tzset()
    assert done == {
        date(2010, 3, 12): datetime(2010, 3, 12, 22, tzinfo=UTC),
        date(2010, 3, 15): datetime(2010, 3, 15, 21, tzinfo=UTC),
    }


def test_a_clock_set_back_by_a_month_writes_nothing(tmp_path: Path, no_training: None) -> None:
    """Fault 48: no bar, no forecast, no session; and all goes on when it is set right."""
    source, chosen = Daily(60), settings()
    on(source.sessions[-5], tmp_path, source, chosen)
    before, asked = read_forecasts(tmp_path, "return"), source.asked
    stored = (tmp_path / "data" / "prices.db").read_bytes()
    with pytest.raises(TryLaterError, match="The clock says"):
        on(source.sessions[-26], tmp_path, source, chosen)
    assert read_forecasts(tmp_path, "return").equals(before) and source.asked == asked
    assert (tmp_path / "data" / "prices.db").read_bytes() == stored
    on(source.sessions[-4], tmp_path, source, chosen)
    assert [one.session for one in session_records(tmp_path, "return")] == source.sessions[-5:-3]


@pytest.mark.slow
def test_a_second_run_exits_75_and_five_readers_do_not_wait(
    home: Path,
) -> None:
    """Fault 38: while one writes, another exits 75, and readers see what was there before."""
    with writer(home, "forecaster retrain"):
        reading = "\n".join(f"forecaster {line} --home {home}" for line in READERS[:5])
        done = shell(f"forecaster retrain --as-of {DAYS[-3]} --home {home}\n{reading}")
    assert done.codes == [75, 0, 0, 0, 0, 0], done.stderr
    assert f"forecaster retrain (process {os.getpid()}) is writing since" in done.stderr


@pytest.mark.slow
def test_five_readers_beside_a_writer_see_complete_sessions(home: Path) -> None:
    """Every read finds all forecasts of a session, or none of them."""
    command = [sys.executable, "-c", LOOKS, str(home)]
    with (
        subprocess.Popen([*command, "0"], cwd=ROOT, text=True, stdout=subprocess.PIPE) as a,
        subprocess.Popen([*command, "1"], cwd=ROOT, text=True, stdout=subprocess.PIPE) as b,
        subprocess.Popen([*command, "2"], cwd=ROOT, text=True, stdout=subprocess.PIPE) as c,
        subprocess.Popen([*command, "3"], cwd=ROOT, text=True, stdout=subprocess.PIPE) as d,
        subprocess.Popen([*command, "4"], cwd=ROOT, text=True, stdout=subprocess.PIPE) as e,
    ):
        readers = [a, b, c, d, e]
        for one in readers:
            assert one.stdout and one.stdout.readline() == "reads\n"
        for day in DAYS[-3:]:
            assert retrain(home=home, as_of=day).exit_code == 0
        (home / "done").touch()
        looks = [one.communicate(timeout=60)[0] for one in readers]
    assert all(one.returncode == 0 for one in readers), looks
    assert all(int(text) >= 3 for text in looks), looks


LOOKS = """
import sys; from pathlib import Path
from forecaster.registry.forecast_log import read_forecasts
from forecaster.registry.champion_history import champion_statuses
from forecaster.data.store import PriceStore
home, count = Path(sys.argv[1]), 0
print("reads", flush=True)
while not (home / "done").exists():
    rows = read_forecasts(home, "return")
    assert (rows.groupby("as_of")["ticker"].nunique() == 2).all(), rows
    assert champion_statuses(home)[0].champion
    with PriceStore.open_for_reading(home) as store:
        assert store.tickers() == ["AAA", "BBB"]
    count += 1
print(count)
"""
