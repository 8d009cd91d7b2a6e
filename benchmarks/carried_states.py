"""What `predict` costs by the number of tickers asked for, with carried states and without.

Usage: python -m benchmarks.carried_states [--tickers 3000] [--days 2500] [--asked 20 500]
       [--home FOLDER]

A version of all tickers of an invented store: a small network is trained on two of them, and every
ticker counts as trained on, so that forecasts read the means of all. Forecasts of some tickers are
made in processes of their own: of the session before the last without any state (as after a
training), of the last one from the states of the session before (as a daily run does), of the last
one again (as a user does afterwards), and of the last one without states. Prints CPU seconds, their
ratio, and peak memory. At most 2.5 times the CPU time is allowed for the most against the fewest
tickers, and 1 GiB, for a user's forecast. 3,000 tickers need 2 GB of disk; with --home the store is
kept in that folder and used again.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import date
from pathlib import Path

from benchmarks.scale import fill, name_of
from forecaster.data.store import PriceStore
from forecaster.registry.versions import list_versions

MOST_TIMES, MOST_MIB = 2.5, 1024
STEPS = ("first, no state", "next session", "same session", "without states")


def make_home(home: Path, tickers: int, days: int) -> None:
    """Store invented prices and train a small version on two tickers."""
    from forecaster import TrainSettings, train

    home.mkdir(exist_ok=True)
    fill(home, tickers, days)
    settings = TrainSettings(target=("return", "range"), max_steps=20)
    train([name_of(0), name_of(1)], home=home, settings=settings)


def forecast(home: Path, tickers: list[str], day: date, *, states: bool) -> None:
    """Forecast with the home's version as if it were of all its tickers; print the cost."""
    from forecaster.forecasting.model_version import load_model
    from forecaster.forecasting.next_session import ForecastRequest, forecast_next_session
    from forecaster.registry.versions import read_manifest

    model = load_model(home, read_manifest(home, list_versions(home)[-1]))
    with PriceStore.open_for_reading(home) as store:
        model = replace(model, tickers=tuple(store.tickers()))
    request = ForecastRequest.of(home, tickers, None, day, 5, "write" if states else "none")
    made = forecast_next_session(model, "return,range", model.targets, request)
    if len(made.forecasts) != len(model.targets) * len(tickers):
        raise SystemExit(f"{len(made.forecasts)} forecasts of {len(tickers)} tickers")
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))


def measured(home: Path, asked: int, day: date, states: bool) -> tuple[float, float]:
    """Forecast in a process of its own; return its CPU seconds and its peak memory in MiB."""
    command = [sys.executable, "-m", "benchmarks.carried_states", "--forecast", str(asked)]
    command += ["--home", str(home), "--day", str(day), "--states", str(int(states))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds, peak = json.loads(done.stdout)
    return seconds, peak


def report(home: Path, asked: list[int]) -> None:
    """Measure every step for every number of tickers and print a table."""
    with PriceStore.open_for_reading(home) as store:
        names = store.tickers()
        sessions = store.bars(names[0])["session"].dt.date
    first, last = sessions.iloc[-2], sessions.iloc[-1]
    days = (first, last, last, last)
    print("| tickers asked for | " + " | ".join(STEPS) + " |\n|---|" + "---|" * len(STEPS))
    costs = {}
    for count in asked:
        shutil.rmtree(home / "models" / "state", ignore_errors=True)
        costs[count] = [
            measured(home, count, day, step != STEPS[-1])
            for step, day in zip(STEPS, days, strict=True)
        ]
        cells = [f"{seconds:.1f} s, {peak:,.0f} MiB" for seconds, peak in costs[count]]
        print(f"| {count:,} of {len(names):,} | " + " | ".join(cells) + " |", flush=True)
    for number, step in enumerate(STEPS):
        times = costs[asked[-1]][number][0] / costs[asked[0]][number][0]
        limit = f" (at most {MOST_TIMES}, {MOST_MIB:,} MiB)" if step == "same session" else ""
        print(f"{step:16} {asked[-1]:,} take {times:.2f} x the CPU time of {asked[0]:,}{limit}")


def main() -> None:
    """Parse the command line; measure, or forecast for the measuring process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tickers", type=int, default=3000)
    parser.add_argument("--days", type=int, default=2500)
    parser.add_argument("--asked", type=int, nargs="+", default=[20, 500])
    parser.add_argument("--home", type=Path)
    parser.add_argument("--forecast", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--day", type=date.fromisoformat, help=argparse.SUPPRESS)
    parser.add_argument("--states", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.forecast:
        with PriceStore.open_for_reading(given.home) as store:
            tickers = store.tickers()[: given.forecast]
        forecast(given.home, tickers, given.day, states=bool(given.states))
        return
    with tempfile.TemporaryDirectory() as folder:
        home = given.home or Path(folder)
        if not (home / "models").exists():
            make_home(home, given.tickers, given.days)
        report(home, given.asked)


if __name__ == "__main__":
    main()
