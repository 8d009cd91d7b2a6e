"""The reproduction of a version's forecasts, bit for bit, in a fresh process.

Weights that exist in this process only, a file that differs from what was written, a library
whose rounding depends on what ran before: each is found here, before a promotion.
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
from forecaster.forecasting.model_version import load_model
from forecaster.registry.versions import read_manifest

_CHILD = "from forecaster.operations.reproduction import print_digest; print_digest()"
_MAX_SHOWN = 300  # characters of the last line of a failed process


def histories_of(home: Path, tickers: Sequence[str], as_of: date | None) -> list[History]:
    """Read the bars of those tickers that are stored, in alphabetical order.

    Raises:
        DataError: none has a bar until `as_of`.
        UnknownNameError: the store is empty.
    """
    wanted = set(tickers)
    found = load_histories(None, home, (), as_of)
    return [history for history in found if history.listing.ticker in wanted]


def digest(forecasts: Mapping[str, Predictive]) -> str:
    """Compute a hash of forecasts, of every bit."""
    found = hashlib.sha256()
    for target in sorted(forecasts):
        for name, array in sorted(arrays_of(forecasts[target]).items()):
            found.update(f"{target} {name} {array.shape} {array.dtype}\n".encode())
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def reproduction_flaw(
    home: Path, version: str, tickers: Sequence[str], as_of: date | None, expected: str
) -> str | None:
    """Forecast again with a version in a new Python process; return what is wrong, if anything.

    Args:
        home: the workspace.
        version: its id.
        tickers: whose bars the forecasts were made from.
        as_of: the last day read.
        expected: `digest` of the forecasts that this process made.

    Raises:
        OutOfMemoryError: the system has no memory for another process, or killed it.
        StorageError: the disk failed the process.
    """
    arguments = [str(home), version, list(tickers), as_of.isoformat() if as_of else None]
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, json.dumps(arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": _python_path()},
        )
    except OSError as error:
        raise _no_memory(version, error.strerror or str(error)) from error
    if done.returncode == -signal.SIGKILL:
        raise _no_memory(version, "it was killed")
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        if done.returncode == StorageError.exit_code:
            raise StorageError(lines[-1])
        return f"it cannot be used in a fresh process: {lines[-1][:_MAX_SHOWN]}"
    if done.stdout.strip() != expected:
        return "in a fresh process its forecasts differ"
    return None


def _no_memory(version: str, why: str) -> OutOfMemoryError:
    return OutOfMemoryError(
        f"{version}: the fresh process of its promotion test failed: {why}. Provide more memory."
    )


def _python_path() -> str:
    """Return a path on which the child imports this very package, installed or not."""
    here = str(Path(forecaster.__file__).parents[1])
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])


def print_digest() -> None:
    """Write the digest of a version's forecasts to stdout; run in the fresh process."""
    home, version, tickers, until = json.loads(sys.argv[1])
    as_of = date.fromisoformat(until) if until else None
    try:
        model = load_model(Path(home), read_manifest(Path(home), version))
        panel = model.panel(histories_of(Path(home), tickers, as_of))
    except StorageError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_code) from None
    sys.stdout.write(digest(model.distributions(panel, model.rows_since_training(panel))))
