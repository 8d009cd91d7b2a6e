"""Run the command line with `python -m forecaster`."""

import sys

if not sys.flags.safe_path:
    del sys.path[0]  # the working directory: a typer.py there must not be executed

from forecaster.cli import main

main()
