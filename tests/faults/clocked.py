"""Run commands at pretended instants, led to a loopback Yahoo.

`python -m tests.faults.clocked URL`: each line on stdin is an instant in ISO format and a command
line of `forecaster`. Each runs in a child of its own, so that heavy packages are imported once;
its stdout and stderr are this process's stderr, and `exit CODE` follows on stdout. Waiting costs
no time.
"""

import gc
import os
import shlex
import sys
import traceback
import warnings
from datetime import datetime
from importlib import import_module
from pathlib import Path

from forecaster import clock
from forecaster.cli import main
from forecaster.data.sources import Source
from forecaster.data.trading_calendar import trading_calendar
from forecaster.pipeline import fetch
from tests.yahoo.session import LoopbackSession

HEAVY = (
    "forecaster.data.sources.yahoo",
    "forecaster.operations.daily_run",
    "forecaster.settings.settings_sources",
)
PATIENCE = 1.0  # seconds for an answer
LONGEST = 2**20  # bytes of an answer


def run_in_child(url: str, line: str) -> int:
    """Run one line to its end and return its exit status."""
    instant, first, *arguments = shlex.split(line)
    child = os.fork()
    if child == 0:
        os.dup2(2, 1)
        sys.argv = [first, *arguments]
        fetch.open_source = lambda name, home: _source(url, home)
        _leave(datetime.fromisoformat(instant))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _leave(instant: datetime) -> None:
    """Run the command line, and end without tearing torch down, which takes half a second."""
    code: object = 1
    try:
        with clock.as_if(instant):
            main()
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


def _source(url: str, home: Path) -> Source:
    from forecaster.data.sources.yahoo import YahooSource

    session = LoopbackSession(url, timeout_seconds=PATIENCE, max_bytes=LONGEST)
    return YahooSource(home / "data" / "yahoo", session, lambda seconds: None)


if __name__ == "__main__":
    for module in HEAVY:
        import_module(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import_module("yfinance")
    trading_calendar("XNYS")
    gc.freeze()  # or the children's collector would copy every page
    for words in sys.stdin:
        print(f"exit {run_in_child(sys.argv[1], words)}", flush=True)
