"""A process whose children do a daily run while something happens to them.

`python -m tests.faults.driver`, then a JSON object per line: the `home`, the `day`, and perhaps a
`phase` of the run together with what happens in it: `seconds` after which the child is killed,
`strace` options that spoil its system calls. `trouble` is one of its training. One JSON object
per line comes back. Imports and calendar are paid once, not by each child.
"""

import ctypes
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from forecaster.errors import ForecasterError
from tests.faults import daily_run, troubles

HANGS = 120.0  # seconds without a word, however busy the machine
PR_SET_PTRACER, ANYONE = 0x59616D61, ctypes.c_ulong(2**64 - 1)

Order = dict[str, Any]


class Child:
    """A fork that does the run; it stops at both edges of its phase until `go_on`."""

    def __init__(self, order: Order) -> None:
        self._ours, theirs = socket.socketpair()
        self.number = os.fork()
        if self.number == 0:
            os.setpgid(0, 0)  # so that the promotion test's fresh process is killed with it
            self._ours.close()
            _work(theirs, order)
            os._exit(0)
        theirs.close()
        self._ours.settimeout(HANGS)

    def words(self) -> Iterator[dict[str, Any]]:
        """Everything that it says until its end."""
        with self._ours.makefile("rb") as lines:
            try:
                yield from map(json.loads, lines)
            except ConnectionResetError:  # killed before it heard that it may go on
                yield {"hit": False}
            except TimeoutError:
                os.killpg(self.number, signal.SIGKILL)
                yield {"hung": True, "hit": False}

    def go_on(self) -> None:
        """Let it leave the edge at which it waits."""
        self._ours.sendall(b"!")

    def kill_after(self, seconds: float) -> None:
        """Kill it, and whom it has forked, at this moment and no later."""
        deadline = time.monotonic() + seconds
        time.sleep(max(0.0, seconds - 0.002))
        while time.monotonic() < deadline:
            pass  # a sleep would end late
        os.killpg(self.number, signal.SIGKILL)

    def status(self) -> int:
        """How it ended."""
        self._ours.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.number, 0)[1])


def answer(order: Order) -> dict[str, Any]:
    """Fork a child for one order and return how it ended."""
    child, said, begun_at = Child(order), {"hit": False, "lasted": math.inf}, 0.0
    with ExitStack() as stack:
        for heard in child.words():
            edge = heard.pop("edge", None)
            said |= heard
            if edge == "begins":
                if "strace" in order:
                    stack.enter_context(traced(child.number, order))
                said["hit"], begun_at = True, time.monotonic()
                child.go_on()
                if "seconds" in order:
                    child.kill_after(order["seconds"])
            elif edge == "ends":
                stack.close()
                said |= {"hit": False, "lasted": time.monotonic() - begun_at}
                if "seconds" not in order:
                    child.go_on()
    return {**said, "status": child.status()}


@contextmanager
def traced(number: int, order: Order) -> Iterator[None]:
    """Let strace spoil the system calls of a process while the block runs."""
    command = ["strace", "-f", "-o", order["log"], *order["strace"], "-p", str(number)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr
        first = tracer.stderr.readline()
        if "attached" not in first:
            raise RuntimeError(first)
        yield
        tracer.terminate()


def _work(ear: socket.socket, order: Order) -> None:
    """Do the run; its result is sent, not by write(2), which may be what fails."""

    def send(**facts: object) -> None:
        ear.sendall(json.dumps(facts).encode() + b"\n")

    def on_edge(phase: str, edge: str) -> None:
        if phase == order.get("phase"):
            send(edge=edge)
            ear.recv(1)

    if sys.platform == "linux":  # where only ancestors may trace (Yama)
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANYONE, 0, 0, 0)
    patch = pytest.MonkeyPatch()
    daily_run.arrange_fork(patch, on_edge)
    settings = troubles.arrange(patch, order.get("trouble"), daily_run.SETTINGS)
    try:
        report = daily_run.do(date.fromisoformat(order["day"]), Path(order["home"]), settings)
        send(code=report.exit_code, reason=report.reason)
    except ForecasterError as error:
        send(code=error.exit_code, reason=str(error))
    except BaseException:
        send(code=1, reason=traceback.format_exc()[-3000:])


if __name__ == "__main__":
    daily_run.warm_up()
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
