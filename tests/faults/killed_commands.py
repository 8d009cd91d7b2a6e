"""A process whose children run one command each and are killed.

`python -m tests.faults.killed_commands`, then a JSON object per line: the `home`, the `command`
and perhaps `seconds` after which its child is killed. How the child ended, 0 or the signal, and
how long it took come back as JSON. Imports are paid once, not by each child.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

from forecaster import clock
from forecaster.pipeline.data import export_file
from forecaster.pipeline.data_import import import_files
from forecaster.pipeline.models import prune_by_hand
from forecaster.pipeline.train import train
from tests.faults.daily_run import TRAIN
from tests.pipeline.killed import ended

KEPT = 3  # versions
LONG = 60.0
COMMANDS: dict[str, Callable[[Path], object]] = {
    "train": lambda home: train(settings=TRAIN, home=home),
    "prune": lambda home: prune_by_hand(KEPT, home=home),
    "export": lambda home: export_file(home / "out.csv", home=home),
    "import": lambda home: import_files([home / "new.csv"], home=home),
}


def work(command: str, home: Path) -> int:
    """Run a command; after two days all that a killed one has left counts as abandoned."""
    sys.stderr = open(os.devnull, "w")
    later = datetime.now(UTC) + timedelta(days=2 * (command == "prune"))
    with clock.as_if(later):
        COMMANDS[command](home)
    return 0


if __name__ == "__main__":
    import_module("torch._dynamo")
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        begun, child = time.monotonic(), os.fork()
        if child == 0:
            code = 1
            try:
                code = work(order["command"], Path(order["home"]))
            finally:
                os._exit(code)
        status = os.waitstatus_to_exitcode(ended(child, order.get("seconds", LONG)))
        print(json.dumps({"status": status, "lasted": time.monotonic() - begun}), flush=True)
