"""Serve until interrupted: `python -m tests.yahoo --port 0` prints the address first."""

import argparse
import threading

from tests.yahoo.server import LoopbackYahoo

parser = argparse.ArgumentParser(prog="python -m tests.yahoo", description=__doc__)
parser.add_argument("--port", type=int, default=0, help="0 takes any free port")

with LoopbackYahoo(parser.parse_args().port) as yahoo:
    print(yahoo.url, flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
