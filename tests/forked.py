"""Run commands, each in a child of its own: `python -m tests.forked MODULE ...` < LINES.

A line is a command line of `forecaster`, or of the shell where it begins with another word.
What it prints follows on stdout and stderr, and `exit CODE` on stdout ends it. The modules are
imported once, not by each command.
"""

import os
import shlex
import subprocess
import sys
from importlib import import_module

from forecaster.cli import main


def ended(line: str) -> int:
    """Run one line to its end and return its exit status."""
    first, *arguments = shlex.split(line)
    if first != "forecaster":
        return subprocess.run(line, shell=True).returncode
    child = os.fork()
    if child == 0:
        sys.argv = [first, *arguments]
        sys.exit(main())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    for module in sys.argv[1:]:
        import_module(module)
    for line in sys.stdin.read().splitlines():
        print(f"exit {ended(line)}", flush=True)
