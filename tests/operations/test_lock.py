"""One writer at a time; the error of the next one describes it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from forecaster.errors import CannotWriteError, TryLaterError
from forecaster.operations.lock import HOLDER, LOCK, holder, writer
from forecaster.pipeline.data_import import import_files
from forecaster.pipeline.fetch import fetch
from forecaster.pipeline.quarantine import release

HOLD = (
    "import sys; from pathlib import Path; from forecaster.operations.lock import writer\n"
    "with writer(Path(sys.argv[1]), 'forecaster retrain'):\n"
    "    print('locked', flush=True); sys.stdin.read()\n"
)


@pytest.fixture
def other(tmp_path: Path):
    """Another process that writes."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], text=True, **pipes) as it:
        assert it.stdout and it.stdout.readline() == "locked\n"
        yield it
        it.kill()


@pytest.mark.parametrize(
    "write",
    [
        lambda home: fetch(["AAPL"], home=home),
        lambda home: import_files(["prices.csv"], home=home),
        lambda home: release("AAPL", home=home),
    ],
    ids=["fetch", "import", "release"],
)
def test_the_error_of_a_second_writer_describes_the_first(
    tmp_path: Path, other: subprocess.Popen, write: Callable[[Path], object]
) -> None:
    """By command, process and time, before any work; exit code 75."""
    words = rf"forecaster retrain \(process {other.pid}\) is writing since \d{{4}}-"
    with pytest.raises(TryLaterError, match=words) as caught:
        write(tmp_path)
    assert caught.value.exit_code == 75
    assert holder(tmp_path) == str(caught.value).partition(": ")[2].partition(". ")[0]
    assert not (tmp_path / "data").exists()


def test_the_lock_dies_with_its_process(tmp_path: Path, other: subprocess.Popen) -> None:
    """Even kill -9 leaves no lock behind, only a note without effect."""
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert json.loads((tmp_path / HOLDER).read_text())["pid"] == other.pid
    assert holder(tmp_path) is None
    with writer(tmp_path, "forecaster fetch"):
        assert json.loads((tmp_path / HOLDER).read_text())["pid"] == os.getpid()
    assert not (tmp_path / HOLDER).exists()


def test_a_writer_inside_a_writer_is_the_same_one(tmp_path: Path) -> None:
    """A daily run fetches while it has the lock, and still has it afterwards."""
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with writer(tmp_path, "forecaster retrain"):
        with writer(link, "forecaster fetch"):
            pass
        assert "forecaster retrain" in (holder(tmp_path) or "")
    assert holder(tmp_path) is None


def test_the_lock_is_free_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(KeyError), writer(tmp_path, "forecaster fetch"):
        raise KeyError
    with writer(tmp_path, "forecaster fetch"):
        pass


def test_a_link_in_the_place_of_lock_or_note_is_not_followed(tmp_path: Path) -> None:
    """What it leads to stays as it was."""
    home, precious = tmp_path / "home", tmp_path / "precious"
    home.mkdir()
    precious.write_text("mine")
    (home / HOLDER).symlink_to(precious)
    (home / f"{HOLDER}.new").symlink_to(precious)
    with writer(home, "forecaster fetch"):
        assert not (home / HOLDER).is_symlink()
    (home / LOCK).unlink()
    (home / LOCK).symlink_to(precious)
    with pytest.raises(CannotWriteError, match="link"), writer(home, "forecaster fetch"):
        pass
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("note", ["", "[]", "{", '{"pid": 1}', "[" * 5000])
def test_a_note_that_is_none_is_no_failure(
    tmp_path: Path, other: subprocess.Popen, note: str
) -> None:
    (tmp_path / HOLDER).write_text(note)
    with pytest.raises(TryLaterError, match="another process is writing"), writer(tmp_path, "x"):
        pass


def test_a_home_that_is_missing_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(CannotWriteError, match="mkdir -p"), writer(tmp_path / "none", "x"):
        pass
    assert not (tmp_path / "none").exists()
