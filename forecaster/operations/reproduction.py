"""Whether a version forecasts the same bits after it was loaded in a process of its own.

Weights that live in this process only, a file that is not what was written, a library that
rounds by what ran before: each would show here, before the version is promoted.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np

import forecaster
from forecaster.data.history import History
from forecaster.data.loading import load_histories
from forecaster.errors import OutOfMemoryError, StorageError
from forecaster.evaluation.distributions import Predictive
from forecaster.evaluation.mixture import arrays_of
from forecaster.forecasting.loading import load_model
from forecaster.registry.versions import read_manifest

_CHILD = "from forecaster.operations.reproduction import speak; speak()"
_SHOWN = 300  # characters of what a child that failed said last


def histories_of(home: Path, tickers: Sequence[str], as_of: date | None) -> list[History]:
    """Read the bars of those tickers that there are, in alphabetical order.

    Raises:
        DataError: none has a bar until `as_of`.
        UnknownNameError: the store is empty.
    """
    wanted = set(tickers)
    found = load_histories(None, home, (), as_of)
    return [history for history in found if history.listing.ticker in wanted]


def digest(stated: Mapping[str, Predictive]) -> str:
    """Hash forecasts, every bit of them."""
    found = hashlib.sha256()
    for target in sorted(stated):
        for name, array in sorted(arrays_of(stated[target]).items()):
            found.update(f"{target} {name} {array.shape} {array.dtype}\n".encode())
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def flaw_in_fresh_process(
    home: Path, version: str, tickers: Sequence[str], as_of: date | None, expected: str
) -> str | None:
    """Load a version in a new Python and let it forecast again; say what is wrong, if anything.

    Args:
        home: the workspace.
        version: its name.
        tickers: whose bars the forecasts were made from.
        as_of: the last day seen.
        expected: `digest` of the forecasts that this process made.

    Raises:
        OutOfMemoryError: the system had no room for another process, or killed it.
        StorageError: the disk failed the process.
    """
    told = [str(home), version, list(tickers), as_of.isoformat() if as_of else None]
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, json.dumps(told)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": _path()},
        )
    except OSError as error:
        raise _no_room(version, error.strerror or str(error)) from error
    if done.returncode == -signal.SIGKILL:
        raise _no_room(version, "it was killed")
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        if done.returncode == StorageError.exit_code:
            raise StorageError(said[-1])
        return f"it cannot be used in a fresh process: {said[-1][:_SHOWN]}"
    if done.stdout.strip() != expected:
        return "in a fresh process its forecasts are other ones"
    return None


def _no_room(version: str, why: str) -> OutOfMemoryError:
    return OutOfMemoryError(
        f"{version}: the gate's fresh process could not be run: {why}. Give the night more memory."
    )


def _path() -> str:
    """Lead the child to this very package, installed or not."""
    here = str(Path(forecaster.__file__).parents[1])
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])


def speak() -> None:
    """Forecast in the new process and write the digest to its stdout; reads one argument."""
    home, version, tickers, until = json.loads(sys.argv[1])
    as_of = date.fromisoformat(until) if until else None
    try:
        model = load_model(Path(home), read_manifest(Path(home), version))
        panel = model.panel(histories_of(Path(home), tickers, as_of))
    except StorageError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_code) from None
    sys.stdout.write(digest(model.distributions(panel, model.rows_since_training(panel))))
