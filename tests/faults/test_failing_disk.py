"""The N-th write of a run fails: one line of error, and the next run ends as if it had not."""

import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.faults.conftest import ALL, Stage
from tests.faults.daily_run import PHASES, flaws
from tests.faults.test_killed import compare, serves

DRAWN = 40
CALLS = ("write", "pwrite64", "fsync", "fdatasync")
ERRORS = ("ENOSPC", "EIO")
CODES = {0, 74}  # a log or checkpoint that cannot be written stops no run
TRACE = ("-e", f"trace={','.join(CALLS)}")


@dataclass(frozen=True, slots=True)
class Failure:
    """The call of a phase that fails, counted from 1, and how."""

    phase: str
    call: str
    number: int
    error: str


def can_trace() -> bool:
    """Whether strace is there, and may look into a process."""
    if shutil.which("strace") is None:
        return False
    probe = ["strace", "-o", "/dev/null", *TRACE, sys.executable, "-c", ""]
    return subprocess.run(probe, capture_output=True).returncode == 0


needs_strace = pytest.mark.skipif(not can_trace(), reason="no strace here: apt-get install strace")


def calls_of(stage: Stage, phase: str) -> Counter[str]:
    """Count what a phase writes when nothing fails."""
    log = stage.folder / "strace.log"
    stage.ask(stage.home(), phase=phase, strace=TRACE, log=str(log))
    return Counter(re.findall(r"^\d+ +(\w+)\(", log.read_text(), re.MULTILINE))


def failures(stage: Stage, draw: random.Random) -> list[Failure]:
    """Draw from all that can fail, in a run of so many writes."""
    found = [
        Failure(phase, call, number, error)
        for phase in PHASES
        for call, count in sorted(calls_of(stage, phase).items())
        for number in range(1, count + 1)
        for error in ERRORS
    ]
    return draw.sample(found, min(DRAWN, len(found)))


def all_failures(phase: str) -> Iterator[Iterator[Failure]]:
    """Name all failures of each call and error, in order; where to stop is known by trying."""
    for call in CALLS:
        for error in ERRORS:
            yield (Failure(phase, call, number, error) for number in range(1, 10**6))


def suffer(stage: Stage, failure: Failure) -> bool:
    """Make a write fail, check what is left, and run again; return whether it failed."""
    home, log = stage.home(), stage.folder / "strace.log"
    spoil = f"inject={failure.call}:error={failure.error}:when={failure.number}"
    failed = stage.ask(home, phase=failure.phase, strace=[*TRACE, "-e", spoil], log=str(log))
    assert failed["status"] == 0 and failed["code"] in CODES, (failure, failed)
    assert flaws(home) == [], failure
    serves(home)
    ended = stage.ask(home)
    assert (ended["status"], ended["code"]) == (0, 0), (failure, ended)
    compare(home, stage.done)
    return "(INJECTED)" in log.read_text()


@needs_strace
@pytest.mark.slow
@pytest.mark.skipif(ALL, reason="all of them are done")
def test_a_write_that_fails_somewhere_in_a_run_harms_nothing(
    stage: Stage, draw: random.Random, shown: Callable[[str], None]
) -> None:
    """Fault 34: exit 74 or 0; store, registry and champion as they were."""
    drawn = failures(stage, draw)
    failed = Counter(failure.phase for failure in drawn if suffer(stage, failure))
    shown(f"{failed.total()} failures: {dict(failed)}")
    assert failed.total() >= 0.9 * len(drawn)


@needs_strace
@pytest.mark.slow
@pytest.mark.skipif(not ALL, reason="`make faults` does them")
@pytest.mark.parametrize("phase", PHASES)
def test_every_write_that_fails_in_a_phase_harms_nothing(
    phase: str, stage: Stage, shown: Callable[[str], None]
) -> None:
    """N = 1, 2, 3 and so on, until a run passes unharmed."""
    failed: Counter[str] = Counter()
    for series in all_failures(phase):
        for failure in series:
            if not suffer(stage, failure):
                break
            failed[failure.call] += 1
    shown(f"{failed.total()} failures: {dict(failed)}")
    assert failed or phase == "test"  # which writes nothing but the log
