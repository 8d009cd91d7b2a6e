"""Compare the values that two checkouts compute, bit for bit, across renamed options and keys.

Usage: python -m benchmarks.same_values --before CHECKOUT [--after CHECKOUT] [--prices DIR]
           [--before-results DIR] [--results DIR] [--only SUITE[,SUITE]] [--all]

Runs the same commands in both checkouts, each with its own `.venv/bin/forecaster` and one thread
of BLAS and OpenMP, and compares the output of `--json` and the files of `--forecasts`. The folder
of `--prices` holds CSV or parquet files that `forecaster data import` accepts.

`--results` keeps the output and the homes, in its folders `before` and `after`; a suite that is
there already is not run again. `--before-results` names a folder `before` of an earlier run.
Without `--after`, the commands are run and nothing is compared.

A commit that renames an option, a key, a column or a forecaster adds it to `renames.py`. A key
that is missing or new is printed. Texts (strings with spaces) that differ are counted as reworded.
Exit code 1: a value differs or is missing.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.renames import OPTION_VALUES, OPTIONS
from benchmarks.value_comparison import Tally, compare, compare_tables

SUITES = {
    "demo": """
        fetch: fetch --source sample
        train: train --target return,range --as-of 2018-12-31
        evaluate: evaluate --as-of 2018-12-31 --jobs 2 --forecasts {csv}
        walk: evaluate --as-of 2018-12-31 --jobs 2 --baselines quick --refit-every 504 --seeds 2
        predict: predict --as-of 2018-12-31
        predict-range: predict --target range --as-of 2018-12-31
        memory: memory --as-of 2018-12-31
        score: score --as-of 2018-12-31
        status: status
        models-show: models show
        models-list: models list
        config-show: config show
        train-options: train --target return,range,volume --model gru --bptt-steps 42
          --bptt-stride 21 --bptt-update pass --lanes 1 --members 2 --max-updates 3
          --fit-until 2012-12-31 --select-until 2015-12-31 --as-of 2018-12-31
        rolling: evaluate --as-of 2018-12-31 --no-twins --baselines quick --refit-every 504
          --fit-window rolling:2520 --forecasts {csv}
        predict-unrecorded: predict --no-ledger --as-of 2018-12-31
    """,
    "demo-daily": """
        fetch: fetch --source sample
        daily-1: retrain --no-fetch --target return,range --as-of 2018-12-28
        daily-2: retrain --no-fetch --target return,range --as-of 2018-12-31
        predict: predict --as-of 2018-12-31
        score: score --as-of 2018-12-31
        status: status
        models-list: models list
    """,
    "prices": """
        import: data import {prices} --basis as-traded
        train: train --target range,volume,return --as-of {as_of}
        evaluate: evaluate --as-of {as_of} --jobs 2 --forecasts {csv}
        predict: predict --as-of {as_of}
        predict-range: predict --target range --as-of {as_of}
        predict-volume: predict --target volume --as-of {as_of}
        memory: memory --as-of {as_of}
        score: score --as-of {as_of}
        status: status
        train-windows: train --lookback 60 --max-updates 200 --as-of {as_of}
        predict-windows: predict --as-of {as_of}
        train-gru: train --target range --model gru --max-updates 100 --as-of {as_of}
        predict-gru: predict --target range --as-of {as_of}
        train-elman: train --target range --model elman --max-updates 100 --as-of {as_of}
        predict-elman: predict --target range --as-of {as_of}
        train-quantiles: train --target return,range --head quantiles --max-updates 200
          --as-of {as_of}
        evaluate-quantiles: evaluate --as-of {as_of} --jobs 2 --baselines quick --no-twins
          --forecasts {csv}
        predict-quantiles: predict --as-of {as_of}
    """,
    "prices-daily": """
        import: data import {prices} --basis as-traded
        daily-1: retrain --no-fetch --target range,volume,return --as-of {day_before}
        daily-2: retrain --no-fetch --target range,volume,return --as-of {as_of}
        predict: predict --as-of {as_of}
        score: score --as-of {as_of}
        status: status
        models-list: models list
    """,
}

VERSION_ID = re.compile(r"\d{8}-\d{6}-[a-z]+-[0-9a-f]{8}")


def steps_of(suite: str) -> dict[str, str]:
    """Return the commands of a suite by step, with the old options."""
    joined = re.sub(r"\n\s+--", " --", SUITES[suite])
    lines = (line.strip().partition(": ") for line in joined.strip().splitlines())
    return {name: command for name, _, command in lines}


@cache
def help_of(program: Path, command: tuple[str, ...]) -> str:
    """Return the help of a command."""
    return subprocess.run([program, *command, "--help"], capture_output=True, text=True).stdout


def spell(program: Path, words: list[str]) -> list[str]:
    """Return a command line with the options of a checkout.

    Raises:
        SystemExit: the checkout knows neither the old nor the new option.
    """
    command = tuple(words[:2] if words[0] in ("data", "models", "config") else words[:1])
    known = set(re.findall(r"--[a-z][a-z0-9-]*", help_of(program, command)))
    spelled: list[str] = []
    option = ""
    for word in words:
        value, word = word, OPTION_VALUES.get((option, word), word)
        if value.startswith("--"):
            option, word = "", value
            if value not in known:
                option, word = value, OPTIONS.get(value, "")
                if word not in known:
                    raise SystemExit(
                        f"{program} {' '.join(command)} knows no {value}; see benchmarks/renames.py"
                    )
        spelled.append(word)
    return spelled


def run_suite(checkout: Path, suite: str, folder: Path, prices: Path | None) -> None:
    """Run a suite in a home of its own; write STEP.json, STEP.csv, STEP.err and steps.json."""
    program = checkout / ".venv" / "bin" / "forecaster"
    (folder / "home").mkdir(parents=True)
    facts = {"as_of": "", "day_before": ""}
    environment = {name: text for name, text in os.environ.items() if "FORECASTER" not in name}
    environment |= dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
    )
    ran: dict[str, dict[str, Any]] = {}
    for step, command in steps_of(suite).items():
        words = command.format(csv=folder / f"{step}.csv", prices="{prices}", **facts).split()
        if "{prices}" in words:
            at = words.index("{prices}")
            words[at : at + 1] = map(str, price_files(prices))
        line = [*spell(program, words), "--home", str(folder / "home"), "--json"]
        start = time.monotonic()
        with (folder / f"{step}.json").open("w") as out, (folder / f"{step}.err").open("w") as err:
            done = subprocess.run([program, *line], stdout=out, stderr=err, env=environment)
        took = round(time.monotonic() - start, 2)
        ran[step] = {"command": " ".join(line), "exit_code": done.returncode, "seconds": took}
        print(f"{suite}/{step}: exit {done.returncode}, {took} s", file=sys.stderr)
        (folder / "steps.json").write_text(json.dumps(ran, indent=2))
        if step == "import":
            last = min(
                row["last"] for row in json.loads((folder / "import.json").read_text())["tickers"]
            )
            facts = {"as_of": last, "day_before": str(np.busday_offset(last, -1))}


def price_files(folder: Path | None) -> list[Path]:
    """Return the files of prices of a folder."""
    files = sorted(folder.iterdir()) if folder else []
    return [file.resolve() for file in files if file.suffix in (".csv", ".parquet")]


def load(file: Path, seen: dict[str, str]) -> Any:
    """Read the output of a command; versions are numbered in order of appearance."""

    def number(found: re.Match[str]) -> str:
        return seen.setdefault(found[0], f"<version {len(seen) + 1}>")

    text = VERSION_ID.sub(number, file.read_text())
    return json.loads(text) if text.strip() else {}


def compare_suite(suite: str, before: Path, after: Path, show_all: bool) -> bool:
    """Print a line per command; return whether all values are there and equal."""
    ran = [json.loads((folder / suite / "steps.json").read_text()) for folder in (before, after)]
    seen: tuple[dict[str, str], dict[str, str]] = ({}, {})
    good = True
    for step in steps_of(suite):
        tally = Tally()
        if not all(step in side for side in ran):
            tally.missing.append("the command was not run")
        else:
            tally.value("exit code", *(side[step]["exit_code"] for side in ran))
            files = [folder / suite / f"{step}.json" for folder in (before, after)]
            compare("", "", *(load(*pair) for pair in zip(files, seen, strict=True)), tally)
            tables = [file.with_suffix(".csv") for file in files]
            if all(table.exists() for table in tables):
                compare_tables(*tables, tally)
        times = " ".join(f"{side[step]['seconds'] if step in side else 0:7.1f}" for side in ran)
        print(
            f"{f'{suite}/{step}':30} {times} {tally.compared:10,} {len(tally.different):8,}"
            f" {len(tally.missing):8,} {len(tally.added):6,} {tally.reworded:9,}"
            f" {tally.each_run:8,}",
            flush=True,
        )
        for kind in ("different", "missing", "added"):
            found = getattr(tally, kind)
            for text in found if show_all else found[:1]:
                print(f"    {kind}: {text}")
        good &= not tally.different and not tally.missing
    return good


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--before", type=Path, help="checkout with the old code")
    parser.add_argument("--after", type=Path, help="checkout with the new code")
    parser.add_argument("--before-results", type=Path, help="use these results of an earlier run")
    parser.add_argument("--results", type=Path, help="keep results and homes in this folder")
    parser.add_argument("--prices", type=Path, help="a folder of prices to import")
    parser.add_argument("--only", default="", help=f"some of {', '.join(SUITES)}")
    parser.add_argument("--all", action="store_true", help="print every difference")
    return parser.parse_args()


def main() -> None:
    """Run the suites that have no results yet, then compare."""
    options = parse()
    results = options.results or Path(tempfile.mkdtemp(prefix="same-values-"))
    chosen = options.only.split(",") if options.only else list(SUITES)
    suites = [name for name in chosen if options.prices or not name.startswith("prices")]
    sides = {"before": options.before_results or results / "before", "after": results / "after"}
    for side, folder in sides.items():
        checkout = getattr(options, side)
        for suite in suites if checkout else ():
            if not (folder / suite).exists():
                run_suite(checkout.resolve(), suite, folder.resolve() / suite, options.prices)
    if not options.after:
        return
    print(
        f"{'command':30} {'before':>7} {'after':>7} {'values':>10} {'differ':>8} {'missing':>8}"
        f" {'added':>6} {'reworded':>9} {'each run':>8}"
    )
    good = [compare_suite(name, *sides.values(), options.all) for name in suites]
    print(f"results in {results}" + ("" if all(good) else "; values differ or are missing"))
    raise SystemExit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
